"""The optimizers: AdamW, and a factored form of it with a quarter of its state.

Both take GradScaler's flag `found_inf`, which skips a step on the device, without waiting for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, assert_never

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from steve1.policy import GoalPolicy
from steve1.policy.parameters import parameter_groups
from steve1.training.config import TrainSettings

OptimizerName = Literal["adamw", "factored"]
BYTES_OF_MOMENTS: dict[str, float] = {"adamw": 8.0, "factored": 2.0}
"""Kept for each trained weight, rows and columns of the factored form (thousandths of it) not counted."""


def make_optimizer(policy: GoalPolicy, settings: TrainSettings) -> torch.optim.Optimizer:
    """The chosen optimizer over the trained parameters, with weight decay as `parameter_groups` says."""
    groups, rate = parameter_groups(policy, settings.weight_decay), settings.learning_rate
    match settings.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, rate, fused=True)
        case "factored":
            return FactoredAdamW(groups, rate)
        case _:
            assert_never(settings.optimizer)


class FactoredAdamW(torch.optim.Optimizer):
    """AdamW with less state: the second moment of a matrix as the means of its rows and columns, the first in bfloat16.

    The second moment of weight (i, j) is row[i] * column[j] / mean(row), as in Adafactor (arXiv 1804.04235, section 3). Tensors of more
    dimensions are flattened to matrices after the first one, vectors keep all of it. Everything else, the learning rate too, is AdamW's.

    Args:
        lr, betas, eps, weight_decay: as torch.optim.AdamW.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.found_inf: Tensor | None = None
        """float32 scalar on the device, 1 where this step is to change nothing."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; returns the closure's result, as torch's optimizers do."""
        answer = None
        if closure is not None:
            with torch.enable_grad():
                answer = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._change(parameter, group)
        return answer

    def _change(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter] or self._begin(parameter)
        gradient = parameter.grad
        assert gradient is not None, "the caller has looked"
        gradient = gradient.float()
        # 0 on a skipped step: neither the means nor the weight move.
        counts = torch.ones((), device=parameter.device)
        if self.found_inf is not None:
            counts = 1.0 - self.found_inf.to(parameter.device)
            gradient = torch.where(counts > 0, gradient, torch.zeros_like(gradient))
        first, second = group["betas"]
        state["step"] += counts
        mean = state["exp_avg"].float().lerp_(gradient, (1.0 - first) * counts)
        state["exp_avg"].copy_(mean)
        spread = self._second_moment(state, gradient.square_(), (1.0 - second) * counts)
        steps = state["step"].clamp(min=1.0)
        spread = (spread / (1.0 - second**steps)).sqrt_().add_(group["eps"])
        rate = group["lr"] * counts
        parameter.mul_(1.0 - rate * group["weight_decay"])
        parameter.sub_(mean.div_(spread).mul_(rate / (1.0 - first**steps)).to(parameter.dtype))

    def _begin(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        state["step"] = torch.zeros((), device=parameter.device)
        state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.bfloat16)
        if parameter.ndim < 2:
            state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.float32)
        else:
            rows, columns = parameter.shape[0], parameter[0].numel()
            state["rows"] = torch.zeros(rows, device=parameter.device)
            state["columns"] = torch.zeros(columns, device=parameter.device)
        return state

    @staticmethod
    def _second_moment(state: dict[str, Tensor], squares: Tensor, share: Tensor) -> Tensor:
        """Move the means by `share` towards these squares of gradients; returns the second moment, shaped like them."""
        if "exp_avg_sq" in state:
            return state["exp_avg_sq"].lerp_(squares, share).clone()
        flat = squares.flatten(1)
        rows = state["rows"].lerp_(flat.mean(1), share)
        columns = state["columns"].lerp_(flat.mean(0), share)
        tiny = torch.finfo(torch.float32).tiny
        return torch.outer(rows / rows.mean().clamp(min=tiny), columns).view_as(squares)
