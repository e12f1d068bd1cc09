"""Episodes of MineStudio's trajectory store as recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.data.exchange.minestudio.lmdbs import SIDE, Trajectory, TrajectoryStore, is_store, open_store
from steve1.data.media.video import FPS, recorder_size
from steve1.data.recordings.recording import Found, Recording, Ticks, Timing, Tree, picked, whole_degrees


@dataclass(frozen=True)
class MineStudioEpisode(Recording):
    """One trajectory; `video` is the store's folder with the trajectory's name below it, which is no file."""

    kind = "minestudio"

    @classmethod
    def find(cls, tree: Tree) -> Found:
        found: list[Recording] = []
        lonely: list[tuple[Path, str]] = []
        for root in [folder for folder in tree.folders if is_store(folder)]:
            tree.claim(root)
            try:
                store = open_store(root)
                found += [cls(trajectory.name, root / trajectory.name) for trajectory in store.trajectories]
                lonely += [(root / name, reason) for name, reason in store.notes.items()]
            except UserError as fault:
                lonely.append((root, fault.one_line))
        return found, lonely

    @property
    def store(self) -> TrajectoryStore:
        """The store that it is in."""
        return open_store(self.video.parent)

    @property
    def trajectory(self) -> Trajectory:
        """Where it is in the store."""
        return self.store.by_name[self.video.name]

    def read_ticks(self, camera_rounding: str = "float", *, esc_as_inventory: bool = False) -> Ticks:
        actions = self.store.actions(self.trajectory)
        if camera_rounding == "legacy_int":
            whole_degrees(actions)
        ticks = Ticks.of(actions)
        ticks.events = self.store.events(self.trajectory)
        return ticks

    @property
    def timing(self) -> Timing:
        return Timing.even(float(FPS), self.trajectory.length)

    @property
    def expected_frames(self) -> int:
        return self.trajectory.length

    def frames(self, numbers: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        return map(recorder_size, picked(self.store.pictures(self.trajectory), numbers))

    @property
    def warnings(self) -> list[str]:
        return ["its pictures were squeezed to a square by MineStudio: MineCLIP sees them stretched, and enlarged"]

    def digests(self) -> Iterator[tuple[str, str]]:
        digest = hashlib.sha256()
        for action in self.store.actions(self.trajectory):
            digest.update(repr(sorted(action.items())).encode())
        yield f"{self.video.name}.actions", digest.hexdigest()

    def facts(self) -> dict[str, Any]:
        return {"source_size": [SIDE, SIDE], "source_fps": FPS}
