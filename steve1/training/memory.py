"""Estimates the memory and the speed of a training method from the network's sizes, and plans what fits a card.

When the memory runs out all the same, `explain_oom` ends the run with settings that need less.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from steve1.actions import N_BUTTONS, N_CAMERA
from steve1.core.errors import UserError
from steve1.policy import GoalPolicy, PolicyConfig
from steve1.policy.flops import flop_count
from steve1.policy.loss import ROWS
from steve1.training.config import TrainSettings
from steve1.training.finetune_modes import MODES, FinetuneMode, FinetuneModeName
from steve1.training.optim.optimizers import BYTES_OF_MOMENTS, OptimizerName
from steve1.training.trainable import apply_mode, trained_parameters

GIB = 2**30

# Bytes kept for the backward pass, measured by counting saved tensors (`bench train_memory` counts them again).
CNN_BYTES = {torch.bfloat16: 45.5, torch.float32: 78.0}
"""For each number of the three stacks' outputs (C · h · w, summed), a frame."""
BLOCK_BYTES = {torch.bfloat16: 70.0, torch.float32: 88.0}
"""For each of H, a block, a frame: projections, keys and values, the two-layer network."""
ATTENTION_BYTES = 8.0
"""For each head and each key that is seen, a block, a frame: biases and what softmax leaves."""
# Not measured: no GPU was at hand. The context that CUDA itself holds, cuDNN's workspace, and what fragmentation wastes.
CONTEXT_GB, WORKSPACE_GB, WASTE = 0.6, 0.5, 1.05
# Cards by GiB: an example of that size, its dense bf16 rate in TFLOP/s with float32 sums and its memory's GB/s, as their makers state them.
CARDS: tuple[tuple[float, str, float, float], ...] = (
    (8, "RTX 3070", 40.6, 448),
    (12, "RTX 3060", 25.4, 360),
    (16, "RTX 4060 Ti", 44.0, 288),
    (24, "RTX 3090", 71.0, 936),
    (40, "A100", 312.0, 1555),
    (80, "A100", 312.0, 2039),
    (141, "H200", 989.0, 4800),
)
ASSUMED_SHARE = 0.35
"""Of that rate; not measured. `--frames_per_s` with what `bench train` prints replaces it."""


@dataclasses.dataclass(frozen=True)
class Method:
    """The settings that a training step's memory depends on."""

    finetune_mode: FinetuneModeName = "all"
    optimizer: OptimizerName = "adamw"
    activation_checkpointing: bool = False
    feature_cache: bool = False
    lora_rank: int = TrainSettings.lora_rank
    lora_targets: str = TrainSettings.lora_targets

    @classmethod
    def of(cls, settings: TrainSettings) -> Method:
        return cls(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(cls)})

    @property
    def mode(self) -> FinetuneMode:
        return MODES[self.finetune_mode]

    def flags(self) -> str:
        """As on a command line; empty for the defaults."""
        found = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default and (self.mode.adds == "lora" or not field.name.startswith("lora_")):
                found.append(f"--{field.name}" if value is True else f"--{field.name} {value}")
        return " ".join(found)


def _methods_of(name: str, mode: FinetuneMode) -> list[Method]:
    """A mode's methods: with less memory; plainly and with the factored optimizer too where most weights are trained."""
    saving = Method(name, activation_checkpointing=mode.trains_cnn, feature_cache=not mode.trains_cnn)
    found = [Method(name), saving] if mode.trains_cnn and mode.large else [saving]
    return [*found, dataclasses.replace(saving, optimizer="factored")] if mode.large else found


METHODS = tuple(method for name, mode in MODES.items() for method in _methods_of(name, mode))
"""From the fullest training to the thriftiest."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of a training step, by what holds them."""

    weights: float
    gradients: float
    moments: float
    lower_precision_weights: float
    cnn_activations: float
    transformer_activations: float
    heads: float
    frames: float
    around: float

    @property
    def total(self) -> float:
        """All of it, with the assumed loss to fragmentation."""
        return WASTE * (sum(dataclasses.astuple(self)) - self.around) + self.around


@dataclasses.dataclass(frozen=True)
class Plan:
    """A method that fits a card, with its sizes and speed."""

    method: Method
    batch_size: int
    gradient_accum_steps: int
    T: int
    trunc_t: int
    gib: float
    hours: float
    frames_per_s: float

    def command(self) -> str:
        """The line that starts this training."""
        sizes = f"BATCH_SIZE={self.batch_size} GRADIENT_ACCUM_STEPS={self.gradient_accum_steps} T={self.T} TRUNC_T={self.trunc_t}"
        return f"{sizes} bash 3_train_finetune_template.sh {self.method.flags()}".rstrip()


