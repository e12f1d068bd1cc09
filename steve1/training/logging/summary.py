"""What a run prints about itself before the first step and at the end."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from steve1.core.paths import display
from steve1.training.batches import chunks
from steve1.training.checkpoint.checkpointer import TrainState
from steve1.training.distributed import Ranks
from steve1.training.logging.action_metrics import ActionMetrics
from steve1.training.logging.pictures import contact_sheet, write_png
from steve1.training.loop import Trainer
from steve1.training.memory import estimate_of
from steve1.training.trainable import adapter_path, describe
from steve1.training.validate import chosen_windows


def introduction(trainer: Trainer, state: TrainState) -> list[str]:
    """The lines before the first step."""
    settings, train, ranks = trainer.settings, trainer.train, trainer.ranks
    parameters = sum(parameter.numel() for parameter in trainer.policy.parameters())
    start = "initialised weights" if settings.starts_empty else settings.in_weights
    validation = f"{len(trainer.val)} validation windows" if trainer.val is not None else "no validation"
    memory = estimate_of(settings, trainer.policy.config, trainer.precision, ranks.device.type == "cuda")
    lines = [
        f"from {start} to {display(settings.out_path)}",
        *describe(trainer.policy, settings),
        f"about {memory.total / 2**30:.1f} GiB with the activations of a step (estimated; python -m steve1 plan finds what fits)",
        f"{len(train)} windows of T={settings.T} from {len(train.paths)} episodes ({train.n_frames} frames), {validation}",
        f"{trainer.total_steps} steps of {settings.frames_per_step(ranks.world)} frames: batch {settings.batch_size} x "
        f"{settings.trunc_t} x {settings.gradient_accum_steps} accumulated x {ranks.world} process(es)",
        f"on {ranks.device} in {str(trainer.precision).removeprefix('torch.')}; folder {display(settings.run_dir)}",
        f"watch: tensorboard --logdir {display(settings.run_dir.parent)}",
    ]
    checkpoints = trainer.total_steps // settings.save_every
    gigabytes = checkpoints * parameters * 4 / 1e9
    if settings.keep_checkpoints and settings.mode.changes_weights and gigabytes > 2:
        lines.append(f"{checkpoints} step checkpoints will take {gigabytes:.0f} GB (--no_keep_checkpoints: none)")
    if trainer.stepper.ema is not None and trainer.val is not None:
        lines.append("validations take twice as long: the averaged weights are validated too (validation_ema/loss)")
    if settings.never_without_goal:
        lines.append("every window has a goal, so these weights will be played without guidance (cond_scale 0)")
    if state.step:
        lines.append(f"continuing after step {state.step}")
    return lines


def data_facts(trainer: Trainer) -> dict[str, int]:
    """Sizes of the training and validation data, for the report."""
    train, settings = trainer.train, trainer.settings
    facts = {"train_frames": train.n_frames, "train_windows": len(train), "train_episodes": len(train.paths)}
    if trainer.val is not None:
        facts["val_frames"] = len(chosen_windows(trainer.val, settings.val_windows)) * settings.T
    return facts


def show_first_batch(trainer: Trainer) -> None:
    """Show the first batch (shapes, a contact sheet) and validate the starting weights."""
    reporter, settings, ranks = trainer.reporter, trainer.settings, trainer.ranks
    with ranks.synchronized("reading the first batch"):
        here = Ranks(0, 1, torch.device("cpu"))
        chunk = next(chunks(trainer.train, dataclasses.replace(settings, num_workers=0), here))
        batch = chunk.micro_batches[0]
        shapes = ", ".join(f"{name} {tuple(value.shape)} {str(value.dtype)[6:]}" for name, value in batch.items())
        reporter.say(f"  first batch: {shapes}")
        if ranks.is_main:
            sheet = contact_sheet(chunk.windows[0])
            write_png(settings.run_dir / "first_batch.png", sheet)
            reporter.picture("first_batch", sheet)
    if trainer.val is not None:
        actions = ActionMetrics()
        results = trainer.validate(trainer.val, actions)
        reporter.validation_curves(0, results, actions)
        count = len(chosen_windows(trainer.val, settings.val_windows))
        reporter.say(f"  before training: loss {results['loss']:.3f} on {count} validation windows")
    if trainer.retention is not None:
        reporter.retained(0, trainer.validate(trainer.retention))


def closing(trainer: Trainer, state: TrainState, final: Path, best: Path | None) -> list[str]:
    """Where everything lies."""
    settings = trainer.settings
    lines = [f"Final model: {display(final)} (step {state.step}, {state.frames} frames)"]
    if best is not None and state.best_score is not None:
        what = "validation loss" if settings.best_by == "task" else "validation and retention loss"
        lines.append(f"Best model: {display(best)} (step {state.best_step}, {what} {state.best_score:.3f})")
    if trainer.stepper.ema is not None:
        lines.append(f"Averaged weights: {display(settings.beside('ema'))}")
    if settings.mode.adds == "lora":
        lines.append(f"Adapter: {display(adapter_path(final))} (already merged into the weights)")
    if settings.mode.adds == "goal":
        lines.append(f"Play it: python run_agent/run_agent.py --goal_file {display(final)}")
    if state.skipped_steps:
        lines.append(f"{state.skipped_steps} steps were skipped, {state.spikes} of them by the spike filter")
    return lines
