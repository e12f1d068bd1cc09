"""Room `training`, how good the policy is on episodes that it is not trained on.

In: the policy and fixed windows: their goals are the same every time, none is dropped, each begins with fresh state. Out: means over
all frames of all windows, however many there are, the same on every process.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from ..data.windows import WindowDataset
from ..policy import GoalPolicy
from .feed import ARRAYS, chunk_bounds, to_device
from .parallel import Ranks
from .settings import TrainSettings
from .step import MEASURES, autocast


def chosen_windows(dataset: WindowDataset, limit: int) -> list[int]:
    """Numbers of the windows to validate on: all, or `limit` of them evenly spread."""
    if not limit or limit >= len(dataset):
        return list(range(len(dataset)))
    return [int(number) for number in np.linspace(0, len(dataset) - 1, limit).round()]


@torch.no_grad()
def validate(
    policy: GoalPolicy,
    dataset: WindowDataset,
    settings: TrainSettings,
    ranks: Ranks,
    precision: torch.dtype,
    windows: Sequence[int] | None = None,
) -> dict[str, float]:
    """Means per frame, by the names in MEASURES.

    Args:
        windows: which; otherwise as the settings say.
    """
    chosen = chosen_windows(dataset, settings.val_windows) if windows is None else list(windows)
    sums = torch.zeros(len(MEASURES) + 1, dtype=torch.float64)
    with evaluating(policy):
        for batch in _batches_ahead(dataset, chosen[ranks.rank :: ranks.world], settings.batch_size):
            state = policy.initial_state(len(batch["first"]))
            for start, stop in chunk_bounds(settings.T, settings.trunc_t):
                part = to_device(batch, start, stop, ranks.device)
                with autocast(ranks.device, precision):
                    found = policy.loss(
                        part["frames"], part["goals"], part["first"], state, part["buttons"], part["camera"]
                    )
                state = found.state
                frames = part["buttons"].numel()
                sums[:-1] += torch.stack([getattr(found, name).float() for name in MEASURES]).double().cpu() * frames
                sums[-1] += frames
    totals = ranks.sum(sums.to(ranks.device, torch.float32 if ranks.device.type == "mps" else sums.dtype)).tolist()
    return {name: total / totals[-1] for name, total in zip(MEASURES, totals)}


@contextmanager
def evaluating(policy: nn.Module) -> Iterator[None]:
    """The policy in eval mode, and back in the mode it was in."""
    training = policy.training
    policy.eval()
    try:
        yield
    finally:
        policy.train(training)


def _batches_ahead(dataset: WindowDataset, numbers: Sequence[int], size: int) -> Iterator[dict[str, Any]]:
    """Batches of the windows, the last one as small as it comes; one is read while the one before is worked on."""
    groups = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    ready: queue.Queue[Any] = queue.Queue(maxsize=1)

    def read() -> None:
        try:
            for group in groups:
                ready.put(_collate(dataset, group))
        except BaseException as fault:  # raised again where it can be seen
            ready.put(fault)

    threading.Thread(target=read, daemon=True).start()
    for _ in groups:
        batch = ready.get()
        if isinstance(batch, BaseException):
            raise batch
        yield batch


def _collate(dataset: WindowDataset, numbers: Sequence[int]) -> dict[str, Any]:
    windows = [dataset.window(0, number) for number in numbers]
    return {name: torch.from_numpy(np.stack([window[name] for window in windows])) for name in ARRAYS}
