"""Room `training`, one optimizer step.

In: a piece of data and the recurrent states that the chunk before left. Out: changed weights, new states, and the step's numbers.
Nothing here waits for the device: whether a step was finite is decided where the numbers are.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..actions import NULL_CAMERA
from ..policy import GoalPolicy, PolicyState
from .feed import Part, Piece
from .parallel import Ranks
from .settings import TrainSettings

MEASURES = (
    "loss",
    "loss_buttons",
    "loss_camera",
    "accuracy_buttons",
    "accuracy_camera",
    "entropy_buttons",
    "entropy_camera",
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a step did; all tensors are on the device and still on their way."""

    states: list[PolicyState]
    """One a micro-batch, without history, ready for the next chunk."""
    measures: torch.Tensor
    """(len(MEASURES),) f32, means over this process's frames; zeros where the step was skipped."""
    gradient_norm: torch.Tensor
    """In the published unit: of a loss summed over TRUNC_T frames; before clipping; 0 where skipped."""
    bad: torch.Tensor
    """bool scalar, the same on all processes: loss or gradient not finite, so that no weight was changed."""


class LossModule(nn.Module):
    """The policy's loss as a forward pass, which is what DDP and torch.compile wrap."""

    def __init__(self, policy: GoalPolicy, camera_weight: float = 1.0) -> None:
        super().__init__()
        self.policy = policy
        self.camera_weight = camera_weight

    def forward(self, part: Part, state: PolicyState) -> Any:
        """LossOutput of one micro-batch."""
        weights = None
        if self.camera_weight != 1.0:  # the loss divides by the sum of the weights, micro-batch by micro-batch
            weights = 1.0 + (self.camera_weight - 1.0) * (part["camera"] != NULL_CAMERA).float()
        return self.policy.loss(
            part["frames"], part["goals"], part["first"], state, part["buttons"], part["camera"], weights
        )


def make_optimizer(policy: GoalPolicy, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW over what is trainable; decay only where `GoalPolicy.parameter_groups` says."""
    groups = policy.parameter_groups(settings.weight_decay)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


class Stepper:
    """Forward, backward and optimizer step over a piece.

    Args:
        policy: the network, on the ranks' device.
        precision: torch.bfloat16 runs the network under autocast.
    """

    def __init__(
        self,
        policy: GoalPolicy,
        optimizer: torch.optim.Optimizer,
        settings: TrainSettings,
        ranks: Ranks,
        precision: torch.dtype,
    ) -> None:
        self._policy, self._optimizer, self._ranks = policy, optimizer, ranks
        self._precision = precision
        self._trunc_t = settings.trunc_t
        # The threshold is published for a loss summed over the chunk; ours is its mean.
        self._limit = settings.max_grad_norm / settings.trunc_t if settings.max_grad_norm else float("inf")
        self._trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        module: nn.Module = LossModule(policy, settings.camera_weight)
        if ranks.world > 1:
            module = DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True)
        self._module = torch.compile(module) if settings.compile else module

    def initial_states(self, piece: Piece) -> list[PolicyState]:
        """Fresh states, one a micro-batch."""
        return [self._policy.initial_state(len(part["first"])) for part in piece.parts]

    def step(self, piece: Piece, states: list[PolicyState], rate: float) -> Outcome:
        """One optimizer step at learning rate `rate`; a non-finite one changes nothing and forgets the states."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        count = len(piece.parts)
        after: list[PolicyState] = []
        total = torch.zeros(len(MEASURES), device=self._ranks.device)
        for index, (part, state) in enumerate(zip(piece.parts, states)):
            with self._gradients_stay_here(index < count - 1):
                with autocast(self._ranks.device, self._precision):
                    found = self._module(part, state)
                (found.loss / count).backward()
            after.append(found.state.detach())
            total += torch.stack([getattr(found, name).detach().float() for name in MEASURES]) / count
        norm = nn.utils.clip_grad_norm_(self._trained, self._limit)
        bad = self._ranks.any(~(torch.isfinite(norm) & torch.isfinite(total[0])))
        self._apply(bad)
        return Outcome(
            states=[self._forget_where(bad, state) for state in after],
            measures=torch.where(bad, torch.zeros_like(total), total),
            gradient_norm=torch.where(bad, torch.zeros_like(norm), norm.detach() * self._trunc_t),
            bad=bad,
        )

    def _gradients_stay_here(self, yes: bool) -> Any:
        """Processes exchange gradients only once a step, after the last micro-batch."""
        if yes and isinstance(self._module, DistributedDataParallel):
            return self._module.no_sync()
        return contextlib.nullcontext()

    def _apply(self, bad: torch.Tensor) -> None:
        # Fused optimizers take this flag, as GradScaler sets it, and leave weights and moments alone where it is 1.
        optimizer: Any = self._optimizer
        optimizer.found_inf = bad.to(torch.float32)
        optimizer.grad_scale = None
        optimizer.step()

    def _forget_where(self, bad: torch.Tensor, state: PolicyState) -> PolicyState:
        # A non-finite chunk leaves non-finite keys behind, which a mask alone would not keep out of a product.
        fresh = self._policy.initial_state(state.batch)
        return PolicyState(
            tuple(torch.where(bad, new.to(old.dtype), old) for new, old in zip(fresh.keys, state.keys)),
            tuple(torch.where(bad, new.to(old.dtype), old) for new, old in zip(fresh.values, state.values)),
            torch.where(bad, fresh.mask, state.mask),
        )


def autocast(device: torch.device, precision: torch.dtype) -> Any:
    """The context that a forward pass runs in."""
    if precision == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=precision)
