"""The training loop, `Trainer.fit`: fetch, step, log, validate, save. Every process runs the same lines."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from steve1.core.errors import UserError
from steve1.core.messages import message
from steve1.core.paths import display
from steve1.core.processes import forget_lost_terminal, handling
from steve1.core.run_folder import newest_resume_point
from steve1.core.tuning import Choice, Tuned, candidates, tune
from steve1.data.loading.windows import WindowDataset
from steve1.policy import GoalPolicy
from steve1.training.batches import TbpttChunk, chunks, shares, source_of
from steve1.training.checkpoint.checkpointer import Checkpointer, TrainState
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.logging.action_metrics import ActionMetrics
from steve1.training.logging.metrics import Clock, MetricsAccumulator, peak_memory_mb
from steve1.training.logging.reporter import Reporter
from steve1.training.optim.schedule import rate_of_step
from steve1.training.step import Stepper
from steve1.training.validate import validate


@dataclasses.dataclass(frozen=True)
class Hooks:
    """Calls that a command can ask for; training itself imports no game and no MineCLIP."""

    on_step: Callable[[int], None] | None = None
    """After each optimizer step, with its number from 1."""
    on_checkpoint: Callable[[int, Path, Reporter], None] | None = None
    """On the first process, after each checkpoint: step, weights, reporter."""
    on_end: Callable[[Reporter], None] | None = None
    """On the first process, when all weights are written, before the run's report."""


