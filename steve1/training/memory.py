"""Room `training`, how much memory a way of training takes and how long it lasts, before it is tried.

In: sizes of a network, a way of training (what is trained, batch, TRUNC_T, optimizer) and a card. Out: bytes by part, the ways that fit with
batch and accumulation, hours, and the message that a run ends with when the memory is full all the same.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from steve1.core.errors import UserError
from steve1.policy import GoalPolicy, PolicyConfig
from steve1.policy.flops import flop_count
from steve1.policy.loss import ROWS
from steve1.training.config import TrainParts, TrainSettings
from steve1.training.finetune_modes import choose_trained, trained_parameters
from steve1.training.lora import targets_of
from steve1.training.optim.optimizers import BYTES_OF_MOMENTS, OptimizerName

Precision = Literal["bf16", "fp32"]
GIB = 2**30

# Bytes kept for the backward pass, measured by counting saved tensors (`bench train_memory` counts them again).
CNN_BYTES: dict[str, float] = {"bf16": 45.5, "fp32": 78.0}
"""For each number of the three stacks' outputs (C · h · w, summed), a frame."""
BLOCK_BYTES: dict[str, float] = {"bf16": 70.0, "fp32": 88.0}
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
    """A way of training, by the settings that its memory depends on."""

    finetune_mode: TrainParts = "all"
    optimizer: OptimizerName = "adamw"
    activation_checkpointing: bool = False
    feature_cache: bool = False
    lora_rank: int = 16
    lora_targets: str = "attention,mlp,heads"

    @classmethod
    def of(cls, settings: TrainSettings) -> Method:
        """The way of these settings."""
        return cls(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(cls)})

    @property
    def trains_cnn(self) -> bool:
        """Whether gradients go through the convolutions."""
        return self.finetune_mode in ("all", "norm_bias")

    def flags(self) -> str:
        """As they stand on a command line; empty for the plain way."""
        found = [] if self.finetune_mode == "all" else [f"--finetune_mode {self.finetune_mode}"]
        found += ["--activation_checkpointing"] * self.activation_checkpointing + [
            "--feature_cache"
        ] * self.feature_cache
        found += [f"--optimizer {self.optimizer}"] * (self.optimizer != "adamw")
        found += [f"--lora_rank {self.lora_rank}"] * (
            self.finetune_mode == "lora" and self.lora_rank != Method.lora_rank
        )
        found += [f"--lora_targets {self.lora_targets}"] * (
            self.finetune_mode == "lora" and self.lora_targets != Method.lora_targets
        )
        return " ".join(found)


METHODS = (
    Method(),
    Method(activation_checkpointing=True),
    Method(activation_checkpointing=True, optimizer="factored"),
    Method("norm_bias", activation_checkpointing=True),
    Method("frozen_cnn", feature_cache=True),
    Method("frozen_cnn", feature_cache=True, optimizer="factored"),
    Method("lora", feature_cache=True),
    Method("heads_and_goal", feature_cache=True),
    Method("goal", feature_cache=True),
)
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
        """All of it, with what fragmentation is assumed to waste."""
        parts = dataclasses.asdict(self)
        around = parts.pop("around")
        return WASTE * sum(parts.values()) + around

    def rows(self) -> list[tuple[str, float]]:
        """(part, GiB), largest first."""
        parts = dataclasses.asdict(self)
        return sorted(((name, value / GIB) for name, value in parts.items() if value), key=lambda row: -row[1])


@dataclasses.dataclass(frozen=True)
class Plan:
    """A way of training that fits."""

    method: Method
    batch_size: int
    gradient_accum_steps: int
    T: int
    trunc_t: int
    gib: float
    hours: float
    frames_per_s: float

    def command(self, script: str = "3_train_finetune_template.sh") -> str:
        """The line that trains so."""
        sizes = f"BATCH_SIZE={self.batch_size} GRADIENT_ACCUM_STEPS={self.gradient_accum_steps} T={self.T} TRUNC_T={self.trunc_t}"
        return f"{sizes} bash {script} {self.method.flags()}".rstrip()


