"""The frames of a video at 20 a second by time stamps, cut into stretches where the picture jumps."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.frames import agent_frame
from steve1.data.media.motion import SMALL, Motion, grey_of
from steve1.data.media.video import FPS, Frame, decoded_frames, to_rgb
from steve1.data.videos.form import VideoForm

_EPSILON = 1e-4  # seconds
_GAP_S = 5.0  # without a frame, after which time stamps are taken for a jump
_REORDERED = 16  # frames at most by which H.264 shows one later than it decodes it
LONGEST = 6000
"""Frames of a stretch; a longer one is divided."""
# A cut: the picture changes by this many grey levels, and what is left after the best shift resembles the frame before by less than this.
_CUT_CHANGE, _CUT_LIKENESS = 12.0, 0.35


def game_frames(path: Path, form: VideoForm, first: int = 0, stop: int | None = None) -> Iterator[tuple[int, Frame]]:
    """(k, frame) for moments k/20 s after the video's first frame, first <= k < stop; each shows the last frame whose time has come.

    Frames are as `VideoForm.frame` makes them; the same array is repeated where no new frame has come, and numbers are left out where none
    comes for five seconds.

    Raises:
        UserError: a frame in the middle does not decode.
    """
    number, shown, late = first, _Shown(form), 0.0
    interval = 1 / form.fps if form.fps > 0 else 1 / FPS
    # Half a second earlier: containers are searched by the time of decoding, which comes before that of showing.
    for stamp, frame in _in_order(decoded_frames(path, start=form.start + first / FPS - 0.5 if first else 0.0)):
        # Without a stamp, a frame follows the one before at the video's rate.
        time = late + interval if stamp is None else max(late, stamp - form.start)
        if shown.frame is not None and time - late > _GAP_S:
            number, shown.frame = max(number, math.ceil((time - _EPSILON) * FPS)), None
        while shown.frame is not None and number / FPS < time - _EPSILON:
            if number == stop:
                return
            yield number, shown.picture
            number += 1
        shown.show(frame)
        late = time
    # The end is as exact as the time stamps, which containers round to milliseconds.
    while shown.frame is not None and number / FPS < late + interval - 2e-3 and number != stop:
        yield number, shown.picture
        number += 1


def _in_order(frames: Iterator[av.VideoFrame]) -> Iterator[tuple[float | None, av.VideoFrame]]:
    """Frames with their time stamps, these in order: AVI has stamps of decoding alone, which B-frames bring into another order than the pictures'."""
    waiting: deque[av.VideoFrame] = deque()
    stamps: list[float] = []

    def ready(keep: int) -> Iterator[tuple[float | None, av.VideoFrame]]:
        while len(waiting) > keep:
            yield heapq.heappop(stamps), waiting.popleft()

    try:
        for frame in frames:
            if frame.time is None:
                yield from ready(0)
                yield None, frame
            else:
                waiting.append(frame)
                heapq.heappush(stamps, float(frame.time))
                yield from ready(_REORDERED)
    except UserError:
        yield from ready(0)  # what came before the damage
        raise
    yield from ready(0)


class _Shown:
    """The frame that is shown, made into a picture when it is first asked for."""

    def __init__(self, form: VideoForm) -> None:
        self._form = form
        self.frame: av.VideoFrame | None = None
        self._picture: Frame | None = None

    def show(self, frame: av.VideoFrame) -> None:
        """Show another frame."""
        self.frame, self._picture = frame, None

    @property
    def picture(self) -> Frame:
        """The picture in the recorders' form."""
        if self._picture is None:
            assert self.frame is not None
            self._picture = self._form.frame(to_rgb(self.frame))
        return self._picture


@dataclass
class Stretch:
    """Frames of a video without a cut. `frames` is read once, to its end, before the next stretch is asked for.

    Attributes:
        first: number of the first frame at 20 a second.
        after_cut, before_cut: whether the picture jumps there; the second is known at the end only.
        motion: of the frames read so far.
        fault: why the video could not be read on, "" if it could.
    """

    first: int
    after_cut: bool
    before_cut: bool = False
    motion: Motion = field(default_factory=Motion)
    fault: str = ""
    frames: Iterator[tuple[Frame, Frame]] = field(default_factory=lambda: iter(()))
    """(as the recorders have it, for the agent): u8 (H, W, 3) and (128, 128, 3)."""

    def __len__(self) -> int:
        return len(self.motion)


def stretches(frames: Iterator[tuple[int, Frame]], longest: int = LONGEST) -> Iterator[Stretch]:
    """Divide frames of `game_frames` at cuts, and after `longest` frames. Damage in the video ends the last stretch."""
    waiting: list[tuple[int, Frame, Frame, NDArray[np.uint8]]] = []
    cut = False
    fault = ""

    def following_frame() -> bool:
        """Put the next frame into `waiting`, unless there is none."""
        nonlocal fault
        if not waiting and not fault:
            try:
                for number, frame in itertools.islice(frames, 1):
                    agent = agent_frame(frame)
                    waiting.append((number, frame, agent, grey_of(agent)))
            except UserError as damage:
                fault = damage.one_line
        return bool(waiting)

    def run(stretch: Stretch) -> Iterator[tuple[Frame, Frame]]:
        nonlocal cut
        cut = False
        while following_frame() and len(stretch.motion) < longest:
            number, frame, agent, grey = waiting[0]
            if number != stretch.first + len(stretch) or is_cut(stretch.motion, grey):
                cut = stretch.before_cut = True
                break
            waiting.clear()
            stretch.motion.add(grey)
            yield frame, agent
        stretch.fault = fault

    while following_frame():
        stretch = Stretch(waiting[0][0], cut)
        stretch.frames = run(stretch)
        yield stretch
        for _ in stretch.frames:  # whatever the reader left
            pass


def is_cut(before: Motion, grey: NDArray[np.uint8]) -> bool:
    """Whether the picture (64, 64) is of another place than the last frame: much has changed, and no shift explains it."""
    if before.grey is None:
        return False
    now = grey.astype(np.float32)
    if float(np.abs(now - before.grey).mean()) < _CUT_CHANGE:
        return False
    x, y = before.shift_to(now)
    moved: NDArray[np.float32] = cv2.warpAffine(
        before.grey, np.array([[1, 0, x], [0, 1, y]], np.float32), (SMALL, SMALL)
    )  # type: ignore[assignment]
    margin_x, margin_y = min(int(abs(x)) + 1, SMALL // 2 - 4), min(int(abs(y)) + 1, SMALL // 2 - 4)
    inner = np.s_[margin_y : SMALL - margin_y, margin_x : SMALL - margin_x]
    # A menu covers the middle and darkens the rest, which still resembles what it was.
    edge = np.ones((SMALL, SMALL), bool)
    edge[SMALL // 5 : -SMALL // 5, SMALL // 5 : -SMALL // 5] = False
    return max(_likeness(moved[inner], now[inner]), _likeness(before.grey[edge], now[edge])) < _CUT_LIKENESS


def _likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Correlation of two pictures' pixels; 1 for two plain ones."""
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale > 1e-3 else 1.0
