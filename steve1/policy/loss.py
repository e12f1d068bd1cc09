"""Cross-entropy of a head with tens of thousands of classes' worth of logits, without keeping them.

Comes in: latents, a head's weights and the recorded classes. Goes out: the weighted sum of the losses and figures to log.
Gradients are made during the forward pass, a few hundred rows at a time, so that no full table of log-probabilities exists.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from steve1.policy.heads import Head

ROWS = 1024  # rows of logits held at once: 35 MB of float32 at 8641 classes


class HeadLoss(NamedTuple):
    """Loss (scalar, differentiable) and, without gradient, per-frame figures (N,)."""

    loss: Tensor
    entropy: Tensor
    correct: Tensor


def head_loss(head: Head, latent: Tensor, target: Tensor, weight: Tensor) -> HeadLoss:
    """Sum over rows of weight * -log p(target).

    latent (N, H); target (N,) i64 classes; weight (N,) float32. Logits and log-sum-exp in float32; under autocast the matrix
    products run in its lower precision.
    """
    kind = latent.device.type
    if torch.is_autocast_enabled(kind):
        latent = latent.to(torch.get_autocast_dtype(kind))
    linear = head.linear_layer
    return HeadLoss(
        *_LinearCrossEntropy.apply(latent, linear.weight, linear.bias, target, weight, 1.0 / head.temperature)
    )


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, latent: Tensor, weight: Tensor, bias: Tensor, target: Tensor, row_weight: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        lean = weight.to(latent.dtype)
        need = ctx.needs_input_grad[:3]  # a frozen head needs no gradient of the size of its weights
        loss = torch.zeros((), dtype=torch.float32, device=latent.device)
        entropy, correct = torch.empty_like(row_weight), torch.empty_like(row_weight)
        d_latent = torch.empty_like(latent) if need[0] else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if need[1] else None
        d_bias = torch.zeros_like(bias, dtype=torch.float32) if need[2] else None
        for start in range(0, len(latent), ROWS):
            rows = slice(start, start + ROWS)
            x, labels, weights = latent[rows], target[rows, None], row_weight[rows, None]
            logits = F.linear(x, lean).float()
            logits.add_(bias.float()).mul_(scale)
            top, best = logits.max(dim=1, keepdim=True)
            logits.sub_(top)
            picked = logits.gather(1, labels)
            probability = logits.exp()
            total = probability.sum(1, keepdim=True)
            log_total = total.log()
            loss += ((log_total - picked) * weights).sum()
            with torch.autocast(
                latent.device.type, enabled=False
            ):  # or the sum over all classes would be rounded to bf16
                mean = torch.einsum("nc,nc->n", probability, logits)
            entropy[rows] = (log_total - mean[:, None] / total).squeeze(1)
            correct[rows] = (best == labels).squeeze(1).float()
            if any(need):
                gradient = probability.mul_(weights * scale / total)
                gradient.scatter_add_(1, labels, -scale * weights)
                if d_bias is not None:
                    d_bias += gradient.sum(0)
                gradient = gradient.to(latent.dtype)
                if d_latent is not None:
                    d_latent[rows] = gradient @ lean
                if d_weight is not None:
                    d_weight += gradient.T @ x
        ctx.save_for_backward(
            d_latent,
            None if d_weight is None else d_weight.to(weight.dtype),
            None if d_bias is None else d_bias.to(bias.dtype),
        )
        ctx.mark_non_differentiable(entropy, correct)
        return loss, entropy, correct

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        found = [None if gradient is None else gradient * d_loss.to(gradient.dtype) for gradient in ctx.saved_tensors]
        return (*found, None, None, None)
