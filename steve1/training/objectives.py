"""Room `training`, what a step makes small: the imitation loss, and the distance from the starting policy's actions where that is asked for.

In: a piece of data and the recurrent state. Out: a differentiable loss, the state after it, and figures to log. One module, because
that is what DDP and torch.compile wrap.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import nn

from steve1.actions.joint import CAMERA_DEGREES
from steve1.policy import GoalPolicy, PolicyState
from steve1.policy.loss import head_kl
from steve1.training.batches import Part
from steve1.training.finetune_modes import tuned_goal
from steve1.training.logging.action_metrics import MEASURES

__all__ = ["MEASURES", "Found", "LossModule", "goals_of"]

# Smaller moves are a hand's drift; weighting those too teaches an unsteady aim.
TURN_DEGREES = 3.0


@dataclasses.dataclass(frozen=True)
class Found:
    """What one micro-batch came to."""

    loss: torch.Tensor
    """Scalar to differentiate: imitation and pulls."""
    state: PolicyState
    measures: torch.Tensor
    """(len(LossModule.measures),) f32, without history."""


class LossModule(nn.Module):
    """The policy's loss as a forward pass.

    Args:
        turn_loss_weight: how many times frames that turn the view by TURN_DEGREES or more on an axis count.
        reference: the starting policy; its actions on the same frames are what `kl_coef` pulls to.
        activation_checkpointing: recompute the convolutions in the backward pass instead of keeping their activations.
    """

    turns: torch.Tensor

    def __init__(
        self,
        policy: GoalPolicy,
        turn_loss_weight: float = 1.0,
        reference: GoalPolicy | None = None,
        kl_coef: float = 0.0,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.policy = policy
        self.turn_loss_weight, self.kl_coef = turn_loss_weight, kl_coef
        self.activation_checkpointing = activation_checkpointing
        turns = np.abs(CAMERA_DEGREES).max(axis=1) >= TURN_DEGREES
        self.register_buffer("turns", torch.from_numpy(turns).float().to(policy.device), persistent=False)
        self._reference = (
            [reference] if reference is not None else []
        )  # in a list: it is no part of what is trained or wrapped
        self.measures = (*MEASURES, "kl") if self._reference else MEASURES

    def initial_state(self, batch: int) -> PolicyState:
        """An empty memory; with a reference, its keys and values stand behind the policy's own."""
        own = self.policy.initial_state(batch)
        if not self._reference:
            return own
        other = self._reference[0].initial_state(batch)
        return PolicyState(own.keys + other.keys, own.values + other.values, own.mask)

    def forward(self, part: Part, state: PolicyState) -> Found:
        """Loss of one micro-batch."""
        policy, blocks = self.policy, self.policy.config.n_recurrence_layers
        weights = None
        if self.turn_loss_weight != 1.0:  # the loss divides by the sum of the weights, micro-batch by micro-batch
            weights = 1.0 + (self.turn_loss_weight - 1.0) * self.turns[part["camera"]]
        own = PolicyState(state.keys[:blocks], state.values[:blocks], state.mask)
        features = policy.encode(part["frames"], activation_checkpointing=self.activation_checkpointing)
        latent, after = policy.forward_recurrent(features, goals_of(policy, part), part["first"], own)
        found = policy.bc_loss(latent, after, part["buttons"], part["camera"], weights)
        measures = [getattr(found, name).detach().float() for name in MEASURES]
        if not self._reference:
            return Found(found.loss, after, torch.stack(measures))
        before = PolicyState(state.keys[blocks:], state.values[blocks:], state.mask)
        divergence, other = self._divergence(self._reference[0], part, latent, before)
        both = PolicyState(after.keys + other.keys, after.values + other.values, after.mask)
        return Found(found.loss + self.kl_coef * divergence, both, torch.stack([*measures, divergence.detach()]))

    def _divergence(
        self, reference: GoalPolicy, part: Part, latent: torch.Tensor, state: PolicyState
    ) -> tuple[torch.Tensor, PolicyState]:
        with torch.no_grad():
            wanted, state = reference.forward_recurrent(
                reference.encode(part["frames"]), part["goals"], part["first"], state
            )
        rows, wanted = latent.flatten(0, 1), wanted.flatten(0, 1)
        own, other = self.policy.pi_head, reference.pi_head
        return (
            head_kl(own.buttons, rows, other.buttons, wanted) + head_kl(own.camera, rows, other.camera, wanted),
            state,
        )


def goals_of(policy: GoalPolicy, part: Part) -> torch.Tensor:
    """The goals (B, T, E) of a piece: those of the data, or the one that is being tuned."""
    tuned = tuned_goal(policy)
    return part["goals"] if tuned is None else tuned.expand_as(part["goals"])
