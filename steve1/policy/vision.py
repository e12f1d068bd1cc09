"""The image encoder: three residual stacks (IMPALA) and two dense layers.

Input: RGB frames u8 (N, 128, 128, 3). Output: features (N, H). Frames do not influence one another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from steve1.policy import kernels
from steve1.policy.config import PolicyConfig
from steve1.policy.convolution import conv_pool_relu, frame_norm, residual, working_dtype

DENSE = 256  # size of the dense layer's output
# Frames that go through the convolutions at a time. On a CPU, where nothing was measured (`core.tuning`), as few as keep the largest layer's
# activations in the cache: 8 frames of 16 channels (8 MB).
CPU_CHANNELS = 128
ActivationCheckpointing = Literal["none", "light", "full"]
"""What the backward pass computes again in place of keeping it. light: the convolutions before the pools, and the residual blocks'
normalised inputs; full: all convolutions. Also in training/config.py, which imports no torch."""
# On a GPU: numbers that the first convolution gives in one pass, which bounds the memory. With gradients well below 2^31, from where on
# the kernels' 32-bit offsets end; at 2x these are 512, 32 and 128 frames.
GPU_NUMBERS = {"none": 2**30, "light": 2**30, "full": 2**26}
GPU_NUMBERS_WITHOUT_GRADIENTS = 2**28


class NormConv(nn.Module):
    """Norm over the whole frame (one group), 3x3 convolution, ReLU; without a norm the convolution has a bias instead."""

    def __init__(self, channels_in: int, channels_out: int, norm: bool = True) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels_in) if norm else None
        self.layer = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=not norm)

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """The norm's gain and shift, and the convolution's weight."""
        assert self.norm is not None, "the very first layer has no norm; it is called through `pooled`"
        return self.norm.weight, self.norm.bias, self.layer.weight

    def pooled(self, x: Tensor, again: bool = False) -> Tensor:
        """The same, and max-pool by two: (N, C_in, h, w) → (N, C_out, ceil(h / 2), ceil(w / 2)).

        again: compute it again in the backward pass in place of keeping the convolution's output, four times as large as its own.
        """
        if again:
            found: Tensor = checkpoint(self.pooled, x, use_reentrant=False, preserve_rng_state=False)
            return found
        if self.norm is not None:
            x = frame_norm(x, self.norm.weight, self.norm.bias)
        return conv_pool_relu(x, self.layer.weight, self.layer.bias)


class ResidualBlock(nn.Module):
    """x + conv1(conv0(x))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = NormConv(channels, channels)
        self.conv1 = NormConv(channels, channels)

    def forward(self, x: Tensor, light: bool = False) -> Tensor:
        """(N, C, h, w) → the same shape."""
        return residual(x, *self.conv0.parts, *self.conv1.parts, light=light)


class Stack(nn.Module):
    """Convolution, max-pool by two, norm, two residual blocks."""

    def __init__(self, channels_in: int, channels: int, norm_first: bool) -> None:
        super().__init__()
        self.firstconv = NormConv(channels_in, channels, norm=norm_first)
        self.n = nn.GroupNorm(1, channels)
        self.blocks = nn.ModuleList([ResidualBlock(channels), ResidualBlock(channels)])

    @property
    def residuals(self) -> list[ResidualBlock]:
        """The residual blocks in order, with their type."""
        return cast("list[ResidualBlock]", list(self.blocks))

    def forward(self, x: Tensor, light: bool = False) -> Tensor:
        """(N, C_in, h, w) → (N, C, ceil(h / 2), ceil(w / 2))."""
        x = frame_norm(self.firstconv.pooled(x, again=light), self.n.weight, self.n.bias)
        for block in self.blocks:
            x = block(x, light)
        return x


