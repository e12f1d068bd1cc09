"""Can labels be trusted? Numbers that need no true actions, and the reasons to reject a stretch.

Input: the labels of frames and the motion of their pictures. Output: measures, and reasons against sections of frames or against all.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.actions.buttons import BUTTONS
from steve1.actions.camera import N_BINS, to_degrees
from steve1.core.errors import UserError
from steve1.data.media.motion import LAGS, PLAIN, STILL, Motion, following, turned_frames
from steve1.idm.label import Labels

SECTION = 100
"""Frames (5 s) that are judged together."""
ZERO_LAG = -LAGS[0]
_ENOUGH = 60  # frames in which the camera moves, for a correlation that says something
_ENOUGH_IN_SECTION = 20
_CLEAR = 1.6  # degrees, from which pixels per degree are taken
_MOST_REPEATS = 5  # of one picture: a game of 3.3 frames a second
_MIRROR_POINTS = 0.05  # below the known recording's agreement, from which the report warns
_STANDS_OUT = 0.2  # correlation of changes
_CLEARLY_BETTER = 0.1  # by which the correlation at another lag exceeds that at none


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Beyond these, labels are rejected. `--calibrate` sets the ones that depend on the model and the game."""

    follow: float = 0.3
    """Least correlation of the picture's motion with the camera labels, for pitch and for yaw."""
    sure: float | None = None
    """Least mean log-probability of a section's labels; None: not known without a calibration."""
    overlap: float = 0.5
    """Largest share of frames on which two windows differ in the camera."""
    doubled: float = 0.1
    """Largest share of frames that repeat the one before, among those in which the picture moves."""
    still: float = 0.9
    """Largest share of frames in which nothing moves."""
    impossible: float = 0.01
    """Share of impossible or flickering buttons from which the report warns."""
    saturated: float = 0.05
    """Share of camera moves at the largest bin from which the report warns."""
    mirror: float | None = None
    """Share of turns that turn round in mirrored frames on the known recording; None: not known without a calibration. The report warns from 5 points less."""

    @classmethod
    def read(cls, values: dict[str, Any], where: object) -> Thresholds:
        """From a JSON object.

        Raises:
            UserError: a name or a value is none of these.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        wrong = [name for name in values if name not in names]
        wrong += [name for name, value in values.items() if value is not None and not isinstance(value, (int, float))]
        if wrong:
            raise UserError(
                "These thresholds are not valid.", where=where, expected=", ".join(names), got=", ".join(wrong)
            )
        return cls(**values)


@dataclasses.dataclass
class Evidence:
    """Labels of N frames, and what their pictures did.

    Attributes:
        pressed: bool (N, 20).
        bins: int (N, 2), pitch and yaw.
        sure: log-probabilities of the chosen buttons and of the chosen camera bins, (N, 2).
        overlap: as of `Labels`, (N, 2).
        shift: pixels to the next frame, (N, 2); 0 at the end of a stretch.
        change: grey levels from the frame before, (N,).
        texture: of the upper part, (N,).
        gave_way: how often of two buttons that exclude each other one had to give way.
    """

    pressed: NDArray[np.bool_]
    bins: NDArray[np.int64]
    sure: NDArray[np.float32]
    overlap: NDArray[np.int8]
    shift: NDArray[np.float64]
    change: NDArray[np.float64]
    texture: NDArray[np.float64]
    gave_way: int = 0

    @classmethod
    def of(
        cls,
        labels: Labels,
        motion: Motion,
        thresholds: NDArray[np.float64] | None = None,
        rows: slice = slice(None),
    ) -> Evidence:
        """Of some frames of a stretch; thresholds as of `Labels.pressed`."""
        shift = np.concatenate([motion.shift, np.zeros((1, 2))])
        labels = labels[rows]
        pressed, gave_way = labels.pressed(thresholds)
        sure = np.stack([labels.buttons.max(2).sum(1), labels.camera.max(2).sum(1)], axis=1)
        bins = labels.camera.argmax(2).astype(np.int64)
        return cls(
            pressed, bins, sure, labels.overlap, shift[rows], motion.change[rows], motion.texture[rows], gave_way
        )

    @classmethod
    def joined(cls, parts: Sequence[Evidence]) -> Evidence:
        """Of several stretches."""
        names = [field.name for field in dataclasses.fields(cls) if field.name != "gave_way"]
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**arrays, gave_way=sum(part.gave_way for part in parts))

    def __len__(self) -> int:
        return len(self.pressed)

    def __getitem__(self, rows: slice) -> Evidence:
        names = [field.name for field in dataclasses.fields(self) if field.name != "gave_way"]
        return Evidence(**{name: getattr(self, name)[rows] for name in names})

    @property
    def degrees(self) -> NDArray[np.float64]:
        """Pitch and yaw (N, 2)."""
        return to_degrees(self.bins)

    @property
    def null(self) -> NDArray[np.bool_]:
        """Frames without any action (N,)."""
        return ~self.pressed.any(axis=1) & (self.bins == N_BINS // 2).all(axis=1)


@dataclasses.dataclass(frozen=True)
class LabelMeasures:
    """What is known of the labels of some frames; shares are 0 to 1, None where too little moves to say."""

    frames: int
    moving: int  #: textured frames in which the camera moves
    follow: list[float | None]  #: correlation of the picture's motion with the labels, by lag -20 … 20
    follow_pitch: float | None
    follow_yaw: float | None
    pixels_per_degree: list[float | None]  #: pitch and yaw, of a picture 128 pixels wide and high
    overlap_buttons: float | None  #: share of frames on which two windows differ
    overlap_camera: float | None
    sure_buttons: float  #: mean log-probability
    sure_camera: float
    impossible: float  #: share of frames with buttons that exclude each other, or that flicker
    saturated: float | None  #: of the camera's moves
    null: float
    doubled: float | None
    still: float
    pressed: dict[str, float]  #: share of frames, by button
    mirror: float | None = None  #: share of turns that turn round in mirrored frames
    turn_lag: int | None = (
        None  #: the lag at which beginnings and ends of turns follow the labels', where one stands out
    )

    @property
    def lag(self) -> int | None:
        """The lag at which the picture follows best."""
        known = [-math.inf if value is None else value for value in self.follow]
        return None if max(known) == -math.inf else LAGS[int(np.argmax(known))]

    @property
    def sure(self) -> float:
        """Mean log-probability of a frame's label."""
        return self.sure_buttons + self.sure_camera


