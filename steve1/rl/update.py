"""One iteration's learning: from judged episodes to changed weights. A function of (weights, moments, episodes, settings, iteration).

Input: rollouts of the present weights. Output: figures; the policy and the optimizer are changed in place.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from steve1.core.seeds import generator
from steve1.policy import GoalPolicy
from steve1.policy.loss import action_kl
from steve1.policy.parameters import step_unless
from steve1.rl.advantages import Series, gae, minus_others, returns_to_go, whitened
from steve1.rl.keep import Kept, PlayedPrompts
from steve1.rl.passes import (
    CHUNK,
    Chunk,
    Scored,
    action_log_p,
    at_temperature,
    chunks,
    latents_of,
    score,
    weighted_imitation,
)
from steve1.rl.rollouts import Rollout, RolloutBatch, batch_of, padded, permuted
from steve1.rl.settings import RlSettings
from steve1.rl.values import HeadValue, cross_fitted, explained_variance, with_time
from steve1.rl.weights import Clip, Weights, clone_weights, pairs_of, ppo_weights, preference_weights, silence_of

Weigh = Callable[[Chunk], Weights]
LARGEST = frozenset({"ratio_max"})
STOP_AT = 1.5
"""An iteration's learning ends at this many times the target KL, measured after each step on its episodes."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """An iteration's episodes with what is known before learning.

    Attributes:
        advantages: (N,) of each episode, whitened over the iteration.
        old_log_p: (N,) of each, by the learner's own arithmetic.
        cloned: (M,) f64, the weight of each of the M episodes in method clone.
        explained: variance that the values explain.
        log_p_gap: largest difference between log p when played and by the learner; 0 but for rounding.
        silence: why nothing can be learned of them (`weights.silence_of`); "" where something can.
        latents: (N, H) of each, and what the values should have been, (N,); where the value head is trained.
    """

    rollouts: list[Rollout]
    advantages: list[Series]
    old_log_p: list[Series]
    cloned: Series
    explained: float
    entropy_buttons: float
    entropy_camera: float
    log_p_gap: float
    silence: str = ""
    latents: list[Tensor] = dataclasses.field(default_factory=list)
    targets: list[Series] = dataclasses.field(default_factory=list)


class Learner:
    """Learns from one iteration after the other.

    Args:
        policy: under training, its trained parameters chosen by a fine-tuning mode, its heads at the temperature at which it plays.
        reference: the starting policy, at the same temperature.
        keep: old skills, beside the reward; None: nothing keeps them.
        cond_scale, temperature: with which it plays.
        head: the policy's value head, where values come from it.
    """

    def __init__(
        self,
        policy: GoalPolicy,
        reference: GoalPolicy,
        optimizer: torch.optim.Optimizer,
        settings: RlSettings,
        keep: Kept | None,
        cond_scale: float,
        temperature: float = 1.0,
        head: HeadValue | None = None,
    ) -> None:
        self.policy, self.optimizer, self.head = policy, optimizer, head
        self._reference, self._settings, self._keep = reference, settings, keep
        self._cond_scale, self._temperature = cond_scale, temperature
        self._trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def judge(self, rollouts: list[Rollout], iteration: int) -> Judged:
        """Advantages of the episodes' steps, and log p of their actions under the present weights."""
        settings = self._settings
        if settings.placebo:
            rollouts = permuted(rollouts, settings.seed, iteration)
        scored = [self._score(rollout) for rollout in rollouts]
        rewards = [rollout.reward for rollout in rollouts]
        groups = [rollout.group for rollout in rollouts]
        explained = 0.0
        targets = [returns_to_go(reward, settings.gamma) for reward in rewards]
        latents = [one.latent[0].float() for one in scored] if self.head else []
        wanted: list[Series] = []
        if settings.method == "ppo":
            values = [np.zeros(len(reward)) for reward in rewards]
            if settings.value == "linear":
                limit = max(map(len, rollouts))
                features = [
                    with_time(
                        one.latent[0].float().cpu().numpy(),
                        limit,
                        [np.cumsum(part) - part for part in rollout.parts.values()],
                    )
                    for one, rollout in zip(scored, rollouts)
                ]
                values, explained = cross_fitted(features, targets, groups)
            elif self.head:
                values = [self.head(rows) for rows in latents]
                explained = explained_variance(targets, values)
            advantages = [gae(reward, value, settings.gamma, settings.lam) for reward, value in zip(rewards, values)]
            wanted = [advantage + value for advantage, value in zip(advantages, values)] if self.head else []
            if settings.centre == "group":
                advantages = minus_others(advantages, groups)
        elif settings.group_form == "episode":
            totals = [np.array([reward.sum()]) for reward in rewards]
            advantages = [
                np.full(len(reward), total[0]) for reward, total in zip(rewards, minus_others(totals, groups))
            ]
        else:
            advantages = minus_others(targets, groups)
        returns = np.array([reward.sum() for reward in rewards])
        successes = np.array([rollout.success for rollout in rollouts])
        old_log_p = [one.log_p[0].double().cpu().numpy() for one in scored]
        gaps = [np.abs(old - rollout.log_p).max() for old, rollout in zip(old_log_p, rollouts)]
        cloned = clone_weights(returns, successes, settings.clone_beta)
        return Judged(
            rollouts,
            whitened(advantages),
            old_log_p,
            cloned,
            explained,
            float(np.mean([float(one.entropy_buttons.mean()) for one in scored])),
            float(np.mean([float(one.entropy_camera.mean()) for one in scored])),
            float(max(gaps)),
            silence_of(settings.method, returns, successes, groups, advantages, cloned),
            latents,
            wanted,
        )

    def _score(self, rollout: Rollout) -> Scored:
        return score(self.policy, batch_of([rollout], self.policy.device), self._cond_scale)

    def learn(self, judged: Judged, iteration: int, kl_coef: float) -> dict[str, float]:
        """Some passes over the episodes; returns what is worth watching, as means over the steps taken, or their largest (LARGEST)."""
        settings = self._settings
        wanted = latents_of(self._reference, judged.rollouts, self._cond_scale) if kl_coef > 0 else None
        sums: dict[str, Tensor] = {}
        steps = 0
        parts = (
            (epoch, part) for epoch in range(settings.epochs) for part in self._minibatches(judged, iteration, epoch)
        )
        for epoch, part in parts:
            found = self._step(judged, part, kl_coef, iteration, epoch, wanted)
            steps += 1
            for name, value in found.items():
                before = sums.get(name, torch.zeros_like(value))
                sums[name] = torch.maximum(before, value) if name in LARGEST else before + value
            if self.moved(judged, part) > STOP_AT * settings.target_kl:
                break
        moved = self.moved(judged, range(len(judged.rollouts)))
        if self.head and judged.latents:
            self.head.fit(judged.latents, judged.targets)
        figures = {name: float(value) / (1 if name in LARGEST else max(1, steps)) for name, value in sums.items()}
        return {**figures, "kl_update": moved, "steps": float(steps)}

    def moved(self, judged: Judged, part: Sequence[int]) -> float:
        """KL(before || now) of the iteration's learning in nats a step, estimated on these of its episodes (the k3 form, never negative)."""
        total = count = 0.0
        for number in part:
            rollout, before = judged.rollouts[number], judged.old_log_p[number]
            ratio = self._score(rollout).log_p[0].double().cpu().numpy() - before
            ratio = np.clip(ratio, -20, 20)
            total += float(np.sum(np.exp(ratio) - 1 - ratio))
            count += len(ratio)
        return total / max(1.0, count)

    @torch.no_grad()
    def kept_kl(self) -> dict[str, float]:
        """KL(start || now) in nats a step on all episodes that the starting policy played, by their prompts; none without such episodes."""
        if not isinstance(self._keep, PlayedPrompts):
            return {}
        found = {}
        for prompt, batch in self._keep.by_prompt(self.policy.device):
            both = zip(chunks(self.policy, batch, self._cond_scale), self._start_latents(batch))
            total = sum(
                self._divergence(chunk.latent, wanted, batch.counted[:, chunk.steps]).double() for chunk, wanted in both
            )
            found[prompt] = float(total / batch.counted.sum())
        return found

    def _minibatches(self, judged: Judged, iteration: int, epoch: int) -> list[list[int]]:
        """Whole episodes, dealt so that each minibatch has members of as many groups as there are; or whole groups, where members are compared."""
        rng = generator(self._settings.seed, "minibatch", iteration, epoch)
        drawn = rng.permutation(len(judged.rollouts)).tolist()
        groups = [rollout.group for rollout in judged.rollouts]
        if not self._settings.compares:
            order = sorted(drawn, key=groups.__getitem__)
            count = min(self._settings.minibatches, len(order))
            return [order[part::count] for part in range(count)]
        dealt = list(dict.fromkeys(groups[number] for number in drawn))
        count = min(self._settings.minibatches, len(dealt))
        return [[number for number in drawn if groups[number] in dealt[part::count]] for part in range(count)]

    def _step(
        self,
        judged: Judged,
        part: list[int],
        kl_coef: float,
        iteration: int,
        epoch: int,
        wanted: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """One optimizer step on these episodes and as many of those that are to be kept; nothing in it waits for the device.

        Args:
            wanted: the starting policy's latents (N, H) of all episodes; None: computed where they are needed.
        """
        device = self.policy.device
        rollouts = [judged.rollouts[number] for number in part]
        batch = batch_of(rollouts, device, None if wanted is None else [wanted[number] for number in part])
        self.optimizer.zero_grad(set_to_none=True)
        figures = self._backward(batch, self._weights_of(judged, part, batch), kl_coef)
        if self._keep is not None:
            kept = self._keep.batch(part, iteration, epoch, device)
            if self._keep.imitates:
                figures |= self._backward_replay(kept)
            if self._keep.pulls:
                figures |= self._backward_keep(kept)
        limit = self._settings.max_grad_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self._trained, limit)
        step_unless(~torch.isfinite(norm), self.optimizer)
        return {**figures, "gradient_norm": norm.detach()}

    def _weights_of(self, judged: Judged, part: list[int], batch: RolloutBatch) -> Weigh:
        """The method: a chunk → the weights (B, C) of its frames."""
        settings, device = self._settings, batch.counted.device
        if settings.method == "clone":
            fixed = torch.from_numpy(judged.cloned[part]).float().to(device)
            return lambda chunk: _same(fixed, batch.counted[:, chunk.steps])
        old = padded([judged.old_log_p[number] for number in part]).float().to(device)
        if settings.method == "preference":
            pairs = self._pair_weights([judged.rollouts[number] for number in part], batch, old)
            return lambda chunk: _same(pairs, batch.counted[:, chunk.steps])
        advantage = padded([judged.advantages[number] for number in part]).float().to(device)
        clip = Clip(settings.clip, settings.clip_high or settings.clip)

        def clipped(chunk: Chunk) -> Weights:
            log_p = action_log_p(self.policy, chunk.latent, batch, chunk.steps)[0]
            return ppo_weights(log_p, old[:, chunk.steps], advantage[:, chunk.steps], clip)

        return clipped

    def _backward(self, batch: RolloutBatch, weigh: Weigh, kl_coef: float) -> dict[str, Tensor]:
        """Add up the gradients of the method's loss and of the pull towards the start, chunk by chunk."""
        count = batch.counted.sum()
        figures = {name: torch.zeros_like(count) for name in ("loss", "clip_share", "ratio_max", "kl_start")}
        reference = self._start_latents(batch) if kl_coef > 0 else None
        for chunk in chunks(self.policy, batch, self._cond_scale):
            steps = chunk.steps
            counted = batch.counted[:, steps]
            found = weigh(chunk)
            figures["clip_share"] += (found.clipped * counted).sum() / count
            figures["ratio_max"] = torch.maximum(figures["ratio_max"], (found.ratio * counted).max())
            loss = weighted_imitation(self.policy, chunk.latent, batch, steps, found.weight) / count
            figures["loss"] += loss.detach()
            if reference is not None:
                pull = self._divergence(chunk.latent, next(reference), counted / count)
                figures["kl_start"] += pull.detach()
                loss = loss + kl_coef * pull
            loss.backward()
        return figures

    def _start_latents(self, batch: RolloutBatch) -> Iterator[Tensor]:
        """The starting policy's latents (B, C, H), chunk by chunk."""
        if batch.wanted is not None:
            yield from batch.wanted.split(CHUNK, dim=1)
            return
        following = chunks(self._reference, batch, self._cond_scale)
        while True:
            with torch.no_grad():  # not around the yield: it would hold for whoever asked
                chunk = next(following, None)
            if chunk is None:
                return
            yield chunk.latent

    def _divergence(self, latent: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
        """Sum over steps of weight * KL(start || trained), both heads."""
        heads, start = self.policy.pi_head, self._reference.pi_head
        return action_kl(heads, latent.flatten(0, 1), start, wanted.flatten(0, 1), weight.flatten())

    def _backward_keep(self, batch: RolloutBatch) -> dict[str, Tensor]:
        """Add the gradient of the pull towards the starting policy's actions on these episodes."""
        count = batch.counted.sum().clamp(min=1)  # windows of corrections may have no frame that counts
        total = torch.zeros_like(count)
        for chunk, wanted in zip(chunks(self.policy, batch, self._cond_scale), self._start_latents(batch)):
            pull = self._divergence(chunk.latent, wanted, batch.counted[:, chunk.steps] / count)
            (self._settings.keep_coef * pull).backward()
            total += pull.detach()
        return {"keep_kl": total}

    def _backward_replay(self, batch: RolloutBatch) -> dict[str, Tensor]:
        """Add the gradient of imitating old episodes, as in training: a mean over imitated frames, without guidance and temperature."""
        count = batch.counted.sum().clamp(min=1)
        total = torch.zeros_like(count)
        plain = (
            at_temperature(self.policy, 1 / self._temperature) if self._temperature != 1 else contextlib.nullcontext()
        )
        with plain:
            for chunk in chunks(self.policy, batch):
                weight = torch.ones_like(batch.counted[:, chunk.steps])
                loss = weighted_imitation(self.policy, chunk.latent, batch, chunk.steps, weight) / count
                (self._settings.keep_coef * loss).backward()
                total += loss.detach()
        return {"replay_loss": total}

    def _pair_weights(self, rollouts: list[Rollout], batch: RolloutBatch, start: Tensor) -> Tensor:
        """preference: a weight for each episode (B,), the sum over the pairs from its place (start: log p when they were played)."""
        now = score(self.policy, batch, self._cond_scale).log_p
        gains = ((now - start) * batch.counted).sum(1)
        found = pairs_of([rollout.group for rollout in rollouts], [rollout.reward.sum() for rollout in rollouts])
        winners, losers = (torch.from_numpy(column).to(gains.device) for column in found)
        weight = preference_weights(gains[winners], gains[losers], self._settings.preference_beta)
        weight = weight * (batch.counted.sum() / max(1, len(winners)))  # the loss is divided by the count
        return torch.zeros_like(gains).index_add_(0, winners, weight).index_add_(0, losers, -weight)


def _same(weights: Tensor, frames: Tensor) -> Weights:
    """Weights (B,) of episodes, the same for all of their frames (B, C); nothing is clipped."""
    return Weights(weights[:, None].expand_as(frames), torch.zeros_like(frames), torch.zeros_like(frames))
