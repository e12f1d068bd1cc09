"""The prior's network: a conditional VAE from text embeddings to video embeddings of the same clip.

Input: text (N,E), and video (N,E) for training. Output: goals (N,E). E, hidden and latent width come from the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from steve1.core.errors import UserError
from steve1.core.seeds import generator


@dataclass(frozen=True)
class PriorConfig:
    """Sizes; the defaults are those of the published `steve1_prior.pt`."""

    embed_dim: int = 512
    """E: width of text embeddings and goals."""
    hidden_dim: int = 512
    latent_dim: int = 512


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.LayerNorm(hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.LayerNorm(hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )


class Prior(nn.Module):
    """`encoder` (video, text) → mean and log-variance of z; `decoder` (z, text) → goal."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self.source: Path | None = None
        """The file the weights came from, if any."""
        self.encoder = _mlp(2 * config.embed_dim, config.hidden_dim, 2 * config.latent_dim)
        self.decoder = _mlp(config.latent_dim + config.embed_dim, config.hidden_dim, config.embed_dim)

    @property
    def embed_dim(self) -> int:
        """E."""
        return self.config.embed_dim

    def encode(self, visual: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """visual, text: (N,E) → mean (N,Z) and log-variance (N,Z) of the code."""
        mean, log_variance = self.encoder(torch.cat([visual, text], dim=1)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, code: Tensor, text: Tensor) -> Tensor:
        """code: (N,Z), text: (N,E) → goals (N,E)."""
        return self.decoder(torch.cat([code, text], dim=1))

    @torch.no_grad()
    def goal(self, text_embedding: Tensor, seed: int = 0, deterministic: bool = False) -> Tensor:
        """Goals for text embeddings: (N,E) → (N,E).

        A row's goal is a function of its text and the seed alone: the code is drawn from the seed, and every row is
        decoded by itself, so that neither the other rows nor their number change a bit of it.

        Args:
            text_embedding: float (N,E) as `MineCLIP.encode_text` gives them.
            seed: draws the code z ~ N(0,1).
            deterministic: z = 0, the middle of the distribution.

        Raises:
            UserError: the width is not the prior's.
        """
        return torch.cat([self.samples(row[None], seed, 1, deterministic) for row in self._checked(text_embedding)])

    @torch.no_grad()
    def samples(self, text_embedding: Tensor, seed: int = 0, n: int = 1, deterministic: bool = False) -> Tensor:
        """n different goals for one text embedding (1,E) → (n,E); the first is the one that `goal` gives."""
        text = self._checked(text_embedding)
        rows = [
            np.zeros(self.config.latent_dim)
            if deterministic
            else generator(seed, "prior", i).standard_normal(self.config.latent_dim)
            for i in range(n)
        ]
        codes = torch.from_numpy(np.stack(rows)).to(text)
        return torch.cat([self.decode(code[None], text) for code in codes])

    def _checked(self, text: Tensor) -> Tensor:
        if text.ndim != 2 or text.shape[1] != self.embed_dim or not len(text):
            raise UserError(
                "These text embeddings do not fit the prior.",
                where=str(self.source or "prior"),
                expected=f"(N, {self.embed_dim})",
                got=str(tuple(text.shape)),
                todo="use the MineCLIP and the prior that belong together",
            )
        return text.to(next(self.parameters()))


def losses(prior: Prior, text: Tensor, visual: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Reconstruction error and KL divergence, both per row and channel.

    Both are left unreduced so that whoever trains averages them over the same axes (batch and channels). Summing one
    and averaging the other, as upstream does, weighs the KL by batch size times width more, and the code collapses.

    Args:
        text, visual: (N,E); noise: (N,Z) standard normal.

    Returns:
        Squared errors (N,E) and KL to the standard normal (N,Z).
    """
    mean, log_variance = prior.encode(visual, text)
    goal = prior.decode(mean + noise * torch.exp(0.5 * log_variance), text)
    divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp())
    return (goal - visual).square(), divergence
