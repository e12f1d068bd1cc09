"""One iteration's learning: from judged episodes to changed weights. A function of (weights, moments, episodes, settings, iteration).

Input: rollouts of the present weights. Output: figures; the policy and the optimizer are changed in place.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from steve1.core.seeds import generator
from steve1.policy import GoalPolicy
from steve1.policy.loss import head_kl
from steve1.rl.advantages import Series, gae, minus_others, mixed_groups, returns_to_go, whitened
from steve1.rl.keep import Kept
from steve1.rl.passes import RolloutBatch, Scored, at_temperature, chunks, score, weighted_imitation
from steve1.rl.passes import action_log_p as log_p_of
from steve1.rl.rollouts import Rollout, batch_of, padded
from steve1.rl.settings import RlSettings
from steve1.rl.values import HeadValue, cross_fitted, explained_variance, with_time
from steve1.rl.weights import Clip, clone_weights, ppo_weights, preference_weights

STOP_AT = 1.5
"""An iteration's learning ends at this many times the target KL."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """An iteration's episodes with what is known before learning.

    Attributes:
        advantages: (N,) of each episode, whitened over the iteration.
        old_log_p: (N,) of each, by the learner's own arithmetic.
        explained: variance that the values explain.
        latents: (N, H) of each, and what the values should have been, (N,); where the value head is trained.
    """

    rollouts: list[Rollout]
    advantages: list[Series]
    old_log_p: list[Series]
    explained: float
    entropy_buttons: float
    entropy_camera: float
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
            advantages = [
                gae(reward, value, 0.0, settings.gamma, settings.lam) for reward, value in zip(rewards, values)
            ]
            wanted = [advantage + value for advantage, value in zip(advantages, values)] if self.head else []
            if settings.centre == "group":
                advantages = minus_others(advantages, groups)
        else:
            advantages = minus_others(targets, groups)
        return Judged(
            rollouts,
            whitened(advantages),
            [one.log_p[0].double().cpu().numpy() for one in scored],
            explained,
            float(np.mean([float(one.entropy_buttons.mean()) for one in scored])),
            float(np.mean([float(one.entropy_camera.mean()) for one in scored])),
            latents,
            wanted,
        )

    def _score(self, rollout: Rollout) -> Scored:
        return score(self.policy, batch_of([rollout], self.policy.device), self._cond_scale)

    def learn(self, judged: Judged, iteration: int, kl_coef: float) -> dict[str, float]:
        """Some passes over the episodes; returns what is worth watching, as means over the steps taken."""
        settings = self._settings
        sums: dict[str, float] = {}
        steps = 0
        for epoch in range(settings.epochs):
            for part in self._minibatches(judged, iteration, epoch):
                found = self._step(judged, part, kl_coef, iteration, epoch)
                steps += 1
                for name, value in found.items():
                    sums[name] = sums.get(name, 0.0) + value
            moved = self.moved(judged)
            if moved > STOP_AT * settings.target_kl:
                break
        if self.head and judged.latents:
            self.head.fit(judged.latents, judged.targets)
        figures = {name: value / max(1, steps) for name, value in sums.items()}
        return {**figures, "kl_update": moved, "steps": float(steps)}

    def moved(self, judged: Judged) -> float:
        """KL(before || now) of the iteration's learning in nats a step, estimated on what was played (the k3 form, never negative)."""
        total = count = 0.0
        for rollout, before in zip(judged.rollouts, judged.old_log_p):
            ratio = self._score(rollout).log_p[0].double().cpu().numpy() - before
            ratio = np.clip(ratio, -20, 20)
            total += float(np.sum(np.exp(ratio) - 1 - ratio))
            count += len(ratio)
        return total / max(1.0, count)

    def _minibatches(self, judged: Judged, iteration: int, epoch: int) -> list[list[int]]:
        """Whole episodes, dealt so that each minibatch has members of as many groups as there are."""
        rng = generator(self._settings.seed, "minibatch", iteration, epoch)
        drawn = rng.permutation(len(judged.rollouts)).tolist()
        order = sorted(drawn, key=lambda number: judged.rollouts[number].group)
        count = min(self._settings.minibatches, len(order))
        return [order[part::count] for part in range(count)]

    def _step(self, judged: Judged, part: list[int], kl_coef: float, iteration: int, epoch: int) -> dict[str, float]:
        """One optimizer step on these episodes and as many of those that are to be kept."""
        device = self.policy.device
        rollouts = [judged.rollouts[number] for number in part]
        batch = batch_of(rollouts, device)
        advantage = padded([judged.advantages[number] for number in part]).float().to(device)
        old = padded([judged.old_log_p[number] for number in part]).float().to(device)
        self.optimizer.zero_grad(set_to_none=True)
        pair_weights = self._pair_weights(rollouts, batch, old) if self._settings.method == "preference" else None
        figures = self._backward(rollouts, batch, advantage, old, kl_coef, pair_weights)
        if self._keep is not None:
            kept = self._keep.batch(part, iteration, epoch, device)
            figures |= self._backward_replay(kept) if self._keep.imitates else self._backward_keep(kept)
        limit = self._settings.max_grad_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self._trained, limit)
        if torch.isfinite(norm):
            self.optimizer.step()
        figures["gradient_norm"] = float(norm)
        return figures

    def _backward(
        self,
        rollouts: list[Rollout],
        batch: RolloutBatch,
        advantage: Tensor,
        old: Tensor,
        kl_coef: float,
        pairs: Tensor | None,
    ) -> dict[str, float]:
        """Add up the gradients of the method's loss and of the pull towards the start, chunk by chunk."""
        settings, policy = self._settings, self.policy
        count = batch.counted.sum()
        clip = Clip(settings.clip, settings.clip_high or settings.clip)
        returns = torch.tensor([float(rollout.reward.sum()) for rollout in rollouts], device=batch.counted.device)
        successes = torch.tensor([rollout.success for rollout in rollouts], device=batch.counted.device)
        cloned = clone_weights(returns, successes, settings.clone_beta)[:, None].expand_as(batch.counted)
        figures = {"loss": 0.0, "clip_share": 0.0, "ratio_max": 0.0, "kl_start": 0.0}
        reference = chunks(self._reference, batch, self._cond_scale) if kl_coef > 0 else None
        for chunk in chunks(policy, batch, self._cond_scale):
            steps = chunk.steps
            inside = batch.counted[:, steps] > 0
            if pairs is not None:
                weight = pairs[:, None].expand_as(batch.counted[:, steps])
            elif settings.method == "clone":
                weight = cloned[:, steps]
            else:
                log_p = log_p_of(policy, chunk.latent, batch, steps)[0]
                found = ppo_weights(log_p[inside], old[:, steps][inside], advantage[:, steps][inside], clip)
                weight = torch.zeros_like(batch.counted[:, steps])
                weight[inside] = found.weight
                share = float(inside.sum() / count)
                figures["clip_share"] += found.clip_share * share
                figures["ratio_max"] = max(figures["ratio_max"], found.ratio_max)
            loss = weighted_imitation(policy, chunk.latent, batch, steps, weight) / count
            figures["loss"] += float(loss.detach())
            if reference is not None:
                with torch.no_grad():
                    wanted = next(reference).latent
                pull = self._divergence(chunk.latent, wanted, batch.counted[:, steps] / count)
                figures["kl_start"] += float(pull.detach())
                loss = loss + kl_coef * pull
            loss.backward()
        return figures

    def _divergence(self, latent: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
        """Sum over steps of weight * KL(start || trained), both heads."""
        own, other, rows = self.policy.pi_head, self._reference.pi_head, weight.flatten()
        flat, wanted = latent.flatten(0, 1), wanted.flatten(0, 1)
        buttons = head_kl(own.buttons, flat, other.buttons, wanted, rows)
        return buttons + head_kl(own.camera, flat, other.camera, wanted, rows)

    def _backward_keep(self, batch: RolloutBatch) -> dict[str, float]:
        """Add the gradient of the pull towards the starting policy's actions on these episodes."""
        count, total = batch.counted.sum(), 0.0
        with torch.no_grad():
            wanted = [chunk.latent for chunk in chunks(self._reference, batch, self._cond_scale)]
        for chunk, latent in zip(chunks(self.policy, batch, self._cond_scale), wanted):
            pull = self._divergence(chunk.latent, latent, batch.counted[:, chunk.steps] / count)
            (self._settings.keep_coef * pull).backward()
            total += float(pull.detach())
        return {"keep_kl": total}

    def _backward_replay(self, batch: RolloutBatch) -> dict[str, float]:
        """Add the gradient of imitating old episodes, as in training: a mean over frames, without guidance and temperature."""
        count, total = batch.counted.sum(), 0.0
        plain = (
            at_temperature(self.policy, 1 / self._temperature) if self._temperature != 1 else contextlib.nullcontext()
        )
        with plain:
            for chunk in chunks(self.policy, batch):
                weight = torch.ones_like(batch.counted[:, chunk.steps])
                loss = weighted_imitation(self.policy, chunk.latent, batch, chunk.steps, weight) / count
                (self._settings.keep_coef * loss).backward()
                total += float(loss.detach())
        return {"replay_loss": total}

    def _pair_weights(self, rollouts: list[Rollout], batch: RolloutBatch, start: Tensor) -> Tensor:
        """preference: a weight for each episode, the sum over the pairs from its place (start: log p when they were played)."""
        now = score(self.policy, batch, self._cond_scale).log_p
        gains = ((now - start) * batch.counted).sum(1)
        weights = torch.zeros_like(gains)
        pairs = [
            (one, other)
            for one, first in enumerate(rollouts)
            for other, second in enumerate(rollouts)
            if first.group == second.group and first.reward.sum() > second.reward.sum()
        ]
        for winner, loser in pairs:
            _, weight = preference_weights(
                gains[winner : winner + 1], gains[loser : loser + 1], self._settings.preference_beta
            )
            weights[winner] += float(weight) / len(pairs)
            weights[loser] -= float(weight) / len(pairs)
        return weights * batch.counted.sum()  # the loss is divided by it


def permuted(rollouts: list[Rollout], seed: int, iteration: int) -> list[Rollout]:
    """The placebo: each group's rewards and successes dealt to other members of the group, cut or filled to their lengths."""
    rng = generator(seed, "placebo", iteration)
    found = list(rollouts)
    for group in dict.fromkeys(rollout.group for rollout in rollouts):
        members = [number for number, rollout in enumerate(rollouts) if rollout.group == group]
        for number, source in zip(members, rng.permutation(members)):
            giver, taker = rollouts[int(source)], rollouts[number]

            def fitted(series: Series, length: int = len(taker)) -> Series:
                return np.concatenate([series[:length], np.zeros(max(0, length - len(series)))])

            parts = {name: fitted(part) for name, part in giver.parts.items()}
            found[number] = dataclasses.replace(taker, reward=fitted(giver.reward), parts=parts, success=giver.success)
    return found


def figures_of(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """What an iteration's episodes say by themselves: success, return by term, length, groups with a difference."""
    groups = [rollout.group for rollout in rollouts]
    found = {
        "success": float(np.mean([rollout.success for rollout in rollouts])),
        "return": float(np.mean([rollout.reward.sum() for rollout in rollouts])),
        "episode_steps": float(np.mean([len(rollout) for rollout in rollouts])),
        "mixed_groups": mixed_groups([rollout.success for rollout in rollouts], groups),
        "crashes": float(sum(rollout.facts.get("crashes", 0) for rollout in rollouts)),
    }
    for name in rollouts[0].parts:
        found[f"return_{name}"] = float(np.mean([rollout.parts[name].sum() for rollout in rollouts]))
    return found
