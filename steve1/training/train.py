"""Room `training`, its front door: `finetune(settings)`, and `train_steve1(...)` as the guide writes it.

In: settings, or a command line (`python -m steve1.training.train`, `python steve1/training/train.py`, torchrun).
Out: final and best weights, and the run's folder. Knows no game.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

if not __package__:  # run as a file: make the project importable in place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import torch

from steve1.core.checkpoint_metadata import CheckpointMetadata, read_checkpoint_metadata, read_goal
from steve1.core.errors import UserError
from steve1.core.paths import display, resolve
from steve1.data.loading.windows import WindowDataset
from steve1.policy import GoalPolicy, PolicyState, load_policy
from steve1.training.batches import Goal, demonstrated_goal, open_retention, open_windows, pieces
from steve1.training.cache import read_features
from steve1.training.checkpoint.checkpointer import Checkpointer, Position
from steve1.training.checkpoint.run_folder import RunFolder, describe_run, newest_resume_point
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks, choose_precision, join
from steve1.training.finetune_modes import choose_trained, describe
from steve1.training.logging.action_metrics import Insight
from steve1.training.logging.pictures import contact_sheet, write_png
from steve1.training.logging.reporter import Reporter
from steve1.training.loop import Hooks, Parts, fit, validate_and_keep_best
from steve1.training.lora import adapter_path
from steve1.training.memory import Method, estimate, explain_oom
from steve1.training.optim.regularizers import anchor_for, average_for, reference_for
from steve1.training.optim.spike_filter import Guard
from steve1.training.report.page import closing_line, write_report
from steve1.training.step import Stepper, make_optimizer
from steve1.training.validate import chosen_windows, validate


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a run arrived at."""

    out_weights: Path
    best_weights: Path | None
    run_dir: Path
    steps: int
    frames: int
    best_score: float | None
    """What the best weights are best in: the validation loss, or its sum with the retention loss (best_by)."""
    bad_steps: int


def finetune(
    settings: TrainSettings,
    *,
    hooks: Hooks | None = None,
    metadata: CheckpointMetadata | None = None,
    goal: Goal | None = None,
) -> TrainResult:
    """Train as the settings say; go on where an earlier run with the same settings stopped.

    Args:
        settings: checked here, every fault at once.
        hooks: calls at steps and checkpoints.
        metadata: what goes with the weights (MineCLIP, prior, environment); by default that of the starting weights.
        goal: (E,) f32: what `fixed_prompt` means; whoever knows MineCLIP and the prior has worked it out.

    Raises:
        UserError: settings, files or data that cannot work; a run folder or output that belongs to something else;
            too many non-finite steps; a checkpoint that cannot be written.
    """
    settings.check()
    ranks = join(settings.device)
    threads = torch.get_num_threads()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    folder: RunFolder | None = None
    try:
        precision = choose_precision(settings.precision, ranks.device)
        goal = chosen_goal(settings, goal)
        train, val = open_windows(settings, goal)
        policy = starting_policy(settings, ranks, train, goal)
        record = describe_run(settings, ranks, precision, goal)
        folder = RunFolder(settings, record)
        with ranks.together("opening the run's folder"):
            point = folder.claim() if ranks.is_main else None
        point = newest_resume_point(settings.run_dir)
        parts, position, states = assemble(
            settings,
            ranks,
            precision,
            policy,
            train,
            val,
            point,
            metadata_of(settings, metadata, record),
            hooks or Hooks(),
        )
        with explain_oom(settings, policy.config, ranks.device, precision):
            return _train(parts, position, states)
    finally:
        torch.set_num_threads(threads)
        if folder is not None:
            folder.release()
        ranks.close()


