"""The policy laid out for one step at a time, as acting needs it.

Comes in: an encoder and blocks whose weights stay as they are. Goes out: features of single frames (on a CPU) and the blocks' parts before and
after their attention, as the modules themselves give them within rounding. What a general module works out at every call is worked out once: the
order of the convolutions' weights that suits this machine, the norms' gains spread over the frame, the four layers of an attention as one matrix.
A step's weights push everything else out of the cache, Python's own code too, so every call that is saved here costs several times its usual time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steve1.policy.attention import Block
from steve1.policy.convolution import EPSILON, FUSED_RELU, pooled
from steve1.policy.network import GoalPolicy
from steve1.policy.vision import ImageEncoder, NormConv, NormLinear, Stack

SPREAD_BELOW = 32  # channels; with more, group norm itself is as fast and needs no memory
JOINED_BELOW = 1024  # numbers of a state; wider layers wait for their weights alone, and a second copy of those would only need memory
_ONE, _ONES = [1], [1, 1]


def encoder_is_prepared(encoder: ImageEncoder) -> bool:
    """Whether a prepared encoder is right and faster for this one: float32 on a CPU, with oneDNN, without autocast."""
    weight = encoder.linear.layer.weight
    return (
        FUSED_RELU
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


class PreparedNorm:
    """A norm over one frame of C channels and side S: (1, C, S, S) → the same."""

    def __init__(self, norm: nn.GroupNorm, side: int) -> None:
        self.channels = norm.num_channels
        self.gain, self.shift = norm.weight.detach(), norm.bias.detach()
        self.spread = self.channels < SPREAD_BELOW
        if self.spread:
            self.gain, self.shift = (each.expand(side * side, -1).flatten().clone() for each in (self.gain, self.shift))
            # a frame with its channels last, and the same numbers as one row
            self.flat = [len(self.gain)]
            self.shape, self.strides = (
                [1, self.channels, side, side],
                [len(self.gain), 1, side * self.channels, self.channels],
            )

    def __call__(self, x: Tensor) -> Tensor:
        if not self.spread:
            return torch.group_norm(x, 1, self.gain, self.shift, EPSILON)
        x = x.contiguous(
            memory_format=torch.channels_last
        )  # as it is already, but for a convolution that chose another order
        row = torch.layer_norm(x.as_strided(self.flat, _ONE), self.flat, self.gain, self.shift, EPSILON)
        return row.as_strided(self.shape, self.strides)


class PreparedConv:
    """relu(conv3x3(norm(x))) for one frame: (1, C_in, S, S) → (1, C_out, S, S)."""

    def __init__(self, layer: NormConv, side: int) -> None:
        weight = layer.layer.weight.detach()
        self.norm = PreparedNorm(layer.norm, side) if layer.norm is not None else None
        self.bias = None if layer.layer.bias is None else layer.layer.bias.detach()
        self.convolve = torch.ops.mkldnn._convolution_pointwise.default
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(
            weight, _ONES, _ONES, _ONES, 1, [1, weight.shape[1], side, side]
        )

    def __call__(self, x: Tensor) -> Tensor:
        if self.norm is not None:
            x = self.norm(x)
        return self.convolve(x, self.weight, self.bias, _ONES, _ONES, _ONES, 1, "relu", [], "")


@dataclasses.dataclass(frozen=True)
class PreparedStack:
    """A stack of the encoder: convolution, pool, norm, residual blocks of two convolutions each."""

    first: PreparedConv
    norm: PreparedNorm
    blocks: list[tuple[PreparedConv, PreparedConv]]

    @classmethod
    def of(cls, stack: Stack, side: int) -> PreparedStack:
        """Of a stack whose input has this side."""
        half = (side + 1) // 2
        blocks = [(PreparedConv(block.conv0, half), PreparedConv(block.conv1, half)) for block in stack.residuals]
        return cls(PreparedConv(stack.firstconv, side), PreparedNorm(stack.n, half), blocks)

    def __call__(self, x: Tensor) -> Tensor:
        x = self.norm(pooled(self.first(x)))  # the ReLU may come before the pool: the same result
        for before, after in self.blocks:
            x = after(before(x)).add_(x)
        return x


class PreparedLayerNorm:
    """LayerNorm: (..., size) → the same."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self.size, self.gain, self.shift, self.epsilon = (
            [len(norm.weight)],
            norm.weight.detach(),
            norm.bias.detach(),
            norm.eps,
        )

    def __call__(self, x: Tensor) -> Tensor:
        return torch.layer_norm(x, self.size, self.gain, self.shift, self.epsilon)


