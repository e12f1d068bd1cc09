"""Finds a learning rate with a short trial in which the rate rises from step to step.

Output: `<run's folder>.lr_find/` with a plot, a table of smoothed losses and a suggestion; no weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from steve1.core.device import choose_precision, set_tf32
from steve1.core.errors import UserError
from steve1.core.files import write_json
from steve1.core.messages import translated
from steve1.core.paths import display
from steve1.policy import PolicyState
from steve1.reporting.lettering import label
from steve1.training.batches import Goal, TbpttChunk, chunks, open_windows
from steve1.training.cache import read_features
from steve1.training.checks import check
from steve1.training.config import TrainSettings
from steve1.training.distributed import joined
from steve1.training.logging.pictures import line_plot
from steve1.training.step import Stepper
from steve1.training.train import chosen_goal, starting_policy

SMOOTHING = 0.9
RUNAWAY = 1.3  # times the best smoothed loss: the rate has become too high
LOWERED = 0.003  # a fall of the smoothed loss, as a share of its start, that counts as learning


@dataclasses.dataclass(frozen=True)
class RateTrial:
    """The trial's result."""

    rates: list[float]
    losses: list[float]
    """Of each step's batch."""
    smoothed: list[float]
    suggestion: float | None
    """A rate to begin with; None where none lowered the loss."""
    folder: Path


def find_learning_rate(settings: TrainSettings, *, goal: Goal | None = None) -> RateTrial:
    """Try rates from `lr_find_from` to `lr_find_to`; writes lr_find.png and lr_find.json.

    Raises:
        UserError: as `finetune`; more than one process.
    """
    check(settings)
    quiet = dataclasses.replace(settings, skip_loss_above=0.0, skip_norm_above=0.0, ema_decay=0.0)
    with joined(settings.device) as ranks:
        if ranks.world > 1:
            raise UserError("The learning-rate finder runs in one process.", todo="PROCESSES=1")
        goal = chosen_goal(settings, goal)
        train, *_ = open_windows(settings, goal)
        policy, precision = (
            starting_policy(settings, ranks, train, goal),
            choose_precision(settings.precision, ranks.device),
        )
        if settings.feature_cache:
            read_features(settings, policy, (train,), ranks, precision)
        set_tf32(settings.precision == "tf32")  # not before: cached features are float32's
        stepper = Stepper(policy, quiet, ranks, precision)
        policy.train()
        with contextlib.closing(chunks(train, settings, ranks)) as feed:
            rates, losses = _try_rates(settings, stepper, feed)
    smoothed = smooth(losses)
    folder = settings.run_dir.with_name(settings.name + ".lr_find")
    trial = RateTrial(rates, losses, smoothed, suggest(rates, smoothed), folder)
    _write(trial)
    return trial


def _try_rates(
    settings: TrainSettings, stepper: Stepper, feed: Iterator[TbpttChunk]
) -> tuple[list[float], list[float]]:
    """One step at each rate, until the loss runs away."""
    ratio = (settings.lr_find_to / settings.lr_find_from) ** (1 / (settings.lr_find_steps - 1))
    rates: list[float] = []
    losses: list[float] = []
    states: list[PolicyState] = []
    finite = True
    for number, chunk in zip(range(settings.lr_find_steps), feed):
        if chunk.starts or not states:
            states = stepper.initial_states(chunk)
        rate = settings.lr_find_from * ratio**number
        output = stepper.step(chunk, states, rate, number + 1)
        states = output.states
        if bool(output.skipped):
            finite = False
            break
        if not bool(output.measured[0]):  # all frames are context, or old ones that are not imitated
            continue
        rates.append(rate)
        losses.append(float(output.measures[0]))
        seen = smooth(losses)
        if number >= 10 and seen[-1] > RUNAWAY * min(seen):
            break
    if len(losses) < 5 and not finite:
        raise UserError(
            "The loss was not finite within the first steps.", todo="lower lr_find_from, or add --precision fp32"
        )
    if len(losses) < 5:
        todo = "raise --lr_find_steps or BATCH_SIZE, or lower REPLAY_SHARE"
        raise UserError("Too few of the steps had frames to imitate.", expected="5", got=len(losses), todo=todo)
    return rates, losses


def smooth(losses: Sequence[float]) -> list[float]:
    """Running mean with bias correction."""
    mean, found = 0.0, []
    for number, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**number))
    return found


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """A tenth of the rate at which the smoothed loss is lowest; None where it never fell."""
    best = int(np.argmin(smoothed))
    if smoothed[best] > smoothed[0] * (1 - LOWERED):
        return None
    return float(f"{rates[best] / 10:.1e}")


def _write(trial: RateTrial) -> None:
    trial.folder.mkdir(parents=True, exist_ok=True)
    numbers = {name: value for name, value in vars(trial).items() if name != "folder"}
    write_json(trial.folder / "lr_find.json", numbers)
    title, across, up = label("Learning-rate trial"), label("learning rate"), label("loss")
    with line_plot(trial.folder / "lr_find.png", title, across, up) as axes:
        axes.set(xscale="log")
        axes.plot(trial.rates, trial.losses, color="0.8", label=label("batch"))
        axes.plot(trial.rates, trial.smoothed, color="#3c6ca8", label=label("smoothed"))
        if trial.suggestion:
            suggestion = label(f"suggestion {trial.suggestion:g}")
            axes.axvline(trial.suggestion, color="#b04a3a", linestyle="--", label=suggestion)
    last = f"{len(trial.rates)} steps from {trial.rates[0]:.1e} to {trial.rates[-1]:.1e}"
    print(
        translated(
            f"learning-rate trial: {last}; loss {trial.smoothed[0]:.3f}, lowest {min(trial.smoothed):.3f} (smoothed)"
        )
    )
    if trial.suggestion is None:
        hint = "more steps (--lr_find_steps), a higher --lr_find_to, or look at the data"
        print(translated(f"no rate lowered the loss noticeably: {hint}"))
    else:
        print(translated(f"suggestion: LEARNING_RATE={trial.suggestion:g} (a tenth of where the loss was lowest)"))
    print(translated(f"plot: {display(trial.folder / 'lr_find.png')}"))
