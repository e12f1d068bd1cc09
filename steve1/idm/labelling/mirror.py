"""The mirror test: a turn to the right must become one to the left in mirrored frames."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.data.media.video import Frame
from steve1.idm.network import InverseDynamicsModel

_FRAMES, _PART = 512, 6000  # frames that are tried of each part of 6,000


class MirrorSample:
    """Some windows of a part's frames, labelled again in a mirror; they are spread over `frames` frames."""

    def __init__(self, model: InverseDynamicsModel, frames: int = _PART) -> None:
        self._model = model
        self._most = max(3, _FRAMES // model.config.timesteps)
        self._every = max(1, frames // self._most)
        self._windows: list[NDArray[np.uint8]] = []
        self._filling: list[Frame] = []
        self._seen = 0

    def add(self, frame: Frame) -> None:
        """See the next frame of a stretch."""
        if self._filling or (len(self._windows) < self._most and self._seen % self._every == 0):
            self._filling.append(frame)
            if len(self._filling) == self._model.config.timesteps:
                self._windows.append(np.stack(self._filling))
                self._filling = []
        self._seen += 1

    def end(self) -> None:
        """The stretch is over."""
        self._filling, self._seen = [], 0

    @torch.inference_mode()
    def agreement(self) -> float | None:
        """Share of the frames in which either turns that turn the other way in the mirror; None with fewer than 20."""
        turns = same = 0
        for window in self._windows:
            both = torch.from_numpy(np.stack([window, window[:, :, ::-1]])).to(self._model.device)
            yaw = self._model(both).camera[:, :, 1].argmax(-1).cpu().numpy() - act.N_BINS // 2
            moves = (yaw != 0).any(axis=0)
            turns += int(moves.sum())
            same += int((np.sign(yaw[0]) == -np.sign(yaw[1]))[moves].sum())
        return same / turns if turns >= 20 else None
