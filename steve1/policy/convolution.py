"""Norm, convolution, ReLU and pooling of frames, in the forms that measured fastest.

Input: activations (N, C, h, w), channels last in memory, and parameters. Output: the next activations in the same layout.
On a CPU with a compiler norms, pools and their gradients are those of kernels.py. ReLU comes after the pool (the same result, on a
quarter of the numbers). Without gradients, convolution and ReLU are one pass and the pool keeps no indices.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from steve1.policy import kernels
from steve1.policy.kernels import EPSILON

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
    normal: Tensor
    if kernels.usable(x):
        normal = _KernelNorm.apply(x, gain, shift) if torch.is_grad_enabled() else kernels.norm(x, gain, shift)[0]
        return normal
    channels, kind = x.shape[1], x.device.type
    if kind not in ("cpu", "cuda"):
        return F.group_norm(x, 1, gain, shift, EPSILON)
    with torch.autocast(kind, enabled=False):
        if kind == "cpu" and channels % LANES == 0:
            normal = _FrameNorm.apply(x, gain, shift)
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
        found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_group_norm_backward(
            up,
            x,
            mean,
            scale,
            gain,
            *sizes,
            1,
            [True] * 3,  # it crashes where some of them are not wanted
        )
        return found


class _KernelNorm(torch.autograd.Function):
    """The norm by kernels.py, with gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        out, stats = kernels.norm(x, gain, shift)
        ctx.save_for_backward(x, gain, stats)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, gain, stats = ctx.saved_tensors
        return kernels.norm_backward(grad, x, gain, stats)


def conv_relu(x: Tensor, weight: Tensor) -> Tensor:
    """relu(conv3x3(x)), without gradients in one pass: (N, C_in, h, w) → (N, C_out, h, w)."""
    dtype = working_dtype(x)
    if torch.is_grad_enabled() or x.device.type != "cpu" or dtype not in FUSED_DTYPES:
        return F.relu_(F.conv2d(x, weight, padding=1))
    ones = [1, 1]
    # also because the general entry would choose a slow path for a single small frame
    return torch.ops.mkldnn._convolution_pointwise(
        x.to(dtype), weight.to(dtype), None, ones, ones, ones, 1, "relu", [], ""
    )


def norm_conv_relu(x: Tensor, gain: Tensor, shift: Tensor, weight: Tensor) -> Tensor:
    """relu(conv3x3(frame_norm(x))): (N, C_in, h, w) → (N, C_out, h, w)."""
    return conv_relu(frame_norm(x, gain, shift), weight)


