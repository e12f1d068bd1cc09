"""Room `training`, the loop: fetch, forward, backward, step, log, validate, save.

In: everything that a run needs, ready, and the position to begin at. Out: trained weights and the files that the parts write.
Ranks, files and loggers are the business of the parts; every process runs these same lines.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from steve1.core.errors import UserError
from steve1.core.paths import display
from steve1.data.loading.windows import WindowDataset
from steve1.policy import GoalPolicy, PolicyState
from steve1.training.batches import pieces, shares, source_of
from steve1.training.checkpoint.checkpointer import Checkpointer, Position
from steve1.training.checkpoint.run_folder import newest_resume_point
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.logging.action_metrics import Insight
from steve1.training.logging.metrics import Clock, Tally, peak_memory_mb
from steve1.training.logging.reporter import Reporter
from steve1.training.optim.regularizers import Average
from steve1.training.optim.schedule import rate_of_step
from steve1.training.step import Stepper
from steve1.training.validate import validate


@dataclasses.dataclass(frozen=True)
class Hooks:
    """Calls that a command may ask for; training itself knows no game and no prompt."""

    on_step: Callable[[int], None] | None = None
    """After each optimizer step, with its number from 1."""
    on_checkpoint: Callable[[int, Path, Reporter], None] | None = None
    """On the first process, after each checkpoint: step, weights, reporter."""
    on_end: Callable[[Reporter], None] | None = None
    """On the first process, when all weights are written, before the run's report."""


@dataclasses.dataclass
class Parts:
    """What a run consists of."""

    settings: TrainSettings
    ranks: Ranks
    precision: torch.dtype
    policy: GoalPolicy
    stepper: Stepper
    train: WindowDataset
    val: WindowDataset | None
    checkpointer: Checkpointer
    reporter: Reporter
    hooks: Hooks = dataclasses.field(default_factory=Hooks)
    retention: WindowDataset | None = None
    """Validation windows of old skills."""
    average: Average | None = None
    """The weights' running mean."""

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.settings.total_steps(self.ranks.world)


def fit(parts: Parts, position: Position, states: list[PolicyState]) -> None:
    """Train from `position` to the end; `states` is the recurrent state carried into the first piece, if it begins inside windows."""
    settings, ranks = parts.settings, parts.ranks
    bad = (position.bad_in_a_row, position.bad_steps, position.spikes)
    tally, clock = Tally(ranks, position.sums, bad, settings.max_grad_norm, parts.stepper.measures), Clock()
    parts.policy.train()
    feed = pieces(
        parts.train,
        settings,
        ranks.device,
        group=position.group,
        chunk=position.chunk,
        rank=ranks.rank,
        world=ranks.world,
    )
    # Closed by whatever ends the loop: processes that load would outlive an exception.
    with contextlib.closing(feed), stop_requests(ranks) as asked_to_stop:
        while position.step < parts.total_steps and not out_of_patience(settings, position):
            with clock.waiting():
                piece = next(feed)
            if piece.starts or not states:
                states = parts.stepper.initial_states(piece)
            rate = learning_rate(settings, position)
            outcome = parts.stepper.step(piece, states, rate, position.step + 1)
            states = outcome.states
            position.advance(piece.following, piece.n_frames * ranks.world, Counter(map(source_of, piece.episodes)))
            tally.add(outcome)
            clock.add(piece.n_frames * ranks.world)
            parts.reporter.tick(position.step)
            watch_for_bad_steps(parts, position, tally)
            if due(position.step, settings.log_every, parts.total_steps) or position.step == 1:
                log(parts, position, tally, clock, rate)
            if settings.val_freq and due(position.step, settings.val_freq, parts.total_steps):
                with clock.paused():
                    validate_and_keep_best(parts, position)
            stopping = asked_to_stop()
            last = stopping or out_of_patience(settings, position)
            if due(position.step, settings.save_every, parts.total_steps) or last:
                with clock.paused():
                    save(parts, position, tally, states if not piece.ends else [])
            if parts.hooks.on_step is not None:
                parts.hooks.on_step(position.step)
            if stopping:
                raise KeyboardInterrupt


def due(step: int, every: int, last: int) -> bool:
    """True on each `every`-th step and on the last one."""
    return step % every == 0 or step == last


def waits_anyway(parts: Parts, step: int) -> bool:
    """True at steps after which the host reads numbers from the device."""
    settings = parts.settings
    return step == 1 or any(
        due(step, every, parts.total_steps)
        for every in (settings.log_every, settings.val_freq, settings.save_every)
        if every
    )


