"""The terms of the training loss: behavior cloning, and optionally the KL divergence from the starting policy.

A new term is an `Objective` in `objectives_for`. L2-SP is not one: it changes gradients, without a forward pass (optim/regularizers.py).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from steve1.actions.joint import CAMERA_DEGREES
from steve1.policy import GoalPolicy, PolicyState
from steve1.policy.loss import action_kl
from steve1.policy.vision import ActivationCheckpointing
from steve1.training.batches import Batch, encode
from steve1.training.config import TrainSettings
from steve1.training.logging.action_metrics import MEASURES
from steve1.training.trainable import frozen_copy, tuned_goal

# Smaller moves are the drift of a hand; weighting those too teaches an unsteady aim.
TURN_DEGREES = 3.0


@dataclasses.dataclass(frozen=True)
class LossOutput:
    """A loss, or one term of it, on one micro-batch."""

    loss: Tensor
    """Scalar to differentiate."""
    state: PolicyState
    """The recurrent state after the batch."""
    measures: Tensor
    """(len(measures),) f32, without history."""
    measured: Tensor
    """(len(measures),) bool: False where no frame of the batch counts for it, so that its 0 is no measurement."""


class Objective:
    """One term of the loss."""

    measures: tuple[str, ...]
    """Names of what it measures."""
    n_blocks = 0
    """Blocks of recurrent state that it carries from chunk to chunk, for a network beside the policy."""

    def initial_state(self, rows: int) -> PolicyState:
        """Its state at the beginning of windows; empty without a network of its own."""
        return PolicyState((), (), torch.empty(0))

    def policies(self) -> list[GoalPolicy]:
        """Networks of its own."""
        return []

    def weight(self, batch: Batch) -> Tensor | None:
        """The sum (f32 scalar) of its frames' weights, by which its loss was divided; None where all frames of all batches count alike."""
        return None

    def __call__(self, batch: Batch, latent: Tensor, after: PolicyState, state: PolicyState) -> LossOutput:
        """Its loss.

        Args:
            latent: (B, C, H) of the policy under training.
            after: that policy's state after the batch.
            state: this term's own state before the batch.
        """
        raise NotImplementedError


class BehaviorCloning(Objective):
    """-(log p(buttons) + log p(camera)) of the recorded actions.

    Args:
        turn_loss_weight: how many times frames that turn the view by TURN_DEGREES or more on an axis count.
        imitate_replayed: False leaves out the frames of old episodes.
    """

    measures = MEASURES

    def __init__(self, policy: GoalPolicy, turn_loss_weight: float = 1.0, imitate_replayed: bool = True) -> None:
        self._policy, self._turn_loss_weight, self._imitate_replayed = policy, turn_loss_weight, imitate_replayed
        turns = np.abs(CAMERA_DEGREES).max(axis=1) >= TURN_DEGREES
        self.turns = torch.from_numpy(turns).float().to(policy.device)

    def _weights(self, batch: Batch) -> Tensor | None:
        """How much each frame counts (B, C); None: 1 each."""
        weights = None
        if self._turn_loss_weight != 1.0:
            weights = 1.0 + (self._turn_loss_weight - 1.0) * self.turns[batch["camera"]]
        if not self._imitate_replayed and "replayed" in batch:
            weights = (~batch["replayed"]).float() * (1.0 if weights is None else weights)
        if "imitated" in batch:  # the rest is context, which a policy played before somebody took over
            weights = batch["imitated"].float() * (1.0 if weights is None else weights)
        return weights

    def weight(self, batch: Batch) -> Tensor | None:
        weights = self._weights(batch)
        return None if weights is None else weights.sum()

    def __call__(self, batch: Batch, latent: Tensor, after: PolicyState, state: PolicyState) -> LossOutput:
        found = self._policy.bc_loss(latent, after, batch["buttons"], batch["camera"], self._weights(batch))
        measures = torch.stack([getattr(found, name).detach().float() for name in MEASURES])
        return LossOutput(found.loss, state, measures, (found.frames > 0).expand(len(MEASURES)))