def chosen_goal(settings: TrainSettings, goal: Goal | None) -> Goal | None:
    """The one goal of every frame, or where goal tuning begins, f32 (E,); None for hindsight goals.

    Raises:
        UserError: a prompt whose goal nobody has worked out; a bad goal file.
    """
    if settings.fixed_goal_file:
        return read_goal(settings.fixed_goal_file).goal
    if settings.fixed_prompt and goal is None:
        raise UserError(
            "A prompt becomes a goal through MineCLIP, which this room does not know.",
            got=f"fixed_prompt {settings.fixed_prompt!r} without a goal",
            todo="python -m steve1 train (or 3_train_finetune_fixed_prompt.sh) works it out; finetune(..., goal=vector)",
        )
    if settings.fixed_prompt:
        return np.asarray(goal, dtype=np.float32).reshape(-1)
    return demonstrated_goal(settings) if settings.finetune_mode == "goal" else None


def starting_policy(
    settings: TrainSettings, ranks: Ranks, train: WindowDataset, goal: Goal | None = None
) -> GoalPolicy:
    """The policy that training begins with, on the ranks' device; UserError where its goals are not the data's."""
    torch.manual_seed(settings.seed)
    weights = None if settings.starts_empty else resolve(settings.in_weights)
    policy = load_policy(resolve(settings.in_model), weights, device=ranks.device, from_vpt=settings.from_vpt)
    if policy.config.mineclip_embed_dim != train.embed_dim:
        raise UserError(
            "The episodes' goal embeddings do not fit this policy.",
            where=display(settings.train_path),
            expected=f"E = {policy.config.mineclip_embed_dim}, as in {settings.in_weights if weights else settings.in_model}",
            got=f"E = {train.embed_dim}",
            todo="embed the episodes with the MineCLIP of these weights: python tools/generate_mineclip_embeds.py --help",
        )
    choose_trained(policy, settings, None if goal is None else torch.from_numpy(goal))
    return policy


def metadata_of(
    settings: TrainSettings, metadata: CheckpointMetadata | None, record: dict[str, dict[str, str]]
) -> CheckpointMetadata:
    """What goes with the weights that this run writes.

    Weights that were never trained without a goal play without guidance: their answer to no goal means nothing.
    """
    base = metadata or (
        CheckpointMetadata() if settings.starts_empty else read_checkpoint_metadata(settings.in_weights)
    )
    if settings.never_without_goal:
        base = dataclasses.replace(base, cond_scale=0.0)
    return base.updated(
        model=display(resolve(settings.in_model)), run=display(settings.run_dir), hashes=record["sha256"]
    )


def assemble(
    settings: TrainSettings,
    ranks: Ranks,
    precision: torch.dtype,
    policy: GoalPolicy,
    train: WindowDataset,
    val: WindowDataset | None,
    point: Path | None,
    metadata: CheckpointMetadata,
    hooks: Hooks,
) -> tuple[Parts, Position, list[PolicyState]]:
    """Everything that the loop needs, at the resume point or at the beginning."""
    retention = open_retention(settings)
    if settings.feature_cache:
        read_features(settings, policy, (train, val, retention), ranks, precision)
    optimizer = make_optimizer(policy, settings)
    # What is compared with later is taken now, before a resume point replaces the starting weights.
    reference, anchor, average = (
        reference_for(policy, settings),
        anchor_for(policy, settings),
        average_for(policy, settings),
    )
    checkpointer = Checkpointer(settings, ranks, policy, optimizer, metadata, average)
    states: list[PolicyState] = []
    position = Position(frames_per_step=settings.frames_per_step(ranks.world))
    if point is not None:
        position, states = checkpointer.restore(point)
        checkpointer.complete(position)
    reporter = Reporter(
        settings.run_dir, settings.total_steps(ranks.world), speaks=ranks.is_main, first_step=position.step
    )
    guard = Guard(settings, ranks.device, position.guard)
    stepper = Stepper(
        policy, optimizer, settings, ranks, precision, reference=reference, anchor=anchor, average=average, guard=guard
    )
    parts = Parts(
        settings, ranks, precision, policy, stepper, train, val, checkpointer, reporter, hooks, retention, average
    )
    return parts, position, states


def _train(parts: Parts, position: Position, states: list[PolicyState]) -> TrainResult:
    try:
        parts.reporter.started(introduction(parts, position))
        parts.reporter.describe(data_facts(parts))
        if position.step == 0:
            prove_first_batch(parts)
        fit(parts, position, states)
        validate_and_keep_best(parts, position)
        final, best = parts.checkpointer.finish(position)
        parts.reporter.finished(final, best, closing(parts, position, final, best))
        conclude(parts)
    finally:
        parts.reporter.close()
    return TrainResult(
        final, best, parts.settings.run_dir, position.step, position.frames, position.best_score, position.bad_steps
    )


