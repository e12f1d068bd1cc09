"""MineCLIP: prompts and clips of game frames in one space of E dimensions.

Input: uint8 RGB frames and strings. Output: float32 embeddings (N,E), not normalised; a clip's embedding is the goal that
the policy is conditioned on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from steve1.core.errors import UserError
from steve1.core.frames import mineclip_frame
from steve1.mineclip.config import MineCLIPConfig
from steve1.mineclip.temporal import TemporalEncoder, VideoAdapter
from steve1.mineclip.tokenizer import tokenize
from steve1.mineclip.towers import TextTower, VisionTower

MEAN = (0.3331, 0.3245, 0.3051)  # of Minecraft frames, RGB, range 0..1
STD = (0.2439, 0.2493, 0.2873)


@dataclass
class Goals:
    """Goal embeddings of successive frames of one episode."""

    rows: NDArray[np.float32]
    """(k,E); row i describes the 16 frames up to frame i, NaN for an episode's first 15 frames."""
    past: Tensor
    """(≤15,E): the image features of the last frames, which the rows after these need."""
    bad: int | None
    """The first row that is not finite although it has 16 frames."""


def not_finite(where: str) -> UserError:
    """The error for an embedding that is not finite."""
    return UserError(
        "A goal embedding is not finite.",
        where=where,
        todo="check the MineCLIP weights; --precision fp32 computes in float32",
    )


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
            text = self.text(tokens)
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

        Frames of another size than the tower's are resized as `mineclip_frame` does.
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
        return self.image_features(torch.from_numpy(self.resized(frames)))

    def resized(self, frames: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Frames, each uint8 (H,W,3) of any size → uint8 (N,h,w,3) at the tower's resolution."""
        return np.stack([mineclip_frame(frame, self.config.resolution) for frame in frames])

    @torch.no_grad()
    def embed_successive(self, frames: Sequence[NDArray[np.uint8]], past: Sequence[Tensor]) -> list[Goals]:
        """Goals of successive frames of several episodes, in one pass of the vision tower and one of the temporal encoder.

        Args:
            frames: for each episode its next frames, uint8 (k,h,w,3) at the tower's resolution, k ≥ 1.
            past: for each episode the features of its last frames, as `Goals.past` gives them; (0,E) at its beginning.
        """
        size = self.config.clip_frames
        stacked = torch.from_numpy(frames[0] if len(frames) == 1 else np.concatenate(frames))
        if self.device.type == "cuda":
            stacked = stacked.pin_memory().to(self.device, non_blocking=True)
        new = self.image_features(stacked).split([len(each) for each in frames])
        known = [torch.cat([before.to(self.device), features]) for before, features in zip(past, new)]
        # The 16 features that end with each frame: none for an episode's first 15 frames.
        windows = [
            features.unfold(0, size, 1).transpose(1, 2)
            if len(features) >= size
            else features.new_zeros(0, size, self.embed_dim)
            for features in known
        ]
        ready = windows[0] if len(windows) == 1 else torch.cat(windows)
        clips = self.video_embedding(ready) if len(ready) else ready[:, 0]
        found = []
        for each, features, video in zip(frames, known, clips.cpu().split([len(window) for window in windows])):
            rows = np.full((len(each), self.embed_dim), np.nan, np.float32)
            first = len(rows) - len(video)
            rows[first:] = video.numpy()
            bad = np.flatnonzero(~np.isfinite(rows[first:]).all(axis=1))
            past_features = features[-(size - 1) :].clone() if size > 1 else features[:0]
            found.append(Goals(rows, past_features, first + int(bad[0]) if len(bad) else None))
        return found

    def embed_episode(self, frames: Iterable[NDArray[np.uint8]], batch: int = 32) -> NDArray[np.float32]:
        """Goal embeddings of an episode: float32 (N,E); row i describes frames i-15..i, rows 0..14 are NaN.

        Each frame passes the vision tower once, and only `batch` frames and 15 features are held.

        Args:
            frames: uint8 (H,W,3) RGB, any size, in order.
            batch: frames encoded at a time.

        Raises:
            UserError: an embedding is not finite; the frame is named.
        """
        stream, source, rows = EpisodeStream(self), iter(frames), [np.zeros((0, self.embed_dim), np.float32)]
        while some := list(islice(source, batch)):
            rows.append(stream.push_many(some))
        return np.concatenate(rows)

    @torch.no_grad()
    def scores(self, video: Tensor, text: Tensor) -> Tensor:
        """The reward head: video (N,E), text (M,E) → scaled cosine similarities (N,M) of the adapted video."""
        adapted = F.normalize(self.adapter(video), dim=-1)
        return self.logit_scale.exp() * adapted @ F.normalize(text, dim=-1).t()


class EpisodeStream:
    """An episode as it is played: frames in, the embedding of the last 16 frames out. Memory: the features of 15 frames."""

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

    def push_many(self, frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Frames in order → float32 (len(frames),E), NaN for frames 0..14 of the episode.

        Raises:
            UserError: an embedding is not finite; the frame is named.
        """
        (goals,) = self._model.embed_successive([self._model.resized(frames)], [self._past])
        if goals.bad is not None:
            raise not_finite(f"frame {self.frames_seen + goals.bad}")
        self._past = goals.past
        self.frames_seen += len(frames)
        return goals.rows
