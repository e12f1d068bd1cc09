"""The policy's recurrent state, passed into and out of each forward pass; modules keep none."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class PolicyState:
    """Keys and values of the last W steps, oldest first.

    keys, values: one tensor (B, W, H) per block, before the split into heads; mask: (B, 1, W) bool, True where a row is real.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    mask: Tensor

    def detach(self) -> PolicyState:
        """The same state without its history, so that the next chunk's gradients stop here."""
        return PolicyState(tuple(k.detach() for k in self.keys), tuple(v.detach() for v in self.values), self.mask)

    def to(self, device: torch.device | str) -> PolicyState:
        """The same state on another device."""
        return PolicyState(
            tuple(k.to(device) for k in self.keys), tuple(v.to(device) for v in self.values), self.mask.to(device)
        )

    @property
    def batch(self) -> int:
        """B."""
        return self.mask.shape[0]
