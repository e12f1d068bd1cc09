"""Arithmetic that the network needs for one frame: convolutions and matrix products, a multiply-add counted as two."""

from __future__ import annotations

import dataclasses

from steve1.actions import N_BUTTONS, N_CAMERA
from steve1.policy.config import PolicyConfig


@dataclasses.dataclass(frozen=True)
class FlopCount:
    """FLOP of one frame."""

    cnn: float
    """Forward through the convolutions and the dense layer: what cached features save."""
    forward: float
    train: float


def flop_count(config: PolicyConfig, steps: int = 1) -> FlopCount:
    """FLOP of a frame in a chunk of `steps`; training is three times the forward pass, less the first layer's input gradient."""
    height, width, channels = config.img_shape
    first = cnn = 0.0
    for out in config.channels:
        conv = 2.0 * 9 * channels * out * height * width
        first = first or conv
        height, width = (height + 1) // 2, (width + 1) // 2
        cnn += conv + 4 * 2.0 * 9 * out * out * height * width
        channels = out
    size = config.hidsize
    cnn += 2.0 * 256 * channels * height * width
    flop = cnn + 2.0 * size * (256 + config.mineclip_embed_dim)
    seen = config.memory if steps == 1 else config.memory + steps
    relative = size * 10 * config.attention_heads + 10 * config.attention_heads * config.memory
    block = (4 + 2 * config.pointwise_ratio) * size * size + relative + 2 * seen * size
    flop += 2.0 * config.n_recurrence_layers * block
    flop += 2.0 * size * (size + N_BUTTONS + N_CAMERA)
    return FlopCount(cnn, flop, 3 * flop - first)
