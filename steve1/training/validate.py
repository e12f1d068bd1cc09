"""Validation: means over all frames of fixed windows, the same on every process.

Each window has the same goals every time and begins with a fresh state. On request actions and the effect of the goal are measured too
(logging/action_metrics.py); frames go through the image network once in any case.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from steve1.core.device import autocast
from steve1.data.loading.windows import WindowDataset
from steve1.policy import GoalPolicy
from steve1.training.batches import BATCH_KEYS, Batch, chunk_bounds, encode, to_device
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.logging.action_metrics import GOALS, MEASURES, ActionMetrics, frame_measures, loss_of_frames
from steve1.training.objectives import goals_of
from steve1.training.trainable import tuned_goal


def chosen_windows(dataset: WindowDataset, limit: int) -> list[int]:
    """Numbers of the windows to validate on: all, or `limit` of them evenly spread."""
    count = min(limit or len(dataset), len(dataset))
    return [int(number) for number in np.linspace(0, len(dataset) - 1, count).round()]


@torch.no_grad()
def validate(
    policy: GoalPolicy,
    dataset: WindowDataset,
    settings: TrainSettings,
    ranks: Ranks,
    precision: torch.dtype,
    actions: ActionMetrics | None = None,
) -> dict[str, float]:
    """Means per imitated frame, by the names in MEASURES; NaN where there is none.

    Args:
        actions: filled with what the policy would press, and with losses under other goals.
    """
    chosen = chosen_windows(dataset, settings.val_windows)
    kind = torch.float32 if ranks.device.type == "mps" else torch.float64
    sums = torch.zeros(len(MEASURES) + 1, dtype=kind, device=ranks.device)
    keys = BATCH_KEYS if actions is None else (*BATCH_KEYS, "others")
    with evaluating(policy):
        for windows in _batches_ahead(dataset, chosen, settings.batch_size, ranks):
            ablation = GoalAblation(policy, windows, actions)
            for start, stop in chunk_bounds(settings.T, settings.trunc_t):
                batch = to_device(windows, start, stop, ranks.device, keys)
                with autocast(ranks.device, precision):
                    measures = ablation.chunk(batch)
                sums[:-1] += measures.sum(0, dtype=kind)
                sums[-1] += len(measures)
            ablation.finish()
    totals = ranks.sum(sums).tolist()
    if actions is not None:
        actions.share(ranks)
    return {name: total / totals[-1] if totals[-1] else math.nan for name, total in zip(MEASURES, totals)}


class GoalAblation:
    """A batch of windows, chunk by chunk; with `actions` also under another window's goal and under none."""

    def __init__(self, policy: GoalPolicy, windows: dict[str, Any], actions: ActionMetrics | None) -> None:
        self._policy, self._actions = policy, actions
        rows = len(windows["first"])
        self._states = {kind: policy.initial_state(rows) for kind in (GOALS if actions is not None else GOALS[:1])}
        self._losses = {kind: torch.zeros(rows, device=policy.device) for kind in self._states}
        self._different = (windows["others"] != windows["goals"]).flatten(1).any(1).to(policy.device)
        if tuned_goal(policy) is not None:  # one goal for all windows: there is no other to compare it with
            self._different = torch.zeros_like(self._different)
        self._frames = torch.zeros(rows, device=policy.device)
        self._chosen = False  # whether some frames are not imitated, and left out

    def chunk(self, batch: Batch) -> torch.Tensor:
        """Measures (N, len(MEASURES)) of a chunk's frames, of those that are imitated, under their true goals; with `actions` it also holds
        "others", other goals (B, C, E)."""
        policy, shape = self._policy, batch["buttons"].shape
        features = encode(policy, batch)
        # Choosing rows waits for the device: only where there are others.
        counted = batch["imitated"].flatten() if "imitated" in batch else None
        self._chosen = self._chosen or counted is not None

        def of_counted(rows: torch.Tensor) -> torch.Tensor:
            return rows if counted is None else rows[counted]

        buttons, camera = of_counted(batch["buttons"].flatten()), of_counted(batch["camera"].flatten())
        true = goals_of(policy, batch)
        goals = {"true": true, "shuffled": batch.get("others", true), "none": torch.zeros_like(true)}
        measures = features.new_zeros(0)
        for kind, state in self._states.items():
            latent, self._states[kind] = policy.forward_recurrent(features, goals[kind], batch["first"], state)
            rows = of_counted(latent.flatten(0, 1))
            if kind != "true":
                loss = loss_of_frames(policy, rows, buttons, camera)
            else:
                measures = frame_measures(policy, rows, buttons, camera, self._actions)
                loss = measures[:, 0]
            if counted is not None:
                every = loss.new_zeros(len(counted))
                every[counted] = loss
                loss = every
            self._losses[kind] += loss.view(shape).sum(1)
        self._frames += shape[1] if counted is None else counted.view(shape).sum(1)
        return measures

    def finish(self) -> None:
        """The windows are over: compare their goals."""
        if self._actions is not None:
            some = self._frames > 0 if self._chosen else slice(None)
            means = {kind: (total / self._frames)[some] for kind, total in self._losses.items()}
            self._actions.add_windows(means, self._different[some])


@contextmanager
def evaluating(policy: nn.Module) -> Iterator[None]:
    """The policy in eval mode, and back in the mode it was in."""
    training = policy.training
    policy.eval()
    try:
        yield
    finally:
        policy.train(training)


def _batches_ahead(dataset: WindowDataset, numbers: Sequence[int], size: int, ranks: Ranks) -> Iterator[dict[str, Any]]:
    """This process's batches of the windows; the next one is read meanwhile.

    Neighbours in a batch lie far apart in the list, so that a neighbour's goals, in "others", are another episode's where there is one.
    """
    own = numbers[ranks.rank :: ranks.world]
    count = -(-len(own) // size)
    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead: deque[Future[dict[str, Any]]] = deque()
        for start in range(count):
            ahead.append(reader.submit(_collate, dataset, own[start::count], numbers))
            if start:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _collate(dataset: WindowDataset, group: Sequence[int], numbers: Sequence[int]) -> dict[str, Any]:
    windows = [dataset.window(0, number) for number in group]
    names = [name for name in BATCH_KEYS if name in windows[0]]
    batch = {name: torch.from_numpy(np.stack([window[name] for window in windows])) for name in names}
    if len(group) > 1:
        batch["others"] = batch["goals"].roll(1, 0)
    else:  # alone in its batch: a window from half the list away (itself, where there is no other)
        far = numbers[(list(numbers).index(group[0]) + len(numbers) // 2) % len(numbers)]
        batch["others"] = torch.from_numpy(dataset.window(0, far)["goals"])[None]
    return batch
