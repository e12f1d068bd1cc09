"""The inverse dynamics model: from a window of frames, past and future, to what was pressed at each of them.

Input: frames of a window. Output: log-probabilities of 20 buttons and two camera axes for each frame. The image stacks and blocks are the
policy's; nothing is masked, nothing is carried from window to window, and only the temporal convolution knows the order of frames.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from steve1.actions.buttons import BUTTONS
from steve1.actions.camera import N_BINS
from steve1.core.tuning import spread
from steve1.idm.config import REACH, IdmConfig
from steve1.idm.label import Labels, Rule, WindowOutput, label
from steve1.idm.motion import MotionInput
from steve1.policy.attention import RecurrentLayer
from steve1.policy.convolution import working_dtype
from steve1.policy.initial import HEAD_GAIN, RELU_GAIN, scale_image, scale_recurrent, unit_layers
from steve1.policy.vision import ImageEncoder, NormLinear

PLAIN_FRAMES = 16
"""Encoded together while a video comes in, where nothing was measured (`core.tuning`)."""
AT_ONCE_BYTES = 256 << 20
"""Of the temporal convolution's output: that many frames are encoded together."""


_DIFFERENCE = 3.0  # weight of the next frame in the filters that begin as a difference


class _WholeWindow:
    """The memory of a block that sees its own window and nothing else."""

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return keys, values

    def bias(self, by_distance: Tensor) -> Tensor | None:
        return None


class TemporalConvolution(nn.Module):
    """At each pixel by itself: frames t-2 … t+2, three colours → P channels, bias, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv3d(3, channels, (2 * REACH + 1, 1, 1), padding=(REACH, 0, 0))

    def forward(self, frames: Tensor) -> Tensor:
        """Frames u8 (N + 4, h, w, 3), the first two and the last two only as neighbours → (N, P, h, w), channels last in memory."""
        count = len(frames) - 2 * REACH
        # Five frames of three colours are fifteen channels of a 1x1 convolution.
        return self.mixed(torch.cat([frames[shift : shift + count] for shift in range(2 * REACH + 1)], dim=3))

    def mixed(self, stacked: Tensor) -> Tensor:
        """The same of each frame with its neighbours, u8 (N, h, w, 15)."""
        dtype = working_dtype(self.layer.weight)
        pixels = stacked.permute(0, 3, 1, 2).to(dtype).mul_(1.0 / 255.0)
        # (P, 5 * 3, 1, 1), frames slowest
        weight = self.layer.weight[..., 0, 0].permute(0, 2, 1).flatten(1)[..., None, None]
        bias = None if self.layer.bias is None else self.layer.bias.to(dtype)
        return F.conv2d(pixels, weight.to(dtype), bias).relu_()


class Network(nn.Module):
    """Everything before the heads, under the published names."""

    def __init__(self, config: IdmConfig) -> None:
        super().__init__()
        self.conv3d_layer = TemporalConvolution(config.img_shape[2])
        self.img_process = ImageEncoder(config)
        self.recurrent_layer = RecurrentLayer(config)
        self.lastlayer = NormLinear(config.hidsize, config.hidsize)
        """In the published file, and not in the computation: the released code throws its result away."""
        self.final_ln = nn.LayerNorm(config.hidsize)
        self.motion = MotionInput(config) if config.motion_reach else None

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, T, H) → latents (B, T, H) float32."""
        for block in self.recurrent_layer.layers:
            x, _, _ = block(x, _WholeWindow())
        return self.final_ln(x.relu()).float()


class IdmHeads(nn.Module):
    """Twenty choices of two, and two of eleven."""

    def __init__(self, config: IdmConfig) -> None:
        super().__init__()
        self.temperature = config.temperature
        self.buttons = nn.ModuleDict({"linear_layer": nn.Linear(config.hidsize, 2 * len(BUTTONS))})
        self.camera = nn.ModuleDict({"linear_layer": nn.Linear(config.hidsize, 2 * N_BINS)})

    def forward(self, latent: Tensor) -> WindowOutput:
        """Latents (B, T, H) → log-probabilities."""
        shapes = (self.buttons, (len(BUTTONS), 2)), (self.camera, (2, N_BINS))
        logits = [
            head["linear_layer"](latent).float().unflatten(-1, shape) / self.temperature for head, shape in shapes
        ]
        return WindowOutput(*(torch.log_softmax(each, dim=-1) for each in logits))


