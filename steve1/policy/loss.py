"""Losses of an action head, without keeping a table of all frames' probabilities over thousands of classes.

Input: latents (N, H), a head, and the recorded classes or a reference head. Output: a differentiable loss and figures per frame.
Gradients are made during the forward pass, ROWS frames at a time, so that the full table never exists.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from steve1.policy.heads import ActionHeads, Head

ROWS = 1024  # rows of logits held at once: 35 MB of float32 at 8641 classes


class HeadLoss(NamedTuple):
    """The loss (scalar, differentiable), and of each frame without gradient: its unweighted loss and the entropy in nats (N,)
    float32, the most probable class (N,) i64, and the expectation of `columns` (N, K) float32. On a CPU frames of weight 0 are left out, and their figures are 0."""

    loss: Tensor
    losses: Tensor
    entropy: Tensor
    best: Tensor
    expected: Tensor


def head_loss(
    head: Head, latent: Tensor, target: Tensor, row_weight: Tensor | None = None, columns: Tensor | None = None
) -> HeadLoss:
    """Sum over frames of weight * -log p(target).

    Logits and sums over classes are in float32; under autocast the matrix products run in its lower precision.

    Args:
        latent: (N, H).
        target: (N,) i64, recorded classes.
        row_weight: (N,) float32; None: 1 each.
        columns: (classes, K) float32, numbers whose expectation is wanted; None: K = 0.
    """
    if row_weight is None:
        row_weight = torch.ones(len(latent), device=latent.device)
    return _apply(head, latent, row_weight, target, None, columns)


def head_kl(
    head: Head, latent: Tensor, reference: Head, reference_latent: Tensor, row_weight: Tensor | None = None
) -> Tensor:
    """Sum over frames of weight * KL(reference || head) in nats, differentiable in `head` and `latent` (N, H) alone.

    Args:
        row_weight: (N,) float32; None: 1 / N each.
    """
    if row_weight is None:
        row_weight = torch.full((len(latent),), 1.0 / len(latent), device=latent.device)
    return _apply(head, latent, row_weight, None, (reference, reference_latent), None).loss


def action_kl(
    heads: ActionHeads, latent: Tensor, reference: ActionHeads, reference_latent: Tensor, row_weight: Tensor
) -> Tensor:
    """`head_kl` of the buttons plus that of the camera."""
    buttons = head_kl(heads.buttons, latent, reference.buttons, reference_latent, row_weight)
    return buttons + head_kl(heads.camera, latent, reference.camera, reference_latent, row_weight)


def _apply(
    head: Head,
    latent: Tensor,
    row_weight: Tensor,
    target: Tensor | None,
    reference: tuple[Head, Tensor] | None,
    columns: Tensor | None,
) -> HeadLoss:
    kind = latent.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else latent.dtype
    counts = row_weight.nonzero()[:, 0] if is_at_hand(row_weight) else None
    if counts is not None and len(counts) < len(latent):
        target = None if target is None else target[counts]
        reference = None if reference is None else (reference[0], reference[1][counts])
        found = _apply(head, latent[counts], row_weight[counts], target, reference, columns)
        figures = (row_weight.new_zeros(len(row_weight), *each.shape[1:], dtype=each.dtype) for each in found[1:])
        return HeadLoss(found.loss, *(whole.index_copy(0, counts, each) for whole, each in zip(figures, found[1:])))
    inputs: list[Any] = [latent.to(dtype), head.linear_layer.weight, head.linear_layer.bias]
    others: list[Any] = [None, None, None]
    if reference is not None:
        linear = reference[0].linear_layer
        others = [each.detach() for each in (reference[1].to(dtype), linear.weight, linear.bias)]
    if not torch.is_grad_enabled():
        inputs = [each.detach() for each in inputs]
    with torch.autocast(kind, enabled=False):  # or sums over classes would be rounded to bf16
        return HeadLoss(*_HeadLoss.apply(*inputs, 1.0 / head.temperature, row_weight, target, *others, columns))


def is_at_hand(x: Tensor) -> bool:
    """Whether numbers can be read without waiting for a GPU or leaving a compiled graph."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _softmax(x: Tensor, weight: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities and probabilities (n, classes) float32, and the most probable classes (n,), with two tables in all."""
    logits = F.linear(x, weight).float()
    logits.add_(bias.float()).mul_(scale)
    top, best = logits.max(dim=1, keepdim=True)
    logits.sub_(top)
    p = logits.exp()
    total = p.sum(1, keepdim=True)
    return logits.sub_(total.log()), p.div_(total), best[:, 0]