@functools.lru_cache(maxsize=64)
def parameter_counts(config: PolicyConfig, method: Method) -> tuple[int, int]:
    """(all, trained) parameters, additions counted."""
    with torch.device("meta"):
        policy = GoalPolicy(config)
    apply_mode(policy, TrainSettings(**dataclasses.asdict(method)), torch.zeros(config.mineclip_embed_dim))
    trained = sum(parameter.numel() for parameter in trained_parameters(policy).values())
    return sum(parameter.numel() for parameter in policy.parameters()), trained


def estimate(
    config: PolicyConfig,
    method: Method,
    *,
    batch: int,
    trunc_t: int,
    precision: torch.dtype = torch.bfloat16,
    on_gpu: bool = True,
) -> Memory:
    """Bytes of a training step of `batch` windows and chunks of `trunc_t` frames.

    Args:
        on_gpu: frames go through the convolutions all at once, and CUDA takes its share; on a CPU a few at a time.
    """
    everything, trained = parameter_counts(config, method)
    frames, width = batch * trunc_t, precision.itemsize
    stacks = sum(channels * height * size for channels, height, size in config.stack_shapes)
    at_once = frames if on_gpu else min(frames, 16)
    if method.mode.trains_cnn:
        held = frames * CNN_BYTES[precision] * stacks
        if method.activation_checkpointing:
            held = min(64, at_once) * CNN_BYTES[precision] * stacks + frames * width * 3 * math.prod(config.img_shape)
        held += frames * width * math.prod(config.stack_shapes[-1])
    else:  # no history: the largest layer's input and output at a time
        first = config.channels[0] * config.img_shape[0] * config.img_shape[1]
        held = 0.0 if method.feature_cache else 2.0 * width * at_once * first
    seen = config.memory + trunc_t
    block = BLOCK_BYTES[precision] * config.hidsize + ATTENTION_BYTES * config.attention_heads * seen
    classes = N_BUTTONS + N_CAMERA
    return Memory(
        weights=4.0 * everything,
        gradients=4.0 * trained,
        moments=BYTES_OF_MOMENTS[method.optimizer] * trained,
        lower_precision_weights=2.0 * everything if precision == torch.bfloat16 else 0.0,
        cnn_activations=held,
        transformer_activations=frames * (method.mode.blocks_reached(config.n_recurrence_layers) + 1) * block,
        heads=min(ROWS, frames) * classes * 4 * 3.0 + classes * config.hidsize * 4.0,
        frames=2.0 * frames * (512 if method.feature_cache else math.prod(config.img_shape)),
        around=(CONTEXT_GB + WORKSPACE_GB) * 1e9 if on_gpu else 0.3e9,
    )


def estimate_of(settings: TrainSettings, config: PolicyConfig, precision: torch.dtype, on_gpu: bool) -> Memory:
    """Bytes of a training step of these settings."""
    method, batch, trunc_t = Method.of(settings), settings.batch_size, settings.trunc_t
    return estimate(config, method, batch=batch, trunc_t=trunc_t, precision=precision, on_gpu=on_gpu)


def flop_per_frame(config: PolicyConfig, method: Method, trunc_t: int) -> float:
    """FLOP of a trained frame: forward, backward (twice that) where gradients go, and the recomputed activations."""
    one, mode = flop_count(config, trunc_t), method.mode
    reached = mode.blocks_reached(config.n_recurrence_layers) / config.n_recurrence_layers
    behind_cnn = 3 * one.rest + (1 + 2 * reached) * one.blocks
    if method.feature_cache:
        return behind_cnn
    if not mode.trains_cnn:
        return behind_cnn + one.cnn
    return behind_cnn + 3 * one.cnn - one.first + (one.cnn if method.activation_checkpointing else 0.0)


def card_like(gpu_gb: float) -> tuple[str, float, float]:
    """(name, TFLOP/s, GB/s) of the example card whose memory comes nearest."""
    _, name, rate, bandwidth = min(CARDS, key=lambda card: abs(math.log(card[0] / gpu_gb)))
    return name, rate, bandwidth


def usable(gpu_gb: float) -> float:
    """Bytes of a card of `gpu_gb` GiB that a program can use."""
    return gpu_gb * GIB * 0.95


