"""The memory and the arithmetic of a training step, from the network's sizes.

The bytes were counted on a pretended card, on which training itself runs with tensors that have sizes and no numbers (tests/devices;
its tests compare each kind of training with this estimate). CUDA's own share and what fragmentation wastes are assumed: no card was at hand.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Literal

import torch

from steve1.actions import N_BUTTONS, N_CAMERA
from steve1.policy import GoalPolicy, PolicyConfig
from steve1.policy.flops import flop_count
from steve1.policy.loss import ROWS
from steve1.policy.vision import GPU_NUMBERS, GPU_NUMBERS_WITHOUT_GRADIENTS, ActivationCheckpointing
from steve1.training.config import TrainSettings
from steve1.training.finetune_modes import MODES, FinetuneMode, FinetuneModeName
from steve1.training.optim.optimizers import BYTES_OF_MOMENTS, OptimizerName
from steve1.training.trainable import apply_mode, copied_parameters, trained_parameters

GIB = 2**30
Precision = Literal["bf16", "fp32"]

# Counted on the pretended card.
CNN_BYTES: dict[ActivationCheckpointing, dict[torch.dtype, float]] = {
    "none": {torch.bfloat16: 42.8, torch.float32: 76.6},
    "light": {torch.bfloat16: 16.1, torch.float32: 32.0},
}
"""Kept for the backward pass, for each number of the three stacks' outputs (C · h · w, summed), a frame."""
AGAIN_BYTES = {torch.bfloat16: 3.2, torch.float32: 3.9}
"""The same with light checkpointing: what the convolutions before the pools hold for a moment when they are computed again."""
ENCODING_BYTES = {torch.bfloat16: 4.75, torch.float32: 9.5}
"""For each number of the first convolution's output (C · 128 · 128), a frame that goes through the convolutions without gradients."""
BLOCK_BYTES = {torch.bfloat16: 70.0, torch.float32: 88.0}
"""For each of H, a block, a frame: projections, keys and values, the two-layer network."""
ATTENTION_BYTES = 8.0
"""For each head and each key that is seen, a block, a frame: biases and what softmax leaves."""
# Not measured: no GPU was at hand. The context that CUDA itself holds, cuDNN's workspace, and what fragmentation wastes.
CONTEXT_GB, WORKSPACE_GB, WASTE = 0.6, 0.5, 1.05
CPU_FRAMES = 16  # that go through the convolutions together on a CPU, about


