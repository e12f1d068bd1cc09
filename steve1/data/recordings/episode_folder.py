"""Episode folders of other programs (the guide's or STEVE-1's format) as recordings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.data.episodes.formats.registry import format_of
from steve1.data.episodes.parts import ACTIONS, ACTIONS_PICKLE, PACK
from steve1.data.media.video import FPS
from steve1.data.recordings.recording import Found, Pictures, Recording, Ticks, Timing, Tree, picked


@dataclass(frozen=True)
class EpisodeFolder(Recording):
    """A folder of frames and actions."""

    kind = "episode"

    @classmethod
    def find(cls, tree: Tree) -> Found:
        episodes = {path for parent in tree.folders for path in find_episodes(parent)}
        episodes |= {tree.root} if format_of(tree.root) else set()
        tree.files = [path for path in tree.files if not episodes & set(path.parents)]
        # Native episodes need no conversion; an output folder may lie inside the input folder.
        return [cls(tree.name_of(path), path) for path in sorted(episodes) if not (path / PACK).exists()], []

    @property
    def episode(self) -> Episode:
        return Episode(self.video)

    def read_ticks(self, camera_rounding: str = "float", *, esc_as_inventory: bool = False) -> Ticks:
        episode = self.episode
        keep = ~act.is_null(*episode.tokens())  # which also raises unless there is one action per frame
        actions = episode.actions()
        return Ticks(actions, keep, np.full((len(actions), 2), np.nan), [], np.arange(len(actions)))

    @property
    def timing(self) -> Timing:
        return Timing.even(float(FPS), len(self.episode))

    def frames(self, numbers: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        return map(np.copy, picked(self.episode.source_frames(), numbers))

    @property
    def warnings(self) -> list[str]:
        return Pictures(*self.episode.format.picture_size).notes

    @property
    def identifying_files(self) -> list[Path]:
        return [path for name in (ACTIONS, ACTIONS_PICKLE) if (path := self.video / name).exists()]
