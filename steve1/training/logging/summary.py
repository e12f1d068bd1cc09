"""What a run prints about itself before the first step and at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import torch

from steve1.core.checkpoint_metadata import checkpoint_metadata_path, read_checkpoint_metadata
from steve1.core.files import sha256_file
from steve1.core.messages import message
from steve1.core.paths import display, quoted, resolve
from steve1.core.run_folder import SETTINGS_FILE
from steve1.data.episodes.episode import Episode
from steve1.data.loading.guess import guessed_camera_loss
from steve1.data.loading.lists import read_list
from steve1.data.loading.windows import WindowDataset
from steve1.training.batches import chunks
from steve1.training.checkpoint.checkpointer import TrainState
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.logging.action_metrics import ActionMetrics
from steve1.training.logging.pictures import contact_sheet, write_png
from steve1.training.logging.reporter import clock_text
from steve1.training.loop import Trainer
from steve1.training.memory.estimate import estimate_of
from steve1.training.trainable import adapter_path, describe
from steve1.training.validate import chosen_windows

_GROUPS_SHOWN = 4  #: groups of windows at most that are read for the first picture


def introduction(trainer: Trainer, state: TrainState) -> list[str]:
    """The lines before the first step."""
    settings, train, ranks = trainer.settings, trainer.train, trainer.ranks
    parameters = sum(parameter.numel() for parameter in trainer.policy.parameters())
    out = display(settings.out_path)
    if settings.starts_empty:
        start = message("training from nothing", out=out)
    else:
        start = message("training from", start=display(resolve(settings.in_weights)), out=out)
    val = trainer.val
    if val is not None:
        validation = message("validation windows", count=len(val))
    elif settings.val_freq and not settings.train_list:
        validation = message("no validation list", path=f"{settings.sampling_name}_val.txt")
    else:
        validation = message("no validation")
    on_gpu = ranks.device.type == "cuda"
    memory = estimate_of(settings, trainer.policy.config, trainer.precision, on_gpu, ranks.world)
    lines = [
        start,
        *describe(trainer.policy, settings),
        message("training memory", gib=f"{memory.total / 2**30:.1f}"),
        message(
            "training data",
            windows=len(train),
            T=settings.T,
            episodes=len(train.paths),
            frames=train.n_frames,
            validation=validation,
        ),
        message(
            "training steps",
            steps=trainer.total_steps,
            frames=settings.frames_per_step(ranks.world),
            factors=_factors(settings, ranks.world),
        ),
        *_settings(settings),
        message(
            "training place",
            device=ranks.device,
            precision=str(trainer.precision).removeprefix("torch."),
            folder=display(settings.run_dir),
        ),
        *no_bf16(settings, trainer.precision, ranks),
        message("training watch", command=f"tensorboard --logdir {quoted(settings.run_dir.parent)}"),
    ]
    checkpoints = trainer.total_steps // settings.save_every
    gigabytes = checkpoints * parameters * 4 / 1e9
    if settings.keep_checkpoints and settings.mode.changes_weights and gigabytes > 2:
        lines.append(message("training disk", count=checkpoints, gigabytes=f"{gigabytes:.0f}"))
    if trainer.stepper.ema is not None and trainer.val is not None:
        lines.append(message("training averaged"))
    if settings.never_without_goal:
        lines.append(message("training no guidance"))
    lines += foreign_goals(settings, train)
    if state.step:
        lines.append(message("training resumed", step=state.step))
    return lines


def foreign_goals(settings: TrainSettings, train: WindowDataset) -> list[str]:
    """A line where episodes have goals of another MineCLIP than that of the starting weights, which makes the goals of prompts."""
    weights = resolve(settings.in_weights)
    if settings.starts_empty or not train.mineclips or not checkpoint_metadata_path(weights).is_file():
        return []
    own = resolve(read_checkpoint_metadata(weights).mineclip)
    if not own.is_file() or train.mineclips == {sha256_file(own)}:
        return []
    return [message("training foreign goals", mineclip=display(own))]


def no_bf16(settings: TrainSettings, precision: torch.dtype, ranks: Ranks) -> list[str]:
    """A line where a GPU trains in float32 because it has no bf16."""
    given = settings.precision == "auto" and precision == torch.float32 and ranks.device.type == "cuda"
    return [message("training no bf16")] if given else []


def _factors(settings: TrainSettings, processes: int) -> str:
    """How the frames of a step come together: 8 windows × 16 frames × 4 accumulated."""
    parts = [message("factors", windows=settings.batch_size, frames=settings.trunc_t)]
    if settings.gradient_accum_steps > 1:
        parts.append(message("accumulated", count=settings.gradient_accum_steps))
    if processes > 1:
        parts.append(message("processes", count=processes))
    said = " ".join(parts if len(parts) > 1 else [*parts, message("one factor")])
    last = settings.frames_per_step(processes) // settings.trunc_t * (settings.T % settings.trunc_t)
    return said + (message("last step of a window", frames=last) if last else "")


def _settings(settings: TrainSettings) -> list[str]:
    """The settings that shape the training and that no other line tells, then all others that are not at their defaults."""
    main = """learning_rate total_frames warmup_frames weight_decay max_grad_norm min_btwn_goals max_btwn_goals p_uncond val_freq seed"""
    elsewhere = """in_model in_weights out_weights finetune_mode T trunc_t batch_size gradient_accum_steps checkpoint_dir device precision overwrite"""
    values = {field.name: (getattr(settings, field.name), field.default) for field in dataclasses.fields(settings)}
    others = {name: now for name, (now, default) in values.items() if now != default}
    for name in f"{main} {elsewhere}".split():
        others.pop(name, None)
    lines = [", ".join(f"{name} {values[name][0]}" for name in main.split())]
    if others:
        lines.append(message("training settings", settings=", ".join(f"{name} {now}" for name, now in others.items())))
    return [*lines, message("training all settings", path=display(settings.run_dir / SETTINGS_FILE))]


def data_facts(trainer: Trainer) -> dict[str, Any]:
    """Sizes of the training and validation data, and what the first section of the training list shows, for the report."""
    train, settings = trainer.train, trainer.settings
    facts: dict[str, Any] = {
        "train_frames": train.n_frames,
        "train_windows": len(train),
        "train_episodes": len(train.paths),
    }
    if trainer.val is not None:
        facts["val_frames"] = len(chosen_windows(trainer.val, settings.val_windows)) * settings.T
        facts["guessed_camera_loss"] = guessed_camera_loss(train, trainer.val)
    entries = read_list(settings.train_path)
    shown = [Episode(entry.path).metadata for entry in entries[:200] if entry.section == entries[0].section]
    facts["behaviours"] = sorted({str(known["behaviour"]) for known in shown if known.get("behaviour")})
    captions = shown[0].get("captions")
    facts["prompt"] = str(captions[0]) if captions and isinstance(captions, list) else ""
    return facts


def show_first_batch(trainer: Trainer) -> None:
    """Show the first batch (shapes, a contact sheet) and validate the starting weights."""
    reporter, settings, ranks = trainer.reporter, trainer.settings, trainer.ranks
    here = Ranks(0, 1, torch.device("cpu"))
    data = chunks(trainer.train, dataclasses.replace(settings, num_workers=0), here)
    with ranks.synchronized("reading the first batch"), contextlib.closing(data) as stream:
        chunk = next(stream)
        batch = chunk.micro_batches[0]
        shapes = ", ".join(f"{name} {tuple(value.shape)} {str(value.dtype)[6:]}" for name, value in batch.items())
        reporter.say("  " + message("training first batch", shapes=shapes))
        if ranks.is_main:
            groups = itertools.islice(itertools.chain([chunk], (each for each in stream if each.starts)), _GROUPS_SHOWN)
            sheet = contact_sheet(batch for group in groups for batch in group.windows)
            write_png(settings.run_dir / "first_batch.png", sheet)
            reporter.picture("first_batch", sheet)
    with trainer.clock.pause("validation"):
        if trainer.val is not None:
            actions = ActionMetrics()
            results = trainer.validate(trainer.val, actions)
            reporter.validation_curves(0, results, actions)
            count = len(chosen_windows(trainer.val, settings.val_windows))
            reporter.say("  " + message("training before", loss=f"{results['loss']:.3f}", count=count))
        if trainer.retention is not None:
            reporter.retained(0, trainer.validate(trainer.retention))


def closing(trainer: Trainer, state: TrainState, final: Path, best: Path | None) -> list[str]:
    """Where everything lies, and how fast it went."""
    settings = trainer.settings
    lines = [message("training wrote", path=display(final), step=state.step, frames=state.frames)]
    if best is not None and state.best_score is not None:
        measure = message("validation loss" if settings.best_by == "task" else "validation and retention loss")
        score = f"{state.best_score:.3f}"
        lines.append(
            message("training wrote best", path=display(best), step=state.best_step, measure=measure, score=score)
        )
    if trainer.stepper.ema is not None:
        lines.append(message("training wrote averaged", path=display(settings.beside("ema"))))
    if settings.mode.adds == "lora":
        lines.append(message("training wrote adapter", path=display(adapter_path(final))))
    if settings.mode.adds == "goal":
        lines.append(message("play it", command=f"python run_agent/run_agent.py --goal_file {quoted(final)}"))
    if state.skipped_steps:
        lines.append(message("training skipped", count=state.skipped_steps, spikes=state.spikes))
    if state.seconds:
        speed = f"{state.frames / state.seconds:.0f}"
        lines.append(message("training speed", time=clock_text(state.seconds), speed=speed))
    return lines
