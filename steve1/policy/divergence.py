"""Room `training`, how far the trained policy's actions are from the starting policy's, a head at a time.

In: both latents and both heads. Out: KL(start || trained) as a differentiable number. Gradients are made in the forward pass, some
rows at a time, so that no full table of probabilities is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from steve1.policy.heads import Head
from steve1.policy.loss import ROWS


def head_divergence(head: Head, latent: Tensor, other: Head, other_latent: Tensor) -> Tensor:
    """Mean over rows of KL(other || head) in nats: a scalar, differentiable in `head` and `latent` alone.

    latent, other_latent: (N, H). Logits in float32; under autocast the matrix products run in its precision.
    """
    kind = latent.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        latent, other_latent = latent.to(dtype), other_latent.to(dtype)
    own, reference = head.linear_layer, other.linear_layer
    found: Tensor = _Divergence.apply(
        latent,
        own.weight,
        own.bias,
        other_latent.detach(),
        reference.weight.detach(),
        reference.bias.detach(),
        1.0 / head.temperature,
    )
    return found


def _log_probabilities(x: Tensor, weight: Tensor, bias: Tensor, scale: float) -> Tensor:
    return torch.log_softmax((F.linear(x, weight).float() + bias.float()) * scale, dim=1)


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        latent: Tensor,
        weight: Tensor,
        bias: Tensor,
        other: Tensor,
        other_weight: Tensor,
        other_bias: Tensor,
        scale: float,
    ) -> Tensor:
        lean, other_lean = weight.to(latent.dtype), other_weight.to(other.dtype)
        need = ctx.needs_input_grad[:3]
        total = torch.zeros((), dtype=torch.float32, device=latent.device)
        d_latent = torch.empty_like(latent) if need[0] else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if need[1] else None
        d_bias = torch.zeros_like(bias, dtype=torch.float32) if need[2] else None
        for start in range(0, len(latent), ROWS):
            rows = slice(start, start + ROWS)
            own = _log_probabilities(latent[rows], lean, bias, scale)
            wanted = _log_probabilities(other[rows], other_lean, other_bias, scale)
            probability = wanted.exp()
            with torch.autocast(latent.device.type, enabled=False):  # or the sum would be rounded to bf16
                total += torch.einsum("nc,nc->", probability, wanted - own)
            gradient = own.exp().sub_(probability).mul_(scale / len(latent))
            if d_bias is not None:
                d_bias += gradient.sum(0)
            gradient = gradient.to(latent.dtype)
            if d_latent is not None:
                d_latent[rows] = gradient @ lean
            if d_weight is not None:
                d_weight += gradient.T @ latent[rows]
        ctx.save_for_backward(
            d_latent,
            None if d_weight is None else d_weight.to(weight.dtype),
            None if d_bias is None else d_bias.to(bias.dtype),
        )
        return total / len(latent)

    @staticmethod
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        found = [None if gradient is None else gradient * d_total.to(gradient.dtype) for gradient in ctx.saved_tensors]
        return (*found, None, None, None, None)
