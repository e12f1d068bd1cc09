"""An inverse dynamics model that needs no training: it measures how far the picture has moved, and says that forward is held."""

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
from steve1.idm.label import Labels, WindowOutput
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
