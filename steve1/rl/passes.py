"""Passes of a policy over whole episodes, in chunks with the memory carried along, as it played them.

Guidance is part of the policy that plays: with it both rows, under the goal and under none, go through the recurrent part, and the heads see
the mixture of latents. So is the temperature: the heads divide by it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from steve1.policy import GoalPolicy
from steve1.policy.heads import Head
from steve1.policy.loss import head_loss
from steve1.rl.rollouts import Rollout, RolloutBatch, batch_of
from steve1.training.trainable import tuned_goal

CHUNK = 64
"""Steps that gradients flow back over; states are carried on."""
LATENT_BYTES = 2**30
"""Latents of the starting policy are computed once, as long as they take no more memory than this."""


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Steps of a batch: which, and the guided latents (B, C, H) of them."""

    steps: slice
    latent: Tensor


def chunks(policy: GoalPolicy, batch: RolloutBatch, cond_scale: float = 0.0, length: int = CHUNK) -> Iterator[Chunk]:
    """The policy's guided latents, chunk by chunk; the memory behind a chunk has no history."""
    count, steps = batch.buttons.shape
    rows = count * (2 if cond_scale else 1)
    state = policy.initial_state(rows)
    tuned = tuned_goal(policy)
    given = batch.goals[:, None] if batch.goals.ndim == 2 else batch.goals
    for start in range(0, steps, length):
        part = slice(start, min(start + length, steps))
        features = _encoded(policy, batch.images[:, part])
        if cond_scale:
            features = features.repeat(2, 1, 1)
        goals = given.expand(-1, steps, -1)[:, part]
        if tuned is not None:  # of each chunk its own, since backward frees what leads to it
            goals = torch.where(goals.any(dim=2, keepdim=True), tuned, goals)
        if cond_scale:
            goals = torch.cat([goals, torch.zeros_like(goals)])
        first = torch.zeros(features.shape[:2], dtype=torch.bool, device=features.device)
        first[:, 0] = start == 0
        latent, after = policy.forward_recurrent(features, goals, first, state)
        state = after.detach()
        if cond_scale:
            cond, uncond = latent.chunk(2)
            latent = (1.0 + cond_scale) * cond - cond_scale * uncond
        yield Chunk(part, latent)


def _encoded(policy: GoalPolicy, images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return policy.encode(images)
    return policy.net.img_process.from_dense(images)


@contextlib.contextmanager
def at_temperature(policy: GoalPolicy, temperature: float) -> Iterator[None]:
    """The policy's heads at the temperature at which it plays; what is saved stays as it was."""
    heads: list[Head] = [policy.pi_head.buttons, policy.pi_head.camera]
    before = [head.temperature for head in heads]
    try:
        for head in heads:
            head.temperature *= temperature
        yield
    finally:
        for head, old in zip(heads, before):
            head.temperature = old


@dataclasses.dataclass(frozen=True)
class Scored:
    """What a pass without gradients finds: log p of the actions (B, T), entropies of both heads (B, T), latents (B, T, H)."""

    log_p: Tensor
    entropy_buttons: Tensor
    entropy_camera: Tensor
    latent: Tensor


@torch.no_grad()
def score(policy: GoalPolicy, batch: RolloutBatch, cond_scale: float = 0.0) -> Scored:
    """Log-probabilities of what was played, as this policy sees it now; zeros behind an episode's end."""
    found: list[tuple[Tensor, ...]] = []
    for chunk in chunks(policy, batch, cond_scale):
        log_p, buttons, camera = action_log_p(policy, chunk.latent, batch, chunk.steps)
        found.append((log_p, buttons, camera, chunk.latent))
    log_p, buttons, camera, latent = (torch.cat(each, dim=1) for each in zip(*found))
    return Scored(log_p * batch.counted, buttons, camera, latent)


@torch.no_grad()
def latents_of(policy: GoalPolicy, rollouts: Sequence[Rollout], cond_scale: float = 0.0) -> list[Tensor] | None:
    """The policy's latents (N, H) of each episode, on its device; None where they would take more than LATENT_BYTES."""
    if sum(map(len, rollouts)) * policy.config.hidsize * 4 > LATENT_BYTES:
        return None
    found = []
    for rollout in rollouts:
        batch = batch_of([rollout], policy.device)
        found.append(torch.cat([chunk.latent[0] for chunk in chunks(policy, batch, cond_scale)]))
    return found


def action_log_p(
    policy: GoalPolicy, latent: Tensor, batch: RolloutBatch, steps: slice
) -> tuple[Tensor, Tensor, Tensor]:
    """log p (B, C) of a chunk's actions without gradient, and the entropy of each head; the camera counts where it has an effect."""
    flat, shape = latent.detach().flatten(0, 1), latent.shape[:2]
    buttons = head_loss(policy.pi_head.buttons, flat, batch.buttons[:, steps].flatten())
    camera = head_loss(policy.pi_head.camera, flat, batch.camera[:, steps].flatten())
    log_p = -(buttons.losses + camera.losses * batch.moves[:, steps].flatten())
    return log_p.reshape(shape), buttons.entropy.reshape(shape), camera.entropy.reshape(shape)


def weighted_imitation(policy: GoalPolicy, latent: Tensor, batch: RolloutBatch, steps: slice, weight: Tensor) -> Tensor:
    """Sum over a chunk's steps of weight (B, C) * -log p of what was played, differentiable."""
    flat = latent.flatten(0, 1)
    counted = (weight * batch.counted[:, steps]).flatten()
    buttons = head_loss(policy.pi_head.buttons, flat, batch.buttons[:, steps].flatten(), counted)
    camera = head_loss(
        policy.pi_head.camera, flat, batch.camera[:, steps].flatten(), counted * batch.moves[:, steps].flatten()
    )
    return buttons.loss + camera.loss