@dataclasses.dataclass
class Trainer:
    """A run with its data, network and files."""

    settings: TrainSettings
    ranks: Ranks
    precision: torch.dtype
    policy: GoalPolicy
    stepper: Stepper
    train: WindowDataset
    val: WindowDataset | None
    retention: WindowDataset | None
    """Validation windows of old skills."""
    checkpointer: Checkpointer
    reporter: Reporter
    hooks: Hooks = dataclasses.field(default_factory=Hooks)
    clock: Clock = dataclasses.field(default_factory=Clock)

    def __post_init__(self) -> None:
        self._plain = Choice(self.policy.net.img_process.plain_frames, torch.get_num_threads())
        self._chosen = False
        self._speeds: list[float] = []  # of the network, since the last checkpoint
        self._fastest = 0.0  # since the last choice
        self.total_steps = self.settings.total_steps(self.ranks.world)
        """Optimizer steps of the whole run."""

    def is_finished(self, state: TrainState) -> bool:
        """True where nothing is left to train."""
        return state.step >= self.total_steps or self._out_of_patience(state)

    def fit(self, state: TrainState) -> None:
        """Train from `state`, which changes in place, to the end."""
        settings, ranks, stepper = self.settings, self.ranks, self.stepper
        skipped = (state.skipped_in_a_row, state.skipped_steps, state.spikes)
        metrics = MetricsAccumulator(ranks, stepper.measures, settings.max_grad_norm, state.metric_sums, skipped)
        self.policy.train()
        self.clock.read()  # what came before is no training
        feed = chunks(self.train, settings, ranks, group=state.group, chunk=state.chunk)
        # Closed by whatever ends the loop: processes that load would outlive an exception.
        with contextlib.closing(feed), stop_requests(ranks) as asked_to_stop:
            while not self.is_finished(state):
                with self.clock.waiting():
                    chunk = next(feed)
                if not self._chosen:
                    self._choose(state, chunk)
                if chunk.starts or not state.recurrent:
                    state.recurrent = stepper.initial_states(chunk)
                rate = rate_of_step(state.step, state.frames_per_step, settings)
                output = stepper.step(chunk, state.recurrent, rate, state.step + 1)
                state.recurrent = output.states
                state.step += 1
                state.group, state.chunk = chunk.following
                state.frames += chunk.n_frames * ranks.world
                for source in map(source_of, chunk.episodes):
                    state.windows[source] = state.windows.get(source, 0) + 1
                metrics.add(output)
                self.clock.frames += chunk.n_frames * ranks.world
                self.reporter.tick(state.step)
                self._watch_for_skipped_steps(state, metrics)
                if self._due(state.step, settings.log_every) or state.step == 1:
                    self._log(state, metrics, rate)
                if self._due(state.step, settings.val_freq):
                    self.validate_and_keep_best(state)
                stopping = asked_to_stop()
                if self._due(state.step, settings.save_every) or stopping is not None or self._out_of_patience(state):
                    if stopping is None and self._has_slowed():
                        self._choose(state, chunk, again=True)
                    self._save(state, metrics, between_windows=chunk.ends)
                if self.hooks.on_step is not None:
                    self.hooks.on_step(state.step)
                if stopping is not None:
                    raise KeyboardInterrupt(stopping)

    def _choose(self, state: TrainState, chunk: TbpttChunk, again: bool = False) -> None:
        """Decide how a step is spread over the processor: as the resume point says, so that its run goes on bit for bit, else by measuring.

        again: because training has slowed down; only at a checkpoint, which records the answer.
        """
        settings, plain, self._chosen = self.settings, self._plain, True
        if self.ranks.device.type != "cpu":
            return
        frames = None if settings.frames_at_once == "auto" else settings.frames_at_once
        threads = None if settings.threads == "auto" else plain.threads
        if state.spread and not again:
            found = Tuned(Choice(frames or state.spread[0], threads or state.spread[1]), plain)
        else:
            batch = chunk.micro_batches[0]
            most = min(batch["first"].numel(), 8 * plain.frames)
            about: dict[str, object] = {
                "training": "features" if "features" in batch else "frames",
                "mode": settings.finetune_mode,
            }
            about |= {
                "batch": tuple(batch["first"].shape),
                "precision": self.precision,
                "network": self.policy.net.img_process.described,
            }
            left = (self.total_steps - state.step) * state.frames_per_step / self.ranks.world
            choices = candidates(plain, most if "frames" in batch else 0, frames, threads)
            with self.clock.pause("tuning"):
                attempt = self.stepper.attempt(batch, most)
                found = tune(about, choices, attempt, left, fresh=again, keep=self.ranks.is_main)
        state.spread = self.ranks.of_main(dataclasses.astuple(found.choice))
        self.stepper.use(Choice(*state.spread))
        self._fastest = 0.0
        if found.line():
            self.reporter.say(f"  {found.line()}")

    def _has_slowed(self) -> bool:
        """Whether training since the last checkpoint was less than half as fast as it was before; time spent waiting for data does not count."""
        speed = statistics.median(self._speeds) if self._speeds else math.inf
        self._fastest, self._speeds = max(self._fastest, 0.0 if math.isinf(speed) else speed), []
        return bool(self.ranks.of_main([int(speed < self._fastest / 2)])[0])

    def _due(self, step: int, every: int) -> bool:
        """True on each `every`-th step and on the last one; never where `every` is 0."""
        return bool(every) and (step % every == 0 or step == self.total_steps)

    def _out_of_patience(self, state: TrainState) -> bool:
        """True once `patience` validations have passed without a better one."""
        return bool(self.settings.patience) and state.validations_since_best >= self.settings.patience

    def _watch_for_skipped_steps(self, state: TrainState, metrics: MetricsAccumulator, saving: bool = False) -> None:
        """Report skipped steps; stop the run where there are too many in a row.

        On a CPU after each step. A GPU is asked only where the host waits for it anyway, at console lines, validations and checkpoints
        (`saving`, those of Ctrl-C too): a skipped step changes no weight, so a late report loses nothing.
        """
        settings, step = self.settings, state.step
        waits = any(self._due(step, every) for every in (settings.log_every, settings.val_freq, settings.save_every))
        if self.ranks.device.type != "cpu" and step != 1 and not waits and not saving:
            return
        before, spikes = state.skipped_steps, state.spikes
        state.skipped_in_a_row, state.skipped_steps, state.spikes = metrics.skipped()
        spike = state.spikes > spikes
        why = "loss or gradient norm is far above its running mean" if spike else "loss or gradient is not finite"
        if state.skipped_steps > before:
            self.reporter.skipped(step, state.skipped_in_a_row, state.skipped_steps, why)
        if state.skipped_in_a_row >= settings.max_skipped_steps:
            kept, count = newest_resume_point(settings.run_dir), state.skipped_in_a_row
            raise UserError(
                f"{count} step was skipped: {why}; the run stops."
                if count == 1
                else f"{count} steps in a row were skipped: {why}; the run stops.",
                where=f"step {step}",
                got=f"last good checkpoint: {display(kept) if kept else 'none yet'}; no skipped step changed the weights",
                todo="lower LEARNING_RATE, add --precision fp32, or leave out damaged episodes; with --force_resume the run goes on from there",
            )

    def _log(self, state: TrainState, metrics: MetricsAccumulator, rate: float) -> None:
        """One line on the console, and the curves."""
        speed, settings = self.clock.read(), self.settings
        self._speeds.append(speed["frames_per_second"] / max(1.0 - speed["data_wait_share"], 0.05))
        steps = self.total_steps - state.step
        validations = steps // settings.val_freq if settings.val_freq else 0
        speed["seconds_left"] = self.clock.left(
            steps * state.frames_per_step, validation=validations, saving=steps // settings.save_every
        )
        speed |= {"peak_memory_mb": peak_memory_mb(self.ranks.device), **shares(state.windows)}
        self.reporter.step(state.step, state.frames, rate, metrics.averages(), speed)

    def validate(self, dataset: WindowDataset, metrics: ActionMetrics | None = None) -> dict[str, float]:
        """Validate on the dataset's windows: means per frame."""
        return validate(self.policy, dataset, self.settings, self.ranks, self.precision, metrics)

    def validate_and_keep_best(self, state: TrainState) -> None:
        """Validate on the task and on old skills; save the weights where they are the best so far."""
        if (self.val is None and self.retention is None) or state.validated_step == state.step:
            return
        state.validated_step = state.step
        self.stepper.free_gradients()
        with self.clock.pause("validation"):
            self._validate_both(state)

    def _validate_both(self, state: TrainState) -> None:
        """On old skills and on the task."""
        score = 0.0
        if self.retention is not None:
            kept = self.validate(self.retention)
            self.reporter.retained(state.step, kept)
            score = kept["loss"] if self.settings.best_by == "task+retention" else 0.0
        if self.val is None:
            return
        actions = ActionMetrics()
        results = self.validate(self.val, actions)
        if self.stepper.ema is not None:
            with self.stepper.ema.in_place():
                results["validation_ema/loss"] = self.validate(self.val)["loss"]
        score += results["loss"]
        better = math.isfinite(score) and (state.best_score is None or score < state.best_score)
        state.validations_since_best = 0 if better else state.validations_since_best + 1
        self.reporter.validated(state.step, results, better, actions)
        if better:
            state.best_score, state.best_step = score, state.step
            self.checkpointer.save_best(state)
        if self._out_of_patience(state):
            self.reporter.say(message("training out of patience", tries=self.settings.patience))

    def _save(self, state: TrainState, metrics: MetricsAccumulator, *, between_windows: bool) -> None:
        self._watch_for_skipped_steps(state, metrics, saving=True)
        state.metric_sums, state.seconds = metrics.to_list(), self.clock.seconds
        if between_windows:
            state.recurrent = []
        with self.clock.pause("saving"):
            path = self.checkpointer.save(state)
            self.reporter.saved(path)
            if self.hooks.on_checkpoint is not None and self.ranks.is_main:
                self.hooks.on_checkpoint(state.step, path, self.reporter)


@contextlib.contextmanager
def stop_requests(ranks: Ranks) -> Iterator[Callable[[], signal.Signals | None]]:
    """Ctrl-C, SIGTERM or SIGHUP ends a run after the step at hand, with a checkpoint; a second Ctrl-C or SIGTERM at once. The call tells which it was.

    With several processes, which would notice at different steps, the signals do what they always do.
    """
    asked: list[signal.Signals] = []

    def note(number: int, _: object) -> None:
        asked.append(signal.Signals(number))
        if number == signal.SIGHUP:  # comes twice: from the shell, and from the terminal that the shell leaves
            forget_lost_terminal()
        elif len(asked) > 1:
            raise KeyboardInterrupt(asked[-1])

    with handling(note, *((signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if ranks.world == 1 else ())):
        yield lambda: asked[0] if asked else None
