"""Episodes: one folder each, read by range of frames, whatever their format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.frames import AGENT_SIZE
from steve1.core.paths import quoted, resolve
from steve1.data.episodes.formats.native import checked_goals
from steve1.data.episodes.formats.registry import format_of, open_format
from steve1.data.episodes.formats.replay import is_pack, open_pack
from steve1.data.episodes.parts import GOALS, check_finite, goals_file, mineclip_of


class Episode:
    """One recorded episode of N frames at 20 Hz.

    Args:
        path: its folder; relative paths as `core.paths.resolve` takes them.

    Raises:
        UserError: no episode there, or its parts do not fit one another.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = resolve(path)
        self.format = open_format(self.path)
        #: what is known of its origin; {} where the format keeps nothing
        self.metadata = self.format.metadata

    def __len__(self) -> int:
        return self.format.n_frames

    def frames(
        self, start: int = 0, stop: int | None = None, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Agent frames start..stop-1, uint8 (T, 128, 128, 3) RGB; written into `out` if given."""
        start, stop = self._range(start, stop)
        found = np.empty((stop - start, *AGENT_SIZE, 3), np.uint8) if out is None else out
        self.format.read(start, stop, found)
        return found

    def actions(self, start: int = 0, stop: int | None = None) -> list[act.EnvAction]:
        """MineRL actions of frames start..stop-1."""
        start, stop = self._range(start, stop)
        return self.format.checked_actions()[start:stop]

    def tokens(self, start: int = 0, stop: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Joint classes of frames start..stop-1: buttons i64 (T,), camera i64 (T,)."""
        start, stop = self._range(start, stop)
        rows = np.asarray(self.format.tokens[start:stop], dtype=np.int64)
        return np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1])

    @property
    def imitated(self) -> NDArray[np.bool_] | None:
        """(N,), whether training imitates the action of each frame; None: it imitates all."""
        return self.format.imitated

    @property
    def goals(self) -> NDArray[np.floating[Any]]:
        """Goal embeddings float (N, E), rows 0..14 NaN, memory-mapped; UserError before the embedding step."""
        return self.format.goals

    @property
    def has_goals(self) -> bool:
        """Whether the embedding step has been run."""
        return self.format.has_goals

    @property
    def mineclip_sha256(self) -> str:
        """SHA-256 of the MineCLIP weights that made the goals; "" where the episode does not say."""
        return mineclip_of(self.metadata)

    def mineclip_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Frames from `start` on at MineCLIP's size, uint8 (160, 256, 3) RGB, one at a time."""
        return self.format.mineclip_frames(start)

    @property
    def keeps_mineclip_frames(self) -> bool:
        """False where `mineclip_frames` can only enlarge the agent's frames."""
        return self.format.keeps_mineclip_frames

    def source_frames(self) -> Iterator[NDArray[np.uint8]]:
        """Every frame, uint8 (H, W, 3) RGB, as large as the format keeps it, one at a time."""
        return self.format.source_frames()

    def check_goals(self) -> None:
        """Read every goal row once.

        Raises:
            UserError: a row after the first 15 is not finite (names it).
        """
        todo = (
            f"remove the file and run python tools/generate_mineclip_embeds.py --dataset_dir {quoted(self.path.parent)}"
        )
        check_finite(self.goals, goals_file(self.path) or self.path, todo)

    def _range(self, start: int, stop: int | None) -> tuple[int, int]:
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            expected = f"0 <= start <= stop <= {len(self)}"
            what = "These frames are outside the episode."
            raise UserError(what, where=self.path, expected=expected, got=f"{start}..{stop}")
        return start, stop


def write_goals(path: str | os.PathLike[str], embeds: NDArray[np.floating[Any]]) -> None:
    """Write goal embeddings (N, E) float into a native episode, atomically; float16 stays, anything else becomes float32.

    Raises:
        UserError: not one row per frame, or a row after the first 15 is not finite (names it).
    """
    episode = Episode(path)
    with atomic_file(episode.path / GOALS) as handle:
        np.save(handle, checked_goals(embeds, len(episode), episode.path))


def find_episodes(folder: str | os.PathLike[str]) -> list[Path]:
    """Every episode folder directly below `folder`, sorted by name, without hidden and unfinished ones; or those of a replay pack.

    Raises:
        UserError: `folder` does not exist.
    """
    root = resolve(folder)
    if is_pack(root):
        return open_pack(root).paths()
    if not root.is_dir():
        todo = f"OUTPUT_DIR={quoted(root)} bash 1_generate_dataset.sh makes it; or put episodes there"
        raise UserError("This dataset folder does not exist.", where=root, todo=todo)
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".") and format_of(p))
