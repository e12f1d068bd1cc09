"""The interface of a recording layout: one class in one file finds recordings of its kind and reads ticks and frames."""

from __future__ import annotations

import abc
import contextlib
import os
import shlex
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.core.frames import AGENT_SIZE
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.parts import ACTIONS
from steve1.data.media.video import RECORDER_SIZE, probe

T = TypeVar("T")
_ENDINGS = (".mp4", ".jsonl", ".jsonl.gz")
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
            try:
                names = sorted(entry.name for entry in os.scandir(folder))
                os.stat(os.path.join(folder, "."))  # names alone may be readable
            except OSError as fault:
                self.odd.append((folder, f"a folder that cannot be read: {fault.strerror}"))
                continue
            self.folders.append(folder)
            for path in (folder / name for name in names if not name.startswith(".")):
                if self._add(path):
                    waiting.append(path)

    def _add(self, path: Path) -> bool:
        """Note a file or folder; returns whether it is a folder to be searched."""
        ours, mode, odd = path.name.endswith(_ENDINGS), 0, "it is neither a file nor a folder"
        try:
            mode = os.stat(path).st_mode
        except OSError as fault:
            odd = f"it cannot be opened: {fault.strerror}"
        if stat.S_ISDIR(mode):
            if ours:
                self.odd.append((path, "a folder that is named like a file of a recording"))
            # An episode's own frames folder holds no recordings, and may hold thousands of files.
            return path.name != "frames" or not (path.parent / ACTIONS).exists()
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

    def claim(self, root: Path) -> None:
        """Take a folder that one layout reads as a whole, with everything below it, away from the layouts that follow."""
        self.files = [path for path in self.files if root not in path.parents]
        self.folders = [path for path in self.folders if path == self.root or root not in (path, *path.parents)]
        self.odd = [(path, why) for path, why in self.odd if root not in path.parents]

    def name_of(self, path: Path) -> str:
        """The name of the episode that a recording at this path becomes."""
        return "_".join(path.relative_to(self.root).parts) or self.root.name


@dataclass
class Ticks:
    """What conversion needs of a recording's N ticks."""

    actions: list[act.EnvAction]
    keep: NDArray[np.bool_]  #: (N,), False where nothing was done
    pointer: NDArray[np.float64]  #: (N, 2), x and y in window heights while a menu is open, else NaN
    notes: list[str]  #: warnings for the report
    rows: NDArray[np.int64]  #: (N,), the recorded tick with which each begins, where ticks were merged or split
    numbers: NDArray[np.int64] | None = None  #: (N,), as the recorder counted them; None where it did not
    milli: NDArray[np.float64] | None = None  #: (N,), the recorder's clock in milliseconds
    imitated: NDArray[np.bool_] | None = None  #: (N,), False where a policy acted; None: training imitates all
    events: list[tuple[int, str]] = field(default_factory=list)  #: recorded tick and what happened in it, in order

    @classmethod
    def of(cls, actions: list[act.EnvAction], notes: Sequence[str] = ()) -> Ticks:
        """The ticks of a recording that has nothing but its actions, none of them merged or split."""
        keep = ~act.is_null(*act.to_joint(actions))
        return cls(actions, keep, np.full((len(actions), 2), np.nan), list(notes), np.arange(len(actions)))

    def events_of(self, kept: NDArray[np.int64]) -> list[list[int | str]]:
        """`events` by the frames of an episode with the ticks `kept` (M,); what happened in a tick that was dropped stands at the next."""
        return [list(each) for each in self.places_of(self.events, kept)]

    def places_of(self, texts: Sequence[tuple[int, str]], kept: NDArray[np.int64]) -> list[tuple[int, str]]:
        """(recorded tick, text) by the frames of an episode with the ticks `kept` (M,), at the next where a tick was dropped."""
        rows = self.rows[kept]
        places = np.searchsorted(rows, [tick for tick, _ in texts])
        return [(int(frame), text) for frame, (_, text) in zip(places, texts) if frame < len(rows)]


