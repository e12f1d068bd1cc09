"""Checks that everything the quickstart needs is installed, before anything long starts: the mini weights, the game, disk space."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from steve1.core.checkpoint_metadata import read_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.messages import message
from steve1.core.paths import display, resolve
from steve1.envs import make_env


@dataclasses.dataclass(frozen=True)
class Args:
    """What to check."""

    weights: str = "data/mini/mini.weights"
    """Pretrained policy; the files that its .json names are checked too."""
    megabytes: int = 500
    """Free disk space needed, in MB."""


def main(args: Args) -> None:
    """Raise one UserError for the first thing that is missing."""
    weights = resolve(args.weights)
    metadata = read_checkpoint_metadata(weights)
    for path in (weights, *(resolve(name) for name in (metadata.model, metadata.mineclip, metadata.prior))):
        if not path.is_file():
            raise UserError(
                "A file of the mini weights is missing.",
                where=display(path),
                todo="git checkout data/mini, or make them again: bash tools/make_mini.sh",
            )
    free = shutil.disk_usage(Path.cwd()).free / 1e6
    if free < args.megabytes:
        raise UserError(
            "There is not enough free disk space.",
            where=Path.cwd(),
            expected=f"{args.megabytes} MB",
            got=f"{free:.0f} MB",
        )
    with make_env(metadata.env) as env:
        env.reset(seed=0)
    print(message("quickstart checked"))
