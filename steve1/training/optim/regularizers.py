"""L2-SP, a penalty on the distance from the starting weights, and EMA, a running mean of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from steve1.policy import GoalPolicy
from steve1.training.trainable import LoraLinear, lora_layers, trained_parameters


class L2SP:
    """Half of `coef` times the squared distance of the trained weights from where they started.

    With low-rank additions the distance is the length of their product, not that of the two factors.
    """

    def __init__(self, policy: GoalPolicy, coef: float) -> None:
        self._coef = coef
        self._layers: list[LoraLinear] = list(lora_layers(policy).values())
        factors = {id(parameter) for layer in self._layers for parameter in (layer.lora_a, layer.lora_b)}
        trained = trained_parameters(policy).values()
        self._weights: list[torch.Tensor] = [parameter for parameter in trained if id(parameter) not in factors]
        self._start = [parameter.detach().clone() for parameter in self._weights]

    @torch.no_grad()
    def penalty(self) -> torch.Tensor:
        """The penalty (f32 scalar); its gradient is added to `.grad` of what is trained."""
        total = torch.zeros((), device=(self._weights or [self._layers[0].lora_a])[0].device)
        if self._weights:
            apart: list[torch.Tensor] = list(torch._foreach_sub(self._weights, self._start))  # type: ignore[arg-type]
            torch._foreach_add_(
                [weight.grad for weight in self._weights if weight.grad is not None], apart, alpha=self._coef
            )
            total += torch.stack(torch._foreach_norm(apart)).square().sum()
        for layer in self._layers:
            total += layer.squared_length()
            a, b, factor = layer.lora_a, layer.lora_b, self._coef * layer.scale**2
            assert a.grad is not None
            assert b.grad is not None
            b.grad += factor * (b @ (a @ a.T))
            a.grad += factor * ((b.T @ b) @ a)
        return 0.5 * self._coef * total


class EMA:
    """A running mean of what is trained. Its memory grows from nothing to 1 / (1 - decay) steps."""

    def __init__(self, policy: GoalPolicy, decay: float) -> None:
        self._decay = decay
        self._weights = trained_parameters(policy)
        self._means = {name: parameter.detach().clone() for name, parameter in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int, skipped: torch.Tensor) -> None:
        """Take the weights after optimizer step `step` (from 1) into the mean, unless the step was `skipped` (bool scalar on the device)."""
        share = (1.0 - min(self._decay, step / (10.0 + step))) * (~skipped).float()
        means = list(self._means.values())
        torch._foreach_lerp_(means, [weight.data for weight in self._weights.values()], [share] * len(means))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The policy with the averaged weights, and back."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, weight in self._weights.items():
            weight.data, self._means[name] = self._means[name], weight.data

    def tensors(self) -> dict[str, torch.Tensor]:
        return dict(self._means)

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The opposite of `tensors`; KeyError where a name is missing."""
        for name, mean in self._means.items():
            mean.copy_(tensors[name])
