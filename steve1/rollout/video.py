"""Videos of episodes: one player with its overlay, or several side by side in one file, at the game's 20 frames a second."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.data.media.video import VideoWriter, read_frames
from steve1.rollout.overlay import Overlay
from steve1.rollout.text import darken, draw_text, fit_text, text_mask

FPS = 20
_SMALL = 320
_TITLE, _RESULT, _HEADER, _MAX_WIDTH = 26, 24, 30, 1280
_Line = TypeVar("_Line")
_GREEN, _GREY, _RED = (120, 220, 120), (220, 220, 220), (240, 120, 110)


class EpisodeVideo(contextlib.AbstractContextManager["EpisodeVideo"]):
    """Context manager whose `on_frame` writes an episode's frames with their overlay to `path`: a whole file, or none.

    Args:
        small: 320 pixels wide and encoded in a seventh of the time; for films most of which nobody sees.
    """

    def __init__(
        self, path: str | os.PathLike[str], prompt: str, steps: int, *, title: str = "", small: bool = False
    ) -> None:
        self.path, self._overlay, self._small = Path(path), Overlay(prompt, steps, title=title), small
        self._writer: VideoWriter | None = None

    def ask(self, prompt: str) -> None:
        """The prompt changes from the next frame on."""
        self._overlay.prompt = prompt

    def on_frame(self, frame: NDArray[np.uint8], action: Mapping[str, Any], step: int) -> None:
        """Write one frame; step 0 restarts the file, so that nothing is left of an episode that is repeated."""
        if step == 0:
            fault = KeyboardInterrupt("the episode is repeated")
            self.__exit__(type(fault), fault, None)
        if self._small:
            size = (_SMALL, round(frame.shape[0] * _SMALL / frame.shape[1]) // 2 * 2)
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        if self._writer is None:
            how: dict[str, Any] = {"preset": "ultrafast", "crf": 23} if self._small else {}
            self._writer = VideoWriter(self.path, frame.shape[1], frame.shape[0], fps=FPS, **how)
            self._writer.__enter__()
        self._writer.write(self._overlay.draw(frame, action, step))

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.__exit__(kind, fault, trace)


@dataclasses.dataclass(frozen=True)
class Panel:
    """One video of a comparison.

    Attributes:
        video: the file to show.
        title: who plays.
        result: the line below; or one for each step, the last of which is shown at the end.
        success: colours the result (None: not judged).
        notes: for each step the lines that are written into the picture, below the prompt; the last ones stay.
    """

    video: Path
    title: str
    result: str | Sequence[str] = ""
    success: bool | None = None
    notes: Sequence[Sequence[str]] = ()

    def result_at(self, step: int | None) -> str:
        """The result line at `step`; None: the last one."""
        if isinstance(self.result, str):
            return self.result
        return _at(self.result, step) or ""

    def notes_at(self, step: int | None) -> Sequence[str]:
        """The lines in the picture at `step`; None: the last ones."""
        return _at(self.notes, step) or ()


def _at(each: Sequence[_Line], step: int | None) -> _Line | None:
    last = len(each) - 1
    return each[last if step is None else min(step, last)] if each else None


def _write_notes(picture: NDArray[np.uint8], lines: Sequence[str]) -> None:
    if lines:
        wide = max(text_mask(line, 11).shape[1] for line in lines)
        darken(picture, 4, 30, wide + 8, 4 + 15 * len(lines))
    for row, line in enumerate(lines):
        draw_text(picture, line, 8, 31 + 15 * row, 11)


def _bar(width: int, height: int, text: str, size: int, colour: tuple[int, int, int], ground: int) -> NDArray[np.uint8]:
    bar = np.full((height, width, 3), ground, dtype=np.uint8)
    line = fit_text(text, size, width - 12)
    draw_text(bar, line, (width - text_mask(line, size).shape[1]) // 2, (height - int(size * 1.35)) // 2, size, colour)
    return bar


def _endless(video: Path) -> Iterator[tuple[NDArray[np.uint8], bool]]:
    """Frames of `video` with True, then its last frame with False without end."""
    last = None
    for frame in read_frames(video):
        last = frame
        yield frame, True
    if last is None:
        raise UserError("This video has no frames.", where=video)
    while True:
        yield last, False


def grid(count: int, width: int, height: int) -> tuple[int, int, int, int]:
    """(columns, rows, panel width, panel height), even numbers, the whole no wider than 1280 pixels."""
    columns = count if count <= 3 else math.ceil(math.sqrt(count))
    panel = min(width, _MAX_WIDTH // columns) // 2 * 2
    return columns, math.ceil(count / columns), panel, round(height * panel / width) // 2 * 2


def side_by_side(panels: Sequence[Panel], path: str | os.PathLike[str], *, heading: str = "", hold: int = 20) -> Path:
    """Put several videos into one file, step by step, with a title above and a result below each.

    Args:
        panels: at least one; the first one's size is taken for all. A shorter video shows its last frame to the end.
        path: the file to write.
        heading: one line above all, e.g. the prompt.
        hold: frames for which the end is shown, with the results in colour.

    Raises:
        UserError: no panel, or a video that cannot be read.
    """
    if not panels:
        raise UserError("There is nothing to put side by side.", expected="at least one video")
    streams = [_endless(panel.video) for panel in panels]
    current = [next(stream)[0] for stream in streams]
    columns, rows, width, height = grid(len(panels), current[0].shape[1], current[0].shape[0])
    titles = [_bar(width, _TITLE, panel.title, 15, (255, 255, 255), 50) for panel in panels]
    top = [_bar(columns * width, _HEADER, heading, 17, (255, 255, 255), 20)] if heading else []
    size = (columns * width, rows * (height + _TITLE + _RESULT) + len(top) * _HEADER)

    def compose(step: int | None) -> NDArray[np.uint8]:
        cells = []
        for panel, title, frame in zip(panels, titles, current):
            colour = _GREY if step is not None or panel.success is None else _GREEN if panel.success else _RED
            small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
            _write_notes(small, panel.notes_at(step))
            cells.append(np.vstack([title, small, _bar(width, _RESULT, panel.result_at(step), 14, colour, 30)]))
        blank = np.zeros_like(cells[0])
        cells += [blank] * (columns * rows - len(cells))
        lines = [np.hstack(cells[row * columns : (row + 1) * columns]) for row in range(rows)]
        return np.vstack(top + lines)

    with VideoWriter(path, size[0], size[1], fps=FPS) as writer:
        step = 0
        while True:
            writer.write(compose(step))
            following = [next(stream) for stream in streams]
            if not any(alive for _, alive in following):
                break
            current = [frame for frame, _ in following]
            step += 1
        end = compose(None)
        for _ in range(hold):
            writer.write(end)
    return Path(path)
