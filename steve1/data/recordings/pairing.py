"""Finds the frame of each tick: by tick numbers, then by the counts of frames and ticks, then by time.

Nothing is decoded for it: the container has the time of every frame. What fits in no way is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.data.media.video import FPS
from steve1.data.recordings.recording import Recording, Ticks, Timing

#: distance from 20 frames per second that still counts as 20
FPS_TOLERANCE = 0.1
#: slower recordings show too little of what happens; faster ones are not of a game
SLOWEST, FASTEST = 5.0, 480.0
#: seconds that a frame of a video with a constant rate may be early or late
_UNEVEN = 0.1
#: a counter that starts this far on counts something else than frames
_LOST = 100
#: ticks by which a count of 20 a second may be off from the duration
_ROUNDING = 0.75
#: share by which two rates may differ that are one
_SAME = 0.05
#: frames by which one counts as shown before its time, which the container rounds
SHOWN_BEFORE = 0.1


@dataclass(frozen=True)
class Rates:
    """Frames and ticks of a recording per second; exactly 20 if nothing is resampled."""

    video: float = float(FPS)
    ticks: float = float(FPS)

    @property
    def resampled(self) -> bool:
        """Whether either differs from the game's."""
        return self != Rates()

    @property
    def metadata(self) -> dict[str, Any]:
        """For the episode's metadata."""
        return {"video_fps": self.video, "tick_rate": self.ticks, "to": FPS, "actions": self._actions}

    @property
    def note(self) -> str:
        """For the report."""
        ticks = "20 ticks" if self.ticks == FPS else "a tick for each"
        return f"{self.video:.4g} frames a second and {ticks}, resampled to 20: {self._actions}"

    @property
    def _actions(self) -> str:
        if self.ticks > FPS:
            return "camera movements of merged ticks summed, buttons or-ed, the last slot chosen"
        return "ticks held, their camera movement divided" if self.ticks < FPS else "ticks as they are"


@dataclass(frozen=True)
class Pairing:
    """The frame of each recorded tick."""

    frames: NDArray[
        np.int64
    ]  #: (M,), the number of each tick's frame; fewer than the ticks where the video ends before them
    rates: Rates
    skipped: int  #: ticks that are missing at the beginning of the recording
    notes: list[str] = field(default_factory=list)  #: warnings for the report


def pair(recording: Recording, ticks: Ticks, source_fps: float = 0.0) -> Pairing:
    """Find the frame of each tick.

    Args:
        ticks: as recorded.
        source_fps: the true frame rate, whatever the file and the ticks' clock say; 0: unknown.

    Raises:
        UserError: numbers, counts and times do not show which frame belongs to which tick, or the rate cannot be resampled.
    """
    timing = recording.timing
    if source_fps:
        timing = Timing.even(source_fps, len(timing.seconds))
    rate, even, n_ticks, n_frames = timing.rate, timing.late <= _UNEVEN, len(ticks.actions), len(timing.seconds)
    each, timed = _Fit(ticks, n_frames), _Fit(ticks, timing.duration * FPS)
    constant = even and abs(rate - FPS) <= FPS_TOLERANCE
    clock = 0.0 if source_fps or ticks.milli is None else steady_rate(ticks.milli / 1000)
    one_a_frame = constant or each.off <= timed.off or bool(clock and not _agree(clock, FPS))
    fit = each if one_a_frame else timed
    limit = max(5.0, 0.02 * n_ticks)
    # Two ways that are both near, and neither exact, tell nothing; nor does the duration of an uneven video if it is not exact.
    unclear = fit.off >= _ROUNDING and ((each.off <= limit and timed.off <= limit) or not even)
    if not constant and (unclear or fit.off > limit):
        raise UserError(
            "These ticks fit neither the video's frames nor its duration.",
            where=recording.actions_path,
            expected=f"{n_frames} ticks (one a frame) or {timed.room:.0f} (20 a second) for a video of {rate:.4g} frames/s",
            got=f"{n_ticks} ticks; {_pace(timing)}",
        )
    notes = list(ticks.notes)
    tick_rate = float(FPS)
    if one_a_frame:
        tick_rate = rate if source_fps else _rate_of_one_a_frame(recording, timing, clock, notes)
        tick_rate = float(FPS) if abs(tick_rate - FPS) <= FPS_TOLERANCE else tick_rate
    rates = Rates() if one_a_frame and tick_rate == FPS else Rates(rate, tick_rate)
    if rates.resampled and not SLOWEST <= rate <= FASTEST:
        raise UserError(
            "This frame rate cannot be turned into the game's 20 a second.",
            where=recording.video,
            expected=f"{SLOWEST:g} to {FASTEST:g} frames/s",
            got=f"{rate:g}",
            todo="name the real rate with --source_fps if the file's is wrong",
        )
    counts = f"{n_frames} frames for {n_ticks} ticks"
    if not one_a_frame:
        counts = f"{n_frames} frames for {n_ticks} ticks at {rate:.4g} frames a second"
    if fit.lost:
        raise UserError(
            "Ticks are missing, so frames and actions cannot be paired.",
            where=recording.actions_path,
            got=f"{counts}; {fit.gap}",
            todo='record it again; or, if the first tick belongs to the first frame, leave out "tick"',
        )
    places = np.arange(n_ticks) + fit.skipped
    frames = places[places < fit.room]
    if not one_a_frame:
        shown = np.searchsorted(timing.seconds, frames / FPS + SHOWN_BEFORE / rate, side="right") - 1
        frames = np.maximum(shown, 0)
    if not even:
        pace = _pace(timing)
        notes.append(
            f"{pace}; paired one to one with as many ticks"
            if one_a_frame
            else f"{pace}; each tick has the frame shown then"
        )
    if fit.gap:
        notes.append(f"{fit.gap}, but there are as many ticks as the video has room for: paired in order")
    if fit.skipped:
        notes.append(
            f"tick numbers start at {fit.skipped}: the {frames[0]} frames before have no ticks and are left out"
        )
    if fit.off >= _ROUNDING:
        notes.append(f"{counts}: cut to the shorter")
    return Pairing(frames, rates, fit.skipped, notes)