@functools.lru_cache(maxsize=64)
def parameter_counts(config: PolicyConfig, method: Method) -> tuple[int, int]:
    """(all, trained) parameters, as `choose_trained` would choose them."""
    with torch.device("meta"):
        policy = GoalPolicy(config)
    everything = sum(parameter.numel() for parameter in policy.parameters())
    if method.finetune_mode == "lora":
        layers = targets_of(policy, [name.strip() for name in method.lora_targets.split(",")])
        added = sum(method.lora_rank * (layer.in_features + layer.out_features) for _, layer in layers)
        return everything + added, added
    choose_trained(policy, TrainSettings(finetune_mode=method.finetune_mode), torch.zeros(config.mineclip_embed_dim))
    return everything, sum(parameter.numel() for parameter in trained_parameters(policy).values())


def estimate(
    config: PolicyConfig,
    method: Method,
    *,
    batch: int,
    trunc_t: int,
    precision: Precision = "bf16",
    on_gpu: bool = True,
) -> Memory:
    """Bytes of a training step of `batch` windows and chunks of `trunc_t` frames.

    Args:
        on_gpu: frames go through the convolutions all at once, and CUDA takes its share; on a CPU a few at a time.
    """
    everything, trained = parameter_counts(config, method)
    frames, width = batch * trunc_t, 2 if precision == "bf16" else 4
    stacks = sum(channels * height * size for channels, height, size in stack_shapes(config))
    at_once = frames if on_gpu else min(frames, 16)
    if method.trains_cnn:
        one = CNN_BYTES[precision] * stacks
        held = (
            min(64, at_once) * one + frames * width * 3 * math.prod(config.img_shape)
            if method.activation_checkpointing
            else frames * one
        )
        held += frames * width * math.prod(config.feature_shape)
    else:  # no history: the largest layer's input and output at a time
        first = config.channels[0] * config.img_shape[0] * config.img_shape[1]
        held = 0.0 if method.feature_cache else 2.0 * width * at_once * first
    seen = config.memory + trunc_t
    block = BLOCK_BYTES[precision] * config.hidsize + ATTENTION_BYTES * config.attention_heads * seen
    classes = 8641 + 121
    return Memory(
        weights=4.0 * everything,
        gradients=4.0 * trained,
        moments=BYTES_OF_MOMENTS[method.optimizer] * trained,
        lower_precision_weights=2.0 * everything if precision == "bf16" else 0.0,
        cnn_activations=held,
        transformer_activations=frames * (config.n_recurrence_layers + 1) * block,
        heads=min(ROWS, frames) * classes * 4 * 3.0 + classes * config.hidsize * 4.0,
        frames=2.0 * frames * (512 if method.feature_cache else math.prod(config.img_shape)),
        around=(CONTEXT_GB + WORKSPACE_GB) * 1e9 if on_gpu else 0.3e9,
    )


def stack_shapes(config: PolicyConfig) -> Iterator[tuple[int, int, int]]:
    """(C, h, w) of each image stack's output."""
    height, width = config.img_shape[:2]
    for channels in config.channels:
        height, width = (height + 1) // 2, (width + 1) // 2
        yield channels, height, width


def flop_per_frame(config: PolicyConfig, method: Method, trunc_t: int) -> float:
    """FLOP of a trained frame: forward once, backward twice that where gradients go, and once more what is computed again."""
    whole = flop_count(config, trunc_t)
    rest = 3.0 * (whole.forward - whole.cnn)
    if method.feature_cache:
        return rest
    if not method.trains_cnn:
        return rest + whole.cnn
    return whole.train + (whole.cnn if method.activation_checkpointing else 0.0)


def card_like(gpu_gb: float) -> tuple[str, float, float]:
    """(name, TFLOP/s, GB/s) of the example card whose memory comes nearest."""
    _, name, rate, bandwidth = min(CARDS, key=lambda card: abs(math.log(card[0] / gpu_gb)))
    return name, rate, bandwidth


def optimizer_seconds(config: PolicyConfig, method: Method, gpu_gb: float) -> float:
    """Of one optimizer step: it reads and writes weights, gradients and moments, at 70 % (assumed) of the card's bandwidth."""
    _, trained = parameter_counts(config, method)
    return trained * (16.0 + 2.0 * BYTES_OF_MOMENTS[method.optimizer]) / (0.7e9 * card_like(gpu_gb)[2])


