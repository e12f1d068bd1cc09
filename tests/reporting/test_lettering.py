"""Words in pictures: Chinese where a font has the letters, else English."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from steve1.reporting import lettering as module
from steve1.reporting.lettering import chinese_font, label, lettering


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE1_LANG", "zh")
    monkeypatch.setattr(module, "chinese_font", chinese_font.__wrapped__)


def test_words_stay_english_where_no_font_could_draw_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    assert label("success rate") == "success rate"
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [font_manager.FontEntry(name="SimHei")])
    assert label("success rate") == "成功率"
    assert label("8 samples of the prior") == "先验模型的 8 个样本"
    monkeypatch.setenv("STEVE1_LANG", "en")
    assert label("success rate") == "success rate"


@pytest.mark.skipif(not chinese_font(), reason="matplotlib finds no font with Chinese letters")
def test_a_picture_has_chinese_letters(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of letters that no font has
        with lettering():
            figure = Figure()
            figure.subplots().set_title(label("success rate"))
            figure.savefig(tmp_path / "picture.png")
    assert figure.axes[0].title.get_fontfamily() == ["DejaVu Sans", chinese_font()]