def _add(total: Tensor | None, part: Tensor) -> Tensor:
    """The sum so far (float32) plus a part of it."""
    return part.float() if total is None else total.add_(part)


def _gradient(total: Tensor | None, of: Tensor) -> Tensor:
    """A sum as the gradient of a parameter; 0 where there was nothing to add."""
    return torch.zeros_like(of) if total is None else total.to(of.dtype)


class _HeadLoss(torch.autograd.Function):
    """sum of row_weight * KL(q || p), where q is `target` alone (then it is the cross-entropy) or the other head's distribution."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        latent: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: float,
        row_weight: Tensor,
        target: Tensor | None,
        other: Tensor | None,
        other_weight: Tensor | None,
        other_bias: Tensor | None,
        columns: Tensor | None,
    ) -> tuple[Tensor, ...]:
        weight_lowp = weight.to(latent.dtype)
        need = ctx.needs_input_grad[:3]  # a frozen head needs no gradient of the size of its weights
        losses, entropy = torch.empty_like(row_weight), torch.empty_like(row_weight)
        best = torch.empty(len(latent), dtype=torch.long, device=latent.device)
        expected = row_weight.new_empty((len(latent), 0 if columns is None else columns.shape[1]))
        d_latent = torch.empty_like(latent) if need[0] else None
        d_weight = d_bias = None
        for start in range(0, len(latent), ROWS):
            rows = slice(start, start + ROWS)
            log_p, p, best[rows] = _softmax(latent[rows], weight_lowp, bias, scale)
            entropy[rows] = -torch.einsum("nc,nc->n", p, log_p)
            if columns is not None:
                expected[rows] = p @ columns
            if target is not None:
                labels = target[rows, None]
                losses[rows] = -log_p.gather(1, labels)[:, 0]
            else:
                assert other is not None and other_weight is not None and other_bias is not None  # noqa: PT018
                log_q, q, _ = _softmax(other[rows], other_weight.to(other.dtype), other_bias, scale)
                losses[rows] = torch.einsum("nc,nc->n", q, log_q.sub_(log_p))
            if not any(need):
                continue
            factor = row_weight[rows, None] * scale
            if target is not None:
                d_logits = p.mul_(factor).scatter_add_(1, labels, -factor)
            else:
                d_logits = p.sub_(q).mul_(factor)
            if need[2]:
                d_bias = _add(d_bias, d_logits.sum(0))
            d_logits = d_logits.to(latent.dtype)
            if d_latent is not None:
                d_latent[rows] = d_logits @ weight_lowp
            if need[1]:
                d_weight = _add(d_weight, d_logits.T @ latent[rows])
        ctx.save_for_backward(
            d_latent,
            _gradient(d_weight, weight) if need[1] else None,
            _gradient(d_bias, bias) if need[2] else None,
        )
        ctx.mark_non_differentiable(losses, entropy, best, expected)
        return losses @ row_weight, losses, entropy, best, expected

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        # The gradient of the weights may be larger than a chunk's logits: no pass over it that changes nothing.
        unchanged = is_at_hand(d_loss) and float(d_loss) == 1.0
        gradients = [
            saved if saved is None or unchanged else saved * d_loss.to(saved.dtype) for saved in ctx.saved_tensors
        ]
        return (*gradients, *[None] * 7)
