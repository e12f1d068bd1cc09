"""Norm, convolution, ReLU and pooling of frames, in the forms that measured fastest.

Input: activations (N, C, h, w), channels last in memory, and parameters. Output: the next activations in the same layout.
ReLU comes after the pool (the same result, on a quarter of the numbers). Without gradients, convolution and ReLU are one pass
and the pool keeps no indices.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

EPSILON = 1e-5
LANES = 16  # float32 numbers in the widest vector registers
# convolution and ReLU in one pass, where this build of torch has it
FUSED_RELU = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
# and the precisions that it takes on this processor: bfloat16 wants AVX-512 or its like
FUSED_DTYPES = {torch.float32} if FUSED_RELU else set()
if FUSED_RELU and torch.ops.mkldnn._is_mkldnn_bf16_supported():
    FUSED_DTYPES.add(torch.bfloat16)


def working_dtype(x: Tensor) -> torch.dtype:
    """The precision for convolutions: autocast's where it is on, else the input's."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def without_autocast(kind: str) -> contextlib.AbstractContextManager[object]:
    """Turns autocast off on this kind of device; where it is off already, without torch's context, which costs a single step 1 %."""
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else contextlib.nullcontext()


def frame_norm(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """GroupNorm with one group: each frame (C, h, w) to mean 0 and variance 1, then gain and shift (C,) per channel."""
    channels, kind = x.shape[1], x.device.type
    if kind not in ("cpu", "cuda"):
        return F.group_norm(x, 1, gain, shift, EPSILON)
    with torch.autocast(kind, enabled=False):
        if kind == "cpu" and channels % LANES == 0:
            normal: Tensor = _FrameNorm.apply(x, gain, shift)
            return normal
        rows, wide_gain, wide_shift = as_rows(x, gain, shift)
        rows = F.layer_norm(rows, rows.shape[1:], wide_gain, wide_shift, EPSILON)
        return rows.unflatten(1, (x.shape[2], x.shape[3], channels)).permute(0, 3, 1, 2)


def as_rows(x: Tensor, gain: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each frame as a row (N, h·w·C), gain and shift repeated to its length: a layer norm of these is the norm over the frame.

    torch's own group norm takes the variance as the mean of squares less the square of the mean, which on a CPU costs four digits where
    the mean is some times the spread, and it is slow for few channels; on CUDA it would first copy the frames to another layout.
    """
    dtype = x.dtype if x.device.type == "cuda" else gain.dtype  # CUDA wants the frames' own
    wide_gain, wide_shift = (each.to(dtype).expand(x.shape[2] * x.shape[3], -1).flatten() for each in (gain, shift))
    return x.permute(0, 2, 3, 1).flatten(1), wide_gain, wide_shift


class _FrameNorm(torch.autograd.Function):
    """The layer norm of `as_rows`; its gradients by group norm's formula, which sums over the frame without wide gains."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        rows, wide_gain, wide_shift = as_rows(x, gain, shift)
        rows, mean, scale = torch.native_layer_norm(rows, rows.shape[1:], wide_gain, wide_shift, EPSILON)
        ctx.save_for_backward(x, mean, scale, gain)
        return rows.unflatten(1, (x.shape[2], x.shape[3], x.shape[1])).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, up: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, mean, scale, gain = ctx.saved_tensors
        sizes = (len(x), x.shape[1], x.shape[2] * x.shape[3])
        up = up.contiguous(memory_format=torch.channels_last)  # the kernel takes it for as x lies in memory
        needed = list(ctx.needs_input_grad)
        found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_group_norm_backward(
            up, x, mean, scale, gain, *sizes, 1, needed
        )
        return found


def norm_conv_relu(x: Tensor, gain: Tensor, shift: Tensor, weight: Tensor) -> Tensor:
    """relu(conv3x3(frame_norm(x))): (N, C_in, h, w) → (N, C_out, h, w)."""
    normal = frame_norm(x, gain, shift)
    dtype = working_dtype(normal)
    if torch.is_grad_enabled() or x.device.type != "cpu" or dtype not in FUSED_DTYPES:
        return F.relu_(F.conv2d(normal, weight, padding=1))
    ones = [1, 1]
    # also because the general entry would choose a slow path for a single small frame
    return torch.ops.mkldnn._convolution_pointwise(
        normal.to(dtype), weight.to(dtype), None, ones, ones, ones, 1, "relu", [], ""
    )


def conv_pool_relu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """relu(maxpool(conv3x3(x))), pool 3, stride 2, pad 1: (N, C_in, h, w) → (N, C_out, ceil(h / 2), ceil(w / 2))."""
    x = F.conv2d(x, weight, bias, padding=1)
    if x.device.type == "cpu" and not torch.is_grad_enabled():
        return F.relu_(pooled(x))
    return F.relu_(F.max_pool2d(x, 3, 2, 1))


def pooled(x: Tensor) -> Tensor:
    """Max-pool 3, stride 2, pad 1 without indices: over rows first, in long runs, then over columns."""
    count, channels, height, width = x.shape
    if height % 2 or width % 2 or not x.is_contiguous(memory_format=torch.channels_last):
        return F.max_pool2d(x, 3, 2, 1)
    rows = x.permute(0, 2, 3, 1).reshape(count, height // 2, 2, width * channels)
    tall = torch.maximum(rows[:, :, 0], rows[:, :, 1])
    torch.maximum(tall[:, 1:], rows[:, :-1, 1], out=tall[:, 1:])
    columns = tall.view(count, height // 2, width // 2, 2, channels)
    wide = torch.maximum(columns[..., 0, :], columns[..., 1, :])
    torch.maximum(wide[:, :, 1:], columns[:, :, :-1, 1], out=wide[:, :, 1:])
    return wide.permute(0, 3, 1, 2)