def usable(gpu_gb: float) -> float:
    """Bytes of a card of `gpu_gb` GiB that a program gets; a display takes some of the rest."""
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
    precision: Precision = "bf16",
    room: float | None = None,
    on_gpu: bool = True,
) -> list[Plan]:
    """For each method the largest batch that fits, at TRUNC_T = 64 where one window goes in, else shorter.

    Args:
        gpu_gb: memory of the card in GiB.
        effective_batch: windows of an optimizer step; what does not fit at once is accumulated.
        tflops: of the card in bf16; None: of an example card of that size.
        share: of that rate that training reaches.
        room: bytes that may be used; None: what a card of this size has for a program.
        on_gpu: as in `estimate`.
    """
    rate = (tflops or card_like(gpu_gb)[1]) * 1e12 * share * (1.0 if precision == "bf16" else 0.25)
    found = []
    for method in methods:
        fits = _largest(config, method, usable(gpu_gb) if room is None else room, effective_batch, T, precision, on_gpu)
        if fits is None:
            continue
        batch, trunc_t, memory = fits
        accumulated = math.ceil(effective_batch / batch)
        frames = batch * accumulated * trunc_t
        seconds = frames * flop_per_frame(config, method, trunc_t) / rate + optimizer_seconds(config, method, gpu_gb)
        frames_per_s = frames / seconds
        hours = total_frames / frames_per_s / 3600
        found.append(Plan(method, batch, accumulated, T, trunc_t, memory / GIB, hours, frames_per_s))
    return found


def _largest(
    config: PolicyConfig, method: Method, room: float, most: int, T: int, precision: Precision, on_gpu: bool
) -> tuple[int, int, float] | None:
    batches = [batch for batch in range(most, 0, -1) if most % batch == 0]
    for trunc_t in (64, 32, 16):
        for batch in batches if trunc_t <= T else []:
            memory = estimate(config, method, batch=batch, trunc_t=trunc_t, precision=precision, on_gpu=on_gpu).total
            if memory <= room:
                return batch, trunc_t, memory
    return None


# ---- when the memory is full ----


@contextmanager
def explain_oom(
    settings: TrainSettings, config: PolicyConfig, device: torch.device, precision: torch.dtype
) -> Iterator[None]:
    """A full memory in the body becomes a UserError that names settings which fit."""
    try:
        yield
    except RuntimeError as fault:
        if not is_out_of_memory(fault):
            raise
        raise UserError(
            f"The memory of {'the GPU' if device.type == 'cuda' else 'this machine'} is full.",
            where=f"batch_size {settings.batch_size}, trunc_t {settings.trunc_t}, T {settings.T}, finetune_mode {settings.finetune_mode}",
            got=str(fault).splitlines()[0],
            todo=what_fits(
                settings,
                config,
                memory_of(device),
                "bf16" if precision == torch.bfloat16 else "fp32",
                on_gpu=device.type == "cuda",
            ),
        ) from fault


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether an error says that memory could not be had, on a GPU or in the machine."""
    if isinstance(fault, torch.OutOfMemoryError):
        return True
    return isinstance(fault, RuntimeError) and "allocate memory" in str(fault)


def memory_of(device: torch.device) -> float:
    """GiB of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / GIB
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def what_fits(
    settings: TrainSettings, config: PolicyConfig, gpu_gb: float, precision: Precision, on_gpu: bool = True
) -> str:
    """The nearest ways that need clearly less than these settings and fit, the same method first."""
    now = Method.of(settings)
    used = estimate(
        config, now, batch=settings.batch_size, trunc_t=settings.trunc_t, precision=precision, on_gpu=on_gpu
    )
    # Where the estimate says that it should have fitted, something else holds memory: look for clearly less.
    room = min(usable(gpu_gb), used.around + 0.8 * (used.total - used.around))
    found = plans(
        config,
        gpu_gb,
        total_frames=settings.total_frames,
        effective_batch=settings.batch_size * settings.gradient_accum_steps,
        T=settings.T,
        methods=tuple(dict.fromkeys([now, *METHODS])),
        precision=precision,
        room=room,
        on_gpu=on_gpu,
    )
    said = f"estimated need {used.total / GIB:.2f} GiB of {gpu_gb:.1f}; all ways: python -m steve1 plan --gpu_gb {gpu_gb:.0f}"
    if not found:
        return f"{said}; none of them fits this network: use a card with more memory, or a smaller network"
    return "\n    ".join(
        [f"{said}. These need less:", *(f"{plan.gib:.2f} GiB: {plan.command()}" for plan in found[:3])]
    )
