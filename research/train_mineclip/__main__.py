"""Train a small MineCLIP on captioned episodes: `python -m research.train_mineclip --dataset_dir … --out_weights …`.

Input: episodes whose metadata names a behaviour or captions. Output: MineCLIP weights with their sizes inside, and curves.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import torch

from research.train_mineclip.clips import load_clips
from research.train_mineclip.contrastive import ContrastiveSettings, train_mineclip
from steve1.commands.cli import run
from steve1.core.device import choose_device
from steve1.core.errors import UserError
from steve1.core.files import read_json, write_json
from steve1.core.messages import message, progress, translated
from steve1.core.options import Option
from steve1.core.paths import display, output_path, quoted, resolve
from steve1.data.episodes.captions import TABLE, read_captions
from steve1.mineclip.config import from_dict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(ContrastiveSettings):
    """Train a MineCLIP by contrast of clips and captions."""

    dataset_dir: tuple[str, ...]
    """Folders with episodes; captions come from their metadata and from the table."""
    out_weights: str = "data/mini/mini_mineclip.safetensors"
    """Where the weights go (with their sizes, half precision); rewritten at every evaluation."""
    model: Annotated[dict[str, Any], Option(hidden=True)] = dataclasses.field(
        default_factory=lambda: ContrastiveSettings().model
    )
    config: str = ""
    """JSON file with sizes; default: the mini MineCLIP's."""
    captions: str = ""
    """Table of captions (YAML); default: the project's own."""
    threads: int = 0
    """CPU threads; 0: as many as there are cores."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps."""
    resume: bool = True
    """Go on with a run of this output name where there is one; --no_resume refuses instead."""
    overwrite: bool = False
    """Delete an earlier run of this name and start again."""


def main(args: Args) -> None:
    """Load the clips, train, write the figures beside the curves."""
    if args.config:
        args = dataclasses.replace(args, model=read_json(resolve(args.config)))
    args.check()
    output = output_path(args.out_weights)
    if output.suffix != ".safetensors":
        raise UserError("MineCLIP weights are written as .safetensors.", where="--out_weights", got=args.out_weights)
    folder = output_path("data/finetuning_checkpoint") / output.stem
    if not args.resume and not args.overwrite and (folder / "state.pt").exists():
        raise UserError("A run of this output name exists.", where=folder, todo="--resume or --overwrite")
    if args.threads:
        torch.set_num_threads(args.threads)
    device = choose_device(args.device)
    table = read_captions(resolve(args.captions) if args.captions else TABLE)
    start = time.perf_counter()
    with progress(desc=translated("reading clips"), unit="episode") as bar:

        def count(_path: Path) -> None:
            bar.update(1)

        datasets = [resolve(path) for path in args.dataset_dir]
        clips = load_clips(datasets, from_dict(args.model).resolution, table, on_episode=count)
    frames = sum(len(episode.frames) for episode in clips.episodes)
    print(translated(f"{len(clips.episodes)} episodes, {frames} frames of {', '.join(clips.behaviours)}"))
    with progress(total=args.steps, desc=message("bar training"), unit="step") as bar:

        def show(step: int, scalars: dict[str, float]) -> None:
            bar.update(step - bar.n)
            if "clip_accuracy" in scalars:
                bar.write(
                    translated(f"step {step}")
                    + ": "
                    + ", ".join(f"{name} {value:.3f}" for name, value in scalars.items())
                )

        figures = train_mineclip(clips, output, args, run=folder, overwrite=args.overwrite, device=device, on_step=show)
    write_json(folder / "retrieval.json", figures)
    print(_table(figures))
    took, size = time.perf_counter() - start, output.stat().st_size / 1e6
    print(translated(f"{took:.0f} s; weights: {display(output)} ({size:.1f} MB)"))
    print(translated(f"curves: tensorboard --logdir {quoted(folder)}"))


def _table(figures: dict[str, Any]) -> str:
    """The accuracies and the confusion as text."""
    names = figures["behaviours"]
    lines = [f"{name}: {value:.3f}" for name, value in figures.items() if isinstance(value, float)]
    told = f"held out: {figures['episodes']} episodes, {figures['clips']} clips; rows true, columns named (%):"
    lines.append(translated(told))
    for name, row in zip(names, figures["confusion"]):
        lines.append(f"  {name:<14}" + "".join(f"{100 * share:5.0f}" for share in row))
    return "\n".join(lines)


def cli() -> None:
    """The command line."""
    run(Args, main, "Train a small MineCLIP on captioned episodes. Resumable.")


if __name__ == "__main__":
    cli()
