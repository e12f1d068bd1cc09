"""Captions of episodes, and the table of them that ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from steve1.core.errors import UserError
from steve1.data.episodes.captions import Captions, captions_of, read_captions


def test_captions_of_an_episode() -> None:
    table = {"dig": Captions(("dig", "dig down"), ("dig deep",))}
    behaviour, captions = captions_of({"behaviour": "dig", "captions": ["shovel", "dig deep", "dig"]}, table)
    assert behaviour == "dig"
    assert captions.train == ("shovel", "dig", "dig down")
    assert captions.held_out == ("dig deep",)
    with pytest.raises(UserError, match="no captions"):  # of a person who recorded without a prompt
        captions_of({"captions": ["", " "], "behaviour": "play"}, table)
    assert captions_of({"captions": ["a", "b"]}, table)[0] == "a"
    with pytest.raises(UserError, match="no captions"):
        captions_of({"behaviour": "fly"}, table, "episode_3")


def test_the_table_that_ships() -> None:
    table = read_captions()
    assert {"dig_dirt", "look_at_sky", "explore", "chop_tree", "swim", "collect_grass", "build_pillar"} <= set(table)
    for captions in table.values():
        assert len(captions.train) >= 10
        assert len(captions.held_out) >= 3
        assert all(text.isascii() for text in captions.train + captions.held_out)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: {train: [x]}\nb: {train: [x]}", "twice"),
        ("a: [x]", "wrong form"),
        ("a: {train: [], held_out: [y]}", "wrong form"),
        ("just words", "wrong form"),
        ("a: {train: [x", "not YAML"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(UserError, match=fault):
        read_captions(tmp_path / "t.yaml")