class _Fit:
    """A way to count ticks: one a frame, or 20 a second.

    Attributes:
        room: ticks for which the video has frames.
        skipped: ticks that are missing at the beginning, by their numbers and by this count.
        off: how many ticks too many or too few there are beside those.
        gap: what the numbers say of other missing ticks, "" if nothing.
        lost: whether that leaves unknown which frame belongs to which tick.
    """

    def __init__(self, ticks: Ticks, room: float) -> None:
        self.room, self.skipped, self.gap, self.lost = room, 0, "", False
        left = room - len(ticks.actions)
        if ticks.numbers is not None:
            first, jumps = int(ticks.numbers[0]), np.flatnonzero(np.diff(ticks.numbers) != 1)
            if len(jumps):
                before, after = ticks.numbers[jumps[0] : jumps[0] + 2]
                self.gap = f"tick numbers go from {before} to {after} at line {jumps[0] + 2}"
                missing = int(ticks.numbers[-1]) - first + 1 - len(ticks.numbers)
                self.lost = abs(left) >= _ROUNDING or abs(left - missing) < abs(left)
            elif abs(left) >= _ROUNDING and 1 < first < left + 1:
                self.skipped = first
            elif abs(left) >= _ROUNDING and 0 < first < min(room, _LOST):
                self.gap, self.lost = f"tick numbers start at {first}", True
        self.off = abs(left - self.skipped)


def _rate_of_one_a_frame(recording: Recording, timing: Timing, clock: float, notes: list[str]) -> float:
    """The rate of ticks of which there is one a frame; 20 where each is a tick of the game, whatever the video says."""
    rate, even = timing.rate, timing.late <= _UNEVEN
    if even and _agree(rate, FPS):
        if abs(rate - FPS) > FPS_TOLERANCE:
            notes.append(f"{rate:.4g} frames a second, a tick for each: taken as 20")
        if clock and not _agree(clock, FPS):
            notes.append(
                f"by their clock (milli) there are {clock:.3g} ticks a second, by the video {rate:.3g}; "
                f"if the clock is right, convert it with --source_fps {clock:.3g}"
            )
        return float(FPS)
    spoken = clock or (rate if even else steady_rate(timing.seconds))
    if _agree(spoken, FPS):
        if even:
            notes.append(
                f"by the video there are {rate:.4g} frames a second, by the clock (milli) 20 ticks, one for each frame: "
                f"taken as 20; if the video is right, convert it with --source_fps {rate:.4g}"
            )
        return float(FPS)
    if even and _agree(spoken, rate):
        return rate
    raise UserError(
        "It is not clear how many ticks a second this recording has.",
        where=recording.actions_path,
        expected="20, or as many as an even video has frames",
        got=f"about {spoken:.3g} by {'the clock (milli)' if clock else 'the video'}, one for each frame; {_pace(timing)}",
        todo=f"name the true rate: --source_fps {clock or FPS:.3g}",
    )


def _pace(timing: Timing) -> str:
    if timing.late <= _UNEVEN:
        return f"{timing.rate:.4g} frames a second"
    return f"frames come up to {timing.late:.2f} s off an even pace"


def _agree(rate: float, other: float) -> bool:
    return abs(rate / other - 1) <= _SAME


def steady_rate(seconds: NDArray[np.float64]) -> float:
    """Events per second of a clock (N,) between its stalls: the median over stretches of 20; 0 if it tells none."""
    step = min(20, max(1, len(seconds) // 4))
    spans = seconds[step:] - seconds[:-step]
    middle = float(np.median(spans)) if len(spans) else 0.0
    rate = step / middle if middle > 0 else 0.0
    return rate if 1 <= rate <= FASTEST else 0.0
