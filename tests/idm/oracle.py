"""Inverse dynamics models that need no training: one measures how far the picture has moved, one says something of every frame of a window."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from steve1.actions import N_BINS, to_bins
from steve1.actions.buttons import BUTTONS
from steve1.idm.config import REACH
from steve1.idm.label import Labels, WindowOutput, label
from tests.data.videos.films import HEIGHT, PER_DEGREE, WIDTH

Spoil = Callable[[NDArray[np.int64]], NDArray[np.int64]]


class Oracle:
    """Labels films of `tests.data.videos.films`; `spoil` changes its camera bins (N, 2)."""

    def __init__(self, spoil: Spoil = lambda bins: bins, sure: float = 0.95) -> None:
        self.config = SimpleNamespace(timesteps=32, temperature=2.0)
        self.device = torch.device("cpu")
        self._spoil, self._sure = spoil, sure

    def bins(self, frames: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Camera bins (N, 2) of agent frames (N, 128, 128, 3)."""
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in frames]
        window = cv2.createHanningWindow((128, 128), cv2.CV_32F)
        shifts = [cv2.phaseCorrelate(one.copy(), two.copy(), window)[0] for one, two in itertools.pairwise(grey)]
        x, y = np.array([*shifts, (0.0, 0.0)]).T
        return to_bins(np.stack([-y / 128 * HEIGHT, -x / 128 * WIDTH], axis=1) / PER_DEGREE)

    def log_probabilities(self, bins: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Buttons (N, 20, 2) and camera (N, 2, 11)."""
        camera = np.full((*bins.shape, N_BINS), (1 - self._sure) / (N_BINS - 1), np.float32)
        np.put_along_axis(camera, bins[..., None], self._sure, axis=2)
        buttons = np.full((len(bins), len(BUTTONS), 2), (self._sure, 1 - self._sure), np.float32)
        buttons[:, BUTTONS.index("forward")] = (1 - self._sure, self._sure)
        return np.log(buttons), np.log(camera)

    def spread(self, total: int) -> contextlib.nullcontext[None]:
        """As `InverseDynamicsModel.spread`: nothing to choose."""
        return contextlib.nullcontext()

    def label(self, frames: Iterable[NDArray[np.uint8]], **more: Any) -> Labels:
        """As `InverseDynamicsModel.label`."""
        all_frames = np.stack(list(frames))
        buttons, camera = self.log_probabilities(self._spoil(self.bins(all_frames)))
        return Labels(buttons, camera, len(all_frames), np.zeros((len(all_frames), 2), np.int8))

    def __call__(self, frames: torch.Tensor) -> WindowOutput:
        """As `InverseDynamicsModel`, for the mirror test."""
        found = [self.log_probabilities(self.bins(window.numpy())) for window in frames]
        return WindowOutput(*(torch.from_numpy(np.stack(part)) for part in zip(*found)))


class Watcher:
    """Its labels mean nothing, and depend exactly on the place of each frame in its window and on all frames there."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(timesteps=16, temperature=2.0, img_shape=(128, 128, 8))
        self.device, self.encoded, self.frames_at_once = torch.device("cpu"), 0, 8

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """As `WindowModel`."""
        return self.features_of(torch.stack([frames[number : number + 5] for number in range(len(frames) - 2 * REACH)]))

    def features_of(self, near: torch.Tensor) -> torch.Tensor:
        """As `WindowModel`: (N, 1), whole numbers."""
        small = near[:, :, ::16, ::16].long().flatten(1)
        return (small * torch.arange(1, small.shape[1] + 1)).sum(1, keepdim=True) % 10007

    def heads(self, features: torch.Tensor) -> WindowOutput:
        """As `WindowModel`."""
        places = torch.arange(features.shape[1])
        seen = (features[:, None, :, 0] * (1 + 3 * places[:, None] + places**2)).sum(2) % 10007
        chosen = torch.arange(1, 63) * seen[..., None] % 10007 / 1000
        buttons, camera = chosen[..., :40].unflatten(2, (20, 2)), chosen[..., 40:].unflatten(2, (2, N_BINS))
        return WindowOutput(buttons.log_softmax(3), camera.log_softmax(3))

    def __call__(self, frames: torch.Tensor) -> WindowOutput:
        """As `InverseDynamicsModel`, for the mirror test."""
        padded = torch.nn.functional.pad(frames, (0, 0, 0, 0, 0, 0, REACH, REACH))
        return self.heads(torch.stack([self.features(window) for window in padded]))

    def label(self, frames: Iterable[NDArray[np.uint8]]) -> Labels:
        """As `InverseDynamicsModel.label`."""
        return label(self, frames)  # type: ignore[arg-type]

    def spread(self, total: int) -> contextlib.nullcontext[None]:
        """As `InverseDynamicsModel.spread`: nothing to choose."""
        return contextlib.nullcontext()
