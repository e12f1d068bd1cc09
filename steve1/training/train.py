"""Fine-tuning: `finetune(settings)`, and `train_steve1(...)` as the guide writes it.

The command line (`python -m steve1 train`, `python steve1/training/train.py`) is `steve1/commands/train/train.py`, which can also turn
a prompt into a goal and let checkpoints play.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from pathlib import Path

if not __package__:  # the guide names this file; run as one, it is the program's command
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the project in place of this folder
    from steve1.__main__ import main

    main("train")

import numpy as np
import torch

from steve1.core.checkpoint_metadata import CheckpointMetadata, read_checkpoint_metadata, read_goal
from steve1.core.device import choose_precision, set_tf32
from steve1.core.errors import UserError
from steve1.core.messages import message
from steve1.core.paths import display, resolve
from steve1.core.run_folder import Record, newest_resume_point
from steve1.data.loading.batches import explain_dead_workers
from steve1.data.loading.windows import WindowDataset
from steve1.policy import GoalPolicy, load_policy, read_model
from steve1.training.batches import Goal, demonstrated_goal, open_windows
from steve1.training.cache import read_features
from steve1.training.checkpoint.checkpointer import Checkpointer, TrainState
from steve1.training.checkpoint.run_folder import claim_run_folder, describe_run, judged_by
from steve1.training.checks import check
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks, joined
from steve1.training.logging.metrics import Clock
from steve1.training.logging.reporter import Reporter
from steve1.training.logging.summary import closing, data_facts, introduction, show_first_batch
from steve1.training.loop import Hooks, Trainer
from steve1.training.memory.oom import explain_oom
from steve1.training.report.card import write_card
from steve1.training.report.page import write_report
from steve1.training.report.results import RESULTS_FILE
from steve1.training.step import Stepper
from steve1.training.trainable import apply_mode


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """The outcome of a run."""

    out_weights: Path
    best_weights: Path | None
    run_dir: Path
    steps: int
    frames: int
    best_score: float | None
    """Of the best weights: the validation loss, or its sum with the retention loss (best_by)."""
    skipped_steps: int


def finetune(
    settings: TrainSettings,
    *,
    hooks: Hooks | None = None,
    metadata: CheckpointMetadata | None = None,
    goal: Goal | None = None,
) -> TrainResult:
    """Train as the settings say; go on where an earlier run with the same settings stopped.

    Args:
        metadata: written beside the weights (MineCLIP, prior, environment); by default that of the starting weights.
        goal: (E,) f32, of `fixed_prompt`; the command works it out with MineCLIP and the prior.

    Raises:
        UserError: settings, files or data that cannot work; a run folder or output that belongs to something else;
            too many skipped steps; a checkpoint that cannot be written.
    """
    check(settings)
    with (
        joined(settings.device, 0 if settings.threads == "auto" else settings.threads) as ranks,
        contextlib.ExitStack() as held,
    ):
        precision, config = choose_precision(settings.precision, ranks.device), read_model(resolve(settings.in_model))
        set_tf32(False)
        with explain_oom(settings, config, ranks, precision), explain_dead_workers():
            trainer, state = set_up(settings, ranks, held, hooks or Hooks(), metadata, goal, precision)
            try:
                if trainer.is_finished(state):
                    return finish(trainer, state, again=True)
                trainer.reporter.started(introduction(trainer, state))
                if ranks.is_main:
                    trainer.reporter.describe(data_facts(trainer))
                if state.step == 0:
                    show_first_batch(trainer)
                trainer.fit(state)
                trainer.validate_and_keep_best(state)
                return finish(trainer, state)
            finally:
                trainer.reporter.close()


def set_up(
    settings: TrainSettings,
    ranks: Ranks,
    held: contextlib.ExitStack,
    hooks: Hooks,
    metadata: CheckpointMetadata | None,
    goal: Goal | None,
    precision: torch.dtype,
) -> tuple[Trainer, TrainState]:
    """The trainer and its state, at the resume point or at the beginning; `held` closes the run's folder."""
    goal = chosen_goal(settings, goal)
    train, val, retention = open_windows(settings, goal)
    policy = starting_policy(settings, ranks, train, goal)
    record = describe_run(settings, ranks, precision, goal)
    with ranks.synchronized("opening the run's folder"):
        if ranks.is_main:
            held.callback(claim_run_folder(settings, record).close)
    if settings.feature_cache:
        read_features(settings, policy, (train, val, retention), ranks, precision)
    set_tf32(settings.precision == "tf32")  # not before: cached features are float32's
    stepper = Stepper(policy, settings, ranks, precision)
    checkpointer = Checkpointer(settings, ranks, policy, stepper, metadata_of(settings, metadata, record, train))
    frames = settings.frames_per_step(ranks.world)
    state = TrainState(frames_per_step=frames, windows_per_group=frames // settings.trunc_t)
    point = newest_resume_point(settings.run_dir)
    if point is not None:
        state = checkpointer.restore(point)
        checkpointer.complete(state)
    steps = settings.total_steps(ranks.world)
    reporter = Reporter(settings.run_dir, steps, speaks=ranks.is_main, first_step=state.step, tracker=settings.log)
    if state.step < steps and state.judge_by(judged_by(settings, record)):
        reporter.say(message("training best anew"))
    clock = Clock(state.seconds)
    trainer = Trainer(
        settings, ranks, precision, policy, stepper, train, val, retention, checkpointer, reporter, hooks, clock
    )
    return trainer, state


def finish(trainer: Trainer, state: TrainState, *, again: bool = False) -> TrainResult:
    """Write the final weights and the report, and print where they lie; `again`: of a run that had finished before."""
    settings, reporter = trainer.settings, trainer.reporter
    if not again:
        state.seconds = trainer.clock.seconds
    final, best = trainer.checkpointer.finish(state)
    lines = closing(trainer, state, final, best)
    if again:
        reporter.say(message("training was finished"))
        reporter.say(*[f"  {line}" for line in lines])
    else:
        reporter.finished(final, best, lines)
    if trainer.ranks.is_main:
        if trainer.hooks.on_end is not None:
            trainer.hooks.on_end(reporter)
        write_card(final, settings.run_dir)
        reporter.say("  " + message("training report", path=display(write_report(settings.run_dir))))
        reporter.say("  " + message("training results", path=display(settings.run_dir / RESULTS_FILE)))
    return TrainResult(final, best, settings.run_dir, state.step, state.frames, state.best_score, state.skipped_steps)


def chosen_goal(settings: TrainSettings, goal: Goal | None) -> Goal | None:
    """The one goal of every frame, or where goal tuning begins, f32 (E,); None for hindsight goals.

    Raises:
        UserError: a prompt without its goal vector; a bad goal file.
    """
    if settings.fixed_goal_file:
        return read_goal(settings.fixed_goal_file).goal
    if settings.fixed_prompt and goal is None:
        raise UserError(
            "Training does not load MineCLIP: it needs the goal vector of a prompt.",
            got=f"fixed_prompt {settings.fixed_prompt!r} without a goal",
            todo="python -m steve1 train (or 3_train_finetune_fixed_prompt.sh) works it out; finetune(..., goal=vector)",
        )
    if settings.fixed_prompt:
        return np.asarray(goal, dtype=np.float32).reshape(-1)
    return demonstrated_goal(settings) if settings.mode.adds == "goal" else None


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
    apply_mode(policy, settings, None if goal is None else torch.from_numpy(goal))
    return policy


def metadata_of(
    settings: TrainSettings, metadata: CheckpointMetadata | None, record: Record, train: WindowDataset
) -> CheckpointMetadata:
    """The metadata of the weights that this run writes."""
    base = metadata or (
        CheckpointMetadata() if settings.starts_empty else read_checkpoint_metadata(settings.in_weights)
    )
    if settings.never_without_goal:  # the unconditional output is untrained, so guidance is turned off
        base = dataclasses.replace(base, cond_scale=0.0)
    skills = (settings.fixed_prompt,) if settings.fixed_prompt else tuple(sorted(train.behaviours))
    base = dataclasses.replace(base, trained_on=() if "" in skills else skills)
    return base.updated(
        model=display(resolve(settings.in_model)), run=display(settings.run_dir), hashes=record["sha256"]
    )


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
        output: final weights; a bare name goes to data/weights/steve1/.
        model: the .model file, also as `in_model`; by default the one that belongs to init_weights.
        from_vpt: whether init_weights are VPT's; None: they are where their folder is called vpt.
        more: any other field of TrainSettings.

    Raises:
        UserError: as `finetune`; an unknown method or setting.
    """
    if method != "hindsight_relabeling":
        raise UserError("This training method does not exist.", expected="hindsight_relabeling", got=str(method))
    model = model or str(more.pop("in_model", ""))
    for taken, name in (("in_model", "model"), ("in_weights", "init_weights"), ("out_weights", "output")):
        if taken in more:
            raise UserError(
                f"train_steve1 takes {taken} as `{name}`.", got=f"{name} and {taken}", todo=f"leave out {taken}"
            )
    known = {field.name for field in dataclasses.fields(TrainSettings)}
    unknown = sorted(set(more) - known)
    if unknown:
        raise UserError(
            f"Unknown training settings: {', '.join(unknown)}.",
            expected=", ".join(sorted(known)),
        )
    weights = resolve(init_weights)
    lists = {"train_list" if str(data).endswith(".txt") else "sampling_name": str(data)}
    val_list = str(data).removesuffix("_train.txt") + "_val.txt"
    if str(data).endswith("_train.txt") and not more.get("val_list") and resolve(val_list).is_file():
        lists["val_list"] = val_list
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


if __name__ == "__main__":
    from steve1.__main__ import main  # the guide names this file; the command line is the program's

    main("train")
