"""The three episode layouts, behind one small interface.

In: an episode folder as this project, the user's guide or STEVE-1 lays it out. Out: its frames, actions, tokens and goals.
Whatever a folder promises is checked when it is opened: its parts are there and equally long.
"""

from __future__ import annotations

import abc
import itertools
import json
import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.frames import AGENT_SIZE, agent_frame, mineclip_frame
from steve1.core.pickles import load_restricted
from steve1.data.media.jpegs import file_size, read_pack
from steve1.data.media.video import read_frames, read_range, recorder_size

METADATA, PACK, INDEX, ACTIONS, TOKENS = (
    "metadata.json",
    "frames.jpgs",
    "frames_index.npy",
    "actions.jsonl",
    "action_tokens.npy",
)
MINECLIP_VIDEO, GOALS, GOALS_PICKLE = "frames_mineclip.mp4", "embeds_attn.npy", "embeds_attn.pkl"
FORMAT, FORMAT_VERSION = "steve1-episode", 1
#: A goal embedding describes this many frames, so the first 15 frames of an episode have none.
GOAL_FRAMES = 16
FIRST_GOAL = GOAL_FRAMES - 1

_log = logging.getLogger(__name__)


class Layout(abc.ABC):
    """One episode on disk; `n_frames` and `metadata` are known once it is opened."""

    n_frames: int
    metadata: dict[str, Any]

    def __init__(self, path: Path) -> None:
        self.path = path

    @abc.abstractmethod
    def read(self, start: int, stop: int, out: NDArray[np.uint8]) -> None:
        """Agent frames start..stop-1 into `out` uint8 (T, 128, 128, 3) RGB."""

    @abc.abstractmethod
    def actions(self) -> list[act.EnvAction]:
        """Every action, one MineRL dict a frame."""

    @cached_property
    def tokens(self) -> NDArray[np.integer[Any]]:
        """(N, 2): joint button class and camera class of each frame."""
        buttons, camera = act.to_joint(self.checked_actions())
        return np.stack([buttons, camera], axis=1)

    def checked_actions(self) -> list[act.EnvAction]:
        """The actions; UserError where there are more or fewer than frames."""
        found = self.actions()
        _same_length(self.path, "actions", len(found), self.n_frames)
        return found

    @property
    def goals_file(self) -> Path | None:
        """Where the goal embeddings lie, None before the embedding step."""
        for name in (GOALS, GOALS_PICKLE):
            if (self.path / name).exists():
                return self.path / name
        return None

    @cached_property
    def goals(self) -> NDArray[np.floating[Any]]:
        """(N, E) float16 or float32; rows 0..14 are NaN. Memory-mapped where the file allows it."""
        source = self.goals_file
        if source is None:
            raise UserError(
                "This episode has no goal embeddings yet.",
                where=self.path,
                expected=f"{GOALS} or {GOALS_PICKLE}",
                todo=f"python tools/generate_mineclip_embeds.py --dataset_dir {self.path.parent}",
            )
        found = load_array(source) if source.name == GOALS else goals_from_pickle(source)
        if found.ndim != 2 or not np.issubdtype(found.dtype, np.floating):
            raise UserError(
                "The goal embeddings have the wrong form.",
                where=source,
                expected="float (N, E)",
                got=f"{found.dtype} {found.shape}",
            )
        _same_length(source, "goal embeddings", len(found), self.n_frames)
        return found

    def mineclip_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Frames from `start` on for the embedding step, uint8 (160, 256, 3); enlarged agent frames where nothing larger was kept."""
        _log.warning(
            "%s keeps no frames for MineCLIP: its %dx%d frames are enlarged, which blurs the goals",
            self.path,
            *AGENT_SIZE,
        )
        yield from map(mineclip_frame, self.source_frames(start))

    @property
    def keeps_mineclip_frames(self) -> bool:
        """Whether the embedding step reads frames of their own rather than enlarged ones."""
        return False

    def source_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Every frame from `start` on, uint8 (H, W, 3), as large as the layout keeps it."""
        for first in range(start, self.n_frames, 64):
            stop = min(first + 64, self.n_frames)
            piece = np.empty((stop - first, *AGENT_SIZE, 3), np.uint8)
            self.read(first, stop, piece)
            yield from piece


