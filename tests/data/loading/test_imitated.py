"""Episodes of which only some frames are imitated: the mask goes with the frames everywhere, and goals stay in their stretch."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.data.episodes.cut import copy_episode, cut_episode
from steve1.data.episodes.episode import Episode, write_goals
from steve1.data.episodes.export import export_episode
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.episodes.parts import ACTION_MASK, fingerprint
from steve1.data.loading.batches import BatchSource
from steve1.data.loading.goals import goals_of_stretches, hindsight_goals
from steve1.data.loading.lists import ListEntry
from steve1.data.loading.windows import WindowDataset
from steve1.data.quality.repair import repair_episode
from steve1.data.quality.validate import check_episode
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from tests.data.makers import action, embeds, make_episode, make_recording, null_tick, picture, tick

MASK = np.arange(80) % 40 >= 25  # 25..39 and 65..79


def masked_episode(path: Path, mask: np.ndarray = MASK) -> Path:
    with EpisodeWriter(path, {"source": "test"}) as writer:
        for number in range(len(mask)):
            writer.add(picture(number), action(number))
        writer.imitated = mask
    write_goals(path, embeds(len(mask)))
    return path


def test_no_goal_lies_behind_the_stretch_that_it_is_for() -> None:
    for seed in range(20):
        goals = hindsight_goals(80, 15, 60, np.random.default_rng(seed))
        kept = goals_of_stretches(goals, MASK)
        assert (kept[25:40] <= 39).all()
        assert (kept[25:40] >= np.arange(25, 40)).all()
        assert (kept[~MASK] == goals[~MASK]).all()
        assert (kept[65:] == goals[65:]).all()
    early = np.arange(80) < 5  # no embedding describes fewer than 16 frames
    assert (goals_of_stretches(goals, early)[:5] == np.minimum(goals[:5], 15)).all()
    assert (goals_of_stretches(goals, np.zeros(80, bool)) == goals).all()


def test_windows_say_which_frames_are_imitated(tmp_path: Path) -> None:
    one, other = masked_episode(tmp_path / "ds" / "a"), make_episode(tmp_path / "ds" / "b", 80)
    data = WindowDataset([ListEntry(one), ListEntry(other)], 32)
    assert data.masked
    for index in range(len(data)):
        window = data.window(0, index)
        start, masked = window["start"], window["episode"] == str(one)
        assert window["imitated"].tolist() == (MASK[start : start + 32].tolist() if masked else [True] * 32)
    batch = BatchSource(data, 2, 0, 1).load(0)
    assert batch["imitated"].shape == (2, 32)
    plain = WindowDataset([ListEntry(other)], 32)
    assert not plain.masked
    assert "imitated" not in plain.window(0, 0)
    assert "imitated" not in BatchSource(plain, 1, 0, 1).load(0)
    fixed = WindowDataset([ListEntry(one)], 32, fixed_goal=np.ones(24))
    assert fixed.window(0, 0)["imitated"].tolist() == MASK[15:47].tolist()


def test_the_mask_goes_where_the_frames_go(tmp_path: Path) -> None:
    source = masked_episode(tmp_path / "a")
    assert check_episode(source).sound
    cut_episode(source, tmp_path / "cut", 30, 70)
    assert Episode(tmp_path / "cut").imitated.tolist() == MASK[30:70].tolist()  # type: ignore[union-attr]
    cut_episode(source, tmp_path / "person", 25, 40)
    assert Episode(tmp_path / "person").imitated is None  # all of it is imitated
    copy_episode(source, tmp_path / "copy")
    export_episode(source, tmp_path / "guide", "guide")
    repaired = repair_episode(source, tmp_path / "repaired")
    assert repaired.frames == 80
    for name in ("copy", "guide", "repaired"):
        assert Episode(tmp_path / name).imitated.tolist() == MASK.tolist()  # type: ignore[union-attr]
    before = fingerprint(source)
    np.save(source / ACTION_MASK, ~MASK)
    assert fingerprint(source) != before  # a run that is resumed notices


@pytest.mark.parametrize("mask", [MASK[:70], MASK.astype(int), MASK[None]])
def test_a_broken_mask_is_named(tmp_path: Path, mask: np.ndarray) -> None:
    path = masked_episode(tmp_path / "a")
    np.save(path / ACTION_MASK, mask)
    with pytest.raises(UserError, match="mask of actions"):
        _ = Episode(path).imitated
    report = check_episode(path)
    assert not report.sound
    assert any(finding.file == ACTION_MASK for finding in report.findings)


def test_a_recording_says_who_acted(tmp_path: Path) -> None:
    who = ["policy"] * 20 + ["player"] * 20
    rows = [
        {**(null_tick(number) if number % 8 == 7 else tick(number)), "who": name} for number, name in enumerate(who)
    ]
    make_recording(tmp_path / "raw", "one", rows)
    convert_folder(tmp_path / "raw", tmp_path / "kept", ConvertSettings(keep_nulls=True))
    assert Episode(tmp_path / "kept" / "one").imitated.tolist() == [name != "policy" for name in who]  # type: ignore[union-attr]
    convert_folder(tmp_path / "raw", tmp_path / "dropped", ConvertSettings())
    found = Episode(tmp_path / "dropped" / "one")
    assert found.imitated.tolist() == [name != "policy" for number, name in enumerate(who) if number % 8 != 7]  # type: ignore[union-attr]
    convert_folder(tmp_path / "raw", tmp_path / "all", ConvertSettings(policy_frames="imitate"))
    assert Episode(tmp_path / "all" / "one").imitated is None


def test_a_recording_of_a_policy_alone_is_refused(tmp_path: Path) -> None:
    make_recording(tmp_path / "raw", "one", [{**tick(number), "who": "policy"} for number in range(40)])
    summary = convert_folder(tmp_path / "raw", tmp_path / "out", ConvertSettings())
    assert summary.count("refused") == 1
    assert "nobody takes over" in summary.results[0].reason
    shutil.rmtree(tmp_path / "raw")
    make_recording(tmp_path / "raw", "one", [{**tick(number), "who": 3} for number in range(40)])
    assert "who is 3" in convert_folder(tmp_path / "raw", tmp_path / "out", ConvertSettings()).results[0].reason
