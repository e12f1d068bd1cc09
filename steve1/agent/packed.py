"""Parts of the policy in forms that are faster for single steps on a CPU, made once from weights that no longer change.

Convolutions get their weights in oneDNN's layout and norms their gains repeated over the frame, which `ImageEncoder` does at
every call; small networks get their attention's projections as one matrix, and layers without nn.Module's hooks.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steve1.policy import GoalPolicy, kernels
from steve1.policy.attention import WindowAttention
from steve1.policy.convolution import EPSILON, FUSED_RELU, pool_relu
from steve1.policy.vision import ImageEncoder, NormConv

PACKED_BELOW = 1024  # hidsize; wider layers wait for their weights alone, and a second copy of those only needs memory
_ONES = [1, 1]


def can_pack(encoder: ImageEncoder) -> bool:
    """Whether this encoder can be packed: float32 on a CPU with oneDNN."""
    weight = encoder.linear.layer.weight
    return FUSED_RELU and weight.device.type == "cpu" and weight.dtype == torch.float32


class PackedEncoder:
    """As `ImageEncoder` within rounding; the encoder's weights must not change meanwhile."""

    def __init__(self, encoder: ImageEncoder, side: int) -> None:
        dense = (encoder.cnn.dense, encoder.linear)
        self._dense = [
            (layer.norm.weight.shape, layer.norm.weight, layer.norm.bias, layer.layer.weight) for layer in dense
        ]
        self._stacks = []
        for stack in encoder.cnn.layers:
            first, side = _Conv(stack.firstconv, side), (side + 1) // 2
            blocks = [(_Conv(block.conv0, side), _Conv(block.conv1, side)) for block in stack.residuals]
            self._stacks.append((first, _Norm(stack.n, side), blocks))

    def __call__(self, frame: Tensor) -> Tensor:
        """RGB u8 (1, side, side, 3) → features (1, H) float32; without gradients."""
        x = frame.permute(0, 3, 1, 2).float().mul_(1.0 / 255.0)
        for first, norm, blocks in self._stacks:
            x = norm(pool_relu(first(x)))
            for conv0, conv1 in blocks:
                x = conv1(conv0(x)).add_(x)
        x = x.flatten(1)
        for shape, gain, shift, weight in self._dense:
            x = F.linear(torch.layer_norm(x, shape, gain, shift, EPSILON), weight).relu_()
        return x


class _Norm:
    """GroupNorm with one group over one frame, (1, C, side, side) → the same, as a layer norm over the frame's row."""

    def __init__(self, norm: nn.GroupNorm, side: int) -> None:
        channels = norm.num_channels
        self._kernel = kernels.norm_of_one(norm.weight, norm.bias, side)
        self._gain, self._shift = (
            each.detach().expand(side * side, -1).flatten().clone() for each in (norm.weight, norm.bias)
        )
        self._size, self._shape = [len(self._gain)], [1, channels, side, side]
        self._strides = [len(self._gain), 1, side * channels, channels]

    def __call__(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)  # it is, unless a convolution chose another order
        if self._kernel is not None:
            return self._kernel(x)
        row = torch.layer_norm(x.as_strided(self._size, [1]), self._size, self._gain, self._shift, EPSILON)
        return row.as_strided(self._shape, self._strides)


class _Conv:
    """relu(conv3x3(norm(x))) of one frame: (1, C_in, side, side) → (1, C_out, side, side)."""

    def __init__(self, layer: NormConv, side: int) -> None:
        weight, bias = layer.layer.weight.detach(), layer.layer.bias
        self._norm = None if layer.norm is None else _Norm(layer.norm, side)
        self._bias = None if bias is None else bias.detach()
        self._convolve = torch.ops.mkldnn._convolution_pointwise.default
        shape = [1, weight.shape[1], side, side]
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(weight, _ONES, _ONES, _ONES, 1, shape)

    def __call__(self, x: Tensor) -> Tensor:
        if self._norm is not None:
            x = self._norm(x)
        return self._convolve(x, self._weight, self._bias, _ONES, _ONES, _ONES, 1, "relu", [], "")


class FusedAttention(WindowAttention):
    """The attention's four projections as one matrix."""

    def __init__(self, attention: WindowAttention) -> None:
        nn.Module.__init__(self)
        self.heads, self.proj_layer, self.b_nd = attention.heads, attention.proj_layer, attention.b_nd
        layers = (attention.q_layer, attention.k_layer, attention.v_layer, attention.r_layer)
        self._sizes = [layer.out_features for layer in layers]
        self._weight = torch.cat([layer.weight.detach() for layer in layers])
        self._bias = torch.cat(
            [torch.zeros(layer.out_features) if layer.bias is None else layer.bias.detach() for layer in layers]
        )

    def project(self, x: Tensor) -> Sequence[Tensor]:
        """As WindowAttention.project."""
        return F.linear(x, self._weight, self._bias).split(self._sizes, dim=-1)


class DirectLayer(nn.Module):
    """A linear layer or norm whose call is that of the function, without nn.Module's look-ups and hooks."""

    def __init__(self, layer: nn.Linear | nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        if isinstance(layer, nn.Linear):
            self._function = functools.partial(F.linear, weight=layer.weight, bias=layer.bias)
        else:
            self._function = functools.partial(
                torch.layer_norm,
                normalized_shape=layer.normalized_shape,
                weight=layer.weight,
                bias=layer.bias,
                eps=layer.eps,
            )

    def __call__(self, x: Tensor) -> Tensor:
        return self._function(x)


def pack_policy(policy: GoalPolicy) -> GoalPolicy:
    """The policy with fused attention and direct layers if it is small; the copy shares all other weights."""
    if policy.config.hidsize >= PACKED_BELOW:
        return policy
    policy = copy.deepcopy(policy, {id(parameter): parameter for parameter in policy.parameters()})
    for block in policy.net.recurrent_layer.layers:
        block.r["orc_block"] = FusedAttention(block.attention)
    for part in (policy.net.recurrent_layer, policy.net.lastlayer, policy.pi_head):
        for name, layer in list(part.named_modules()):
            if isinstance(layer, nn.Linear | nn.LayerNorm):
                part.set_submodule(name, DirectLayer(layer))
    return policy