class Native(Layout):
    """This project's layout: packed JPEGs, memory-mapped tokens and embeddings."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.metadata = read_json(path / METADATA)
        if self.metadata.get("format") != FORMAT or self.metadata.get("format_version") != FORMAT_VERSION:
            raise UserError(
                "This episode is of a format that this version does not read.",
                where=path / METADATA,
                expected=f"{FORMAT} version {FORMAT_VERSION}",
                got=f"{self.metadata.get('format')} version {self.metadata.get('format_version')}",
                todo="convert the recording again",
            )
        self._offsets = np.asarray(load_array(path / INDEX))
        self.n_frames = len(self._offsets) - 1
        _same_length(path / METADATA, "n_frames", self.metadata.get("n_frames"), self.n_frames)
        if file_size(path / PACK) != self._offsets[-1]:
            raise UserError(
                "The packed frames do not fit their index.",
                where=path / PACK,
                expected=f"{self._offsets[-1]} bytes",
                got=f"{file_size(path / PACK)}",
                todo="convert the recording again",
            )

    def read(self, start: int, stop: int, out: NDArray[np.uint8]) -> None:
        read_pack(self.path / PACK, self._offsets, start, stop, out)

    def actions(self) -> list[act.EnvAction]:
        return read_actions(self.path / ACTIONS)

    @cached_property
    def tokens(self) -> NDArray[np.integer[Any]]:
        found = load_array(self.path / TOKENS)
        _same_length(self.path / TOKENS, "action tokens", len(found), self.n_frames)
        return found

    @property
    def keeps_mineclip_frames(self) -> bool:
        return (self.path / MINECLIP_VIDEO).exists()

    def mineclip_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        if not self.keeps_mineclip_frames:
            yield from super().mineclip_frames(start)
            return
        if start:
            yield from read_range(self.path / MINECLIP_VIDEO, start, self.n_frames)
            return
        count = 0
        for frame in read_frames(self.path / MINECLIP_VIDEO):
            yield frame
            count += 1
        _same_length(self.path / MINECLIP_VIDEO, "frames", count, self.n_frames)


class GuideLayout(Layout):
    """frames/00000.png …, actions.jsonl, embeds_attn.pkl."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._files = sorted(
            (p for p in (path / "frames").iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg")), key=_frame_number
        )
        self.n_frames = len(self._files)
        if not self.n_frames:
            raise UserError(
                "This episode's frames folder holds no pictures.",
                where=path / "frames",
                expected="00000.png, 00001.png, …",
            )
        self.metadata = read_json(path / METADATA) if (path / METADATA).exists() else {}

    def _frame(self, number: int) -> NDArray[np.uint8]:
        picture = cv2.imread(str(self._files[number]), cv2.IMREAD_COLOR_RGB)
        if picture is None:
            raise UserError("A frame does not open as a picture.", where=self._files[number])
        return recorder_size(picture)  # type: ignore[arg-type]

    def read(self, start: int, stop: int, out: NDArray[np.uint8]) -> None:
        for number in range(start, stop):
            out[number - start] = agent_frame(self._frame(number))

    def actions(self) -> list[act.EnvAction]:
        return read_actions(self.path / ACTIONS)

    @property
    def keeps_mineclip_frames(self) -> bool:
        return self._frame(0).shape[:2] != AGENT_SIZE

    def mineclip_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        if self.keeps_mineclip_frames:
            yield from map(mineclip_frame, self.source_frames(start))
        else:
            yield from super().mineclip_frames(start)

    def source_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        yield from map(self._frame, range(start, self.n_frames))


