"""The guide's format: frames/00000.png …, actions.jsonl, embeds_attn.pkl."""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.frames import AGENT_SIZE, agent_frame, read_picture, write_picture
from steve1.core.paths import quoted
from steve1.data.episodes.formats.base import EpisodeFormat
from steve1.data.episodes.parts import ACTIONS, GOALS_PICKLE, METADATA, action_line, read_actions
from steve1.data.media.video import recorder_size

_PICTURES = (".png", ".jpg", ".jpeg")


def by_number(files: Sequence[Path]) -> list[Path]:
    """Files in the order of the numbers in their names: frames (9, 10), seconds (0.05, 0.1, 0.15), or several (2-9, 2-10)."""
    keys = _numbers(files)
    return sorted(files, key=lambda path: (keys[path], path.name))


def before_gap(files: Sequence[Path]) -> int:
    """How many files, in the order of `by_number`, come before the first number that is missing; all where none is, or where names do not tell."""
    keys = _numbers(files)
    rows = [keys[path] for path in files]
    if len(rows) < 3 or not rows[0] or len({(len(row), row[:-1]) for row in rows}) > 1:
        return len(rows)
    steps = [after[-1] - before[-1] for before, after in itertools.pairwise(rows)]
    usual = statistics.median_low(steps)  # names that are times may be a little off
    return next((number for number, step in enumerate(steps, 1) if abs(step - usual) * 2 >= usual), len(rows))


def _numbers(files: Sequence[Path]) -> dict[Path, tuple[Fraction, ...]]:
    """The numbers in the files' names."""

    def numbers(path: Path, pattern: str) -> tuple[Fraction, ...]:
        return tuple(map(Fraction, re.findall(pattern, path.stem)))

    # 1.1 and 1.10 are one number but two files: there the dot divides two numbers.
    keys = {path: numbers(path, r"\d+\.\d+|\d+") for path in files}
    if len(set(keys.values())) < len({path.stem for path in files}):
        keys = {path: numbers(path, r"\d+") for path in files}
    return keys


class GuideFormat(EpisodeFormat):
    """A folder of pictures and a line of JSON for each action."""

    name = "guide"
    marker = "frames"
    files = ("frames", ACTIONS, GOALS_PICKLE, METADATA)
    writable = True

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        entries = (path / "frames").glob("*")
        self._files = by_number([p for p in entries if p.suffix.lower() in _PICTURES and not p.name.startswith(".")])
        self.n_frames = len(self._files)
        if not self.n_frames:
            what = "This episode's frames folder holds no pictures."
            raise UserError(what, where=path / "frames", expected="00000.png, 00001.png, …")

    @property
    def before_gap(self) -> int:
        """How many pictures come before the first that is missing, by their names."""
        return before_gap(self._files)

    def _picture(self, number: int) -> NDArray[np.uint8]:
        picture = read_picture(self._files[number])
        if picture is None:
            raise UserError("A frame does not open as a picture.", where=self._files[number])
        return picture

    def _frame(self, number: int) -> NDArray[np.uint8]:
        return recorder_size(self._picture(number))

    @property
    def picture_size(self) -> tuple[int, int]:
        height, width = self._picture(0).shape[:2]
        return width, height

    def read(self, start: int, stop: int, out: NDArray[np.uint8]) -> None:
        for number in range(start, stop):
            out[number - start] = agent_frame(self._frame(number))

    def actions(self) -> list[act.EnvAction]:
        return read_actions(self.path / ACTIONS)

    @property
    def keeps_mineclip_frames(self) -> bool:
        return self._frame(0).shape[:2] != AGENT_SIZE

    def source_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        yield from map(self._frame, range(start, self.n_frames))

    @classmethod
    def write(cls, source: EpisodeFormat, actions: Sequence[act.EnvAction], folder: Path, *, lossless: bool) -> None:
        (folder / "frames").mkdir()
        digits, count = max(5, len(str(len(actions) - 1))), 0
        for frame in source.source_frames():
            write_picture(folder / "frames" / f"{count:0{digits}d}.png", frame)
            count += 1
        if count != len(actions):  # of a video that was cut off, or is longer than its actions
            what, todo = "The frames do not fit the actions.", f"python tools/validate_dataset.py {quoted(source.path)} --repair OUT_DIR"  # fmt: skip
            raise UserError(what, where=source.path, expected=len(actions), got=count, todo=todo)
        (folder / ACTIONS).write_text("".join(map(action_line, actions)), encoding="utf-8")
