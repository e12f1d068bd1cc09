"""One optimizer step: forward, backward, clipping, and the decision whether to skip it, which is made on the device."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from steve1.core.device import autocast
from steve1.core.tuning import Choice
from steve1.policy import GoalPolicy, PolicyState
from steve1.policy.parameters import step_unless
from steve1.training.batches import Batch, TbpttChunk
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.objectives import LossModule, objectives_for
from steve1.training.optim.optimizers import make_optimizer
from steve1.training.optim.regularizers import EMA, L2SP
from steve1.training.optim.spike_filter import SpikeFilter


@dataclasses.dataclass(frozen=True)
class StepOutput:
    """A step's results; all tensors stay on the device."""

    states: list[PolicyState]
    """One a micro-batch, without history, ready for the next chunk."""
    measures: torch.Tensor
    """(len(Stepper.measures),) f32, means over this process's frames; zeros where the step was skipped or nothing was measured."""
    measured: torch.Tensor
    """(len(Stepper.measures),) bool: whether this process had frames that count for it."""
    gradient_norm: torch.Tensor
    """In the published unit: of a loss summed over TRUNC_T frames; before clipping; 0 where skipped."""
    skipped: torch.Tensor
    """bool scalar, the same on all processes: no weight was changed."""
    spike: torch.Tensor
    """bool scalar: skipped although finite, because loss or gradient lay far above their running means."""
    idle: torch.Tensor
    """bool scalar, the same on all processes: all frames are context and none is imitated, so that no weight was changed."""


