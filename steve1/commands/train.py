"""Command: fine-tune a policy (`python -m steve1.commands.train --help`); what `3_train_*.sh` call."""

from __future__ import annotations

from ..core.cli import run
from ..training.settings import TrainSettings


def main(settings: TrainSettings) -> None:
    """Train as the settings say; with rollout_every, checkpoints play in a process beside it."""
    from ..training.fit import Hooks
    from ..training.train import finetune

    if not settings.rollout_every:
        finetune(settings)
        return
    from ..evaluation.checkpoints import CheckpointRollouts

    words = ["--prompts", settings.rollout_prompts, "--steps", str(settings.rollout_steps), "--seed", str(settings.seed)]
    if settings.val_path is not None:
        words += ["--val_list", str(settings.val_path)]
    rollouts = CheckpointRollouts(settings.run_dir, settings.rollout_every, words)
    try:
        finetune(settings, hooks=Hooks(on_checkpoint=rollouts.on_checkpoint, on_end=rollouts.on_end))
    finally:
        rollouts.close()


def cli() -> None:
    """Parse the command line and train."""
    run(TrainSettings, main, "Fine-tune STEVE-1 on a sampling of episodes; goes on where an earlier run stopped.")


if __name__ == "__main__":
    cli()
