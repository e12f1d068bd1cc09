"""Captioned clips for contrastive training, held in memory.

Input: episode folders with captions. Output: batches of clips, uint8 frames at the tower's resolution, with a caption and the
number of the behaviour; a batch is a function of (seed, step).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.frames import mineclip_frame
from steve1.core.seeds import generator
from steve1.data.episodes.captions import Captions, captions_of
from steve1.data.episodes.episode import Episode, find_episodes


@dataclass(frozen=True)
class EpisodeClips:
    """One episode: its frames uint8 (N,h,w,3), what it shows, and how that may be said."""

    path: Path
    behaviour: str
    captions: Captions
    frames: NDArray[np.uint8]


@dataclass(frozen=True)
class ClipBatch:
    """frames: uint8 (B,T,h,w,3); positions: int64 (B,T) in 0..15; captions: B texts; behaviours: int64 (B,)."""

    frames: NDArray[np.uint8]
    positions: NDArray[np.int64]
    captions: list[str]
    behaviours: NDArray[np.int64]


@dataclass(frozen=True)
class ClipStore:
    """Episodes in memory; behaviours are numbered by their sorted names."""

    episodes: list[EpisodeClips]
    behaviours: list[str]
    clip_frames: int

    def batch(self, size: int, frames_per_clip: int, seed: int, step: int) -> ClipBatch:
        """`size` clips, behaviours balanced; of each clip's 16 frames, `frames_per_clip` at random, in order."""
        rng = generator(seed, "clips", step)
        by_behaviour = [[e for e in self.episodes if e.behaviour == name] for name in self.behaviours]
        # Every behaviour equally often, so that those with long recordings weigh no more; the remainder at random.
        numbers = np.resize(rng.permutation(len(self.behaviours)), size)
        frames, positions, captions = [], [], []
        for number in numbers:
            episode = by_behaviour[number][rng.integers(len(by_behaviour[number]))]
            start = rng.integers(len(episode.frames) - self.clip_frames + 1)
            kept = np.sort(rng.permutation(self.clip_frames)[:frames_per_clip])
            frames.append(episode.frames[start + kept])
            positions.append(kept)
            captions.append(episode.captions.train[rng.integers(len(episode.captions.train))])
        return ClipBatch(np.stack(frames), np.stack(positions), captions, numbers.astype(np.int64))

    def split(self, fraction: float, seed: int) -> tuple[ClipStore, ClipStore]:
        """Training and held-out episodes, disjoint; of every behaviour at least one on each side.

        Raises:
            UserError: a behaviour has fewer than two episodes.
        """
        train: list[EpisodeClips] = []
        held: list[EpisodeClips] = []
        for name in self.behaviours:
            episodes = [e for e in self.episodes if e.behaviour == name]
            if len(episodes) < 2:
                raise UserError(
                    "A behaviour has too few episodes to hold one out.",
                    where=episodes[0].path,
                    expected="at least 2 episodes",
                    got=f"{len(episodes)} of {name}",
                )
            order = generator(seed, "clip split", name).permutation(len(episodes))
            count = min(max(round(fraction * len(episodes)), 1), len(episodes) - 1)
            held += [episodes[i] for i in sorted(order[:count])]
            train += [episodes[i] for i in sorted(order[count:])]
        return ClipStore(train, self.behaviours, self.clip_frames), ClipStore(held, self.behaviours, self.clip_frames)


def load_clips(
    datasets: Sequence[str | Path],
    resolution: tuple[int, int],
    table: dict[str, Captions],
    *,
    clip_frames: int = 16,
    on_episode: Callable[[Path], None] = lambda _path: None,
) -> ClipStore:
    """Read every episode of the folders into memory at the tower's resolution.

    Args:
        datasets: folders with episodes; each needs a behaviour or captions in its metadata.
        resolution: height and width of the vision tower.
        table: captions by behaviour.
        on_episode: called after each episode.

    Raises:
        UserError: no episodes, an episode without captions or shorter than a clip, or fewer than two behaviours.
    """
    episodes = []
    paths = [path for folder in datasets for path in find_episodes(folder)]
    for path in paths:
        source = Episode(path)
        behaviour, captions = captions_of(source.metadata, table, path)
        if len(source) < clip_frames:
            raise UserError(
                "An episode is shorter than a clip.", where=path, expected=f"{clip_frames} frames", got=len(source)
            )
        frames = np.empty((len(source), *resolution, 3), np.uint8)
        for i, frame in enumerate(source.mineclip_frames()):
            frames[i] = mineclip_frame(frame, resolution)
        episodes.append(EpisodeClips(path, behaviour, captions, frames))
        on_episode(path)
    behaviours = sorted({episode.behaviour for episode in episodes})
    if len(behaviours) < 2:
        raise UserError(
            "Contrastive training needs clips of at least two behaviours.",
            where=", ".join(map(str, datasets)),
            got=f"{len(episodes)} episodes of {', '.join(behaviours) or '–'}",
        )
    return ClipStore(episodes, behaviours, clip_frames)
