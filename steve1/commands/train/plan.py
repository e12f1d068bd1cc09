"""Command: what fits a card, and how long it takes (`python -m steve1 plan --gpu_gb 12`).

Prints for each method the batch, TRUNC_T and accumulation that fit, the hours, and the line that starts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from steve1.core.errors import UserError
from steve1.core.messages import heading, translated
from steve1.core.paths import quoted, resolve
from steve1.policy import PolicyConfig, read_model
from steve1.policy.flops import flop_count
from steve1.reporting.tables import Table, Value
from steve1.training.config import TrainSettings
from steve1.training.memory.estimate import estimate
from steve1.training.memory.plans import ASSUMED_SHARE, Plan, card_like, plans, share_in, start_with

PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Args:
    """The card and the run."""

    gpu_gb: float
    """The GPU's memory in GiB: 8, 12, 16, 24, 48, 80 ..."""
    model: str = ""
    """The network's .model file; default: the published 2x network."""
    total_frames: int = TrainSettings.total_frames
    """Frames to train on."""
    effective_batch: int = 8
    """Windows per optimizer step; accumulated if they do not fit at once."""
    T: int = TrainSettings.T
    """Frames per window."""
    tflops: float = 0.0
    """The GPU's dense bf16 TFLOP/s; 0: that of a typical card of this size."""
    frames_per_s: float = 0.0
    """Measured training speed (python -m benchmarks train); 0: assume 35 % of the GPU's bf16 rate, with fp32 a quarter of that."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """fp32 for GPUs without bf16 (before RTX 30xx and A100)."""
    verbose: bool = False
    """Also list what takes the memory."""


def main(args: Args) -> None:
    """Print every method that fits, the fullest first, and the line that starts it."""
    if args.gpu_gb <= 0 or args.effective_batch < 1 or args.total_frames < 1 or args.T < 16:
        raise UserError("gpu_gb, effective_batch and total_frames must be above 0, and T at least 16.")
    config = read_model(resolve(args.model)) if args.model else PolicyConfig()
    precision = PRECISIONS[args.precision]
    card, rate, _ = card_like(args.gpu_gb)
    share = ASSUMED_SHARE
    if args.frames_per_s:  # as measured in this precision
        rate, share = args.frames_per_s * flop_count(config, 64).train / 1e12 / share_in(precision), 1.0
    elif args.tflops:
        rate = args.tflops
    found = plans(
        config,
        args.gpu_gb,
        total_frames=args.total_frames,
        effective_batch=args.effective_batch,
        T=args.T,
        tflops=rate,
        share=share,
        precision=precision,
    )
    if not found:
        raise UserError(
            f"Nothing of this network fits {args.gpu_gb:g} GiB.",
            todo="a card with more memory, a smaller network, or --device cpu",
        )
    columns = ["method", "batch", "accum", "T", "trunc_t", "GiB", "frames/s", "hours"]
    rows: list[list[Value]] = [
        [
            plan.method.flags() or heading("everything"),
            *(
                plan.batch_size,
                plan.gradient_accum_steps,
                plan.T,
                plan.trunc_t,
                plan.gib,
                plan.frames_per_s,
                plan.hours,
            ),
        ]
        for plan in found
    ]
    table = Table(columns, rows, {"GiB": ".1f", "hours": ".1f", "frames/s": ".0f"})
    print(table.translated().console())
    print(translated(f"start with:  {command(args, start_with(found))}"))
    print("\n".join(map(translated, remarks(args, config, found, card, rate * 1e12 * share * share_in(precision)))))


def command(args: Args, plan: Plan) -> str:
    """The line that starts a plan's training, of the run that was asked about."""
    words = [f"IN_MODEL={quoted(resolve(args.model))}"] if args.model else []
    if args.total_frames != TrainSettings.total_frames:
        words.append(f"TOTAL_FRAMES={args.total_frames}")
    if args.total_frames <= TrainSettings.warmup_frames:
        words.append(f"WARMUP_FRAMES={max(1, args.total_frames // 10)}")
    flags = ["--precision fp32"] if args.precision == "fp32" else []
    return " ".join([*words, plan.command(), *flags])


def remarks(args: Args, config: PolicyConfig, found: list[Plan], card: str, rate: float) -> list[str]:
    """Where the figures come from."""
    if args.frames_per_s:
        source = f"{args.frames_per_s:g} frames/s of full training, as measured"
    else:
        share = f"{ASSUMED_SHARE * share_in(PRECISIONS[args.precision]):.0%}"
        source = f"{share} of the bf16 rate of an {card} (assumed; measure yours: python -m benchmarks train)"
        if args.tflops:
            rate_text = f"{args.tflops:g} TFLOP/s"
            source = f"{share} of the bf16 rate of {rate_text} (assumed; measure yours: python -m benchmarks train)"
    lines = [f"memory: tensors as counted on a simulated card, CUDA's own share assumed; hours: {source}"]
    if any(plan.method.feature_cache for plan in found):
        once = flop_count(config, 64).cnn / rate * 1e6 / 3600
        lines.append(
            f"--feature_cache: and once {once:.2f} hours for each million frames of recordings, 0.5 GB of disk each"
        )
    for plan in found if args.verbose else []:
        memory = estimate(
            config,
            plan.method,
            batch=plan.batch_size,
            trunc_t=plan.trunc_t,
            precision=PRECISIONS[args.precision],
            accumulation=plan.gradient_accum_steps,
        )
        parts = sorted((value / 2**30, name) for name, value in memory.rows().items())
        listed = ", ".join(f"{heading(name)} {gib:.2f}" for gib, name in reversed(parts))
        lines.append(f"{plan.method.flags() or heading('everything')}: {listed}")
    return lines
