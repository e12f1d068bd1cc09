"""Where the picture moves: the local correlation of a frame with the next one. A part of the mini family alone.

A small network on little data does not find out by itself that displacement is what matters for the camera; this input gives it that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steve1.idm.config import IdmConfig
from steve1.policy.convolution import without_autocast, working_dtype
from steve1.policy.vision import NormLinear

SIDE, CELL = 32, 8
"""The correlation is taken of pictures of 32x32 pixels, and averaged over cells of 8x8."""
_CELLS = (SIDE // CELL) ** 2
_MEAN, _CONTRAST = 5, 9  # pixels around each, whose mean is subtracted, and by whose contrast it is divided
_NOISE = 4.0  # grey levels
_SHARPNESS = 32.0  # of the softmax over shifts; of 4 to 64, the one whose shifts tell the camera best (docs/idm.md)


class MotionInput(nn.Module):
    """Correlations of each frame with the next one, shifted by up to `motion_reach` pixels of 32 in both directions → features.

    Where the correlation is highest says how far each cell has moved. The network could work that out of the correlations, but not from an hour of
    play: it gets both.
    """

    def __init__(self, config: IdmConfig) -> None:
        super().__init__()
        self.reach = config.motion_reach
        self.out = NormLinear(correlations(config), config.hidsize)
        self.moved = nn.Linear(4 * (_CELLS + 1), config.hidsize)

    def forward(self, now: Tensor, following: Tensor) -> Tensor:
        """Of N frames and those that follow them, as `grey` makes them: features (N, H)."""
        with torch.no_grad(), without_autocast(now.device.type):
            found = self.correlated(now, following)
            moved = self.displaced(found)
        dtype = working_dtype(self.out.layer.weight)
        return self.out(found.to(dtype)) + self.moved(moved.to(dtype)).relu()

    def displaced(self, found: Tensor) -> Tensor:
        """From correlations (N, shifts * cells): of each cell and of the whole picture how far it moved, in pixels, and how well that fits, (N, 4 * 17)."""
        by = torch.arange(-self.reach, self.reach + 1, device=found.device).float()
        shifts = torch.cartesian_prod(by, by)  # (shifts, 2), down and right
        cells = found.unflatten(1, (len(shifts), _CELLS))
        cells = torch.cat([cells, cells.mean(2, keepdim=True)], dim=2)
        weights = torch.softmax(_SHARPNESS * cells, dim=1)
        where = torch.einsum("nsc,sd->ndc", weights, shifts)
        return torch.cat([where, cells.amax(1)[:, None], cells[:, None, len(shifts) // 2]], dim=1).flatten(1)

    @torch.no_grad()
    def grey(self, frames: Tensor) -> Tensor:
        """Frames u8 (N, h, w, 3) as grey pictures of 32x32, less their surroundings' mean and divided by their contrast: (N, 1, 32, 32) float32."""
        with without_autocast(frames.device.type):
            grey = F.adaptive_avg_pool2d(frames.float().mean(-1)[:, None], SIDE)
            grey = grey - F.avg_pool2d(grey, _MEAN, 1, _MEAN // 2, count_include_pad=False)
            contrast = F.avg_pool2d(grey.square(), _CONTRAST, 1, _CONTRAST // 2, count_include_pad=False).sqrt()
            return grey / (contrast + _NOISE)

    def correlated(self, now: Tensor, following: Tensor) -> Tensor:
        """(N, shifts * cells); 0 where the next frame is black, as after the last one of a window."""
        shifted = F.unfold(following, 2 * self.reach + 1, padding=self.reach).unflatten(2, (SIDE, SIDE))
        return F.avg_pool2d(now * shifted, CELL).flatten(1)


def correlations(config: IdmConfig) -> int:
    """How many numbers a frame has."""
    return (2 * config.motion_reach + 1) ** 2 * _CELLS
