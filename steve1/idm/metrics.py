"""How well labels agree with true actions: for each button, and for the camera, beside what knowing nothing would score."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.actions.buttons import BUTTONS
from steve1.actions.camera import N_BINS, to_bins, to_degrees

Bools = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class ButtonScores:
    """One button; NaN where it is never pressed."""

    name: str
    pressed: int  #: frames in which it is
    share: float  #: of all frames; the average precision of a guess
    precision_average: float
    f1: float
    f1_within_one: float  #: frames count as right if the truth has it within one frame, and the other way round
    f1_before: float  #: of the answer "as in the frame before", which no label may use
    threshold: float = 0.5


@dataclasses.dataclass(frozen=True)
class CameraScores:
    """One axis; NaN where it never moves."""

    name: str
    moving: float  #: share of frames
    r2: float  #: of degrees, with the truth at most 10 degrees a frame, as the bins are
    bins: float  #: share of frames with the right bin
    bins_still: float  #: the same of the answer "not moved"
    bins_moving: float  #: share of the right bin where it moves
    sign: float  #: share of the right direction where it moves
    gain: float  #: labelled degrees for a true one


@dataclasses.dataclass(frozen=True)
class Scores:
    """Of some frames."""

    frames: int
    buttons: list[ButtonScores]
    camera: list[CameraScores]

    @property
    def r2(self) -> float:
        """Mean over both axes."""
        return float(np.mean([axis.r2 for axis in self.camera]))

    def button(self, name: str) -> ButtonScores:
        """By its name."""
        return next(button for button in self.buttons if button.name == name)


def true_actions(actions: Sequence[act.EnvAction]) -> tuple[Bools, NDArray[np.float64]]:
    """Buttons (N, 20) and camera degrees (N, 2) of MineRL actions."""
    buttons, degrees = act.actions_to_arrays(actions)
    return buttons != 0, degrees


def scores(
    probabilities: NDArray[np.floating],
    bins: NDArray[np.int64],
    pressed: Bools,
    degrees: NDArray[np.float64],
    ends: Sequence[int] = (),
    thresholds: Sequence[float] | NDArray[np.float64] | None = None,
) -> Scores:
    """Compare labels with the truth.

    Args:
        probabilities: of each button being pressed (N, 20).
        bins: labelled camera bins (N, 2).
        pressed, degrees: the truth, (N, 20) and (N, 2).
        ends: where episodes end in the N frames: no frame there is beside the next.
        thresholds: probability from which each button counts as pressed; None: 0.5.
    """
    limits = [0.5] * len(BUTTONS) if thresholds is None else list(thresholds)
    borders = np.zeros(len(pressed) + 1, np.bool_)
    borders[[0, len(pressed), *ends]] = True
    rows = [
        _button(name, probabilities[:, column], pressed[:, column], limits[column], borders)
        for column, name in enumerate(BUTTONS)
    ]
    return Scores(len(pressed), rows, camera_scores(bins, degrees))


def camera_scores(bins: NDArray[np.int64], degrees: NDArray[np.float64]) -> list[CameraScores]:
    """Scores of pitch and yaw: labelled bins (N, 2) against the true degrees (N, 2)."""
    return [_axis(name, bins[:, axis], degrees[:, axis]) for axis, name in enumerate(("pitch", "yaw"))]


def _button(
    name: str, probability: NDArray[np.floating], truth: Bools, threshold: float, borders: Bools
) -> ButtonScores:
    found = probability >= threshold if threshold != 0.5 else probability > 0.5
    before = np.concatenate([[False], truth[:-1]]) & ~borders[:-1]
    near_truth, near_found = _widened(truth, borders), _widened(found, borders)
    return ButtonScores(
        name,
        int(truth.sum()),
        float(truth.mean()),
        average_precision(probability, truth),
        _f1((found & truth).sum(), found.sum(), (found & truth).sum(), truth.sum()),
        _f1((found & near_truth).sum(), found.sum(), (truth & near_found).sum(), truth.sum()),
        _f1((before & truth).sum(), before.sum(), (before & truth).sum(), truth.sum()),
        float(threshold),
    )


def _widened(flags: Bools, borders: Bools) -> Bools:
    """Where one of three frames in a row is set, within an episode."""
    wide = flags.copy()
    wide[1:] |= flags[:-1] & ~borders[1:-1]
    wide[:-1] |= flags[1:] & ~borders[1:-1]
    return wide


def _f1(right: float, found: float, remembered: float, true: float) -> float:
    """Of `found` frames `right` are right, of `true` ones `remembered` were found; NaN where there is none to find."""
    if not true:
        return math.nan
    precision, recall = right / found if found else 0.0, remembered / true
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def average_precision(probability: NDArray[np.floating], truth: Bools) -> float:
    """Mean precision over the frames to be found, most probable first; equal probabilities count together. NaN where there is none."""
    positives = int(truth.sum())
    if not positives:
        return math.nan
    order = np.argsort(-probability, kind="stable")
    ranked, values = truth[order], probability[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    hits = np.cumsum(ranked)[last]
    precision, recall = hits / (last + 1), hits / positives
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def best_threshold(probability: NDArray[np.floating], truth: Bools) -> float:
    """The probability from which a button has the best F1; 0.5 where it is hardly ever pressed."""
    positives = int(truth.sum())
    if positives < 20:
        return 0.5
    order = np.argsort(-probability, kind="stable")
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + positives)
    return float(np.clip(probability[order][int(f1.argmax())], 0.05, 0.95))


def _axis(name: str, bins: NDArray[np.int64], degrees: NDArray[np.float64]) -> CameraScores:
    truth, right = np.clip(degrees, -10, 10), to_bins(degrees)
    found, moves = to_degrees(bins), right != N_BINS // 2
    spread = float(((truth - truth.mean()) ** 2).sum())
    return CameraScores(
        name,
        float(moves.mean()),
        1 - float(((found - truth) ** 2).sum()) / spread if spread else math.nan,
        float((bins == right).mean()),
        float((~moves).mean()),
        float((bins == right)[moves].mean()) if moves.any() else math.nan,
        float((np.sign(found) == np.sign(truth))[moves].mean()) if moves.any() else math.nan,
        float((found * truth)[moves].sum() / (truth[moves] ** 2).sum()) if moves.any() else math.nan,
    )