class PreparedLinear:
    """Linear layer, behind a LayerNorm where it has one: (..., size_in) → (..., size_out)."""

    def __init__(self, weight: Tensor, bias: Tensor | None, norm: nn.LayerNorm | None = None) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self.norm = PreparedLayerNorm(norm) if norm is not None else None

    @classmethod
    def of(cls, layer: nn.Linear | NormLinear) -> PreparedLinear:
        """Of a layer; the ReLU that some have behind them is the caller's."""
        return (
            cls(layer.layer.weight, layer.layer.bias, layer.norm)
            if isinstance(layer, NormLinear)
            else cls(layer.weight, layer.bias)
        )

    @classmethod
    def joined(cls, layers: Sequence[nn.Linear]) -> PreparedLinear:
        """One layer with the outputs of several, one behind the other."""
        weights: list[Tensor] = [layer.weight for layer in layers]
        biases: list[Tensor] = [
            layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias for layer in layers
        ]
        return cls(torch.cat(weights), torch.cat(biases))

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x if self.norm is None else self.norm(x), self.weight, self.bias)


class PreparedEncoder:
    """`ImageEncoder` for single frames."""

    def __init__(self, encoder: ImageEncoder, side: int) -> None:
        self.stacks = []
        for stack in encoder.cnn.layers:
            self.stacks.append(PreparedStack.of(stack, side))
            side = (side + 1) // 2
        self.dense, self.linear = PreparedLinear.of(encoder.cnn.dense), PreparedLinear.of(encoder.linear)

    def __call__(self, frame: Tensor) -> Tensor:
        """RGB u8 (1, 128, 128, 3) → features (1, H) float32."""
        x = frame.permute(0, 3, 1, 2).float().mul_(1.0 / 255.0)
        for stack in self.stacks:
            x = stack(x)
        return self.linear(self.dense(x.flatten(1)).relu_()).relu_()


class PreparedBlock:
    """A recurrent block but for its attention over the memory, which is the caller's: `read` comes before that, `write` after."""

    def __init__(self, block: Block) -> None:
        attention = block.attention
        self.norm = PreparedLayerNorm(block.pre_r_ln)
        layers = [attention.k_layer, attention.v_layer, attention.q_layer, attention.r_layer]
        self.sizes = [layer.out_features for layer in layers]
        self.joined = PreparedLinear.joined(layers) if self.sizes[0] < JOINED_BELOW else None
        self.layers = [] if self.joined else [PreparedLinear.of(layer) for layer in layers]
        self.proj = PreparedLinear.of(attention.proj_layer)
        self.wide, self.narrow = PreparedLinear.of(block.mlp0), PreparedLinear.of(block.mlp1_layer)

    def read(self, x: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """x (R, H) → its norm (R, H); and key, value and query (R, H) and the relative term's coefficients (R, h * 10)."""
        y = self.norm(x)
        return y, self.joined(y).split(self.sizes, 1) if self.joined else [layer(y) for layer in self.layers]

    def write(self, y: Tensor, seen: Tensor) -> Tensor:
        """The norm from `read` and what attention saw (R, H) → the block's output (R, H)."""
        y = y + self.proj(seen)
        return self.narrow(self.wide(y).relu_()).add_(y)


class PreparedPolicy:
    """All of a policy but its heads, for `Agent`; the policy's weights must not change meanwhile. Without gradients."""

    def __init__(self, policy: GoalPolicy) -> None:
        net = policy.net
        self.policy = policy
        self.goal = PreparedLinear.of(net.mineclip_embed_linear)
        self.blocks = [PreparedBlock(block) for block in net.recurrent_layer.layers]
        self.last, self.final = PreparedLinear.of(net.lastlayer), PreparedLayerNorm(net.final_ln)
        self.encoder: PreparedEncoder | None = None

    def encode(self, frame: Tensor) -> Tensor:
        """RGB u8 (1, 128, 128, 3) → features (1, H)."""
        encoder = self.policy.net.img_process
        if not encoder_is_prepared(encoder):
            return self.policy.encode(frame[None])[0]
        if self.encoder is None:
            self.encoder = PreparedEncoder(encoder, self.policy.config.img_shape[0])
        return self.encoder(frame)

    def finish(self, x: Tensor) -> Tensor:
        """What follows the blocks: (R, H) → latent (R, H) float32."""
        return self.final(self.last(x.relu()).relu_()).float()
