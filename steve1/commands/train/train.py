"""Command: fine-tune a policy (`python -m steve1 train --help`); what `3_train_*.sh` and `python steve1/training/train.py` call."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steve1.commands.cli import report_on_rank_zero
from steve1.core.checkpoint_metadata import read_checkpoint_metadata
from steve1.core.files import check_writable
from steve1.training.config import TrainSettings

Args = TrainSettings


def goal_of_prompt(settings: TrainSettings) -> NDArray[np.float32] | None:
    """The goal (E,) of `fixed_prompt`, the same that playing and evaluations use, whatever the run's seed; None without a prompt."""
    if not settings.fixed_prompt:
        return None
    from steve1.goals import GoalEncoder  # loads MineCLIP's and the prior's code, which no other training needs

    encoder = GoalEncoder(read_checkpoint_metadata(settings.in_weights).updated(model=settings.in_model))
    goals = encoder.encode([settings.fixed_prompt], by=settings.fixed_prompt_by)
    return goals[settings.fixed_prompt]


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
    if settings.lr_find:
        find_learning_rate(settings, goal=goal)
        return
    if not settings.rollout_every:
        finetune(settings, goal=goal)
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
    try:
        finetune(settings, goal=goal, hooks=Hooks(on_checkpoint=rollouts.on_checkpoint, on_end=rollouts.on_end))
    finally:
        rollouts.close()