def plans(
    config: PolicyConfig,
    gpu_gb: float,
    *,
    total_frames: int = 10_000_000,
    effective_batch: int = 8,
    T: int = 320,
    tflops: float | None = None,
    share: float = ASSUMED_SHARE,
    methods: tuple[Method, ...] = METHODS,
    precision: torch.dtype = torch.bfloat16,
    memory: float | None = None,
    on_gpu: bool = True,
) -> list[Plan]:
    """For each method the largest batch that fits, at TRUNC_T = 64 where one window goes in, else shorter.

    Args:
        gpu_gb: memory of the card in GiB.
        effective_batch: windows of an optimizer step; what does not fit at once is accumulated.
        tflops: of the card in bf16; None: of an example card of that size.
        share: of that rate that training reaches.
        memory: bytes that may be used; None: what a card of this size has for a program.
        on_gpu: as in `estimate`.
    """
    _, card_tflops, card_gbs = card_like(gpu_gb)
    rate = (tflops or card_tflops) * 1e12 * share * (1.0 if precision == torch.bfloat16 else 0.25)
    most = usable(gpu_gb) if memory is None else memory
    batches = [batch for batch in range(effective_batch, 0, -1) if effective_batch % batch == 0]
    sizes = [(batch, trunc_t) for trunc_t in (64, 32, 16) if trunc_t <= T for batch in batches]
    found = []
    for method in methods:
        # The optimizer reads and writes weights, gradients and moments, at 70 % (assumed) of the card's bandwidth.
        step_bytes = parameter_counts(config, method)[1] * (16.0 + 2.0 * BYTES_OF_MOMENTS[method.optimizer])
        for batch, trunc_t in sizes:
            needed = estimate(config, method, batch=batch, trunc_t=trunc_t, precision=precision, on_gpu=on_gpu).total
            if needed <= most:
                frames = effective_batch * trunc_t
                seconds = frames * flop_per_frame(config, method, trunc_t) / rate + step_bytes / (0.7e9 * card_gbs)
                hours = total_frames * seconds / frames / 3600
                accum, speed = effective_batch // batch, frames / seconds
                found.append(Plan(method, batch, accum, T, trunc_t, needed / GIB, hours, speed))
                break
    return found


@contextmanager
def explain_oom(
    settings: TrainSettings, config: PolicyConfig, device: torch.device, precision: torch.dtype
) -> Iterator[None]:
    """Turns an out-of-memory error in the body into a UserError that names settings which fit."""
    try:
        yield
    except RuntimeError as fault:
        if not (isinstance(fault, torch.OutOfMemoryError) or "allocate memory" in str(fault)):
            raise
        on_gpu = device.type == "cuda"
        if on_gpu:
            size = torch.cuda.get_device_properties(device).total_memory
        else:
            size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        raise UserError(
            f"The memory of {'the GPU' if on_gpu else 'this machine'} is full.",
            where=f"batch_size {settings.batch_size}, trunc_t {settings.trunc_t}, T {settings.T}, finetune_mode {settings.finetune_mode}",
            got=str(fault).splitlines()[0],
            todo=what_fits(settings, config, size / GIB, precision, on_gpu),
        ) from fault


def what_fits(
    settings: TrainSettings, config: PolicyConfig, gpu_gb: float, precision: torch.dtype, on_gpu: bool = True
) -> str:
    """The nearest plans that need clearly less than these settings and fit, the same method first."""
    now = Method.of(settings)
    used = estimate_of(settings, config, precision, on_gpu)
    # Where the estimate says that it should have fitted, something else holds memory: look for clearly less.
    most = min(usable(gpu_gb), used.around + 0.8 * (used.total - used.around))
    found = plans(
        config,
        gpu_gb,
        total_frames=settings.total_frames,
        effective_batch=settings.batch_size * settings.gradient_accum_steps,
        T=settings.T,
        methods=tuple(dict.fromkeys([now, *METHODS])),
        precision=precision,
        memory=most,
        on_gpu=on_gpu,
    )
    said = f"estimated need {used.total / GIB:.2f} GiB of {gpu_gb:.1f}; all methods: python -m steve1 plan --gpu_gb {gpu_gb:.0f}"
    if not found:
        return f"{said}; none of them fits this network: use a card with more memory, or a smaller network"
    less = [f"{plan.gib:.2f} GiB: {plan.command()}" for plan in found[:3]]
    return "\n    ".join([f"{said}. These need less:", *less])