class KLToStart(Objective):
    """coef times KL(starting policy || policy) of both heads on the same frames, in nats a frame.

    Args:
        on_replayed: mean over the frames of old episodes only.
    """

    measures = ("kl",)

    def __init__(self, policy: GoalPolicy, reference: GoalPolicy, coef: float, on_replayed: bool = False) -> None:
        self._policy, self._reference, self._coef, self._on_replayed = policy, reference, coef, on_replayed
        self.n_blocks = policy.config.n_recurrence_layers

    def initial_state(self, rows: int) -> PolicyState:
        return self._reference.initial_state(rows)

    def policies(self) -> list[GoalPolicy]:
        return [self._reference]

    def _counted(self, batch: Batch) -> Tensor | None:
        """1 for each frame that counts, else 0, (B, C); None: all count."""
        return batch["replayed"].float() if self._on_replayed and "replayed" in batch else None

    def weight(self, batch: Batch) -> Tensor | None:
        counted = self._counted(batch)
        return None if counted is None else counted.sum()

    def __call__(self, batch: Batch, latent: Tensor, after: PolicyState, state: PolicyState) -> LossOutput:
        reference = self._reference
        with torch.no_grad():
            wanted, state = reference.forward_recurrent(encode(reference, batch), batch["goals"], batch["first"], state)
        rows, wanted = latent.flatten(0, 1), wanted.flatten(0, 1)
        counted = self._counted(batch)
        counted = torch.ones(len(rows), device=rows.device) if counted is None else counted.flatten()
        count = counted.sum()
        weight = counted / count.clamp(min=1)
        divergence = action_kl(self._policy.pi_head, rows, reference.pi_head, wanted, weight)
        return LossOutput(
            self._coef * divergence, state, divergence.detach().float().reshape(1), (count > 0).reshape(1)
        )


def objectives_for(policy: GoalPolicy, settings: TrainSettings) -> list[Objective]:
    """The terms that the settings ask for; KL's reference is the policy as it is now."""
    imitate = settings.keeping != "kl"
    terms: list[Objective] = [BehaviorCloning(policy, settings.turn_loss_weight, imitate_replayed=imitate)]
    if settings.kl_weight > 0:
        on_replayed = settings.pulls_on_old or settings.kl_frames == "replay"
        terms.append(KLToStart(policy, frozen_copy(policy), settings.kl_weight, on_replayed))
    return terms


class LossModule(nn.Module):
    """The sum of the objectives as one module, which DDP and torch.compile wrap.

    Args:
        activation_checkpointing: what the backward pass computes again in place of keeping it.
    """

    def __init__(
        self,
        policy: GoalPolicy,
        objectives: list[Objective],
        activation_checkpointing: ActivationCheckpointing = "none",
    ) -> None:
        super().__init__()
        self.policy, self.objectives, self._checkpointing = policy, objectives, activation_checkpointing
        self.measures = tuple(name for objective in objectives for name in objective.measures)

    def initial_state(self, rows: int) -> PolicyState:
        """The state at the beginning of `rows` windows; the objectives' keys and values stand behind the policy's own."""
        own = self.policy.initial_state(rows)
        others = [objective.initial_state(rows) for objective in self.objectives]
        return PolicyState(
            sum((other.keys for other in others), own.keys),
            sum((other.values for other in others), own.values),
            own.mask,
        )

    def policies(self) -> list[GoalPolicy]:
        """The policy and the objectives' own."""
        return [self.policy, *(policy for objective in self.objectives for policy in objective.policies())]

    def piece(self, batch: Batch) -> Tensor:
        """What takes nearly all of a step's time, as a scalar to differentiate: the encoder, or with cached features everything else."""
        if "frames" in batch:
            return encode(self.policy, batch, self._checkpointing).float().sum()
        loss: Tensor = self(batch, self.initial_state(len(batch["first"]))).loss
        return loss

    def weights(self, batch: Batch) -> list[Tensor | None]:
        """Each objective's `weight` of a batch."""
        return [objective.weight(batch) for objective in self.objectives]

    def of_measures(self, of_objectives: Tensor) -> Tensor:
        """One number for each objective → one for each measure."""
        return torch.cat([each.expand(len(term.measures)) for each, term in zip(of_objectives, self.objectives)])

    def forward(self, batch: Batch, state: PolicyState, shares: Tensor | None = None) -> LossOutput:
        """The sum of the objectives' losses.

        Args:
            shares: (objectives,) f32, what each loss is multiplied by; None: 1 each.
        """
        policy, seen = self.policy, self.policy.config.n_recurrence_layers
        own = PolicyState(state.keys[:seen], state.values[:seen], state.mask)
        features = encode(policy, batch, self._checkpointing)
        latent, after = policy.forward_recurrent(features, goals_of(policy, batch), batch["first"], own)
        keys, values, terms = after.keys, after.values, []
        for objective in self.objectives:
            blocks = slice(seen, seen + objective.n_blocks)
            term = objective(batch, latent, after, PolicyState(state.keys[blocks], state.values[blocks], state.mask))
            keys, values, seen = keys + term.state.keys, values + term.state.values, blocks.stop
            terms.append(term)
        losses = torch.stack([term.loss for term in terms])
        loss = losses.sum() if shares is None else (losses * shares).sum()
        measures, measured = (torch.cat(each) for each in zip(*((term.measures, term.measured) for term in terms)))
        return LossOutput(loss, PolicyState(keys, values, after.mask), measures, measured)


def goals_of(policy: GoalPolicy, batch: Batch) -> Tensor:
    """The goals (B, C, E) of a batch: those of the data, or the one that is being tuned."""
    tuned = tuned_goal(policy)
    return batch["goals"] if tuned is None else tuned.expand_as(batch["goals"])
