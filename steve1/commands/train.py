"""Command: fine-tune a policy (`python -m steve1.commands.train --help`); what `3_train_*.sh` call."""

from __future__ import annotations

from ..core.cli import run
from ..training.settings import TrainSettings


def main(settings: TrainSettings) -> None:
    """Train as the settings say."""
    from ..training.train import finetune

    finetune(settings)


def cli() -> None:
    """Parse the command line and train."""
    run(TrainSettings, main, "Fine-tune STEVE-1 on a sampling of episodes; goes on where an earlier run stopped.")


if __name__ == "__main__":
    cli()
