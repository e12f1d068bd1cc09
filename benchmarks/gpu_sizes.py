"""Command: windows per step that tools/measure_gpu.sh measures with on a card, by its memory: `python -m benchmarks.gpu_sizes`.

Output: one line of six words, for training as it is, at its widest, compiled, with light and with full checkpointing, and whether full and
cached training fit side by side (both) or not (cached).
"""

from __future__ import annotations

import dataclasses

import torch

from benchmarks.train import SIZES
from steve1.commands.cli import run
from steve1.core.device import choose_precision
from steve1.policy import PolicyConfig, read_model
from steve1.training.distributed import local_device
from steve1.training.memory.estimate import GIB, Method, estimate
from steve1.training.memory.plans import usable

WIDEST, COMPILED, USUAL = (32, 16, 8, 4, 2, 1), (15, 12, 8, 4, 2, 1), (8, 4, 2, 1)
"""Compiled steps are measured with up to 960 frames, from where on passes are halved."""


@dataclasses.dataclass(frozen=True)
class Args:
    """The card and the network."""

    device: str = "cuda"
    """Device: cuda, cuda:N or cpu."""
    model: str = "2x"
    """tiny, 2x or a .model file."""
    frames: int = 64
    """Of a window (TRUNC_T)."""
    gpu_gb: float = 0.0
    """Memory in GiB; 0: that of the device."""


def main(args: Args) -> None:
    """Print the sizes."""
    device = local_device(args.device)
    gib = args.gpu_gb
    if not gib and device.type == "cuda":
        gib = torch.cuda.get_device_properties(device).total_memory / GIB
    config = SIZES[args.model] if args.model in SIZES else read_model(args.model)
    print(*sizes(config, gib or 8.0, choose_precision("auto", device), args.frames))


def sizes(config: PolicyConfig, gpu_gb: float, precision: torch.dtype, frames: int = 64) -> list[str]:
    """The six words for a card of this memory."""

    def largest(candidates: tuple[int, ...], method: Method, beside: float = 0.0) -> int:
        """The most windows that fit; 0: none does."""
        for batch in candidates:
            needed = estimate(config, method, batch=batch, trunc_t=frames, precision=precision).total + beside
            if needed <= usable(gpu_gb):
                return batch
        return 0

    plain, light, full = Method(), Method(activation_checkpointing="light"), Method("all", "factored", "full")
    batch = largest(USUAL, plain)
    cached = estimate(config, Method("frozen_cnn", feature_cache=True), batch=8, trunc_t=frames, precision=precision)
    both = largest((8,), plain, beside=cached.moments + cached.gradients)
    found = [batch, largest(WIDEST, plain), largest(COMPILED, plain), largest(USUAL, light), largest(USUAL, full)]
    return [*map(str, found), "both" if both else "cached"]


if __name__ == "__main__":
    run(Args, main, "Sizes to measure a GPU with.")
