"""The parts of a video: their lengths, and that their borders leave no trace in the labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.data.episodes.parts import LABEL_LOGP
from steve1.data.videos.stream import game_frames
from steve1.idm.label import frames_around
from steve1.idm.labelling.folder import LabelSummary
from steve1.idm.labelling.part import _divided
from steve1.idm.labelling.parts import parts_of
from steve1.idm.labelling.settings import LabelSettings
from tests.data.videos.films import encode, film, pictures, turns
from tests.idm.oracle import Watcher

Labeller = Callable[..., LabelSummary]


def test_labels_of_a_part_and_the_frames_around_it_are_those_of_the_whole_video() -> None:
    model, frames = Watcher(), np.random.default_rng(0).integers(0, 256, (150, 128, 128, 3), np.uint8)
    whole = model.label(frames)
    for first, stop in ((0, 40), (0, 3), (3, 5), (40, 80), (41, 77), (80, 149), (100, 150), (13, 14)):
        begin, end = frames_around(first, stop, 16, 8)
        part = model.label(frames[begin:end])[first - begin : stop - begin]
        for name in ("buttons", "camera", "overlap"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[first:stop], f"{name}, {first}")
    alone = model.label(frames[40:80])
    assert (alone.camera[:2].argmax(2) != whole.camera[40:42].argmax(2)).any(), "the test would see it"


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("cut", "lost"),
    [(300, range(0)), (112, range(110, 120)), (120, range(118, 122)), (128, range(120, 130))],
)
def test_parts_have_the_labels_of_the_whole_video(
    tmp_path: Path, label: Labeller, monkeypatch: pytest.MonkeyPatch, cut: int, lost: range
) -> None:
    """With a cut near the border of two parts, too: two frames on each side are lost, and what a border makes shorter than 2 s.

    The cuts are a whole number of steps from window to window before the next part, which does not know of those long before it.
    """
    frames = [*pictures(turns(cut)), *pictures(turns(300 - cut, 1), seed=1)]
    encode(tmp_path / "v" / "a.mp4", iter(frames), options={"preset": "ultrafast"})
    keep = {"keep_nulls": True, "keep_rejected": True}
    label(tmp_path / "v", tmp_path / "whole", Watcher(), **keep)
    monkeypatch.setattr("steve1.idm.labelling.parts.PART", 120)
    summary = label(tmp_path / "v", tmp_path / "parts", Watcher(), **keep)
    assert summary.labelled == 3
    assert [record["frames"] for record in summary.records] == [120, 120, 60]

    def by_frame(folder: Path) -> dict[int, Any]:
        found = {}
        for path in find_episodes(folder):
            episode = Episode(path)
            sure = np.load(path / LABEL_LOGP)
            first = episode.metadata["first_frame"]
            pictures = episode.frames(0, len(episode))
            for number, action in enumerate(episode.actions()):
                found[first + number] = (action, sure[number].tolist(), pictures[number].tobytes())
        return found

    whole = by_frame(tmp_path / "whole")
    parts = by_frame(tmp_path / "parts")
    assert parts == {number: whole[number] for number in parts}
    assert sorted(set(range(300)) - set(parts)) == list(lost)
    assert sum(record["cuts"] for record in summary.records) == (cut < 300)


def test_damage_before_a_part_takes_its_context_alone(
    tmp_path: Path, label: Labeller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(path: Path, form: Any, first: int = 0, stop: int | None = None) -> Any:
        if 0 < first < 100:
            raise UserError("This video is corrupt.")
            yield
        yield from game_frames(path, form, first, stop)

    monkeypatch.setattr("steve1.idm.labelling.parts.PART", 100)
    monkeypatch.setattr("steve1.idm.labelling.part.game_frames", damaged)
    film(tmp_path / "v" / "a.mp4", turns(200))
    summary = label(tmp_path / "v", tmp_path / "out")
    assert [(episode["name"], episode["frames"]) for episode in summary.episodes] == [
        ("a_000000", 100), ("a_000100", 100)
    ]  # fmt: skip


def test_long_runs_become_several_episodes() -> None:
    assert _divided(0, 6599) == [(0, 6599)]
    assert _divided(7, 14_000) == [(7, 6007), (6007, 12_007), (12_007, 14_000)]


def test_parts_of_a_video(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mp4", turns(300))
    assert [(part.first, part.stop) for part in parts_of("a", video, LabelSettings())] == [(0, None)]
    (part,) = parts_of("a", video, LabelSettings(start=2.0, end=-3.0))
    assert (part.first, part.stop) == (40, 240)
    (part,) = parts_of("a", video, LabelSettings(end=4.0))
    assert (part.first, part.stop) == (0, 80)
    for nothing in (LabelSettings(end=-20.0), LabelSettings(start=8.0, end=-9.0)):
        (part,) = parts_of("a", video, nothing)
        assert part.stop == part.first, "what is to be left out is not labelled"
    assert len(parts_of("b", tmp_path / "missing.mp4", LabelSettings())) == 1
    with pytest.raises(UserError, match="ends before"):
        LabelSettings(start=5, end=3)
    assert LabelSettings(mask=("a=1,2,3,4", "5,6,7,8")).masks_for("b") == [(5, 6, 7, 8)]


def test_the_end_of_a_video_that_names_no_length(tmp_path: Path) -> None:
    video = encode(tmp_path / "a.mkv", pictures(turns(100)), live=True, options={"preset": "ultrafast"})
    (part,) = parts_of("a", video, LabelSettings(end=-2.0))
    assert (part.first, part.stop) == (0, 60)
    (part,) = parts_of("a", video, LabelSettings(end=-20.0))
    assert part.stop == part.first
    assert [(part.first, part.stop) for part in parts_of("a", video, LabelSettings())] == [(0, None)]


def test_the_context_of_parts_ends_where_labelling_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steve1.idm.labelling.parts.PART", 100)
    video = film(tmp_path / "a.mp4", turns(300))
    parts = parts_of("a", video, LabelSettings(start=1.0, end=14.0))
    assert [(part.first, part.stop, *part.with_context(16)) for part in parts] == [
        (20, 120, 20, 132), (120, 220, 108, 236), (220, 280, 204, 280)
    ]  # fmt: skip
    assert parts_of("a", video, LabelSettings())[-1].with_context(16) == (184, None)