@dataclass(frozen=True)
class Timing:
    """When N frames are shown."""

    rate: float  #: frames per second on average
    seconds: NDArray[np.float64]  #: (N,), from the first frame on, in order
    start: float | None = None  #: the first frame's time stamp, if it has one

    @classmethod
    def even(cls, rate: float, n_frames: int) -> Timing:
        """Frames at a constant rate."""
        return cls(rate, np.arange(n_frames) / rate)

    @property
    def late(self) -> float:
        """The largest distance in seconds of a frame from a constant rate."""
        return float(np.abs(self.seconds - np.arange(len(self.seconds)) / self.rate).max(initial=0.0))

    @property
    def duration(self) -> float:
        """Seconds, the last frame's included."""
        return float(self.seconds[-1]) + 1 / self.rate if len(self.seconds) else 0.0


@dataclass(frozen=True)
class Pictures:
    """The form of a recording's pictures."""

    width: int  #: as shown
    height: int
    aspect: float = 1.0  #: width of a pixel in heights
    turn: int = 0  #: degrees by which the coded pictures are turned counter-clockwise

    @property
    def notes(self) -> list[str]:
        """Warnings for the report."""
        found = [f"its pictures are turned by {self.turn} degrees, as the video says"] if self.turn else []
        ratio, wanted = self.width * self.aspect / self.height, RECORDER_SIZE[0] / RECORDER_SIZE[1]
        # An agent's frames are square already.
        if abs(ratio / wanted - 1) >= 0.15 and (self.height, self.width) != AGENT_SIZE:
            found.append(f"its pictures are {ratio:.2f} times as wide as high and are stretched to {wanted:.2f}")
        return found


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
            UserError: a line is not a tick (names file and line), or ticks and frames do not fit.
        """

    @property
    @abc.abstractmethod
    def timing(self) -> Timing:
        """When its frames are shown, as its file says."""

    @abc.abstractmethod
    def frames(self, numbers: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """The frame of each number (in ascending order; some may repeat), (H, W, 3) RGB, no larger than a recorder's."""

    @abc.abstractmethod
    def digests(self) -> Iterator[tuple[str, str]]:
        """(file name, SHA-256) of what distinguishes it from another recording of its name, smallest first."""

    @property
    def expected_frames(self) -> int:
        """Its length for the progress bar, 0 if unknown."""
        return probe(self.video).frames

    @property
    def actions_path(self) -> Path:
        """The file or folder with its actions."""
        return self.video

    @property
    def options(self) -> dict[str, Any]:
        """What the recorder noted about the whole recording, {} if nothing."""
        return {}

    @property
    def recorder_version(self) -> str:
        """The recorder's version as far as anything says it, "" if nothing does."""
        return self.version

    @property
    def game(self) -> str:
        """The game that it says it is of, "" if it does not."""
        named = None
        with contextlib.suppress(UserError, OSError):  # conversion names what is damaged
            named = self.options.get("env")
        return named if isinstance(named, str) else ""

    @property
    def episode(self) -> Episode | None:
        """The episode that it is already, in another format."""
        return None

    @property
    @abc.abstractmethod
    def warnings(self) -> list[str]:
        """Notes on its pictures."""

    def facts(self) -> dict[str, Any]:
        """Further metadata of episodes made from it."""
        return {}


def actions_of(video: Path) -> Path:
    """The ticks beside a video: name.jsonl, or name.jsonl.gz where that alone exists."""
    plain, packed = video.with_suffix(".jsonl"), video.with_suffix(".jsonl.gz")
    return packed if packed.exists() and not plain.exists() else plain


def file_digests(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """(name, SHA-256) of the files that exist."""
    return ((path.name, sha256_file(path)) for path in paths if path.exists())


def whole_degrees(actions: Iterable[act.EnvAction]) -> None:
    """Cut camera movements to whole degrees, as the data of the published weights have them."""
    for action in actions:
        action["camera"] = [float(int(value)) for value in action["camera"]]


def picked(frames: Iterable[T], numbers: NDArray[np.int64]) -> Iterator[T]:
    """The frame of each number, in ascending order; some may repeat. Ends where the frames do."""
    wanted = 0
    for number, frame in enumerate(frames):
        while wanted < len(numbers) and numbers[wanted] == number:
            yield frame
            wanted += 1
        if wanted == len(numbers):
            return


#: recordings, and files that cannot be one, with the reason
Found = tuple[list[Recording], list[tuple[Path, str]]]
