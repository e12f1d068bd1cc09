"""Attention over a sliding window, with learned relative positions and a memory of earlier steps.

Input: features (B, T, H) and each block's memory. Output: features (B, T, H) and the keys and values that were seen.
A step sees at most the last W keys, itself included, none of them from before a `first`. Training and acting share these
modules; they differ in the memory: `ChunkMemory` here, a ring buffer (steve1/agent/kv_cache.py) for single steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steve1.policy.config import PolicyConfig
from steve1.policy.convolution import without_autocast
from steve1.policy.vision import NormLinear

N_BASIS = 10  # functions of distance whose weighted sum is the relative term


class Memory(Protocol):
    """One block's earlier keys and values."""

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys and values (B, T, H) of new steps; returns all S that their queries may see, (B, S, H) each."""

    def bias(self, by_distance: Tensor) -> Tensor | None:
        """Relative term by distance (B, heads, T, W) → what is added to the logits (B, heads, T, S): -inf hides a key; None: nothing."""


class ChunkMemory(NamedTuple):
    """The W rows of the carried state (B, W, H), oldest first, in front of a chunk of T steps: S = W + T."""

    keys: Tensor
    values: Tensor
    attn_bias: Tensor
    """(B, 1, T, W + T) float32: 0 where a key is visible, else -inf."""

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """As Memory.append; the state itself does not change."""
        return torch.cat([self.keys, keys], dim=1), torch.cat([self.values, values], dim=1)

    def bias(self, by_distance: Tensor) -> Tensor:
        """As Memory.bias."""
        return rel_shift(by_distance) + self.attn_bias


def attention_mask(mask: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Which keys each step of a chunk sees.

    Args:
        mask: (B, 1, W) bool, True where a memory row is real.
        first: (B, T) bool, True where an episode begins.

    Returns:
        visible (B, T, W + T) bool (keys: memory rows oldest first, then the chunk's steps) and the mask (B, 1, W) after the chunk.
    """
    batch, steps = first.shape
    memory = mask.shape[-1]
    episode = first.long().cumsum(1)  # (B, T): memory belongs to episode 0, the chunk's steps to 0, 1, ...
    of_memory = torch.where(mask[:, 0], 0, -1)
    of_key = torch.cat([of_memory, episode], dim=1)  # (B, W + T)
    steps_at, keys_at = (torch.arange(count, device=first.device) for count in (steps, memory + steps))
    distance = steps_at[:, None] + memory - keys_at
    visible = (episode[:, :, None] == of_key[:, None, :]) & (distance >= 0) & (distance < memory)
    last = episode[:, -1:] if steps else torch.zeros((batch, 1), dtype=torch.long, device=first.device)
    return visible, (of_key == last)[:, None, -memory:]


def rel_shift(by_distance: Tensor) -> Tensor:
    """Relative term by distance (B, heads, T, W) → by key (B, heads, T, W + T).

    Query t and key s (in memory-then-chunk order) are W + t - s apart; keys out of the window get 0 and have to be masked.
    """
    batch, heads, steps, memory = by_distance.shape
    keys = memory + steps
    # Rows one longer than the keys, read again as rows of the keys' length, shift each query's band by one more.
    rows = F.pad(by_distance.flip(-1), (1, steps))
    return rows.reshape(batch, heads, steps * (keys + 1))[..., : steps * keys].view(batch, heads, steps, keys)


class WindowAttention(nn.Module):
    """Multi-head attention with logits q.k / e (e: size of a head) plus a learned term by distance."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        size = config.hidsize
        self.heads = config.attention_heads
        self.q_layer = nn.Linear(size, size)
        self.k_layer = nn.Linear(size, size, bias=False)
        self.v_layer = nn.Linear(size, size, bias=False)
        self.proj_layer = nn.Linear(size, size)
        self.r_layer = nn.Linear(size, N_BASIS * self.heads)
        self.b_nd = nn.Parameter(torch.empty(N_BASIS, config.memory))

    def split(self, x: Tensor) -> Tensor:
        """(B, S, n * heads) → (B, heads, S, n)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def project(self, x: Tensor) -> Sequence[Tensor]:
        """x (B, T, H) → query, key, value (B, T, H) and the relative term's coefficients (B, T, 10 * heads), float32."""
        return [layer(x).float() for layer in (self.q_layer, self.k_layer, self.v_layer, self.r_layer)]

    def forward(self, x: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, T, H) → output (B, T, H), and the keys and values that it saw (B, S, H) float32."""
        query, key, value, basis = self.project(x)
        keys, values = memory.append(key, value)
        with without_autocast(x.device.type):  # logits and softmax stay in float32
            seen = F.scaled_dot_product_attention(
                self.split(query),
                self.split(keys),
                self.split(values),
                attn_mask=memory.bias(self.split(basis) @ self.b_nd.float()),
                scale=self.heads / query.shape[-1],
            )
        return self.proj_layer(seen.transpose(1, 2).flatten(2)), keys, values


class Block(nn.Module):
    """Norm, attention and a two-layer network, each added to its input; the first sum starts from the normalised input."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        size, wide = config.hidsize, config.hidsize * config.pointwise_ratio
        self.mlp0 = NormLinear(size, wide)
        self.mlp1 = nn.ModuleDict({"layer": nn.Linear(wide, size)})
        self.pre_r_ln = nn.LayerNorm(size)
        self.r = nn.ModuleDict({"orc_block": WindowAttention(config)})

    @property
    def attention(self) -> WindowAttention:
        """The attention, under its published name `r.orc_block`."""
        return cast(WindowAttention, self.r["orc_block"])

    @property
    def mlp1_layer(self) -> nn.Linear:
        """The second layer of the two-layer network."""
        return cast(nn.Linear, self.mlp1["layer"])

    def forward(self, x: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """As WindowAttention.forward."""
        y = self.pre_r_ln(x)
        seen, keys, values = self.attention(y, memory)
        y = y + seen
        return y + self.mlp1_layer(self.mlp0(y)), keys, values


class RecurrentLayer(nn.Module):
    """The blocks, one after another."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_recurrence_layers)])

    @property
    def layers(self) -> list[Block]:
        """The blocks in order, with their type."""
        return cast("list[Block]", list(self.blocks))
