"""Attention over a sliding window, with learned relative positions and a carried memory.

Comes in: features (B, T, H), memory rows of keys and values, and who may see whom. Goes out: features and new memory rows.
A step sees at most the last W keys, itself included, none of them from before a `first`.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steve1.policy.config import PolicyConfig
from steve1.policy.vision import NormLinear

N_BASIS = 10  # functions of distance that the relative term is a sum of


def visibility(mask: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Who sees whom in a chunk of T steps behind W memory rows.

    mask: (B, 1, W) bool, real memory rows; first: (B, T) bool, an episode begins at this step.
    Returns visible (B, T, W + T) bool (query, key: memory rows oldest first, then the chunk's steps) and the mask (B, 1, W) after it.
    """
    batch, steps = first.shape
    memory = mask.shape[-1]
    episode = first.long().cumsum(1)  # (B, T): memory belongs to episode 0, the chunk's steps to 0, 1, ...
    of_memory = torch.where(mask[:, 0], 0, -1)
    of_key = torch.cat([of_memory, episode], dim=1)  # (B, W + T)
    distance = (
        torch.arange(steps, device=first.device)[:, None] + memory - torch.arange(memory + steps, device=first.device)
    )
    band = (distance >= 0) & (distance < memory)
    visible = (episode[:, :, None] == of_key[:, None, :]) & band
    last = episode[:, -1:] if steps else torch.zeros((batch, 1), dtype=torch.long, device=first.device)
    return visible, (of_key == last)[:, None, -memory:]


def spread_band(by_distance: Tensor) -> Tensor:
    """Move a term that is stored by distance to where attention wants it: (B, h, T, W) → (B, h, T, W + T).

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
        self.memory = config.memory
        self.q_layer = nn.Linear(size, size)
        self.k_layer = nn.Linear(size, size, bias=False)
        self.v_layer = nn.Linear(size, size, bias=False)
        self.proj_layer = nn.Linear(size, size)
        self.r_layer = nn.Linear(size, N_BASIS * self.heads)
        self.b_nd = nn.Parameter(torch.empty(N_BASIS, self.memory))

    def split(self, x: Tensor) -> Tensor:
        """(B, S, H) → (B, heads, S, e)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def by_distance(self, x: Tensor) -> Tensor:
        """The relative term (B, heads, T, W) in float32, by distance 0..W-1."""
        basis = self.r_layer(x).float().unflatten(-1, (self.heads, N_BASIS)).transpose(1, 2)
        with torch.autocast(x.device.type, enabled=False):
            return basis @ self.b_nd.float()

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, T, H), keys and values (B, W, H), hidden (B, 1, T, W + T) float32 of 0 and -inf → output, new keys, new values."""
        query = self.q_layer(x).float()
        keys = torch.cat([keys, self.k_layer(x).float()], dim=1)
        values = torch.cat([values, self.v_layer(x).float()], dim=1)
        bias = spread_band(self.by_distance(x)) + hidden
        with torch.autocast(x.device.type, enabled=False):  # logits and softmax stay in float32
            heads = F.scaled_dot_product_attention(
                self.split(query),
                self.split(keys),
                self.split(values),
                attn_mask=bias,
                scale=self.heads / query.shape[-1],
            )
        output = self.proj_layer(heads.transpose(1, 2).flatten(2))
        return output, keys[:, -self.memory :], values[:, -self.memory :]


class Relative(nn.Module):
    """Holds the attention under its published name."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.orc_block = WindowAttention(config)


class Block(nn.Module):
    """Norm, attention and a two-layer network, each added to what it read; the first sum starts from the normalised input."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        size, wide = config.hidsize, config.hidsize * config.pointwise_ratio
        self.mlp0 = NormLinear(size, wide)
        self.mlp1 = nn.ModuleDict({"layer": nn.Linear(wide, size)})
        self.pre_r_ln = nn.LayerNorm(size)
        self.r = Relative(config)

    @property
    def attention(self) -> WindowAttention:
        """The block's attention."""
        return self.r.orc_block

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As WindowAttention.forward."""
        y = self.pre_r_ln(x)
        seen, keys, values = self.attention(y, keys, values, hidden)
        return self.pointwise(y + seen), keys, values

    @property
    def mlp1_layer(self) -> nn.Linear:
        """The second layer of the pointwise network."""
        return cast(nn.Linear, self.mlp1["layer"])

    def pointwise(self, y: Tensor) -> Tensor:
        """y + mlp1(relu(mlp0(y)))."""
        return y + self.mlp1_layer(self.mlp0(y))


class RecurrentLayer(nn.Module):
    """The blocks, one after another."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_recurrence_layers)])

    @property
    def layers(self) -> list[Block]:
        """The blocks in order, as what they are."""
        return cast("list[Block]", list(self.blocks))
