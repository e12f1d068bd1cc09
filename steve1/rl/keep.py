"""Old skills: what every update is pulled to beside its reward (the settings keep and replay, as in training).

Input: episodes that the starting policy played, or old demonstrations. Output: a batch for each update, and whether it is imitated or the
starting policy's actions on it are kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steve1.actions.joint import CAMERA_MOVES
from steve1.core.errors import UserError
from steve1.core.paths import output_path
from steve1.core.seeds import generator
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.parts import GOAL_FRAMES
from steve1.data.loading.replay import replay_entries
from steve1.data.loading.windows import WindowDataset
from steve1.policy import GoalPolicy
from steve1.rl.rollouts import Rollout, RolloutBatch, batch_of
from steve1.training.batches import refuse_packs, windows_of
from steve1.training.cache import FeatureCache, fill_loudly
from steve1.training.config import TrainSettings

WINDOW = 64
"""Frames of an old demonstration that are imitated together; fewer where no episode is long enough."""


class Kept(Protocol):
    """Old skills of a run.

    Attributes:
        imitates: whether the batch's actions are imitated as in training.
        pulls: whether the starting policy's actions on it are kept.
    """

    imitates: bool
    pulls: bool

    def batch(self, part: Sequence[int], iteration: int, epoch: int, device: torch.device) -> RolloutBatch:
        """As many episodes as the minibatch `part` (numbers of its episodes) has; a function of the arguments."""


class PlayedPrompts:
    """Episodes that the starting policy played under other prompts: its actions there are kept.

    Each pass over an iteration goes through them in an order of its own, over and over.

    Args:
        latents: the starting policy's (N, H) of each; None: computed where they are needed.
    """

    imitates, pulls = False, True

    def __init__(self, rollouts: Sequence[Rollout], seed: int, latents: Sequence[Tensor] | None = None) -> None:
        self._rollouts, self._seed, self._latents = list(rollouts), seed, latents

    def batch(self, part: Sequence[int], iteration: int, epoch: int, device: torch.device) -> RolloutBatch:
        order = generator(self._seed, "kept episodes", iteration, epoch).permutation(len(self._rollouts)).tolist()
        chosen = [order[number % len(order)] for number in part]
        return self._batch(chosen, device)

    def by_prompt(self, device: torch.device) -> Iterator[tuple[str, RolloutBatch]]:
        """Each prompt with all of its episodes."""
        prompts = [str(rollout.facts.get("prompt", "")) for rollout in self._rollouts]
        for prompt in dict.fromkeys(prompts):
            yield prompt, self._batch([number for number, other in enumerate(prompts) if other == prompt], device)

    def _batch(self, chosen: Sequence[int], device: torch.device) -> RolloutBatch:
        latents = None if self._latents is None else [self._latents[number] for number in chosen]
        return batch_of([self._rollouts[number] for number in chosen], device, latents)


class OldEpisodes:
    """Windows of old demonstrations with hindsight goals.

    Args:
        windows: what `old_windows` opened.
        imitates, pulls: see `Kept`.
    """

    def __init__(self, windows: WindowDataset, seed: int, *, imitates: bool, pulls: bool) -> None:
        self._windows, self._seed, self.imitates, self.pulls = windows, seed, imitates, pulls

    def batch(self, part: Sequence[int], iteration: int, epoch: int, device: torch.device) -> RolloutBatch:
        drawn = generator(self._seed, "old episodes", iteration, epoch, min(part)).choice(
            self._windows.epoch_order(iteration), len(part)
        )
        found = [self._windows.window(iteration, int(index)) for index in drawn]
        rows: dict[str, NDArray[Any]] = {
            name: np.stack([window[name] for window in found])
            for name in (self._windows.frame_source.key, "goals", "buttons", "camera")
        }
        images = torch.from_numpy(rows[self._windows.frame_source.key])
        counted = torch.ones(rows["buttons"].shape)
        # The rest is context, which a policy played before somebody took over.
        if self.imitates and self._windows.masked:
            counted = torch.from_numpy(np.stack([window["imitated"] for window in found])).float()
        tensors = (
            images if images.dtype == torch.uint8 else images.float(),
            torch.from_numpy(rows["goals"]),
            torch.from_numpy(rows["buttons"]),
            torch.from_numpy(rows["camera"]),
            counted,
            # Imitated as in training, where both heads count on every imitated frame.
            counted if self.imitates else torch.from_numpy(CAMERA_MOVES[rows["buttons"]].astype(np.float32)),
        )
        return RolloutBatch(*(tensor.to(device) for tensor in tensors))


def old_windows(settings: TrainSettings, policy: GoalPolicy) -> WindowDataset:
    """The windows of REPLAY; with a frozen CNN as its features, which are computed once.

    Raises:
        UserError: no such pack or sampling, one of another CNN, a pack with a fine-tuning mode that trains the CNN, or episodes that are too short.
    """
    entries, _ = replay_entries(settings.replay, settings.sampling_dir)
    frozen = not settings.mode.trains_cnn
    longest = max((len(Episode(entry.path)) for entry in entries), default=0)
    length = max(GOAL_FRAMES, min(WINDOW, longest - settings.first_frame))
    windows = windows_of(
        dataclasses.replace(settings, T=length, feature_cache=frozen, jitter=True), entries, fixed=False
    )
    refuse_packs(dataclasses.replace(settings, feature_cache=frozen), windows.paths)
    size, expected = windows.embed_dim, policy.config.mineclip_embed_dim
    if size != expected:
        raise UserError(
            "The old episodes were embedded with another MineCLIP than that of these weights.",
            where=settings.replay,
            expected=f"goals of {expected} numbers",
            got=f"{size}",
        )
    if frozen:
        cache = FeatureCache(output_path(settings.cache_dir), policy)
        fill_loudly(cache, windows.paths)
        cache.serve(windows)
    return windows
