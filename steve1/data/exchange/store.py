"""The interface of a store: one data set of many episodes that another program reads, written in one go.

Input: episodes, one after another. Output: a folder that appears whole or not at all.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.paths import quoted
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.parts import plain_actions

#: entries of an episode's metadata that hold for its native files only
_NATIVE = ("format", "format_version", "jpeg", "mineclip_frames", "frame_size", "n_frames", "fps")


@dataclass(frozen=True)
class Shown:
    """An episode as it goes into a store.

    Attributes:
        name: its folder's.
        episode: frames and everything else.
        task: the caption, "" if it has none.
        actions: plain MineRL actions, one per frame.
    """

    name: str
    episode: Episode
    task: str
    actions: list[act.EnvAction]

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def kept(self) -> dict[str, Any]:
        """Its metadata without what describes the native files."""
        return {key: value for key, value in self.episode.metadata.items() if key not in _NATIVE}

    @property
    def camera(self) -> NDArray[np.float64]:
        """float64 (N, 2): pitch and yaw in degrees."""
        return np.array([action["camera"] for action in self.actions], np.float64).reshape(-1, 2)

    def taken_over(self) -> NDArray[np.bool_]:
        """bool (N,): where somebody had taken over from a policy; False throughout where one player acted."""
        mask = self.episode.imitated
        return np.zeros(len(self), np.bool_) if mask is None else np.asarray(mask, np.bool_)


def shown(path: Path, task: str) -> Shown:
    """Open an episode for a store.

    Raises:
        UserError: it is broken, its actions do not fit its frames, or a camera movement is not a finite number.
    """
    episode = Episode(path)
    actions = plain_actions(episode.format.actions(), path)
    todo = f"python tools/validate_dataset.py {quoted(path)} --repair OUT_DIR"
    if len(actions) != len(episode):
        raise UserError(
            "The actions do not fit the frames.", where=path, expected=len(episode), got=len(actions), todo=todo
        )
    found = Shown(path.name, episode, task, actions)
    bad = np.flatnonzero(~np.isfinite(found.camera).all(axis=1))
    if len(bad):
        raise UserError(
            "A camera movement is not a finite number.",
            where=f"{path}, frame {int(bad[0])}",
            got=str(actions[int(bad[0])]["camera"]),
            todo=todo,
        )
    return found


@dataclass
class Written:
    """What became of the episodes of an export."""

    episodes: int = 0
    frames: int = 0
    without_task: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)  #: name and reason
    notes: list[str] = field(default_factory=list)


class StoreWriter(abc.ABC):
    """Writes a store into an empty folder; `with` finishes it.

    Attributes:
        extra: of pyproject.toml, whose packages it needs.
    """

    extra: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = contextlib.ExitStack()

    @abc.abstractmethod
    def check(self, episode: Shown) -> None:
        """Read every frame once, so that a broken episode is refused before anything of it is written.

        Raises:
            UserError: a frame does not decode, or the pictures do not fit the store's.
        """

    @abc.abstractmethod
    def add(self, episode: Shown) -> None:
        """Write an episode that was checked."""

    @abc.abstractmethod
    def finish(self) -> Sequence[str]:
        """Write what is known at the end; returns notes for the user."""

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self.stack.__exit__(kind, fault, trace)
