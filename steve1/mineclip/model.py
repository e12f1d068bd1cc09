"""MineCLIP: prompts and clips of game frames in one space of E dimensions.

In: uint8 RGB frames and strings. Out: float32 embeddings (N,E), not normalised; a clip's embedding is the goal that
the policy is conditioned on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from steve1.core.errors import UserError
from steve1.mineclip.config import MineCLIPConfig
from steve1.mineclip.frames import prepare_frame
from steve1.mineclip.stream import EpisodeStream
from steve1.mineclip.temporal import TemporalEncoder, VideoAdapter
from steve1.mineclip.tokenizer import tokenize
from steve1.mineclip.towers import TextTower, VisionTower

MEAN = (0.3331, 0.3245, 0.3051)  # of Minecraft frames, RGB, range 0..1
STD = (0.2439, 0.2493, 0.2873)


class MineCLIP(nn.Module):
    """Vision tower, text tower, temporal encoder and the reward head's adapter."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: MineCLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = VisionTower(config)
        self.text = TextTower(config)
        self.temporal = TemporalEncoder(config)
        self.adapter = VideoAdapter(config)
        self.logit_scale = nn.Parameter(torch.tensor(float(np.log(1 / 0.07))))
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.autocast = False
        """Matrix products in bfloat16 when encoding; results stay float32."""

    @property
    def embed_dim(self) -> int:
        """E."""
        return self.config.embed_dim

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.logit_scale.device

    def image_features(self, frames: Tensor) -> Tensor:
        """frames: uint8, or float 0..255, (N,h,w,3) at the tower's resolution → float32 (N,E). Differentiable."""
        x = (frames.to(self.device).permute(0, 3, 1, 2).float() - self.mean) / self.std
        with self._precision():
            features = self.vision(x)
        return features.float()

    def video_embedding(self, features: Tensor, positions: Tensor | None = None) -> Tensor:
        """features: (N,T,E) image features in the order of time → float32 (N,E). Differentiable.

        positions: int64 (N,T), where only some of a clip's frames were encoded; None: 0..T-1.
        """
        with self._precision():
            video = self.temporal(features, positions)
        return video.float()

    def text_embedding(self, tokens: Tensor) -> Tensor:
        """tokens: int64 (N,L) → float32 (N,E). Differentiable."""
        with self._precision():
            text = self.text(tokens.to(self.device))
        return text.float()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast)

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        """Prompts → float32 (N,E) on the model's device, without gradient.

        Raises:
            UserError: an empty prompt, or a vocabulary smaller than CLIP's.
        """
        tokens = tokenize(texts, self.config.context)
        if len(texts) and int(tokens.max()) >= self.config.vocabulary:
            raise UserError(
                "this MineCLIP's vocabulary is too small for CLIP's tokenizer",
                got=f"{self.config.vocabulary} tokens",
                expected="49408 tokens",
            )
        return self.text_embedding(tokens)

    @torch.no_grad()
    def encode_video(self, frames: Tensor | NDArray[np.uint8]) -> Tensor:
        """Clips, uint8 (N,T,H,W,3) RGB with T ≤ 32 (16 as published) → float32 (N,E).

        Frames of another size than the tower's are resized as `prepare_frame` does.
        """
        array = frames.cpu().numpy() if isinstance(frames, Tensor) else frames
        if array.ndim != 5 or array.shape[-1] != 3 or array.dtype != np.uint8:
            raise UserError(
                "a clip has the wrong form", expected="uint8 (N,T,H,W,3)", got=f"{array.dtype} {tuple(array.shape)}"
            )
        n, time = array.shape[:2]
        if not 1 <= time <= self.config.max_frames:
            raise UserError(
                "a clip has too many or no frames", expected=f"1 to {self.config.max_frames}", got=str(time)
            )
        flat = array.reshape(n * time, *array.shape[2:])
        features = [self.frame_features(flat[i : i + 32]) for i in range(0, n * time, 32)]
        return self.video_embedding(torch.cat(features).view(n, time, -1)) if n else torch.zeros(0, self.embed_dim)

    @torch.no_grad()
    def frame_features(self, frames: Iterable[NDArray[np.uint8]]) -> Tensor:
        """Frames, each uint8 (H,W,3) of any size → image features float32 (N,E), in one pass of the tower."""
        ready = np.stack([prepare_frame(frame, self.config.resolution) for frame in frames])
        return self.image_features(torch.from_numpy(ready))

    def stream(self) -> EpisodeStream:
        """A live episode: `.push(frame)` returns the embedding (E,) of the last 16 frames, or None before them."""
        return EpisodeStream(self)

    def embed_stream(self, frames: Iterable[NDArray[np.uint8]], batch: int = 32) -> Iterator[NDArray[np.float32]]:
        """Goal embeddings of an episode piece by piece: float32 (k,E), k ≤ batch, NaN for frames 0..14.

        Each frame passes the vision tower once, and only `batch` frames and 15 features are held.

        Raises:
            UserError: an embedding is not finite; the frame is named.
        """
        stream = self.stream()
        waiting: list[NDArray[np.uint8]] = []
        for frame in frames:
            waiting.append(frame)
            if len(waiting) == batch:
                yield stream.push_many(waiting)
                waiting = []
        if waiting:
            yield stream.push_many(waiting)

    def embed_episode(self, frames: Iterable[NDArray[np.uint8]], batch: int = 32) -> NDArray[np.float32]:
        """Goal embeddings of an episode: float32 (N,E); row i describes frames i-15..i, rows 0..14 are NaN.

        Args:
            frames: uint8 (H,W,3) RGB, any size, in order.
            batch: frames encoded at a time.

        Raises:
            UserError: an embedding is not finite; the frame is named.
        """
        pieces = list(self.embed_stream(frames, batch))
        return np.concatenate(pieces) if pieces else np.zeros((0, self.embed_dim), np.float32)

    @torch.no_grad()
    def scores(self, video: Tensor, text: Tensor) -> Tensor:
        """The reward head: video (N,E), text (M,E) → scaled cosine similarities (N,M) of the adapted video."""
        adapted = F.normalize(self.adapter(video), dim=-1)
        return self.logit_scale.exp() * adapted @ F.normalize(text, dim=-1).t()
