"""The interface of a recording layout: one class in one file finds recordings of its kind and reads ticks and frames."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.data.episodes.episode import Episode
from steve1.data.recordings.find import Tree


@dataclass(frozen=True)
class Ticks:
    """What conversion needs of a recording's N ticks.

    Attributes:
        actions: one MineRL action per tick.
        keep: bool (N,), False where nothing was done.
        pointer: float (N, 2), x and y of the mouse as shares of the window's height while a menu is open, else NaN.
        notes: warnings for the report.
        rows: i64 (N,), the recorded tick with which each begins, where ticks were merged or split.
    """

    actions: list[act.EnvAction]
    keep: NDArray[np.bool_]
    pointer: NDArray[np.float64]
    notes: list[str]
    rows: NDArray[np.int64]


class Pace:
    """Measures how far a video's time stamps are from a constant rate, as its frames pass; `worst` in seconds."""

    worst: float = 0.0

    def watch(self, frames: Iterator[VideoFrame], fps: float) -> Iterator[VideoFrame]:
        """The frames unchanged."""
        first: float | None = None
        for number, frame in enumerate(frames):
            if frame.time is not None:
                first = frame.time if first is None else first
                self.worst = max(self.worst, abs(frame.time - first - number / fps))
            yield frame


@dataclass(frozen=True)
class Recording(abc.ABC):
    """Frames and the actions taken on them, as another program left them.

    Attributes:
        kind: in the metadata of episodes made from it.
        name: of the episode that it becomes; a function of its place below the input folder.
        video: the mp4 or the folder.
        version: the recorder's, such as "6.8", if the path contains it.
    """

    kind: ClassVar[str]
    name: str
    video: Path
    version: str = ""

    @classmethod
    @abc.abstractmethod
    def find(cls, tree: Tree) -> Found:
        """Recordings of this layout below a folder, and files that look like parts of one, with the reason why not."""

    @abc.abstractmethod
    def read_ticks(self, camera_rounding: str = "float", *, esc_as_inventory: bool = False) -> Ticks:
        """The actions.

        Raises:
            UserError: a line is no tick (names file and line), or ticks and frames do not fit.
        """

    @abc.abstractmethod
    def timing(self, n_ticks: int, source_fps: float) -> tuple[float, int]:
        """Frames per second (`source_fps` unless 0) and number of frames."""

    @abc.abstractmethod
    def frames(self, rate: float, pace: Pace) -> Iterator[NDArray[np.uint8]]:
        """Frames (H, W, 3) RGB at the game's rate, no larger than a recorder's, read as `rate` per second."""

    @property
    @abc.abstractmethod
    def identifying_files(self) -> list[Path]:
        """The files that distinguish it from another recording of its name, smallest first."""

    @property
    def actions_path(self) -> Path:
        """The file or folder with its actions."""
        return self.video

    @property
    def options(self) -> dict[str, Any]:
        """What the recorder noted about the whole recording, {} if nothing."""
        return {}

    @property
    def episode(self) -> Episode | None:
        """The episode that it is already, in another format."""
        return None

    def facts(self) -> dict[str, Any]:
        """Further metadata of episodes made from it."""
        return {}


#: recordings, and files that cannot be one, with the reason
Found = tuple[list[Recording], list[tuple[Path, str]]]
