"""Which ways of training fit a card, and how long they take.

The table of the documentation (`python -m research.memory_table`), `python -m steve1 plan` and tools/presets.sh say what this says.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from steve1.policy import PolicyConfig
from steve1.training.finetune_modes import MODES, FinetuneMode
from steve1.training.memory.estimate import GIB, Method, estimate, flop_per_frame, parameter_counts
from steve1.training.optim.optimizers import BYTES_OF_MOMENTS

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
"""Of that rate; not measured. `--frames_per_s` with what `python -m benchmarks train` prints replaces it."""
FP32_SHARE = 0.25
"""A card's float32 rate as a share of its bf16 rate; assumed."""
LENGTHS = (64, 32, 16)
"""TRUNC_T: the published one, and shorter ones where not one window of it fits."""


def _methods_of(name: str, mode: FinetuneMode) -> list[Method]:
    """A mode's methods: with less and less memory; plainly and with the factored optimizer too where most weights are trained."""
    if not mode.trains_cnn:
        found = [Method(name, feature_cache=True)]
    else:
        found = [Method(name, activation_checkpointing=kind) for kind in ("none", "light", "full")]
        found = found if mode.large else found[1:]
    return [*found, dataclasses.replace(found[-1], optimizer="factored")] if mode.large else found


METHODS = tuple(method for name, mode in MODES.items() for method in _methods_of(name, mode))
"""From the fullest training to the thriftiest."""


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


def card_like(gpu_gb: float) -> tuple[str, float, float]:
    """(name, TFLOP/s, GB/s) of the example card whose memory comes nearest."""
    _, name, rate, bandwidth = min(CARDS, key=lambda card: abs(math.log(card[0] / gpu_gb)))
    return name, rate, bandwidth


def usable(gpu_gb: float) -> float:
    """Bytes of a card of `gpu_gb` GiB that a program can use."""
    return gpu_gb * GIB * 0.92


def share_in(precision: torch.dtype) -> float:
    """A card's rate in this precision as a share of its bf16 rate."""
    return 1.0 if precision == torch.bfloat16 else FP32_SHARE


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
    processes: int = 1,
) -> list[Plan]:
    """For each method the largest batch that fits, at TRUNC_T = 64 where one window goes in, else shorter.

    Args:
        gpu_gb: memory of the card in GiB.
        effective_batch: windows of an optimizer step; what does not fit at once is accumulated.
        tflops: of the card in bf16; None: of an example card of that size.
        share: of that rate that training reaches.
        memory: bytes that may be used; None: what a card of this size has for a program.
        on_gpu, processes: as in `estimate`.
    """
    _, card_tflops, card_gbs = card_like(gpu_gb)
    rate = (tflops or card_tflops) * 1e12 * share * share_in(precision)
    most = usable(gpu_gb) if memory is None else memory
    batches = [batch for batch in range(effective_batch, 0, -1) if effective_batch % batch == 0]
    sizes = [(batch, trunc_t) for trunc_t in LENGTHS if trunc_t <= T for batch in batches]
    found = []
    for method in methods:
        # The optimizer reads and writes weights, gradients and moments, at 70 % (assumed) of the card's bandwidth.
        step_bytes = parameter_counts(config, method)[1] * (16.0 + 2.0 * BYTES_OF_MOMENTS[method.optimizer])
        for batch, trunc_t in sizes:
            accum = effective_batch // batch
            needed = estimate(
                config,
                method,
                batch=batch,
                trunc_t=trunc_t,
                precision=precision,
                on_gpu=on_gpu,
                accumulation=accum,
                processes=processes,
            ).total
            if needed <= most:
                frames = effective_batch * trunc_t
                seconds = frames * flop_per_frame(config, method, trunc_t) / rate + step_bytes / (0.7e9 * card_gbs)
                hours = total_frames * seconds / frames / 3600
                found.append(Plan(method, batch, accum, T, trunc_t, needed / GIB, hours, frames / seconds))
                break
    return found


def start_with(found: list[Plan]) -> Plan:
    """The plan to try first: the fullest training at the published TRUNC_T, with the largest batch that light checkpointing allows."""
    first = found[0].method
    alike = [dataclasses.replace(first, activation_checkpointing=kind) for kind in ("none", "light")]
    full = [plan for plan in found if plan.trunc_t == LENGTHS[0] and plan.method in alike]
    if full:
        return max(full, key=lambda plan: plan.batch_size)  # of equal ones the first, which computes less
    return next((plan for plan in found if plan.trunc_t == LENGTHS[0]), found[0])