class Steve1Layout(Layout):
    """frames.mp4, actions.pkl, embeds_attn.pkl, metadata.json, len.txt."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.metadata = read_json(path / METADATA) if (path / METADATA).exists() else {}
        self._actions: list[act.EnvAction] | None = None
        length = path / "len.txt"
        if length.exists():
            try:
                self.n_frames = int(length.read_text().strip())
            except ValueError:
                raise UserError(
                    "len.txt is not a number of frames.", where=length, got=length.read_text()[:40]
                ) from None
        else:
            self._actions = self._load_actions()
            self.n_frames = len(self._actions)

    def _load_actions(self) -> list[act.EnvAction]:
        found = load_restricted(self.path / "actions.pkl")
        if not isinstance(found, (list, tuple)) or not all(isinstance(action, dict) for action in found):
            raise UserError(
                "These actions are not a list of MineRL actions.",
                where=self.path / "actions.pkl",
                got=type(found).__name__,
            )
        return list(found)

    def read(self, start: int, stop: int, out: NDArray[np.uint8]) -> None:
        for row, frame in enumerate(read_range(self.path / "frames.mp4", start, stop)):
            out[row] = agent_frame(frame)

    def source_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        yield from itertools.islice(read_frames(self.path / "frames.mp4"), start, None)

    def actions(self) -> list[act.EnvAction]:
        if self._actions is None:
            self._actions = self._load_actions()
        return self._actions


def open_layout(path: Path) -> Layout:
    """The layout of an episode folder, told by its files.

    Raises:
        UserError: no such folder, no episode in it, or parts that do not fit one another.
    """
    if not path.is_dir():
        raise UserError("This episode folder does not exist.", where=path)
    if (path / PACK).exists():
        return Native(path)
    if (path / "frames.mp4").exists():
        return Steve1Layout(path)
    if (path / "frames").is_dir():
        return GuideLayout(path)
    raise UserError(
        "This folder is no episode.",
        where=path,
        expected=f"{PACK} (ours), frames/*.png with {ACTIONS} (the guide's) or frames.mp4 with actions.pkl (STEVE-1's)",
        got=", ".join(sorted(p.name for p in path.iterdir())[:8]) or "an empty folder",
        todo="python tools/convert_recordings.py --input_dir … --output_dir …",
    )


def load_array(path: Path) -> NDArray[Any]:
    """A memory-mapped .npy; UserError where it is missing, torn or holds objects."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as fault:
        # NumPy takes whatever does not begin like an array for a pickle, and advises to load it all the same.
        got = "no array: it begins like no .npy, or holds Python objects" if "pickle" in str(fault) else str(fault)
        raise UserError(
            "This array does not load.", where=path, got=got, todo="make this step of the episode again"
        ) from None


def read_actions(path: Path) -> list[act.EnvAction]:
    """MineRL actions, one a line; UserError names file and line of the first that is none."""
    found: list[act.EnvAction] = []
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                action = json.loads(line)
                if not isinstance(action, dict) or "camera" not in action:
                    raise UserError(
                        "This line is no action.",
                        where=f"{path}:{number}",
                        expected='a MineRL action with "camera": [pitch, yaw]',
                        got=line.strip()[:80],
                    )
                found.append(action)
    except FileNotFoundError:
        raise UserError(
            "This episode has frames and no actions: training needs what was pressed at each frame.", where=path
        ) from None
    except json.JSONDecodeError as fault:
        raise UserError("This line is not JSON.", where=f"{path}:{len(found) + 1}", got=fault.msg) from None
    except UnicodeDecodeError as fault:
        raise UserError("This file is not UTF-8 text.", where=path, got=str(fault)) from None
    return found


def goals_from_pickle(path: Path) -> NDArray[np.float32]:
    """STEVE-1's list (None, then (1, E) or (E,) arrays) as float32 (N, E) with NaN rows."""
    rows = load_restricted(path)
    if isinstance(rows, np.ndarray) and rows.ndim >= 2:
        return rows.reshape(len(rows), -1).astype(np.float32)
    if not isinstance(rows, (list, tuple)):
        raise UserError("These embeddings are neither a list nor an array.", where=path, got=type(rows).__name__)
    sizes = {np.size(row) for row in rows if row is not None}
    if len(sizes) != 1:
        raise UserError("These embeddings have no one size.", where=path, got=f"sizes {sorted(sizes)[:5]}")
    found = np.full((len(rows), sizes.pop()), np.nan, np.float32)
    for number, row in enumerate(rows):
        if row is not None:
            found[number] = np.asarray(row, np.float32).reshape(-1)
    return found


def _frame_number(path: Path) -> tuple[int, str]:
    digits = "".join(c for c in path.stem if c.isdigit())
    return (int(digits) if digits else -1, path.name)


def _same_length(where: Path, what: str, got: Any, frames: int) -> None:
    if got != frames:
        raise UserError(
            f"The {what} do not fit the frames.", where=where, expected=f"{frames} (one for each frame)", got=f"{got}"
        )
