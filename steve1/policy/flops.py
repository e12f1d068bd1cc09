"""Arithmetic that the network needs for one frame: convolutions and matrix products, a multiply-add counted as two."""

from __future__ import annotations

import dataclasses

from steve1.actions import N_BUTTONS, N_CAMERA
from steve1.policy.config import PolicyConfig


@dataclasses.dataclass(frozen=True)
class FlopCount:
    """FLOP of one frame's forward pass, by part."""

    cnn: float
    """Convolutions and the dense layer: what a cache of features saves."""
    blocks: float
    rest: float
    """Goal, last layers and heads."""
    first: float
    """The first convolution, whose input needs no gradient; part of `cnn`."""
    pooled: float
    """The convolution before each stack's pool, three in all; part of `cnn`."""

    @property
    def forward(self) -> float:
        """All of it."""
        return self.cnn + self.blocks + self.rest

    @property
    def train(self) -> float:
        """Forward and backward."""
        return 3 * self.forward - self.first


def flop_count(config: PolicyConfig, steps: int = 1) -> FlopCount:
    """FLOP of a frame in chunks of `steps`."""
    height, width, channels = config.img_shape
    first = cnn = pooled = 0.0
    for out, stack_height, stack_width in config.stack_shapes:
        conv = 2.0 * 9 * channels * out * height * width
        first = first or conv
        pooled += conv
        height, width, channels = stack_height, stack_width, out
        cnn += conv + 4 * 2.0 * 9 * out * out * height * width
    cnn += 2.0 * 256 * channels * height * width
    size = config.hidsize
    seen = config.memory if steps == 1 else config.memory + steps
    relative = size * 10 * config.attention_heads + 10 * config.attention_heads * config.memory
    block = (4 + 2 * config.pointwise_ratio) * size * size + relative + 2 * seen * size
    rest = 2.0 * size * (256 + config.mineclip_embed_dim + size + N_BUTTONS + N_CAMERA)
    return FlopCount(cnn, 2.0 * config.n_recurrence_layers * block, rest, first, pooled)
