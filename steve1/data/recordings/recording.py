"""The interface of a recording layout: one class in one file finds recordings of its kind and reads ticks and frames."""

from __future__ import annotations

import abc
import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.data.episodes.episode import Episode

_SUFFIXES = (".mp4", ".jsonl")
#: other containers: readable, but a recording's video must be found by name
_OTHER_VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".flv", ".m4v", ".wmv")


@dataclass
class Tree:
    """Everything below a folder, without hidden files."""

    root: Path
    files: list[Path] = field(default_factory=list)  #: videos and ticks
    folders: list[Path] = field(default_factory=list)  #: the root and all folders below, linked ones too
    odd: list[tuple[Path, str]] = field(default_factory=list)  #: what can be neither, with the reason

    def __post_init__(self) -> None:
        seen: set[Path] = set()
        waiting = [self.root]
        while waiting:
            folder = waiting.pop()
            # Links are followed, but no folder is searched twice: one may lead back to its parent.
            if folder.resolve() in seen:
                self.odd.append((folder, "a link to a folder that is searched already"))
                continue
            seen.add(folder.resolve())
            self.folders.append(folder)
            try:
                names = sorted(entry.name for entry in os.scandir(folder))
            except OSError as fault:
                self.odd.append((folder, f"a folder that cannot be read: {fault.strerror}"))
                continue
            for path in (folder / name for name in names if not name.startswith(".")):
                if self._add(path):
                    waiting.append(path)

    def _add(self, path: Path) -> bool:
        """Note a file or folder; returns whether it is a folder to be searched."""
        ours, mode, odd = path.suffix in _SUFFIXES, 0, "it is neither a file nor a folder"
        try:
            mode = os.stat(path).st_mode
        except OSError as fault:
            odd = f"it cannot be opened: {fault.strerror}"
        if stat.S_ISDIR(mode):
            if ours:
                self.odd.append((path, "a folder that is named like a file of a recording"))
            # An episode's own frames folder holds no recordings, and may hold thousands of files.
            return path.name != "frames"
        if ours and stat.S_ISREG(mode):
            self.files.append(path)
        elif ours:
            self.odd.append((path, odd))
        elif path.suffix.lower() in _OTHER_VIDEOS and stat.S_ISREG(mode):
            target = path.with_suffix(".mp4").name
            is_mp4 = path.suffix.lower() == ".mp4"
            how = (
                f"rename it to {target}"
                if is_mp4
                else f"ffmpeg -i {shlex.quote(path.name)} -c copy {shlex.quote(str(target))}"
            )
            why = f"a video in another container than mp4; {how}, with its actions beside it as {path.stem}.jsonl"
            self.odd.append((path, why))
        return False

    def name_of(self, path: Path) -> str:
        """The name of the episode that a recording at this path becomes."""
        return "_".join(path.relative_to(self.root).parts) or self.root.name


@dataclass(frozen=True)
class Ticks:
    """What conversion needs of a recording's N ticks."""

    actions: list[act.EnvAction]
    keep: NDArray[np.bool_]  #: (N,), False where nothing was done
    pointer: NDArray[np.float64]  #: (N, 2), x and y in window heights while a menu is open, else NaN
    notes: list[str]  #: warnings for the report
    rows: NDArray[np.int64]  #: (N,), the recorded tick with which each begins, where ticks were merged or split


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
    """Frames and the actions taken on them, as another program left them."""

    kind: ClassVar[str]  #: for the metadata of episodes made from it
    name: str  #: of the episode that it becomes; a function of its place below the input folder
    video: Path  #: the mp4 or the folder
    version: str = ""  #: the recorder's, such as "6.8", if the path contains it

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
