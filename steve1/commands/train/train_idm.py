"""Command: episodes whose actions are known → an inverse dynamics model, which labels videos without actions.

Input: a sampling of episodes that keep their null frames. Output: weights, their `.model` file, and a run folder with a report.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from steve1.core.device import choose_device, choose_precision, keep_freed_memory
from steve1.core.errors import UserError
from steve1.core.files import check_writable, existing_file
from steve1.core.messages import message, progress, say_next, translated
from steve1.core.paths import display, output_path, quoted, resolve
from steve1.data.loading.lists import read_list
from steve1.idm.config import read_idm_model
from steve1.idm.labelling.settings import PUBLISHED_FOV
from steve1.idm.score_tables import button_table, camera_table, not_labelled_well
from steve1.idm.training.loop import Start, train_idm
from steve1.idm.training.page import PAGE
from steve1.idm.training.settings import MINI, IdmTrainSettings
from steve1.idm.training.windows import TrueEpisode, list_paths, read_episodes


@dataclass(frozen=True, kw_only=True)
class Args(IdmTrainSettings):
    """Flags of `3_train_idm.sh`."""

    out_weights: str = "data/weights/idm/my_idm.weights"
    """Weights to write, .weights or .safetensors; the .model file comes beside them."""
    in_model: str = ""
    """The network's .model file; default: the mini family's sizes, with the motion input."""
    in_weights: str = ""
    """Weights to start from; default: new ones."""
    env: str = "minecraft"
    """The game that the episodes are of, for the metadata."""
    fov: float = PUBLISHED_FOV
    """Vertical field of view in degrees at which they were played, for the metadata."""
    checkpoint_dir: str = "data/finetuning_checkpoint"
    """Folder of the run's folder."""
    half: bool = False
    """Save as float16."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bf16 on CUDA cards that have it, else fp32."""
    num_workers: int = 1
    """Processes that load windows (NUM_WORKERS); 0: load in the training process. The windows are the same either way."""
    overwrite: bool = False
    """Delete an earlier run of this name and its output weights, and start again."""

    GROUPS: ClassVar = {
        "options": "out_weights in_model in_weights overwrite",
        "machine": "device precision num_workers",
    }


def main(args: Args) -> None:
    """Read the episodes, train, report."""
    args.check()
    if args.num_workers < 0:
        raise UserError("--num_workers must be at least 0.", got=args.num_workers)
    output = output_path(args.out_weights)
    if output.suffix not in (".weights", ".safetensors"):
        expected = ".weights or .safetensors"
        raise UserError("This is not a name for weights.", where="--out_weights", expected=expected, got=output.name)
    if args.in_weights and resolve(args.in_weights).resolve() == output.resolve():
        raise UserError(f"out_weights would replace in_weights ({args.in_weights}): choose another OUT_WEIGHTS")
    run = output_path(args.checkpoint_dir) / output.stem
    check_writable(output, run)
    if args.in_weights and not args.in_model:
        raise UserError("--in_weights needs --in_model.", todo="name the .model file that belongs to these weights")
    config = read_idm_model(existing_file(args.in_model, "These model settings")) if args.in_model else MINI
    start = Start(config, existing_file(args.in_weights, "These weights") if args.in_weights else None)
    train, val = episodes(args, config.timesteps)
    device = choose_device(args.device)
    precision = choose_precision(args.precision, device, bf16_on_cpu=False)
    keep_freed_memory()
    steps = -(-args.total_frames // (args.batch_size * config.timesteps))
    print(
        translated(
            f"training an inverse dynamics model into {display(output)}: {steps} steps of {args.batch_size} windows x {config.timesteps} frames; "
            f"{sum(map(len, train)):,} frames to train on, {sum(map(len, val)):,} to validate on; {device}; folder {display(run)}"
        )
    )
    begun = time.perf_counter()
    with progress(total=steps, desc=message("bar training"), unit="step") as bar:

        def show(step: int, figures: dict[str, float]) -> None:
            bar.set_postfix(loss=f"{figures['train/loss']:.3f}", refresh=False)
            bar.update(step - bar.n)

        def validated(step: int, figures: dict[str, float]) -> None:
            known = {name.removeprefix("val/"): value for name, value in figures.items()}
            bar.write(f"Validation @ step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in known.items()))

        result, found = train_idm(
            train,
            val,
            start,
            output,
            args,
            run=run,
            half=args.half,
            overwrite=args.overwrite,
            metadata={"env": args.env, "fov": args.fov},
            device=device,
            precision=precision,
            workers=args.num_workers,
            on_step=show,
            on_validation=validated,
        )
    print(f"\n{camera_table(found).console()}\n\n{button_table(found).console()}\n")
    print(
        translated(
            f"not labelled well, or never pressed in the validation episodes: {', '.join(not_labelled_well(found)) or message('none')}"
        )
    )
    print(translated(f"best weights: {display(output)} (step {result.best_step}, {time.perf_counter() - begun:.0f} s)"))
    print(translated(f"report: {display(run / PAGE)}\ncurves: tensorboard --logdir {quoted(run)}"))
    names = f"IDM_MODEL={quoted(output.with_suffix('.model'))} IDM_WEIGHTS={quoted(output)}"
    say_next(f"{names} SOURCE=videos VIDEOS_DIR=… bash 1_generate_dataset.sh")


def episodes(args: Args, window: int) -> tuple[list[TrueEpisode], list[TrueEpisode]]:
    """Those to train on and those to validate on, with a line for those left out."""
    found: list[list[TrueEpisode]] = []
    for path in list_paths(args.sampling_name, Path(resolve(args.sampling_dir))):
        chosen, notes = read_episodes(read_list(path), window)
        for line in notes:
            print(translated(f"  note     {display(path)}: {line}"))
        found.append(chosen)
    return found[0], found[1]
