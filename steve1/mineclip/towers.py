"""CLIP's two towers: frames → image features (N,E), token ids → text embeddings (N,E).

Parameter names follow the published files, so that reading weights is a matter of prefixes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steve1.mineclip.config import MineCLIPConfig


class Attention(nn.Module):
    """Multi-head self-attention with one joint projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width).normal_(std=width**-0.5))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        """x: (N,L,width) → (N,L,width)."""
        n, length, width = x.shape
        joint = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = joint.view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).reshape(n, length, width))


class MLP(nn.Module):
    """Two linear layers, four times as wide between them, with CLIP's quick GELU: x · sigmoid(1.702 x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., width) → (..., width)."""
        hidden = self.c_fc(x)
        return self.c_proj(hidden * torch.sigmoid(1.702 * hidden))


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N,L,width) → (N,L,width)."""
        x = x + self.attn(self.ln_1(x), self.causal)
        return x + self.mlp(self.ln_2(x))


class VisionTower(nn.Module):
    """A vision transformer on patches; the class token's last state, projected, is the image feature."""

    def __init__(self, config: MineCLIPConfig) -> None:
        super().__init__()
        width = config.vision_width
        self.conv1 = nn.Conv2d(3, width, config.patch, config.patch, bias=False)
        self.cls_token = nn.Parameter(torch.randn(width) * width**-0.5)
        self.pos_embed = nn.Parameter(torch.randn(config.tokens_per_frame, width) * width**-0.5)
        self.ln_pre = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(Block(width, config.vision_heads, False) for _ in range(config.vision_layers)))
        self.ln_post = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.randn(width, config.embed_dim) * width**-0.5)

    def forward(self, frames: Tensor) -> Tensor:
        """frames: normalised float (N,3,H,W) → (N,E)."""
        patches = self.conv1(frames).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.to(patches.dtype).expand(len(patches), 1, -1), patches], dim=1)
        x = self.blocks(self.ln_pre(x + self.pos_embed))
        return self.ln_post(x[:, 0]) @ self.projection


class TextTower(nn.Module):
    """A causal transformer on token ids; the end token's last state, projected, is the text embedding."""

    def __init__(self, config: MineCLIPConfig) -> None:
        super().__init__()
        width = config.text_width
        self.token_embedding = nn.Embedding(config.vocabulary, width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.pos_embed = nn.Parameter(torch.randn(config.context, width) * 0.01)
        self.blocks = nn.Sequential(*(Block(width, config.text_heads, True) for _ in range(config.text_layers)))
        self.ln_final = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.randn(width, config.embed_dim) * width**-0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: int64 (N,L ≤ context), zeros after the end token → (N,E); they may lie on the CPU, where no device is waited for.

        The end token has the largest id of the vocabulary, which is how it is found. Positions after it cannot
        influence it (the mask is causal), so the padding is cut off before the work.
        """
        ends, device = tokens.argmax(dim=-1), self.pos_embed.device
        length = int(ends.max()) + 1
        x = self.token_embedding(tokens[:, :length].to(device)) + self.pos_embed[:length]
        x = self.ln_final(self.blocks(x))
        return x[torch.arange(len(x), device=device), ends.to(device)] @ self.projection
