"""The interface of an episode format: one class in one file reads an episode in place and may write one."""

from __future__ import annotations

import abc
import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.frames import AGENT_SIZE, mineclip_frame
from steve1.core.paths import quoted
from steve1.data.episodes.parts import (
    ACTION_MASK,
    ACTIONS,
    GOALS,
    GOALS_PICKLE,
    METADATA,
    check_length,
    goals_file,
    load_goals,
    load_mask,
    unknown_buttons,
)

_log = logging.getLogger(__name__)
_Part = TypeVar("_Part", list[act.EnvAction], NDArray[np.floating[Any]])


class EpisodeFormat(abc.ABC):
    """One episode on disk. Opening it checks that its parts exist and are equally long.

    Attributes:
        name: on the command line.
        marker: the file or folder by which an episode of this format is recognized.
        actions_file: without which the folder is no episode.
        files: all file names of the format, for messages.
        writable: whether `write` exists, so that episodes can be exported to this format.
        path: the episode's folder.
        n_frames: its length.
        length_named: whether the episode names its length, at which longer parts end.
        metadata: what is known of its origin; {} if nothing.
    """

    name: ClassVar[str]
    marker: ClassVar[str]
    actions_file: ClassVar[str] = ACTIONS
    files: ClassVar[tuple[str, ...]]
    writable: ClassVar[bool] = False
    length_named: bool = False
    n_frames: int
    metadata: dict[str, Any]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = read_json(path / METADATA) if (path / METADATA).exists() else {}

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Whether the path is an episode of this format."""
        return (path / cls.marker).exists()

    @abc.abstractmethod
    def read(self, start: int, stop: int, out: NDArray[np.uint8]) -> None:
        """Read the agent's frames start..stop-1 into `out` uint8 (T, 128, 128, 3) RGB."""

    @abc.abstractmethod
    def actions(self) -> list[act.EnvAction]:
        """All actions, one MineRL dict per frame."""

    @classmethod
    def write(cls, source: EpisodeFormat, actions: Sequence[act.EnvAction], folder: Path, *, lossless: bool) -> None:
        """Write an episode's frames and its plain actions to an empty folder; `lossless`: keep every pixel."""
        raise NotImplementedError

    @cached_property
    def tokens(self) -> NDArray[np.integer[Any]]:
        """(N, 2): joint button class and camera class of each frame."""
        actions = self.checked_actions()
        if note := unknown_buttons(actions):
            _log.warning("%s: %s", self.path, note)
        return np.stack(act.to_joint(actions), axis=1)

    def checked_actions(self) -> list[act.EnvAction]:
        """The actions; UserError unless there is one per frame."""
        found = self.actions()
        check_length(self.path, "actions", len(found), self.n_frames)
        return found

    @property
    def has_goals(self) -> bool:
        """Whether the embedding step has been run."""
        return goals_file(self.path) is not None

    @cached_property
    def goals(self) -> NDArray[np.floating[Any]]:
        """Goal embeddings (N, E) float16 or float32, rows 0..14 NaN."""
        source = goals_file(self.path)
        if source is None:
            raise UserError(
                "This episode has no goal embeddings yet.",
                where=self.path,
                expected=f"{GOALS} or {GOALS_PICKLE}",
                todo=f"python tools/generate_mineclip_embeds.py --dataset_dir {quoted(self.path.parent)}",
            )
        found = self.cut(load_goals(source))
        check_length(source, "goal embeddings", len(found), self.n_frames)
        return found

    @cached_property
    def imitated(self) -> NDArray[np.bool_] | None:
        """(N,), whether training imitates the action of each frame; None: it imitates all.

        Frames that are not imitated (those that a policy played before somebody took over) are context: they are seen, and
        their actions are not learned.
        """
        found = load_mask(self.path)
        if found is not None:
            found = found[: self.n_frames] if self.length_named else found
            check_length(self.path / ACTION_MASK, "mask of actions", len(found), self.n_frames)
        return found

    def cut(self, part: _Part) -> _Part:
        """A part without what lies beyond a length that the episode names."""
        return part[: self.n_frames] if self.length_named else part

    @property
    def keeps_mineclip_frames(self) -> bool:
        """Whether there are frames larger than the agent's for the embedding step."""
        return False

    def mineclip_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Frames from `start` on for the embedding step, uint8 (160, 256, 3); by default enlarged from the agent's."""
        if not self.keeps_mineclip_frames:
            message = "%s keeps no frames for MineCLIP: its %dx%d frames are enlarged, which blurs the goals"
            _log.warning(message, self.path, *AGENT_SIZE)
        yield from map(mineclip_frame, self.source_frames(start))

    @property
    def picture_size(self) -> tuple[int, int]:
        """Width and height of its pictures as they were brought."""
        height, width = next(iter(self.source_frames())).shape[:2]
        return width, height

    def source_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Frames from `start` on, uint8 (H, W, 3), as large as the format keeps them."""
        yield from self.agent_frames(start)

    def agent_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """The agent's frames from `start` on, uint8 (128, 128, 3), one at a time."""
        for first in range(start, self.n_frames, 64):
            frames = np.empty((min(64, self.n_frames - first), *AGENT_SIZE, 3), np.uint8)
            self.read(first, first + len(frames), frames)
            yield from frames