@dataclasses.dataclass(frozen=True)
class Method:
    """The settings that a training step's memory depends on, beside the batch's."""

    finetune_mode: FinetuneModeName = "all"
    optimizer: OptimizerName = "adamw"
    activation_checkpointing: ActivationCheckpointing = "none"
    feature_cache: bool = False
    lora_rank: int = TrainSettings.lora_rank
    lora_targets: str = TrainSettings.lora_targets
    l2sp: bool = False
    ema: bool = False
    kl: bool = False

    @classmethod
    def of(cls, settings: TrainSettings) -> Method:
        own = {field.name for field in dataclasses.fields(settings)}
        known = {field.name: getattr(settings, field.name) for field in dataclasses.fields(cls) if field.name in own}
        known |= {"l2sp": settings.l2sp_coef > 0, "ema": settings.ema_decay > 0, "kl": settings.kl_weight > 0}
        return cls(**known)

    def settings(self) -> TrainSettings:
        """Settings that train so, as far as memory goes."""
        own = {field.name for field in dataclasses.fields(TrainSettings)}
        return TrainSettings(**{name: value for name, value in dataclasses.asdict(self).items() if name in own})

    @property
    def mode(self) -> FinetuneMode:
        return MODES[self.finetune_mode]

    def flags(self) -> str:
        """As on a command line; empty for the defaults. The penalties and the mean of the weights are the user's, and left out."""
        found = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            hidden = field.name in ("l2sp", "ema", "kl") or (
                field.name.startswith("lora_") and self.mode.adds != "lora"
            )
            if value != field.default and not hidden:
                found.append(f"--{field.name}" if value is True else f"--{field.name} {value}")
        return " ".join(found)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of a training step, by what holds them."""

    weights: float
    moments: float
    copies: float
    """Starting weights of L2-SP and KL, the running mean of EMA."""
    gradients: float
    lower_precision_weights: float
    cnn_activations: float
    transformer_activations: float
    heads: float
    recomputed: float
    """What one pass of recomputed convolutions holds for a moment."""
    encoding: float
    """What one pass without gradients holds: of a frozen CNN, or of KL's reference."""
    update: float
    """What the optimizer step holds beside the gradients."""
    frames: float
    around: float
    """CUDA's context and workspace; on a CPU Python and its libraries."""
    gradients_stay: bool = False
    """Whether gradients are there in the forward pass too: those of earlier micro-batches, or DDP's buckets."""
    encodes_last: bool = False
    """Whether the pass without gradients comes when activations are held: KL's."""

    @property
    def tensors(self) -> float:
        """The most that is alive at once: before the backward pass, when it reaches the convolutions, while encoding, or in the optimizer step."""
        always = self.weights + self.moments + self.copies + self.frames
        before = self.lower_precision_weights + self.cnn_activations + self.transformer_activations + self.heads
        encoding = self.encoding
        if self.encodes_last:
            before += self.encoding
        if self.gradients_stay:
            before += self.gradients
            encoding += self.gradients
        within = self.gradients + self.cnn_activations + self.recomputed
        return always + max(before, within, encoding, self.gradients + self.update)

    @property
    def total(self) -> float:
        """All of it, with the assumed loss to fragmentation."""
        return WASTE * self.tensors + self.around

    def rows(self) -> dict[str, float]:
        """What is not nothing, by name."""
        values = {field.name: float(getattr(self, field.name)) for field in dataclasses.fields(self)}
        switches = ("gradients_stay", "encodes_last")
        return {name.replace("_", " "): value for name, value in values.items() if value and name not in switches}


@functools.lru_cache(maxsize=64)
def parameter_counts(config: PolicyConfig, method: Method) -> tuple[int, int]:
    """(all, trained) parameters, additions counted."""
    policy = _unmade(config, method)
    trained = sum(parameter.numel() for parameter in trained_parameters(policy).values())
    return sum(parameter.numel() for parameter in policy.parameters()), trained


@functools.lru_cache(maxsize=64)
def kl_copies(config: PolicyConfig, method: Method) -> int:
    """Parameters that KL's reference does not share with the policy."""
    return copied_parameters(_unmade(config, method))


def _unmade(config: PolicyConfig, method: Method) -> GoalPolicy:
    """The policy as the method trains it, without numbers."""
    with torch.device("meta"):
        policy = GoalPolicy(config)
    apply_mode(policy, method.settings(), torch.zeros(config.mineclip_embed_dim))
    return policy


