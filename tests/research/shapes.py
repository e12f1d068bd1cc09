"""Synthetic recordings for contrastive training: a square that slides, one that grows, one at night, with captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from steve1 import actions
from steve1.data.episodes.formats.native import EpisodeWriter

CAPTIONS = {
    "slide": ["slide", "move to the side", "slide along", "the square moves"],
    "grow": ["grow", "get bigger", "the square grows", "become large"],
    "night": ["night", "it is dark", "the square in the dark", "darkness"],
}
HELD_OUT = {"slide": "move along", "grow": "grow bigger", "night": "dark night"}
TABLE = "\n".join(f"{name}:\n  train: {texts}\n  held_out: [{HELD_OUT[name]}]" for name, texts in CAPTIONS.items())


def frame(behaviour: str, t: int, place: tuple[int, int]) -> np.ndarray:
    """One picture, uint8 (160,256,3)."""
    picture = np.full((160, 256, 3), 10 if behaviour == "night" else 120, np.uint8)
    size = 24 + (4 * (t % 20) if behaviour == "grow" else 0)
    x = place[0] + (8 * t if behaviour == "slide" else 0)
    picture[place[1] : place[1] + size, (np.arange(size) + x) % 256] = (220, 180, 40)
    return picture


def write_shapes(folder: Path, per_behaviour: int, n_frames: int = 40) -> None:
    """Native episodes of every behaviour, at the same places, so that no place gives a behaviour away."""
    for behaviour, captions in CAPTIONS.items():
        for i in range(per_behaviour):
            metadata = {"behaviour": behaviour, "captions": captions}
            with EpisodeWriter(folder / f"{behaviour}_{i}", metadata) as writer:
                for t in range(n_frames):
                    writer.add(frame(behaviour, t, (37 * i % 256, 7 * i % 50)), actions.null_action())