def introduction(parts: Parts, position: Position) -> list[str]:
    """What a person wants to read before the first step."""
    settings, train = parts.settings, parts.train
    parameters = sum(parameter.numel() for parameter in parts.policy.parameters())
    start = "initialised weights" if settings.starts_empty else settings.in_weights
    validation = f"{len(parts.val)} validation windows" if parts.val is not None else "no validation"
    lines = [
        f"from {start} to {display(settings.out_path)}",
        *describe(parts.policy, settings),
        memory_sentence(parts),
        f"{len(train)} windows of T={settings.T} from {len(train.paths)} episodes ({train.n_frames} frames), {validation}",
        f"{parts.total_steps} steps of {settings.frames_per_step(parts.ranks.world)} frames: batch {settings.batch_size} x "
        f"{settings.trunc_t} x {settings.gradient_accum_steps} accumulated x {parts.ranks.world} process(es)",
        f"on {parts.ranks.device} in {str(parts.precision).removeprefix('torch.')}; folder {display(settings.run_dir)}",
        f"watch: tensorboard --logdir {display(settings.run_dir.parent)}",
    ]
    saves = parts.total_steps // settings.save_every
    if settings.keep_checkpoints and settings.finetune_mode != "goal" and saves * parameters * 4 > 2e9:
        lines.append(
            f"{saves} step checkpoints will take {saves * parameters * 4 / 1e9:.0f} GB (--no_keep_checkpoints: none)"
        )
    if parts.average is not None and parts.val is not None:
        lines.append("validations take twice as long: the averaged weights are validated too (validation_ema/loss)")
    if settings.never_without_goal:
        lines.append("no window goes without a goal, so these weights will be played without guidance (cond_scale 0)")
    if position.step:
        lines.append(f"going on after step {position.step}")
    return lines


def data_facts(parts: Parts) -> dict[str, int]:
    """How much there is to learn from and to validate on, for the report."""
    facts = {
        "train_frames": parts.train.n_frames,
        "train_windows": len(parts.train),
        "train_episodes": len(parts.train.paths),
    }
    if parts.val is not None:
        facts["val_frames"] = len(chosen_windows(parts.val, parts.settings.val_windows)) * parts.settings.T
    return facts


def memory_sentence(parts: Parts) -> str:
    """What a step is estimated to hold, activations included."""
    settings = parts.settings
    held = estimate(
        parts.policy.config, Method.of(settings), batch=settings.batch_size, trunc_t=settings.trunc_t,
        precision="bf16" if parts.precision == torch.bfloat16 else "fp32", on_gpu=parts.ranks.device.type == "cuda",
    )  # fmt: skip
    return f"about {held.total / 2**30:.1f} GiB with the activations of a step (estimated; python -m steve1 plan finds what fits)"


def prove_first_batch(parts: Parts) -> None:
    """Show what goes in: shapes, a contact sheet, and how good the starting weights are, before anything is trained."""
    with parts.ranks.together("reading the first batch"):
        piece = next(pieces(parts.train, dataclasses.replace(parts.settings, num_workers=0), torch.device("cpu")))
        shapes = ", ".join(
            f"{name} {tuple(value.shape)} {str(value.dtype)[6:]}" for name, value in piece.parts[0].items()
        )
        parts.reporter.say(f"  first batch: {shapes}")
        if parts.ranks.is_main:
            sheet = contact_sheet(piece.batches[0])
            write_png(parts.settings.run_dir / "first_batch.png", sheet)
            parts.reporter.picture("first_batch", sheet)
    if parts.val is not None:
        windows, insight = chosen_windows(parts.val, parts.settings.val_windows), Insight()
        results = validate(parts.policy, parts.val, parts.settings, parts.ranks, parts.precision, windows, insight)
        parts.reporter.validation_curves(0, results, insight)
        parts.reporter.say(f"  before training: loss {results['loss']:.3f} on {len(windows)} validation windows")
    if parts.retention is not None:
        parts.reporter.retained(
            0, validate(parts.policy, parts.retention, parts.settings, parts.ranks, parts.precision)
        )