def estimate(
    config: PolicyConfig,
    method: Method,
    *,
    batch: int,
    trunc_t: int,
    precision: torch.dtype = torch.bfloat16,
    on_gpu: bool = True,
    accumulation: int = 1,
    processes: int = 1,
) -> Memory:
    """Bytes of a training step of `batch` windows and chunks of `trunc_t` frames.

    Args:
        on_gpu: frames go through the convolutions in large passes, and CUDA takes its share; on a CPU a few at a time.
        accumulation: micro-batches of an optimizer step.
        processes: of the run; from two on DDP holds the gradients.
    """
    everything, trained = parameter_counts(config, method)
    copied = kl_copies(config, method) if method.kl else 0
    frames, width, mode = batch * trunc_t, precision.itemsize, method.mode
    outputs = sum(channels * height * size for channels, height, size in config.stack_shapes)
    first = config.channels[0] * config.img_shape[0] * config.img_shape[1]
    held = recomputed = encoding = 0.0
    if mode.trains_cnn:
        kind = method.activation_checkpointing
        one_pass = _pass(frames, GPU_NUMBERS[kind] // first if on_gpu else CPU_FRAMES)
        if kind == "full":
            recomputed = one_pass * CNN_BYTES["none"][precision] * outputs
            held = frames * width * math.prod(config.img_shape)
        else:
            held = frames * CNN_BYTES[kind][precision] * outputs
        if kind == "light":
            recomputed = one_pass * AGAIN_BYTES[precision] * outputs
        held += frames * width * math.prod(config.stack_shapes[-1])
    if not method.feature_cache and (method.kl or not mode.trains_cnn):
        one_pass = _pass(frames, GPU_NUMBERS_WITHOUT_GRADIENTS // first if on_gpu else CPU_FRAMES)
        encoding = one_pass * ENCODING_BYTES[precision] * first
    seen = config.memory + trunc_t
    block = BLOCK_BYTES[precision] * config.hidsize + ATTENTION_BYTES * config.attention_heads * seen
    classes = N_BUTTONS + N_CAMERA
    reached = mode.blocks_reached(config.n_recurrence_layers)
    pictures = 512 if method.feature_cache else math.prod(config.img_shape)
    carried = batch * 2.0 * 4 * config.hidsize * config.n_recurrence_layers  # keys and values of a step, in all blocks
    state = carried * config.memory * (2 if method.kl else 1)
    return Memory(
        weights=4.0 * everything,
        moments=BYTES_OF_MOMENTS[method.optimizer] * trained,
        copies=4.0 * (trained * (method.l2sp + method.ema) + copied),
        gradients=4.0 * trained,
        lower_precision_weights=2.0 * everything if precision == torch.bfloat16 else 0.0,
        cnn_activations=held,
        transformer_activations=frames * (reached + 1) * block + carried * seen * method.kl,
        heads=min(ROWS, frames) * classes * 4 * 3.0 + classes * config.hidsize * 4.0 * (1 + method.kl),
        recomputed=recomputed,
        encoding=encoding,
        update=4.0 * trained * method.l2sp,
        frames=2.0 * accumulation * frames * (pictures + 4.0 * config.mineclip_embed_dim) + accumulation * state,
        around=(CONTEXT_GB + WORKSPACE_GB) * 1e9 if on_gpu else 0.3e9,
        gradients_stay=accumulation > 1 or processes > 1,
        encodes_last=method.kl,
    )


def _pass(frames: int, most: int) -> int:
    """Frames of the largest of as many equal passes as it takes."""
    return math.ceil(frames / math.ceil(frames / most))


def estimate_of(
    settings: TrainSettings, config: PolicyConfig, precision: torch.dtype, on_gpu: bool, processes: int = 1
) -> Memory:
    """Bytes of a training step of these settings."""
    return estimate(
        config,
        Method.of(settings),
        batch=settings.batch_size,
        trunc_t=settings.trunc_t,
        precision=precision,
        on_gpu=on_gpu,
        accumulation=settings.gradient_accum_steps,
        processes=processes,
    )


def flop_per_frame(config: PolicyConfig, method: Method, trunc_t: int) -> float:
    """FLOP of a trained frame: forward, backward (twice that) where gradients go, and what is computed again."""
    one, mode = flop_count(config, trunc_t), method.mode
    reached = mode.blocks_reached(config.n_recurrence_layers) / config.n_recurrence_layers
    behind_cnn = 3 * one.rest + (1 + 2 * reached) * one.blocks
    if method.feature_cache:
        return behind_cnn
    if not mode.trains_cnn:
        return behind_cnn + one.cnn
    again = {"none": 0.0, "light": one.pooled, "full": one.cnn}[method.activation_checkpointing]
    return behind_cnn + 3 * one.cnn - one.first + again