def measured(evidence: Evidence, mirror: float | None = None) -> LabelMeasures:
    """All measures of some frames, at least one."""
    degrees, change = evidence.degrees, evidence.change
    turned = turned_frames(degrees, evidence.texture)
    by_axis = [
        _number(following(degrees[:, [axis]], evidence.shift[:-1, [1 - axis]])[ZERO_LAG])
        if turned[:, axis].sum() >= _ENOUGH
        else None
        for axis in (0, 1)
    ]
    moving = int(turned.any(axis=1).sum())
    both = following(degrees, evidence.shift[:-1]) if moving >= _ENOUGH else np.full(len(LAGS), np.nan)
    twice = evidence.overlap[:, 0] >= 0
    moves = np.abs(evidence.bins - N_BINS // 2)
    any_move, largest = moves.any(axis=1), (moves == N_BINS // 2).any(axis=1)
    return LabelMeasures(
        len(evidence),
        moving,
        [_number(value) for value in both],
        by_axis[0],
        by_axis[1],
        [_slope(degrees[:-1, axis], evidence.shift[:-1, 1 - axis], evidence.texture[:-1]) for axis in (0, 1)],
        float(evidence.overlap[twice, 0].mean()) if twice.any() else None,
        float(evidence.overlap[twice, 1].mean()) if twice.any() else None,
        float(evidence.sure[:, 0].mean()),
        float(evidence.sure[:, 1].mean()),
        (evidence.gave_way + int(_flickering(evidence.pressed).sum())) / len(evidence),
        float(largest[any_move].mean()) if any_move.sum() >= _ENOUGH else None,
        float(evidence.null.mean()),
        _doubled(change),
        float((change[1:] < STILL).mean()) if len(change) > 1 else 1.0,
        {name: float(share) for name, share in zip(BUTTONS, evidence.pressed.mean(axis=0))},
        mirror,
        _turn_lag(degrees, evidence.shift[:-1]) if moving >= _ENOUGH else None,
    )


def _turn_lag(degrees: NDArray[np.float64], shift: NDArray[np.float64]) -> int | None:
    """The lag at which changes of the picture's motion follow changes of the labels; None where none stands out.

    Where turns last for seconds, motion itself follows nearly as well some frames beside the right lag.
    """
    found = following(np.diff(degrees, axis=0), np.diff(shift, axis=0))
    if np.isnan(found).all():
        return None
    best = int(np.nanargmax(found))
    return LAGS[best] if found[best] >= max(_STANDS_OUT, 2 * np.nan_to_num(found[ZERO_LAG])) else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _slope(degrees: NDArray[np.float64], shift: NDArray[np.float64], texture: NDArray[np.float64]) -> float | None:
    """Pixels per degree by the median, of a picture of 128 pixels; None with fewer than 30 clear turns."""
    clear = (np.abs(degrees) >= _CLEAR) & (np.abs(degrees) < 9) & (texture > PLAIN)
    # Motion is measured on 64 pixels, and goes against the camera.
    return float(np.median(-2 * shift[clear] / degrees[clear])) if clear.sum() >= 30 else None


def _flickering(pressed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames (N,) in which a button has changed in each of the last six."""
    changed = np.diff(pressed, axis=0, prepend=pressed[:1])
    if len(changed) < 6:
        return np.zeros(len(pressed), np.bool_)
    each: NDArray[np.bool_] = np.lib.stride_tricks.sliding_window_view(changed, 6, axis=0).all(axis=2)  # type: ignore[assignment]
    runs = each.any(axis=1)
    return np.concatenate([np.zeros(5, np.bool_), runs])


def _doubled(change: NDArray[np.float64]) -> float | None:
    """Frames that repeat the one before because the game ran slower than the video, as a share of the frames that move; None where few do.

    Above 10 pictures a second such a frame stands alone between moving ones; below, one to five of them between single moving ones, while a
    movement that pauses lasts longer than a frame.
    """
    state = np.where(change >= 1.0, 1, np.where(change < STILL, 0, 2))[1:]
    starts = np.flatnonzero(np.diff(state, prepend=-1))
    kinds, lengths = state[starts], np.diff(starts, append=len(state))
    between = (kinds[1:-1] == 0) & (kinds[:-2] == 1) & (kinds[2:] == 1)
    slow = (lengths[1:-1] <= _MOST_REPEATS) & (lengths[:-2] == 1) & (lengths[2:] == 1)
    repeated = int(lengths[1:-1][between & (slow | (lengths[1:-1] == 1))].sum())
    new = int((state == 1).sum())
    return repeated / (new + repeated) if new + repeated >= _ENOUGH and new >= _ENOUGH_IN_SECTION else None


def reasons_against(found: LabelMeasures, limits: Thresholds) -> list[str]:
    """Why none of these labels should be used; none for good ones."""
    reasons = []
    if found.still > limits.still:
        reasons.append(f"the picture does not change in {found.still:.0%} of the frames: a slide show or a pause")
    if found.doubled is not None and found.doubled > limits.doubled:
        text = f"{found.doubled:.0%} of the moving frames repeat the one before: the game ran slower than the video"
        reasons.append(f"{text} (--start and --end choose a better part)")
    reasons += _following_reasons(found, limits)
    if found.overlap_camera is not None and found.overlap_camera > limits.overlap:
        reasons.append(f"two windows disagree on the camera in {found.overlap_camera:.0%} of the frames")
    return reasons


def _following_reasons(found: LabelMeasures, limits: Thresholds) -> list[str]:
    best, now = found.lag, found.follow[ZERO_LAG]
    if best is None or now is None:
        return []
    at_best = found.follow[best + ZERO_LAG] or 0.0
    clearly = at_best > now + _CLEARLY_BETTER or best == found.turn_lag
    if best and clearly and at_best > limits.follow:
        return [
            f"the labels are off by {best:+d} frames: the picture follows them best there ({at_best:.2f}, {now:.2f} at none)"
        ]
    reasons = []
    for name, value in (("pitch", found.follow_pitch), ("yaw", found.follow_yaw)):
        if value is not None and value < -limits.follow:
            reasons.append(f"the {name} labels have the wrong sign: the picture moves against them ({value:.2f})")
        elif value is not None and value < limits.follow:
            reasons.append(
                f"the picture does not follow the {name} labels ({value:.2f}, at least {limits.follow:.2f} is expected): no game, or another than the model's"
            )
    return reasons


def warnings_on(found: LabelMeasures, limits: Thresholds) -> list[str]:
    """What is odd without being a reason to reject."""
    notes = []
    if found.impossible > limits.impossible:
        notes.append(f"buttons that exclude each other, or that flicker, in {found.impossible:.1%} of the frames")
    if found.saturated is not None and found.saturated > limits.saturated:
        notes.append(
            f"{found.saturated:.0%} of the camera's moves are at the largest bin: its turns come out too small"
        )
    if found.mirror is not None and limits.mirror is not None and found.mirror < limits.mirror - _MIRROR_POINTS:
        notes.append(
            f"{found.mirror:.0%} of the turns turn round in mirrored frames, {limits.mirror:.0%} on the known recording"
        )
    return notes


def section_reasons(evidence: Evidence, limits: Thresholds) -> list[str]:
    """The reason against each section of 100 frames, "" for sound ones; an isolated sound one between two others has none either way."""
    found = [_section(evidence[start : start + SECTION], limits) for start in range(0, len(evidence), SECTION)]
    for number in range(1, len(found) - 1):
        if found[number - 1] and found[number + 1] and not found[number]:
            found[number] = "it lies between two rejected sections"
    return found


def _section(part: Evidence, limits: Thresholds) -> str:
    if len(part) < 2:
        return ""
    moves = float(part.change[1:].mean())
    if limits.sure is not None and float(part.sure.sum(axis=1).mean()) < limits.sure:
        return "the labels are unsure"
    if part.null.mean() > 0.95 and moves > 4:
        return "the picture moves and nothing is pressed: not a game, or an intro"
    turned = turned_frames(part.degrees, part.texture).any(axis=1)
    if turned.sum() >= _ENOUGH_IN_SECTION and len(part) >= 40:
        value = following(part.degrees, part.shift[:-1])[ZERO_LAG]
        if not math.isnan(value) and value < limits.follow / 3:
            return "the picture does not follow the camera labels"
    return ""


def calibrated(found: LabelMeasures, section_confidence: Sequence[float]) -> Thresholds:
    """Thresholds from the labels of a recording that is known to be good: 95 % of its sections pass."""
    usual = Thresholds()
    known = [value for value in (found.follow_pitch, found.follow_yaw) if value is not None]
    return dataclasses.replace(
        usual,
        follow=round(max(0.15, 0.6 * min(known)), 4) if known else usual.follow,
        sure=round(float(np.percentile(section_confidence, 5)), 4) if len(section_confidence) >= 4 else None,
        overlap=round(min(0.9, 2 * found.overlap_camera + 0.05), 4)
        if found.overlap_camera is not None
        else usual.overlap,
        mirror=None if found.mirror is None else round(found.mirror, 4),
    )


def field_of_view(found: LabelMeasures, known: LabelMeasures, known_fov: float) -> float | None:
    """Vertical field of view in degrees, from pixels per degree and those of a recording whose field of view is known; None where too little turns.

    Near the middle, a degree is as many pixels as the tangent of half the field of view is small. A model that goes by displacement alone
    labels fewer degrees in a wider view, and its labels show the known recording's.
    """
    pairs = [(one, two) for one, two in zip(found.pixels_per_degree, known.pixels_per_degree) if one and two]
    ratios = [two / one for one, two in pairs if one > 0 and two > 0]
    if not ratios:
        return None
    return math.degrees(2 * math.atan(math.tan(math.radians(known_fov) / 2) * float(np.mean(ratios))))


def section_confidence(evidence: Evidence) -> list[float]:
    """Mean log-probability of each section."""
    total = evidence.sure.sum(axis=1)
    return [float(total[start : start + SECTION].mean()) for start in range(0, len(total), SECTION)]
