"""What a policy would score that knows only how often each camera move occurs in what it was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steve1 import actions
from steve1.data.episodes.episode import write_goals
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.loading.guess import guessed_camera_loss
from steve1.data.loading.lists import ListEntry
from steve1.data.loading.windows import WindowDataset
from tests.data.makers import embeds, picture


def dataset(folder: Path, yaws: dict[str, list[float]], behaviours: dict[str, str], mask: np.ndarray | None = None) -> WindowDataset:  # fmt: skip
    """Windows of one episode for each name, which turns by these angles over and over."""
    for name, angles in yaws.items():
        with EpisodeWriter(folder / name, {"behaviour": behaviours.get(name, "")}) as writer:
            for number in range(48):
                camera = [0.0, angles[number % len(angles)]]
                writer.add(picture(number), {**actions.null_action(), "camera": camera})
            writer.imitated = mask
        write_goals(folder / name, embeds(48))
    return WindowDataset([ListEntry(folder / name) for name in yaws], 32)


def test_what_was_asked_for_says_which_moves_are_likely(tmp_path: Path) -> None:
    yaws = {"stay": [0.0], "turn": [10.0]}
    told = {name: name for name in yaws}
    train, val = dataset(tmp_path / "train", yaws, told), dataset(tmp_path / "val", yaws, told)
    assert guessed_camera_loss(train, val) == pytest.approx(0.0, abs=0.05)
    train, val = dataset(tmp_path / "train_untold", yaws, {}), dataset(tmp_path / "val_untold", yaws, {})
    assert guessed_camera_loss(train, val) == pytest.approx(np.log(2), abs=0.05)


def test_a_move_that_training_never_made_costs_much_but_not_everything(tmp_path: Path) -> None:
    train, val = dataset(tmp_path / "train", {"a": [0.0]}, {}), dataset(tmp_path / "val", {"a": [-10.0]}, {})
    found = guessed_camera_loss(train, val)
    assert found is not None
    assert 4 < found < 20


def test_only_what_is_imitated_counts(tmp_path: Path) -> None:
    mask = np.arange(48) % 2 == 0  # of the angles below the first alone
    train = dataset(tmp_path / "train", {"a": [5.0, -5.0]}, {}, mask)
    val = dataset(tmp_path / "val", {"a": [5.0, -5.0]}, {}, mask)
    assert guessed_camera_loss(train, val) == pytest.approx(0.0, abs=0.05)
    nothing = dataset(tmp_path / "nothing", {"a": [5.0]}, {}, np.zeros(48, bool))
    assert guessed_camera_loss(train, nothing) is None
