"""How the picture moves from each frame to the next, by phase correlation in 25 parts of it. A part of the mini family alone.

A small network on little data does not find out by itself that displacement is what matters for the camera; this input gives it that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steve1.idm.config import REACH, IdmConfig
from steve1.policy.convolution import without_autocast, working_dtype
from steve1.policy.vision import NormLinear

SIDE, WINDOW, STEP = 64, 32, 8
"""Pictures of 64x64 pixels are compared in windows of 32x32, every 8 pixels."""
PLACES = ((SIDE - WINDOW) // STEP + 1) ** 2
PAIRS = 2 * REACH
"""Each frame is seen with two before and two after it: a jump begins where the picture did not move before."""
_NUMBERS = 4 * (PLACES + 1)  # of a pair of frames
_MEAN, _CONTRAST = 9, 17  # pixels around each, whose mean is subtracted, and by whose contrast it is divided
_NOISE = 4.0  # grey levels
# Half whitened tells the camera better than more (docs/idm.md).
_WHITENED, _SHARPNESS = 0.5, 2.0
_SCALE = 8.0  # pixels, and standard deviations, that count as 1


class MotionInput(nn.Module):
    """Features of a frame from how each part of the picture moves between it and its neighbours.

    A window's displacement is the mean shift of up to `motion_reach` pixels, weighted by how well the shifted window fits. The correlation of
    the whole picture with the next one is an input too.
    """

    def __init__(self, config: IdmConfig) -> None:
        super().__init__()
        self.reach = config.motion_reach
        self.out = NormLinear(correlations(config), config.hidsize)
        self.moved = nn.Sequential(
            nn.Linear(PAIRS * _NUMBERS, config.hidsize), nn.ReLU(), nn.Linear(config.hidsize, config.hidsize), nn.ReLU()
        )

    def forward(self, spectra: Tensor) -> Tensor:
        """Spectra of N frames and two more on each side, (N + 4, …) → features (N, H)."""
        count = len(spectra) - 2 * REACH
        moved, whole = self.compared(spectra[:-1], spectra[1:])
        return self._features(moved.unfold(0, PAIRS, 1).transpose(1, 2), whole[REACH : REACH + count])

    def each(self, spectra: Tensor) -> Tensor:
        """Spectra of frames that each come with their own neighbours, (N, 5, …) → features (N, H)."""
        moved, whole = self.compared(spectra[:, :-1].flatten(0, 1), spectra[:, 1:].flatten(0, 1))
        return self._features(moved.unflatten(0, (-1, PAIRS)), whole.unflatten(0, (-1, PAIRS))[:, REACH])

    def _features(self, moved: Tensor, whole: Tensor) -> Tensor:
        """Displacements (N, 4, 104) and correlations of whole pictures (N, shifts) → (N, H)."""
        dtype = working_dtype(self.out.layer.weight)
        return self.out(whole.to(dtype)) + self.moved(moved.flatten(1).to(dtype))

    @torch.no_grad()
    def spectra(self, frames: Tensor) -> Tensor:
        """Frames u8 (N, h, w, 3) → Fourier transforms (N, 25, 32, 17) of the windows of their grey pictures.

        The picture is less its surroundings' mean and divided by their contrast, so that light does not matter and a hand does not drown the grass.
        """
        with without_autocast(frames.device.type):
            grey = F.adaptive_avg_pool2d(frames.float().mean(-1)[:, None], SIDE)
            grey = grey - F.avg_pool2d(grey, _MEAN, 1, _MEAN // 2, count_include_pad=False)
            contrast = F.avg_pool2d(grey.square(), _CONTRAST, 1, _CONTRAST // 2, count_include_pad=False).sqrt()
            grey = (grey / (contrast + _NOISE))[:, 0]
            fading = torch.hann_window(WINDOW, periodic=False, device=grey.device)
            windows = grey.unfold(1, WINDOW, STEP).unfold(2, WINDOW, STEP).flatten(1, 2)
            return torch.fft.rfft2(windows * (fading[:, None] * fading))

    @torch.no_grad()
    def compared(self, now: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
        """Compare N pairs of spectra → numbers (N, 104) and correlations of whole pictures (N, shifts), both 0 where a frame is black.

        For each window and for all of them together, the numbers are the shift down, the shift right, how well the best shift fits, and how
        well no shift does.
        """
        with without_autocast(now.device.type):
            cross = now.conj() * following
            found = self._correlated(torch.cat([cross, cross.sum(1, keepdim=True)], dim=1))
            by = torch.arange(-self.reach, self.reach + 1, device=found.device).float()
            where = torch.softmax(_SHARPNESS * found, dim=2) @ torch.cartesian_prod(by, by)
            fits = torch.stack([found.amax(2), found[:, :, found.shape[2] // 2]], dim=2)
            return torch.cat([where, fits], dim=2).flatten(1) / _SCALE, found[:, -1]

    def _correlated(self, cross: Tensor) -> Tensor:
        """Cross-spectra (N, windows, 32, 17) → correlations (N, windows, shifts), in standard deviations of each window's."""
        size = cross.abs()
        plane = torch.fft.irfft2(
            cross / (size + 1e-3 * size.mean((2, 3), keepdim=True) + 1e-12) ** _WHITENED, s=(WINDOW, WINDOW)
        )
        plane = plane / (plane.square().mean((2, 3), keepdim=True).sqrt() + 1e-6)
        side = 2 * self.reach + 1
        return torch.roll(plane, (self.reach, self.reach), (2, 3))[:, :, :side, :side].flatten(2)


def correlations(config: IdmConfig) -> int:
    """How many shifts the whole picture is compared at."""
    return (2 * config.motion_reach + 1) ** 2
