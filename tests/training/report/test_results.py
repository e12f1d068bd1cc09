"""A run's results on one page: what is there is linked, what is missing is said with its command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from steve1.commands.evaluate.run_pages import refresh_pages
from steve1.core.checkpoint_metadata import CheckpointMetadata, write_checkpoint_metadata
from steve1.core.files import sha256_file, write_json
from steve1.data.media.video import VideoWriter
from steve1.training.logging.scalars import ScalarFile
from steve1.training.report.page import write_report
from steve1.training.report.results import DATASET_FILE, RESULTS_FILE, write_results
from tests.training.conftest import write_episode


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE1_LANG", "en")


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of two episodes, with weights, in a project of its own whose path has a space."""
    home = tmp_path / "my project"
    home.mkdir()
    monkeypatch.chdir(home)
    episodes = [write_episode(home / "data" / "dataset_x" / f"e{number}", number) for number in range(2)]
    weights, folder = home / "x.weights", home / "data" / "finetuning_checkpoint" / "x"
    weights.write_bytes(b"weights")
    write_checkpoint_metadata(weights, CheckpointMetadata(run=str(folder)))
    settings = {
        "in_weights": "base.weights",
        "out_weights": str(weights),
        "total_frames": 60 * 128,
        "batch_size": 8,
        "trunc_t": 16,
    }
    write_json(
        folder / "settings.json",
        {"settings": settings, "sha256": {}, "episodes": {str(each): "0" for each in episodes}},
    )
    write_json(
        folder / "result.json",
        {
            "step": 60,
            "frames": 60 * 128,
            "seconds": 60.0,
            "out_weights": str(weights),
            "out_sha256": sha256_file(weights),
            "best_sha256": "",
        },
    )
    file = ScalarFile(folder)
    file.add(0, {"data": {"train_frames": 128, "behaviours": ["dig_dirt"], "prompt": "dig dirt"}})
    for step in range(1, 61):
        file.add(step, {"train/loss": 3.0 - step / 60, "speed/frames_per_second": 216.0, "speed/seconds": float(step)})
    file.close()
    return folder


def evaluation(run_dir: Path, sha256: str, name: str = "data/comparisons/x #1") -> Path:
    folder = run_dir.parents[2] / name
    (folder / "videos").mkdir(parents=True)
    settings: dict[str, Any] = {"contestants": [{"name": "x", "sha256": sha256}], "tasks": ["dig_dirt"]}
    write_json(folder / "report.json", {"settings": settings, "sentences": ["Dig dirt: looks better <so far>."]})
    (folder / "report.html").write_text("report")
    with VideoWriter(folder / "videos" / "dig_dirt-000-mini-vs-x.mp4", 64, 36) as video:
        import numpy as np

        video.write(np.zeros((36, 64, 3), np.uint8))
    return folder


def test_missing_parts_come_with_their_commands(run_dir: Path) -> None:
    page = write_results(run_dir).read_text()
    assert "5_evaluate.sh --weights base.weights" in page
    assert "--target dig_dirt" in page
    assert (run_dir / DATASET_FILE).is_file(), "a small dataset's page is made at once"
    assert f'href="{DATASET_FILE}"' in page
    assert ">128<" in page, "frames by the time of the same run, not the mean of the steps' speeds (216)"


def test_a_large_datasets_page_is_made_on_demand(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steve1.training.report.results._INSPECT_AT_MOST", 100)
    page = write_results(run_dir).read_text()
    assert not (run_dir / DATASET_FILE).exists()
    assert "python tools/inspect_dataset.py" in page
    assert "data/dataset_x" in page


def test_evaluations_of_the_runs_weights_are_linked_and_no_others(run_dir: Path) -> None:
    own = json.loads((run_dir / "result.json").read_text())["out_sha256"]
    folder = evaluation(run_dir, own)
    evaluation(run_dir, "0" * 64, "data/evaluations/another")
    (run_dir.parents[2] / "data/evaluations/damaged").mkdir()
    (run_dir.parents[2] / "data/evaluations/damaged/report.json").write_text("{")
    (path,) = refresh_pages([str(run_dir.parents[2] / "x.weights"), "missing.weights"])
    page = path.read_text()
    assert "looks better &lt;so far&gt;" in page
    assert "another" not in page
    assert "5_evaluate.sh" not in page
    assert 'poster="data:image/jpeg' in page
    assert "dig_dirt, episode 0" in page
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert [link for link in links if not (run_dir / unquote(link)).exists()] == ["report.html"]  # not written here
    assert (folder / "report.html").samefile(
        run_dir / unquote(next(link for link in links if link.endswith("1/report.html")))
    )


def test_the_report_links_the_results(run_dir: Path) -> None:
    assert f'href="{RESULTS_FILE}"' in write_report(run_dir).read_text()
    assert (run_dir / RESULTS_FILE).is_file()


def test_training_above_validation_explains_itself(run_dir: Path) -> None:
    record = json.loads((run_dir / "settings.json").read_text())
    for setting, value, words in (
        ("turn_loss_weight", 2.0, "count 2 times"),
        ("p_uncond", 0.1, "10 % of its windows have no goal"),
    ):
        record["settings"][setting] = value
        write_json(run_dir / "settings.json", record)
        assert words not in write_report(run_dir).read_text(), "without a validation nothing lies above it"
    file = ScalarFile(run_dir, first_step=60)
    file.add(60, {"validation/loss": 1.5})
    file.close()
    page = write_report(run_dir).read_text()
    assert "count 2 times" in page
    assert "10 % of its windows have no goal" in page


@pytest.mark.parametrize(("language", "word"), [("en", "What to do next"), ("zh", "下一步")])
def test_a_page_speaks_one_language(run_dir: Path, monkeypatch: pytest.MonkeyPatch, language: str, word: str) -> None:
    monkeypatch.setenv("STEVE1_LANG", language)
    pages = [write_report(run_dir).read_text(), (run_dir / RESULTS_FILE).read_text()]
    assert word in pages[0]
    assert all(any("一" <= letter <= "鿿" for letter in page) is (language == "zh") for page in pages)
