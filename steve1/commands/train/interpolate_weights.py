"""Weights between base and fine-tuned ones: `python tools/interpolate_weights.py --base a.weights --tuned b.weights --alpha 0:1:0.25`.

In: two weights files of one network, the task's and the old skills' validation lists. Out: a weights file for each alpha, and both losses of
each as interpolation.md, .json and .png. With --adapter instead of --tuned: the base with a LoRA adapter merged into it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from steve1.core.checkpoint_metadata import read_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.paths import display, output_path, resolve


@dataclasses.dataclass(frozen=True)
class Args:
    """Mix weights and measure both losses."""

    base: str
    """The weights that fine-tuning started from."""
    tuned: str = ""
    """The fine-tuned weights."""
    adapter: str = ""
    """A .lora.safetensors file in their place: it is merged into the base first, as <adapter>.weights in the folder."""
    alpha: str = "0:1:0.25"
    """Shares of the fine-tuned weights: from:to:step, or a list as in 0.3,0.7."""
    sampling: str = ""
    """Measure the task's loss on <sampling_dir>/<name>_val.txt."""
    retention_sampling: str = ""
    """Measure the old skills' loss on <sampling_dir>/<name>_val.txt."""
    sampling_dir: str = "data/samplings"
    """Folder of the sampling lists."""
    out_dir: str = ""
    """Where everything goes; default: data/interpolations/<tuned>."""
    no_weights: bool = False
    """Measure only; keep no weights files."""
    in_model: str = ""
    """The .model file; default: from <weights>.json."""
    T: int = 320
    """Frames in a window, as in training."""
    trunc_t: int = 64
    """Frames at a time."""
    max_btwn_goals: int = 100
    """Most frames between two hindsight goals, as in training."""
    batch_size: int = 8
    """Windows at a time."""
    val_windows: int = 0
    """Measure on this many windows, spread over each list; 0: on all."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""


def main(args: Args) -> None:
    """Check, mix, measure, say where it lies."""
    from steve1.training.config import TrainSettings
    from steve1.training.interpolate import Plan, interpolate, shares

    if bool(args.tuned) == bool(args.adapter):
        raise UserError(
            "Say what to mix with the base.",
            expected="--tuned or --adapter",
            got=f"tuned {args.tuned!r}, adapter {args.adapter!r}",
        )
    base, model = resolve(args.base), resolve(args.in_model or read_checkpoint_metadata(args.base).model)
    name = Path(args.tuned or args.adapter).name.split(".")[0]
    folder = output_path(args.out_dir or f"data/interpolations/{name}")
    tuned = resolve(args.tuned) if args.tuned else merged(model, base, resolve(args.adapter), folder)
    lists = {
        field: resolve(Path(args.sampling_dir) / f"{sampling}_val.txt") if sampling else None
        for field, sampling in (("task_list", args.sampling), ("retention_list", args.retention_sampling))
    }
    settings = TrainSettings(
        T=args.T, trunc_t=min(args.trunc_t, args.T), max_btwn_goals=args.max_btwn_goals, batch_size=args.batch_size,
        val_windows=args.val_windows, device=args.device,
    )  # fmt: skip
    plan = Plan(
        model, base, tuned, shares(args.alpha), folder, **lists, settings=settings, keep_weights=not args.no_weights
    )
    interpolate(plan)
    print((folder / "interpolation.md").read_text(encoding="utf-8"))
    print(f"written: {display(folder)}")


def merged(model: Path, base: Path, adapter: Path, folder: Path) -> Path:
    """The base with an adapter merged into it, written to `folder`.

    Raises:
        UserError: the adapter was made for other weights.
    """
    from steve1.core.checkpoint_metadata import write_checkpoint_metadata
    from steve1.core.files import sha256_file
    from steve1.policy import load_policy, save_weights
    from steve1.training.lora import ADAPTER_SUFFIX, merge_adapter

    policy = load_policy(model, base)
    wanted = merge_adapter(policy, adapter)
    if wanted != sha256_file(base):
        raise UserError(
            "This adapter was made for other weights.",
            where=display(adapter),
            expected=f"sha256 {wanted[:12]}…",
            got=f"{display(base)}: {sha256_file(base)[:12]}…",
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (adapter.name.removesuffix(ADAPTER_SUFFIX) + ".weights")
    save_weights(policy, path)
    write_checkpoint_metadata(path, read_checkpoint_metadata(base))
    return path
