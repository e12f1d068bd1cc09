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

from steve1.policy import GoalPolicy, PolicyState
from steve1.training.batches import Piece
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.objectives import MEASURES, LossModule
from steve1.training.optim.optimizers import new_optimizer
from steve1.training.optim.regularizers import Anchor, Average
from steve1.training.optim.spike_filter import Guard

__all__ = ["MEASURES", "LossModule", "Outcome", "Stepper", "autocast", "make_optimizer"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a step did; all tensors are on the device and still on their way."""

    states: list[PolicyState]
    """One a micro-batch, without history, ready for the next chunk."""
    measures: torch.Tensor
    """(len(Stepper.measures),) f32, means over this process's frames; zeros where the step was skipped."""
    gradient_norm: torch.Tensor
    """In the published unit: of a loss summed over TRUNC_T frames; before clipping; 0 where skipped."""
    bad: torch.Tensor
    """bool scalar, the same on all processes: the step was skipped, no weight was changed."""
    spike: torch.Tensor
    """bool scalar: skipped although finite, because loss or gradient lay far above their running means."""


def make_optimizer(policy: GoalPolicy, settings: TrainSettings) -> torch.optim.Optimizer:
    """The chosen optimizer over what is trainable; decay only where `GoalPolicy.parameter_groups` says."""
    return new_optimizer(settings.optimizer, policy.parameter_groups(settings.weight_decay), settings.learning_rate)


class Stepper:
    """Forward, backward and optimizer step over a piece.

    Args:
        policy: the network, on the ranks' device.
        precision: torch.bfloat16 runs the network under autocast.
        reference: the starting policy, where the settings pull towards its actions.
        anchor: the starting weights, where they pull towards those.
        average: takes the weights into its mean after each step.
        guard: the running means that spikes are judged by.
    """

    def __init__(
        self,
        policy: GoalPolicy,
        optimizer: torch.optim.Optimizer,
        settings: TrainSettings,
        ranks: Ranks,
        precision: torch.dtype,
        *,
        reference: GoalPolicy | None = None,
        anchor: Anchor | None = None,
        average: Average | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._policy, self._optimizer, self._ranks = policy, optimizer, ranks
        self._precision, self._anchor, self._average = precision, anchor, average
        self.guard = guard or Guard(settings, ranks.device)
        self._trunc_t = settings.trunc_t
        # The threshold is published for a loss summed over the chunk; ours is its mean.
        self._limit = settings.max_grad_norm / settings.trunc_t if settings.max_grad_norm else float("inf")
        self._trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._loss = LossModule(
            policy,
            settings.turn_loss_weight,
            reference,
            settings.kl_coef,
            activation_checkpointing=settings.activation_checkpointing,
        )
        self.measures = (*self._loss.measures, "l2sp") if anchor is not None else self._loss.measures
        """Names of what a step measures."""
        self._shared: DistributedDataParallel | None = None
        if ranks.world > 1:  # the buffers are constants
            self._shared = DistributedDataParallel(self._loss, forward_sync_buffers=False, gradient_as_bucket_view=True)
        module: nn.Module = self._shared or self._loss
        self._module = torch.compile(module) if settings.compile else module

    def initial_states(self, piece: Piece) -> list[PolicyState]:
        """Fresh states, one a micro-batch."""
        return [self._loss.initial_state(len(part["first"])) for part in piece.parts]

    def step(self, piece: Piece, states: list[PolicyState], rate: float, number: int = 1) -> Outcome:
        """One optimizer step, the run's `number`-th, at learning rate `rate`; a skipped one changes nothing and forgets the states."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        count = len(piece.parts)
        after: list[PolicyState] = []
        total = torch.zeros(len(self._loss.measures), device=self._ranks.device)
        for index, (part, state) in enumerate(zip(piece.parts, states)):
            with self._gradients_stay_here(index < count - 1):
                with autocast(self._ranks.device, self._precision):
                    found = self._module(part, state)
                (found.loss / count).backward()
            after.append(found.state.detach())
            total += found.measures / count
        if self._anchor is not None:
            total = torch.cat([total, self._anchor.pull().reshape(1)])
        norm = nn.utils.clip_grad_norm_(self._trained, self._limit)
        # Means over the processes: the same numbers everywhere, hence the same decision; one that is not finite makes its mean so.
        loss, shared_norm = self._ranks.mean(torch.stack([total[0], norm.float()]))
        finite = torch.isfinite(loss) & torch.isfinite(shared_norm)
        spike = finite & self.guard.spikes(loss, shared_norm)
        bad = ~finite | spike
        self._apply(bad)
        self.guard.remember(loss, shared_norm, bad)
        if self._average is not None:
            self._average.update(number, bad)
        return Outcome(
            states=[self._forget_where(bad, state) for state in after],
            measures=torch.where(bad, torch.zeros_like(total), total),
            gradient_norm=torch.where(bad, torch.zeros_like(norm), norm.detach() * self._trunc_t),
            bad=bad,
            spike=spike,
        )

    def _gradients_stay_here(self, yes: bool) -> Any:
        """Processes exchange gradients only once a step, after the last micro-batch."""
        if yes and self._shared is not None:  # also where what is called is its compiled form
            return self._shared.no_sync()
        return contextlib.nullcontext()

    def _apply(self, bad: torch.Tensor) -> None:
        # Fused optimizers take this flag, as GradScaler sets it, and leave weights and moments alone where it is 1.
        optimizer: Any = self._optimizer
        optimizer.found_inf = bad.to(torch.float32)
        optimizer.grad_scale = None
        optimizer.step()

    def _forget_where(self, bad: torch.Tensor, state: PolicyState) -> PolicyState:
        # A non-finite chunk leaves non-finite keys behind, which a mask alone would not keep out of a product.
        return PolicyState(
            tuple(torch.where(bad, torch.zeros_like(old), old) for old in state.keys),
            tuple(torch.where(bad, torch.zeros_like(old), old) for old in state.values),
            torch.where(bad, torch.zeros_like(state.mask), state.mask),
        )


def autocast(device: torch.device, precision: torch.dtype) -> Any:
    """The context that a forward pass runs in."""
    if precision == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=precision)
