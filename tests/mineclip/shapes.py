"""Synthetic recordings for contrastive training: a square that moves left, right, or grows, with captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from steve1 import actions
from steve1.data.episode import EpisodeWriter

CAPTIONS = {
    "left": ["move left", "go to the left", "slide left", "the square moves left"],
    "right": ["move right", "go to the right", "slide right", "the square moves right"],
    "grow": ["grow", "get bigger", "the square grows", "become large"],
}
TABLE = "\n".join(
    f"{name}:\n  train: {captions}\n  held_out: [{held}]"
    for (name, captions), held in zip(CAPTIONS.items(), ("to the left", "to the right", "grow bigger"))
)


def frame(behaviour: str, t: int, place: np.ndarray) -> np.ndarray:
    """One picture, uint8 (160,256,3). Left and right show the same pictures in opposite order."""
    picture = np.full((160, 256, 3), 60, np.uint8)
    size = 24 + (3 * (t % 24) if behaviour == "grow" else 0)
    travel = 6 * t if behaviour == "right" else -6 * t if behaviour == "left" else 0
    x, y = int(place[0] + travel) % 256, int(place[1])
    columns = (np.arange(size) + x) % 256
    picture[y : y + size, columns] = (220, 180, 40)
    return picture


def write_shapes(folder: Path, per_behaviour: int, n_frames: int = 64) -> None:
    """Native episodes of every behaviour."""
    # The same height everywhere: only what moves, and which way, tells them apart.
    for behaviour, captions in CAPTIONS.items():
        for i in range(per_behaviour):
            place = np.array([37 * i % 256, 30])
            metadata = {"behaviour": behaviour, "captions": captions}
            with EpisodeWriter(folder / f"{behaviour}_{i}", metadata) as writer:
                for t in range(n_frames):
                    writer.add(frame(behaviour, t, place), actions.null_action())
