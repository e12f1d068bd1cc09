"""Which parameters of a network an optimizer decays, and a step that can be skipped on the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of the trained parameters: decay on tensors of two or more dimensions except `b_nd`, none on the rest."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            (decayed if parameter.ndim >= 2 and not name.endswith("b_nd") else plain).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def step_unless(skipped: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step; where `skipped` (bool scalar on the device) is true, weights and moments stay as they are."""
    flagged: Any = optimizer  # fused optimizers take this flag, as GradScaler sets it
    flagged.found_inf = skipped.to(torch.float32)
    flagged.grad_scale = None
    flagged.step()