class InverseDynamicsModel(nn.Module):
    """The model; `load_idm` builds it from files."""

    def __init__(self, config: IdmConfig) -> None:
        super().__init__()
        self.config: IdmConfig = config
        self.net = Network(config)
        self.pi_head = IdmHeads(config)
        self.encoded = 0
        """Frames that have been encoded so far: what labelling costs."""
        self.frames_at_once = PLAIN_FRAMES
        """Frames encoded together while a video comes in."""

    def initialise(self) -> InverseDynamicsModel:
        """Draw every parameter anew from torch's global generator."""
        initialise(self)
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.net.final_ln.weight.device

    @contextlib.contextmanager
    def spread(self, total: int) -> Iterator[None]:
        """Label in the body with as many frames at once and CPU threads as are fastest here for `total` frames."""
        plain = self.frames_at_once
        frames = torch.zeros(
            4 * plain + 2 * REACH, *self.config.img_shape[:2], 3, dtype=torch.uint8, device=self.device
        )

        @torch.inference_mode()
        def piece(count: int) -> float:
            encoded = self.encoded
            self.features(frames[: count + 2 * REACH])
            self.encoded = encoded
            return count

        about = {"work": "labelling", "network": self.net.img_process.described}
        with spread(about, self.device, plain, 4 * plain, total, piece) as self.frames_at_once:
            yield
        self.frames_at_once = plain

    def features(self, frames: Tensor) -> Tensor:
        """Features (N, H) of the inner ones of frames u8 (N + 4, h, w, 3)."""
        height, width, channels = self.config.img_shape
        at_once = max(1, AT_ONCE_BYTES // (4 * height * width * channels))
        count = len(frames) - 2 * REACH
        self.encoded += count
        parts = []
        for start in range(0, count, at_once):
            some = frames[start : min(start + at_once, count) + 2 * REACH]
            motion = self.net.motion
            moved = motion(motion.spectra(some)) if motion is not None else None
            parts.append(self._encoded(self.net.conv3d_layer(some), moved))
        return torch.cat(parts)

    def features_of(self, near: Tensor) -> Tensor:
        """Features (N, H) of the middle ones of frames u8 (N, 5, h, w, 3), each with its own neighbours."""
        self.encoded += len(near)
        motion = self.net.motion
        moved = (
            motion.each(motion.spectra(near.flatten(0, 1)).unflatten(0, near.shape[:2])) if motion is not None else None
        )
        return self._encoded(self.net.conv3d_layer.mixed(near.permute(0, 2, 3, 1, 4).flatten(3)), moved)

    def _encoded(self, pixels: Tensor, moved: Tensor | None) -> Tensor:
        """Features from the temporal convolution's output, plus those of the motion input."""
        encoder = self.net.img_process
        found = encoder.from_dense(encoder.cnn.dense(encoder.cnn.stacked(pixels).flatten(1)))
        return found if moved is None else found + moved

    def forward(self, frames: Tensor) -> WindowOutput:
        """Frames u8 (B, T, h, w, 3) RGB → log-probabilities; T may be anything from 1 up."""
        black = torch.zeros_like(frames[:, :1]).expand(-1, REACH, -1, -1, -1)
        padded = torch.cat([black, frames, black], dim=1)
        return self.heads(torch.stack([self.features(window) for window in padded]))

    def heads(self, features: Tensor) -> WindowOutput:
        """Features (B, T, H) of whole windows → log-probabilities."""
        return self.pi_head(self.net(features))

    def label(
        self,
        frames: Iterable[NDArray[np.uint8]],
        *,
        stride: int | None = None,
        rule: Rule = "aligned",
    ) -> Labels:
        """Labels of a whole video, as `steve1.idm.label.label`."""
        return label(self, frames, stride=stride, rule=rule)


@torch.no_grad()
def initialise(model: InverseDynamicsModel) -> None:
    """Draw every parameter, scaled by fan-in as the policy's are.

    Half of the temporal convolution's filters begin as the next frame less this one: with random ones, a small network learns nothing about the
    camera in the time that it has.
    """
    unit_layers(model)
    for head in (model.pi_head.buttons, model.pi_head.camera):
        for parameter in head["linear_layer"].parameters():
            parameter.mul_(HEAD_GAIN)
    scale_image(model.net.img_process)
    scale_recurrent(model.net.recurrent_layer)
    if model.net.motion is not None:
        model.net.motion.out.layer.weight.mul_(RELU_GAIN)
        for layer in model.net.motion.moved.children():
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(RELU_GAIN)
    weight = model.net.conv3d_layer.layer.weight  # (P, 3, 5, 1, 1)
    for number in range(len(weight) // 2):
        colours = slice(0, 3) if number < 2 else slice(number % 3, number % 3 + 1)
        weight[number] = 0
        step = _DIFFERENCE if number % 2 else -_DIFFERENCE
        weight[number, colours, REACH + 1], weight[number, colours, REACH] = step, -step
