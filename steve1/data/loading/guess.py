"""What a policy would score that sees nothing: it knows what was asked for, and how often each action then occurs.

Input: the datasets of training and validation. Output: losses that a policy which looks at its frames stays below.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from steve1.actions import N_CAMERA
from steve1.data.loading.windows import WindowDataset

# Of each dataset, evenly spread: formats other than the native one are parsed for it, before the first step.
_MOST_EPISODES = 200


def guessed_camera_loss(train: WindowDataset, val: WindowDataset) -> float | None:
    """Mean cross-entropy (nats a frame) of the validation episodes' camera moves under their frequencies in the training episodes of the
    same behaviour, or of all where an episode does not say what it shows; None without a frame that is imitated."""
    counts: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(N_CAMERA))
    for behaviour, moves in _camera_moves(train):
        counts[behaviour] += np.bincount(moves, minlength=N_CAMERA)
    every = sum(counts.values(), np.zeros(N_CAMERA)) + 1 / N_CAMERA
    logs = {name: np.log((found + every / every.sum()) / (found.sum() + 1)) for name, found in counts.items()}
    total, frames = 0.0, 0
    for behaviour, moves in _camera_moves(val):
        log = logs[behaviour] if behaviour in logs else np.log(every / every.sum())
        total, frames = total - float(log[moves].sum()), frames + len(moves)
    return total / frames if frames else None


def _camera_moves(data: WindowDataset) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """(behaviour or "", camera classes of the frames that are imitated) of each episode."""
    for number in np.unique(np.linspace(0, len(data.paths) - 1, _MOST_EPISODES).round().astype(int)):
        episode = data.episode(number)
        _, moves = episode.tokens()
        behaviour = str(episode.metadata.get("behaviour") or "")
        yield behaviour, moves if episode.imitated is None else moves[episode.imitated]
