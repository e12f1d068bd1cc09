"""The action heads and the value head.

Input: latents (..., H). Output: log-probabilities of the joint classes, values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steve1.actions import N_BUTTONS, N_CAMERA


class Head(nn.Module):
    """A linear layer over classes; logits are divided by the temperature."""

    def __init__(self, size: int, classes: int, temperature: float) -> None:
        super().__init__()
        self.linear_layer = nn.Linear(size, classes)
        self.temperature = temperature

    def logits(self, latent: Tensor) -> Tensor:
        """(..., H) → (..., classes) float32, not normalised."""
        return self.linear_layer(latent).float() / self.temperature

    def forward(self, latent: Tensor) -> Tensor:
        """(..., H) → log-probabilities (..., classes) float32."""
        return torch.log_softmax(self.logits(latent), dim=-1)


class ActionHeads(nn.Module):
    """One head over camera classes and one over button classes."""

    def __init__(self, size: int, temperature: float) -> None:
        super().__init__()
        self.camera = Head(size, N_CAMERA, temperature)
        self.buttons = Head(size, N_BUTTONS, temperature)


class Normalizer(nn.Module):
    """Running mean and variance of returns; published as parameters, never trained here."""

    def __init__(self) -> None:
        super().__init__()
        self.running_mean = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.running_mean_sq = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.debiasing_term = nn.Parameter(torch.zeros(()), requires_grad=False)

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, both (1,)."""
        scale = self.debiasing_term.clamp(min=1e-5)
        mean = self.running_mean / scale
        return mean, (self.running_mean_sq / scale - mean**2).clamp(min=1e-2).sqrt()

    def normalize(self, x: Tensor) -> Tensor:
        """Returns in units of their standard deviation."""
        mean, deviation = self._moments()
        return (x - mean) / deviation

    def denormalize(self, x: Tensor) -> Tensor:
        """Values in units of the return."""
        mean, deviation = self._moments()
        return x * deviation + mean


class ValueHead(nn.Module):
    """Linear layer to one number; behaviour cloning does not train it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, 1)
        self.normalizer = Normalizer()
        self.requires_grad_(False)

    def forward(self, latent: Tensor) -> Tensor:
        """(..., H) → denormalised values (...) float32."""
        return self.normalizer.denormalize(self.linear(latent).float()).squeeze(-1)
