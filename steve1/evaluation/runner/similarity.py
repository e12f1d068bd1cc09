"""Similarity of what a policy sees to a goal, from step to step.

Input: the frames of an episode while it is played, and goals.
Output: the cosine of MineCLIP's embedding of the last 16 frames with each goal (NaN for the first 15), kept beside the trace.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.device import choose_device
from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.mineclip import load_mineclip
from steve1.mineclip.model import EpisodeStream

Embeddings = NDArray[np.float32]
# Frames go through the vision tower in small batches, which is faster than one at a time and holds few frames.
_BATCH = 8


def unit(rows: Embeddings) -> Embeddings:
    """Rows of length 1."""
    found: Embeddings = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return found


class SimilarityRecorder:
    """Takes an episode's frames as they come and embeds them."""

    def __init__(self, stream: EpisodeStream, goals: Mapping[str, Embeddings]) -> None:
        self._stream, self.names = stream, tuple(goals)
        self._goals = unit(np.stack(list(goals.values())))
        self._frames: list[NDArray[np.uint8]] = []
        self._rows: list[NDArray[np.float32]] = []

    def on_frame(self, frame: NDArray[np.uint8], action: Mapping[str, Any], step: int) -> None:
        """One frame; step 0 begins anew, so that a repeated episode leaves nothing of the first."""
        if step == 0:
            self._stream.reset()
            self._frames, self._rows = [], []
        self._frames.append(frame)
        if len(self._frames) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._frames:
            self._rows.append(np.asarray(self._stream.push_many(self._frames), dtype=np.float32))
            self._frames = []

    def embeddings(self) -> NDArray[np.float32]:
        """The embedding of the last 16 frames at each step, (N, E), NaN for the first 15."""
        self._flush()
        return np.concatenate(self._rows) if self._rows else np.zeros((0, self._goals.shape[1]), np.float32)

    def similarities(self) -> Embeddings:
        """Cosine with each goal, (N, goals)."""
        return unit(self.embeddings()) @ self._goals.T


@dataclasses.dataclass(frozen=True)
class GoalSimilarity:
    """Measures similarity in a worker: MineCLIP's file and each task's goal (E,). MineCLIP is loaded at the first use."""

    mineclip: str
    mineclip_config: str
    goals: Mapping[str, NDArray[np.float32]]
    device: str = "cpu"

    @functools.cached_property
    def stream(self) -> EpisodeStream:
        """MineCLIP's stream, for one episode after another."""
        mineclip = load_mineclip(self.mineclip, self.mineclip_config or "attn", device=choose_device(self.device))
        return EpisodeStream(mineclip)

    def recorder(self, tasks: Sequence[str]) -> SimilarityRecorder | None:
        """A recorder for these tasks' goals; None where none of them has one."""
        goals = {task: self.goals[task] for task in tasks if task in self.goals}
        return SimilarityRecorder(self.stream, goals) if goals else None


def save_curves(folder: Path, key: str, recorder: SimilarityRecorder) -> None:
    """Keep an episode's curves beside its trace, in half precision."""
    rows = recorder.similarities().astype(np.float16)
    with atomic_file(folder / "traces" / f"{key}.similarity.npz") as handle:
        np.savez_compressed(handle, names=np.asarray(recorder.names), similarity=rows)


def load_curves(folder: Path, key: str) -> dict[str, NDArray[np.float32]]:
    """{task: cosine at each step (N,)}; empty where nothing was measured.

    Raises:
        UserError: the file cannot be read.
    """
    path = folder / "traces" / f"{key}.similarity.npz"
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names, rows = arrays["names"], arrays["similarity"].astype(np.float32)
    except (OSError, ValueError, KeyError) as fault:
        raise UserError("These curves cannot be read.", where=path, got=str(fault), todo="remove the file") from fault
    return {str(name): rows[:, index] for index, name in enumerate(names)}


def mean_curve(curves: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Mean over episodes at each step, as long as the longest; where some have ended, over those that have not."""
    steps = np.array(list(itertools.zip_longest(*curves, fillvalue=np.nan)), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no episode has a value in the first 15 steps
        mean: NDArray[np.float32] = np.nanmean(steps, axis=1)
    return mean