class _NormConv(torch.autograd.Function):
    """conv3x3(frame_norm(x)) that keeps x alone: the norm is computed again for the gradients, which gives the same numbers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, gain, shift, weight)
        ctx.dtype, ctx.lower = working_dtype(x), torch.is_autocast_enabled(x.device.type)
        return F.conv2d(frame_norm(x, gain, shift).to(ctx.dtype), weight.to(ctx.dtype), padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, shift, weight = ctx.saved_tensors
        inputs = [each.detach().requires_grad_() for each in (x, gain, shift)]
        with torch.enable_grad(), torch.autocast(x.device.type, ctx.dtype, enabled=ctx.lower):
            normal = frame_norm(*inputs)
        seen = normal.detach().to(ctx.dtype)
        d_normal, d_weight = _conv_backward(grad, seen, weight, ctx.needs_input_grad[3])
        del seen
        d_x, d_gain, d_shift = torch.autograd.grad(normal, inputs, d_normal.to(normal.dtype))
        return d_x, d_gain, d_shift, d_weight


def residual(x: Tensor, *parameters: Tensor, light: bool = False) -> Tensor:
    """x + twice norm_conv_relu of it, of the same shape; parameters: gain, shift and weight of each.

    light: compute the normalised inputs again for the gradients in place of keeping them. A compiled run decides for itself.
    """
    if torch.is_grad_enabled() and kernels.usable(x) and working_dtype(x) == x.dtype:
        out: Tensor = _Residual.apply(x, light, *parameters)
        return out
    if light and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        y = F.relu_(_NormConv.apply(F.relu_(_NormConv.apply(x, *parameters[:3])), *parameters[3:]))
    else:
        y = norm_conv_relu(norm_conv_relu(x, *parameters[:3]), *parameters[3:])
    return x + y if torch.is_grad_enabled() else y.add_(x)


class _Residual(torch.autograd.Function):
    """A residual block by kernels.py: what its gradients need passes memory as seldom as can be."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, light: bool, *parameters: Tensor) -> Tensor:
        saved, y, ctx.light = [x], x, light
        for gain, shift, weight in (parameters[:3], parameters[3:]):
            normal, stats = kernels.norm(y, gain, shift)
            y = conv_relu(normal, weight).contiguous(memory_format=torch.channels_last)
            saved += [shift if light else normal, stats, y, gain, weight]
        ctx.save_for_backward(*saved)
        return kernels.add(x, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, kept0, stats0, y0, gain0, weight0, kept1, stats1, y1, gain1, weight1 = ctx.saved_tensors
        need = ctx.needs_input_grad
        normal1 = kernels.norm(y0, gain1, kept1)[0] if ctx.light else kept1
        d1, d_weight1 = _conv_backward(kernels.relu_backward(grad, y1), normal1, weight1, need[7])
        d1, d_gain1, d_shift1 = kernels.norm_backward(d1, y0, gain1, stats1, relu=True)
        normal0 = kernels.norm(x, gain0, kept0)[0] if ctx.light else kept0
        d0, d_weight0 = _conv_backward(d1, normal0, weight0, need[4])
        d0, d_gain0, d_shift0 = kernels.norm_backward(d0, x, gain0, stats0, plus=grad)
        return d0, None, d_gain0, d_shift0, d_weight0, d_gain1, d_shift1, d_weight1


def _conv_backward(grad: Tensor, x: Tensor, weight: Tensor, weight_too: bool) -> tuple[Tensor, Tensor | None]:
    """Gradients of a convolution's input and, if wanted, of its weights in their own precision."""
    ones = [1, 1]
    d_x, d_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight.to(x.dtype), None, ones, ones, ones, False, [0, 0], 1, [True, weight_too, False]
    )
    return d_x, d_weight.to(weight.dtype) if weight_too else None


def conv_pool_relu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """relu(maxpool(conv3x3(x))), pool 3, stride 2, pad 1: (N, C_in, h, w) → (N, C_out, ceil(h / 2), ceil(w / 2))."""
    x = F.conv2d(x, weight, bias, padding=1)
    if torch.is_grad_enabled() and kernels.usable(x):
        out: Tensor = _PoolRelu.apply(x)
        return out
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return F.relu_(F.max_pool2d(x, 3, 2, 1))
    return pool_relu(x)


class _PoolRelu(torch.autograd.Function):
    """Max-pool and ReLU by kernels.py, with gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out, which = kernels.pool_relu(x, differentiable=True)
        ctx.save_for_backward(which)
        ctx.size = x.shape[2:]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return kernels.pool_relu_backward(grad, *ctx.saved_tensors, *ctx.size)


def pool_relu(x: Tensor) -> Tensor:
    """relu(maxpool(x)) on a CPU, pool 3, stride 2, pad 1; without gradients."""
    if kernels.usable(x):
        return kernels.pool_relu(x, differentiable=False)[0]
    count, channels, height, width = x.shape
    if height % 2 or width % 2 or not x.is_contiguous(memory_format=torch.channels_last):
        return F.relu_(F.max_pool2d(x, 3, 2, 1))
    # without indices: over rows first, in long runs, then over columns
    rows = x.permute(0, 2, 3, 1).reshape(count, height // 2, 2, width * channels)
    tall = torch.maximum(rows[:, :, 0], rows[:, :, 1])
    torch.maximum(tall[:, 1:], rows[:, :-1, 1], out=tall[:, 1:])
    columns = tall.view(count, height // 2, width // 2, 2, channels)
    wide = torch.maximum(columns[..., 0, :], columns[..., 1, :])
    torch.maximum(wide[:, :, 1:], columns[:, :, :-1, 1], out=wide[:, :, 1:])
    return F.relu_(wide.permute(0, 3, 1, 2))
