"""The temporal encoder: image features of successive frames (N,T,E) → video embeddings (N,E), which are the goals.

The video adapter belongs to the reward head; only scores need it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steve1.mineclip.config import MineCLIPConfig

HEAD_CHANNELS = 64  # whatever E is; E = 64 with 4 heads projects to 256 and back


class TemporalBlock(nn.Module):
    """Pre-norm attention over time without biases, then a gated feed-forward with swish."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * HEAD_CHANNELS
        self.norm_attn = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_k = nn.Linear(dim, inner, bias=False)
        self.to_v = nn.Linear(dim, inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)
        self.norm_ff = nn.LayerNorm(dim)
        self.ff_in = nn.Linear(dim, 8 * dim)
        self.ff_out = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N,T,E) → (N,T,E)."""
        n, length, _ = x.shape
        normed = self.norm_attn(x)
        q, k, v = (
            layer(normed).view(n, length, self.heads, HEAD_CHANNELS).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, -1)
        x = x + self.to_out(mixed)
        hidden, gate = self.ff_in(self.norm_ff(x)).chunk(2, dim=-1)
        return x + self.ff_out(hidden * F.silu(gate))


class TemporalEncoder(nn.Module):
    """Learned positions, `temporal_layers` blocks, a LayerNorm, then the mean over time."""

    def __init__(self, config: MineCLIPConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.scale = dim**-0.5
        # Half the size of the features after scaling: with less, training from nothing hardly sees the order of frames.
        self.pos_emb = nn.Parameter(torch.randn(config.max_frames, dim) * 0.5 * dim**0.5)
        self.blocks = nn.Sequential(*(TemporalBlock(dim, config.temporal_heads) for _ in range(config.temporal_layers)))
        self.norm = nn.LayerNorm(dim)

    def forward(self, features: Tensor, positions: Tensor | None = None) -> Tensor:
        """features: (N,T ≤ max_frames,E) in the order of time → (N,E).

        positions: int64 (N,T), each feature's place in its clip, for clips of which only some frames were encoded.
        """
        rows = self.pos_emb[: features.shape[1]] if positions is None else self.pos_emb[positions]
        x = features + rows * self.scale
        return self.norm(self.blocks(x)).mean(dim=1)


class VideoAdapter(nn.Module):
    """The reward head's adapter: sigmoid(r) · video + (1 - sigmoid(r)) · MLP(video), with r learned (4.0 at first)."""

    def __init__(self, config: MineCLIPConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.residual_weight = nn.Parameter(torch.tensor(4.0))
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(config.adapter_layers))

    def forward(self, video: Tensor) -> Tensor:
        """video: (N,E) → (N,E)."""
        if not self.layers:
            return video
        x = video
        for i, layer in enumerate(self.layers):
            x = layer(x if i == 0 else F.relu(x))
        share = torch.sigmoid(self.residual_weight)
        return share * video + (1 - share) * x