def learning_rate(settings: TrainSettings, position: Position) -> float:
    """Rate of the step that comes next."""
    return rate_of_step(
        position.step,
        position.frames_per_step,
        peak=settings.learning_rate,
        warmup_frames=settings.warmup_frames,
        total_frames=settings.total_frames,
    )


def out_of_patience(settings: TrainSettings, position: Position) -> bool:
    """True once `patience` validations have passed without a better one."""
    return bool(settings.patience) and position.validations_since_best >= settings.patience


def watch_for_bad_steps(parts: Parts, position: Position, tally: Tally) -> None:
    """Report skipped steps; stop the run where there are too many in a row.

    On a CPU after each step; a GPU is asked only where the host waits for it anyway: at lines on the console, validations and checkpoints. No
    bad step changes a weight, so nothing is lost by hearing of it late.
    """
    if parts.ranks.device.type != "cpu" and not waits_anyway(parts, position.step):
        return
    before, spikes = position.bad_steps, position.spikes
    position.bad_in_a_row, position.bad_steps, position.spikes = tally.skipped()
    why = "loss or gradient is not finite"
    if position.spikes > spikes:
        why = "loss or gradient norm is far above its running mean"
    if position.bad_steps > before:
        parts.reporter.skipped(position.step, position.bad_in_a_row, position.bad_steps, why)
    if position.bad_in_a_row >= parts.settings.max_skipped_steps:
        kept = newest_resume_point(parts.settings.run_dir)
        raise UserError(
            f"{position.bad_in_a_row} steps in a row were skipped: {why}; the run stops.",
            where=f"step {position.step}",
            got=f"last good checkpoint: {display(kept) if kept else 'none yet'}; no bad step changed the weights",
            todo="lower LEARNING_RATE, add --precision fp32, or look for damaged episodes; the same command goes on from there",
        )


def log(parts: Parts, position: Position, tally: Tally, clock: Clock, rate: float) -> None:
    """One line on the console, and the curves."""
    speed = clock.read()
    left = (parts.total_steps - position.step) * position.frames_per_step / max(speed["frames_per_second"], 1e-9)
    numbers = {**speed, "seconds_left": left, "peak_memory_mb": peak_memory_mb(parts.ranks.device)}
    parts.reporter.step(position.step, rate, tally.averages(), {**numbers, **shares(position.windows)})


def validate_and_keep_best(parts: Parts, position: Position) -> None:
    """Validate, on the task and on old skills; keep the weights where they are the best so far."""
    if (parts.val is None and parts.retention is None) or position.validated_step == position.step:
        return
    position.validated_step = position.step
    score = 0.0
    if parts.retention is not None:
        kept = validate(parts.policy, parts.retention, parts.settings, parts.ranks, parts.precision)
        parts.reporter.retained(position.step, kept)
        score = kept["loss"] if parts.settings.best_by == "task+retention" else 0.0
    if parts.val is None:
        return
    insight = Insight()
    results = validate(parts.policy, parts.val, parts.settings, parts.ranks, parts.precision, None, insight)
    if parts.average is not None:
        with parts.average.in_place():
            averaged = validate(parts.policy, parts.val, parts.settings, parts.ranks, parts.precision)
        results["validation_ema/loss"] = averaged["loss"]
    score += results["loss"]
    better = math.isfinite(score) and (position.best_score is None or score < position.best_score)
    position.validations_since_best = 0 if better else position.validations_since_best + 1
    parts.reporter.validated(position.step, results, better, insight)
    if better:
        position.best_score, position.best_step = score, position.step
        parts.checkpointer.save_best(position)
    if out_of_patience(parts.settings, position):
        parts.reporter.say(f"No better validation in {parts.settings.patience} tries: stopping early.")


def save(parts: Parts, position: Position, tally: Tally, states: list[PolicyState]) -> None:
    """A checkpoint from which the run can go on; `states` is empty between two windows."""
    position.sums, position.guard = tally.to_list(), parts.stepper.guard.to_list()
    path = parts.checkpointer.save(position, states)
    parts.reporter.saved(path)
    if parts.hooks.on_checkpoint is not None and parts.ranks.is_main:
        parts.hooks.on_checkpoint(position.step, path, parts.reporter)


@contextlib.contextmanager
def stop_requests(ranks: Ranks) -> Iterator[Callable[[], bool]]:
    """Ctrl-C or SIGTERM ends a run after the step at hand, with a checkpoint; a second one at once.

    With several processes, which would notice at different steps, the signals do what they always do.
    """
    asked: list[int] = []
    if ranks.world > 1 or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
