"""Command: fine-tune a policy (`python -m steve1 train --help`); what `3_train_*.sh` and `python steve1/training/train.py` call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steve1.commands.cli import report_on_rank_zero
from steve1.core.checkpoint_metadata import GoalFile, read_checkpoint_metadata, read_goal, write_goal
from steve1.core.errors import UserError
from steve1.core.files import check_writable
from steve1.core.messages import message
from steve1.core.paths import display, quoted
from steve1.training.config import TrainSettings

if TYPE_CHECKING:
    from steve1.training.logging.reporter import Reporter

Args = TrainSettings


def goal_of_prompt(settings: TrainSettings) -> NDArray[np.float32] | None:
    """The goal (E,) of `fixed_prompt`, the same that playing and evaluations use, whatever the run's seed; None without a prompt."""
    if not settings.fixed_prompt:
        return None
    from steve1.goals import GoalEncoder  # loads MineCLIP's and the prior's code, which no other training needs

    encoder = GoalEncoder(read_checkpoint_metadata(settings.in_weights).updated(model=settings.in_model))
    goals = encoder.encode([settings.fixed_prompt], by=settings.fixed_prompt_by)
    return goals[settings.fixed_prompt]


def claim_goal_file(settings: TrainSettings, goal: NDArray[np.float32] | None) -> None:
    """UserError where the file of the goal that the run will write holds another one."""
    path = settings.goal_path
    if path is None or goal is None or settings.overwrite or not path.exists():
        return
    if not np.array_equal(read_goal(path).goal, goal):
        raise UserError(
            "This goal file exists already and holds another goal.",
            where=display(path),
            todo="choose another OUT_WEIGHTS, or --overwrite to replace it",
        )


def write_goal_file(settings: TrainSettings, goal: NDArray[np.float32] | None) -> list[str]:
    """Write the goal that no prompt gives, for the best weights where there are some; returns the line that says how to play it."""
    path, best = settings.goal_path, settings.beside("best")
    if path is None or goal is None:
        return []
    weights = best if best.is_file() else settings.out_path
    write_goal(path, GoalFile(goal, display(weights), prompt=settings.fixed_prompt))
    return ["  " + message("play it", command=f"python run_agent/run_agent.py --goal_file {quoted(path)}")]


def main(settings: TrainSettings) -> None:
    """Train as the settings say; with rollout_every, checkpoints play in a process beside it."""
    # Imported on use: --help needs no torch.
    from steve1.training.checks import check
    from steve1.training.loop import Hooks
    from steve1.training.optim.lr_find import find_learning_rate
    from steve1.training.train import finetune

    with report_on_rank_zero():
        check(settings)
        check_writable(settings.out_path, settings.run_dir)
        goal = goal_of_prompt(settings)
        if not settings.lr_find:
            claim_goal_file(settings, goal)
    if settings.lr_find:
        find_learning_rate(settings, goal=goal)
        return

    def on_end(reporter: Reporter) -> None:
        if lines := write_goal_file(settings, goal):
            reporter.say(*lines)

    if not settings.rollout_every:
        finetune(settings, goal=goal, hooks=Hooks(on_end=on_end))
        return
    from steve1.evaluation.checkpoints import CheckpointRollouts  # loads the games' code

    words = [
        "--prompts",
        settings.rollout_prompts,
        "--steps",
        str(settings.rollout_steps),
        "--seed",
        str(settings.seed),
    ]
    if settings.val_path is not None:
        words += ["--val_list", str(settings.val_path)]
    rollouts = CheckpointRollouts(settings.run_dir, settings.rollout_every, words)

    def on_both_ends(reporter: Reporter) -> None:
        rollouts.on_end(reporter)
        on_end(reporter)

    try:
        finetune(settings, goal=goal, hooks=Hooks(on_checkpoint=rollouts.on_checkpoint, on_end=on_both_ends))
    finally:
        rollouts.close()
