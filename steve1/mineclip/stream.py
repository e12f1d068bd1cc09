"""An episode as it comes: frames in, goal embeddings out, each frame through the vision tower once.

In: uint8 frames. Out: the embedding of the last 16 frames. Memory: the features of 15 frames, however long it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from steve1.core.errors import UserError

if TYPE_CHECKING:
    from steve1.mineclip.model import MineCLIP


class EpisodeStream:
    """The state of one episode: how many frames came, and the features of the last 15."""

    def __init__(self, model: MineCLIP) -> None:
        self._model = model
        self.reset()

    def reset(self) -> None:
        """Begin a new episode."""
        self.frames_seen = 0
        self._past = torch.zeros(0, self._model.embed_dim, device=self._model.device)

    def push(self, frame: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """One frame, uint8 (H,W,3) → the embedding (E,) of the last 16 frames; None for the first 15.

        Raises:
            UserError: the embedding is not finite; the frame is named.
        """
        row = self.push_many([frame])[0]
        return None if self.frames_seen < self._model.config.clip_frames else row

    @torch.no_grad()
    def push_many(self, frames: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Frames in order → float32 (len(frames),E), NaN for frames 0..14 of the episode.

        Raises:
            UserError: an embedding is not finite; the frame is named.
        """
        size = self._model.config.clip_frames
        start = self.frames_seen
        features = torch.cat([self._past, self._model.frame_features(frames)])
        self._past = features[-(size - 1) :].clone() if size > 1 else features[:0]
        self.frames_seen += len(frames)
        rows = np.full((len(frames), self._model.embed_dim), np.nan, np.float32)
        if len(features) >= size:
            windows = features.unfold(0, size, 1).transpose(1, 2)  # (k,16,E), a view
            video = self._model.video_embedding(windows)
            rows[len(frames) - len(video) :] = video.cpu().numpy()
        first = max(size - 1 - start, 0)
        bad = np.flatnonzero(~np.isfinite(rows[first:]).all(axis=1))
        if len(bad):
            raise UserError(
                "a goal embedding is not finite",
                where=f"frame {start + first + int(bad[0])}",
                expected="finite numbers",
                got=f"{len(bad)} rows with NaN or infinity among these {len(frames)} frames",
                todo="check the MineCLIP weights; with --precision fp32 the arithmetic is float32",
            )
        return rows