def conclude(parts: Parts) -> None:
    """What is shown of a finished run."""
    if not parts.ranks.is_main:
        return
    if parts.hooks.on_end is not None:
        parts.hooks.on_end(parts.reporter)
    parts.reporter.say(f"  {closing_line(write_report(parts.settings.run_dir))}")


def closing(parts: Parts, position: Position, final: Path, best: Path | None) -> list[str]:
    """Where everything lies."""
    lines = [f"Final model: {display(final)} (step {position.step}, {position.frames} frames)"]
    if best is not None and position.best_score is not None:
        what = "validation loss" if parts.settings.best_by == "task" else "validation and retention loss"
        lines.append(f"Best model: {display(best)} (step {position.best_step}, {what} {position.best_score:.3f})")
    if parts.average is not None:
        lines.append(f"Averaged weights: {display(parts.settings.beside('ema'))}")
    if parts.settings.finetune_mode == "lora":
        lines.append(f"Adapter: {display(adapter_path(final))} (already merged into the weights)")
    if parts.settings.finetune_mode == "goal":
        lines.append(f"Play it: python run_agent/run_agent.py --goal_file {display(final)}")
    if position.bad_steps:
        lines.append(f"{position.bad_steps} steps were skipped, {position.spikes} of them by the guard against spikes")
    return lines


def train_steve1(
    init_weights: str | Path,
    data: str | Path,
    method: str = "hindsight_relabeling",
    learning_rate: float = 1e-5,
    output: str | Path = "data/weights/steve1/steve1_finetuned.weights",
    *,
    model: str | Path = "",
    from_vpt: bool | None = None,
    **more: object,
) -> TrainResult:
    """Train STEVE-1 as the guide calls it.

    Args:
        init_weights: weights to start from; looked for as given and below data/weights/.
        data: name of a sampling (`finetune_task`), or a training list; `..._train.txt` brings its `..._val.txt` along.
        method: "hindsight_relabeling".
        learning_rate: highest rate.
        output: final weights; a bare name goes to data/weights/steve1/.
        model: the .model file; by default the one that belongs to init_weights.
        from_vpt: whether init_weights are VPT's; None: they are where their folder is called vpt.
        more: any other field of TrainSettings.

    Raises:
        UserError: as `finetune`; an unknown method or setting.
    """
    if method != "hindsight_relabeling":
        raise UserError("This training method does not exist.", expected="hindsight_relabeling", got=str(method))
    known = {field.name for field in dataclasses.fields(TrainSettings)}
    unknown = sorted(set(more) - known)
    if unknown:
        raise UserError(f"Unknown training setting(s): {', '.join(unknown)}.", expected=", ".join(sorted(known)))
    weights = _find_weights(init_weights)
    lists = _find_lists(str(data), more.get("val_list"))
    out = Path(output) if Path(output).parent != Path() else Path("data/weights/steve1") / output
    settings = TrainSettings(
        in_model=str(model) or read_checkpoint_metadata(weights).model,
        in_weights=str(weights),
        out_weights=str(out),
        learning_rate=learning_rate,
        from_vpt=weights.parent.name == "vpt" if from_vpt is None else from_vpt,
        **{**lists, **more},  # type: ignore[arg-type]
    )
    return finetune(settings)


def _find_weights(given: str | Path) -> Path:
    places = [resolve(folder / given) for folder in (Path(), Path("data/weights"), Path("data/weights/steve1"))]
    return next((place for place in places if place.is_file()), places[0])


def _find_lists(data: str, val_list: object) -> dict[str, str]:
    if not data.endswith(".txt"):
        return {"sampling_name": data}
    val = data.removesuffix("_train.txt") + "_val.txt"
    found = {"train_list": data}
    if not val_list and data.endswith("_train.txt") and resolve(val).is_file():
        found["val_list"] = val
    return found


if __name__ == "__main__":
    from steve1.__main__ import main

    main("train")