class NormLinear(nn.Module):
    """LayerNorm, linear without bias, ReLU."""

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size_in)
        self.layer = nn.Linear(size_in, size_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size_in) → (..., size_out)."""
        return self.layer(self.norm(x)).relu()


class ImpalaCNN(nn.Module):
    """Three stacks, then norm and a linear layer to 256 over the flattened (C, h, w)."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        widths = pairwise([config.img_shape[2], *config.channels])
        self.stacks = nn.ModuleList(
            [Stack(*pair, norm_first=number > 0 or config.norm_first) for number, pair in enumerate(widths)]
        )
        self.dense = NormLinear(math.prod(config.stack_shapes[-1]), DENSE)

    @property
    def layers(self) -> list[Stack]:
        """The stacks in order, with their type."""
        return cast("list[Stack]", list(self.stacks))

    def stacked(self, x: Tensor, light: bool = False) -> Tensor:
        """(N, 3, 128, 128) float in 0..1 → (N, C, 16, 16)."""
        for stack in self.stacks:
            x = stack(x, light)
        return x


class ImageEncoder(nn.Module):
    """Frames to features of the recurrent layers' width."""

    dense_size = DENSE

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.cnn = ImpalaCNN(config)
        self.linear = NormLinear(DENSE, config.hidsize)
        self._sizes = config.sizes
        self._first_numbers = config.channels[0] * config.img_shape[0] * config.img_shape[1]
        self.plain_frames = max(1, CPU_CHANNELS // config.channels[0])
        self.frames_at_once = self.plain_frames
        """Frames that go through the convolutions together on a CPU: speed and rounding depend on it."""

    @property
    def described(self) -> str:
        """What the time of a frame on a CPU depends on."""
        return f"{self._sizes}, {'compiled' if kernels.library() else 'plain'}"

    @property
    def cnn_is_frozen(self) -> bool:
        """Whether no weight up to the dense layer is trained, so that a frame's dense features never change."""
        return not any(parameter.requires_grad for parameter in self.cnn.parameters())

    def dense(self, frames: Tensor, activation_checkpointing: ActivationCheckpointing = "none") -> Tensor:
        """RGB u8 (N, 128, 128, 3) → output of the dense layer (N, 256); without history where everything up to it is frozen.

        activation_checkpointing: what the backward pass computes again in place of keeping it.
        """
        if torch.is_grad_enabled() and self.cnn_is_frozen:
            with torch.no_grad():
                return self.dense(frames)
        again = activation_checkpointing if torch.is_grad_enabled() else "none"
        dtype = working_dtype(self.linear.layer.weight)
        parts = []
        for part in self._passes(frames, again):
            pixels = part.permute(0, 3, 1, 2).to(dtype).mul_(1.0 / 255.0)  # channels-last in memory, as the frames come
            if again == "full":
                parts.append(checkpoint(self.cnn.stacked, pixels, use_reentrant=False, preserve_rng_state=False))
            else:
                parts.append(self.cnn.stacked(pixels, light=again == "light"))
        return self.cnn.dense(torch.cat(parts).flatten(1) if len(parts) > 1 else parts[0].flatten(1))

    def _passes(self, frames: Tensor, again: ActivationCheckpointing) -> Sequence[Tensor]:
        """The frames as they go through the convolutions together; on a GPU in passes of nearly the same size, each of which cuDNN chooses kernels for."""
        if frames.device.type == "cpu":
            return frames.split(self.frames_at_once)
        numbers = GPU_NUMBERS[again] if torch.is_grad_enabled() else GPU_NUMBERS_WITHOUT_GRADIENTS
        if (
            not self.training
        ):  # a validation holds the states of three goals beside, and must not need more than training
            numbers = min(numbers, GPU_NUMBERS_WITHOUT_GRADIENTS // 2)
        most = max(1, numbers // self._first_numbers)
        return frames.tensor_split(max(1, -(-len(frames) // most)))

    def forward(self, frames: Tensor, activation_checkpointing: ActivationCheckpointing = "none") -> Tensor:
        """RGB u8 (N, 128, 128, 3) → (N, H)."""
        return self.linear(self.dense(frames, activation_checkpointing))

    def from_dense(self, features: Tensor) -> Tensor:
        """The same from what `dense` made of the frames and a cache kept: float (..., 256) → (..., H)."""
        return self.linear(features.to(working_dtype(self.linear.layer.weight)))
