"""What a window holds for each frame: the pixels, or numbers that were computed from them beforehand."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from steve1.core.frames import AGENT_SIZE
from steve1.data.episodes.episode import Episode


class FrameSource(Protocol):
    """Where the frames of a window come from. Worker processes get it by pickle.

    Attributes:
        key: of a window and of a batch, "frames" for pixels.
        shape: of one frame.
        dtype: of its numbers.
    """

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, episode: Episode, start: int, stop: int, out: NDArray[Any]) -> None:
        """Frames start..stop-1 of an episode into `out` (stop-start, *shape)."""


class Pixels:
    """The agent's frames, uint8 (128, 128, 3) RGB."""

    key = "frames"
    shape: tuple[int, ...] = (*AGENT_SIZE, 3)
    dtype: np.dtype[Any] = np.dtype(np.uint8)

    def read(self, episode: Episode, start: int, stop: int, out: NDArray[Any]) -> None:
        episode.frames(start, stop, out=out)


PIXELS = Pixels()
