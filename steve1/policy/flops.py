"""The arithmetic of one frame, counted from a network's settings."""

from __future__ import annotations

import dataclasses

from steve1.actions import N_BUTTONS, N_CAMERA
from steve1.policy.config import PolicyConfig


@dataclasses.dataclass(frozen=True)
class Cost:
    """Arithmetic of one frame, in FLOP (a multiply-add is two)."""

    forward: float
    train: float


def cost(config: PolicyConfig, steps: int = 1) -> Cost:
    """FLOP of a frame: convolutions and matrix products; training is three times that, less the first layer's input gradient."""
    height, width, channels = config.img_shape
    first = flop = 0.0
    for out in config.channels:
        conv = 2.0 * 9 * channels * out * height * width
        first = first or conv
        height, width = (height + 1) // 2, (width + 1) // 2
        flop += conv + 4 * 2.0 * 9 * out * out * height * width
        channels = out
    size = config.hidsize
    flop += 2.0 * 256 * (channels * height * width + size)
    flop += 2.0 * size * config.mineclip_embed_dim
    seen = config.memory if steps == 1 else config.memory + steps
    relative = size * 10 * config.attention_heads + 10 * config.attention_heads * config.memory
    block = (4 + 2 * config.pointwise_ratio) * size * size + relative + 2 * seen * size
    flop += 2.0 * config.n_recurrence_layers * block
    flop += 2.0 * size * (size + N_BUTTONS + N_CAMERA)
    return Cost(flop, 3 * flop - first)