class Stepper:
    """Forward, backward and optimizer step over a chunk.

    The reference of KL and L2-SP and the beginning of EMA are the policy as it is now: make it before a resume point replaces the starting
    weights.

    Args:
        policy: the network, on the ranks' device.
        precision: torch.bfloat16 runs the network under autocast.
        optimizer: in place of the settings' own.
    """

    def __init__(
        self,
        policy: GoalPolicy,
        settings: TrainSettings,
        ranks: Ranks,
        precision: torch.dtype,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self._ranks, self._precision = ranks, precision
        self.optimizer = optimizer or make_optimizer(policy, settings)
        self.spike_filter = SpikeFilter(settings, ranks.device)
        self.ema = EMA(policy, settings.ema_decay) if settings.ema_decay > 0 else None
        self._l2sp = L2SP(policy, settings.l2sp_coef) if settings.l2sp_coef > 0 else None
        self._trunc_t = settings.trunc_t
        # The threshold is published for a loss summed over the chunk; ours is its mean.
        self._limit = settings.max_grad_norm / settings.trunc_t if settings.max_grad_norm else float("inf")
        self._trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self._loss = LossModule(policy, objectives_for(policy, settings), settings.activation_checkpointing)
        self.measures = (*self._loss.measures, "l2sp") if self._l2sp is not None else self._loss.measures
        """Names of what a step measures."""
        self._ddp: DistributedDataParallel | None = None
        if ranks.world > 1:  # the buffers are constants
            self._ddp = DistributedDataParallel(self._loss, forward_sync_buffers=False, gradient_as_bucket_view=True)
        module: nn.Module = self._ddp or self._loss
        self._module = torch.compile(module) if settings.compile else module

    def use(self, choice: Choice) -> None:
        """Spread the work over the processor like this from now on."""
        torch.set_num_threads(choice.threads)
        for policy in self._loss.policies():
            policy.net.img_process.frames_at_once = choice.frames

    def attempt(self, batch: Batch, frames: int) -> Callable[[Choice], float]:
        """A piece of a step for `core.tuning`, which changes no weight: the encoder on about `frames` frames, or all of a batch of features."""
        rows, steps = batch["first"].shape
        steps = min(steps, frames)
        rows = min(rows, max(1, frames // steps)) if "frames" in batch else rows
        piece = {name: value[:rows, :steps] for name, value in batch.items()} if "frames" in batch else batch

        def work(choice: Choice) -> float:
            self.use(choice)
            with autocast(self._ranks.device, self._precision):
                loss = self._loss.piece(piece)
            if loss.requires_grad:  # no gradient is kept, and none of DDP's hooks runs
                torch.autograd.grad(loss, self._trained, allow_unused=True)
            return float(piece["first"].numel())

        return work

    def free_gradients(self) -> None:
        """Give their memory back, for work that needs none; not DDP's, which lie in the buckets that it sends."""
        if self._ddp is None:
            self.optimizer.zero_grad(set_to_none=True)

    def initial_states(self, chunk: TbpttChunk) -> list[PolicyState]:
        """Fresh states, one a micro-batch."""
        return [self._loss.initial_state(len(batch["first"])) for batch in chunk.micro_batches]

    def step(self, chunk: TbpttChunk, states: list[PolicyState], rate: float, number: int = 1) -> StepOutput:
        """One optimizer step, the run's `number`-th, at learning rate `rate`; a skipped one changes no weight and resets the states."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # DDP's gradients are views of the buckets that it sends: let go, they would be copied there each step.
        self.optimizer.zero_grad(set_to_none=self._ddp is None)
        count = len(chunk.micro_batches)
        after: list[PolicyState] = []
        total = torch.zeros(len(self._loss.measures), device=self._ranks.device)
        times = torch.zeros_like(total)  # micro-batches that measured something, by how much they count
        shares = self._shares(chunk)
        for index, (batch, state) in enumerate(zip(chunk.micro_batches, states)):
            share = None if shares is None else shares[index]
            with self._gradient_sync(index == count - 1):
                with autocast(self._ranks.device, self._precision):
                    found = self._module(batch, state, share)
                (found.loss / count).backward()
            after.append(found.state.detach())
            counts = found.measured.float() if share is None else found.measured * self._loss.of_measures(share)
            total += torch.where(found.measured, found.measures * counts, 0.0)
            times += counts
        measured = times > 0
        total = torch.where(measured, total / times, 0.0)
        if self._l2sp is not None:
            total = torch.cat([total, self._l2sp.penalty().reshape(1)])
            measured = torch.cat([measured, torch.ones_like(measured[:1])])
        norm = nn.utils.clip_grad_norm_(self._trained, self._limit)
        # Means over the processes: the same numbers everywhere, hence the same decision.
        known = times[0] / count
        loss, shared_norm, known = self._ranks.mean(torch.stack([total[0] * known, norm.float(), known]))
        loss = torch.where(known > 0, loss / known, loss)  # of those that have frames to imitate
        finite = torch.isfinite(loss) & torch.isfinite(shared_norm)
        spike = finite & self.spike_filter.spikes(loss, shared_norm)
        skipped, idle = ~finite | spike, self._idle(chunk)
        unchanged = skipped | idle
        step_unless(unchanged, self.optimizer)
        self.spike_filter.remember(loss, shared_norm, unchanged | (known == 0))
        if self.ema is not None:
            self.ema.update(number, unchanged)
        return StepOutput(
            states=[self._reset_where(skipped, state) for state in after],
            measures=torch.where(unchanged, torch.zeros_like(total), total),
            measured=measured,
            gradient_norm=torch.where(unchanged, torch.zeros_like(norm), norm.detach() * self._trunc_t),
            skipped=skipped,
            spike=spike,
            idle=idle,
        )

    def _shares(self, chunk: TbpttChunk) -> torch.Tensor | None:
        """What each micro-batch's losses are multiplied by, (micro-batches, objectives), 1 on average over all processes; None: 1 each.

        A loss is a mean over the frames of its micro-batch. Where these do not all count alike, a plain mean of such means would give the few that
        count in one micro-batch as much weight as the many in another.
        """
        if len(chunk.micro_batches) == self._ranks.world == 1:
            return None
        found = [self._loss.weights(batch) for batch in chunk.micro_batches]
        if all(weight is None for weights in found for weight in weights):
            return None
        one = torch.ones((), device=self._ranks.device)
        own = torch.stack([torch.stack([one if each is None else each for each in weights]) for weights in found])
        mean = self._ranks.mean(own.mean(0))
        return torch.where(mean > 0, own / mean, torch.ones_like(own))

    def _idle(self, chunk: TbpttChunk) -> torch.Tensor:
        """Whether no process has a frame to imitate: momentum alone must not move the weights."""
        masks = [batch["imitated"].any() for batch in chunk.micro_batches if "imitated" in batch]
        if not masks:
            return torch.zeros((), dtype=torch.bool, device=self._ranks.device)
        return self._ranks.mean(torch.stack(masks).any().float().reshape(1))[0] == 0

    def _gradient_sync(self, last: bool) -> AbstractContextManager[None]:
        """Processes exchange gradients only once a step, after the last micro-batch."""
        return contextlib.nullcontext() if last or self._ddp is None else self._ddp.no_sync()

    def _reset_where(self, skipped: torch.Tensor, state: PolicyState) -> PolicyState:
        # A non-finite chunk leaves non-finite keys behind: masking alone would not keep them out of a product.
        def kept(tensor: torch.Tensor) -> torch.Tensor:
            return torch.where(skipped, torch.zeros_like(tensor), tensor)

        return PolicyState(tuple(map(kept, state.keys)), tuple(map(kept, state.values)), kept(state.mask))
