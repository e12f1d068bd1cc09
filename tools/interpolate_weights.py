"""Weights between base and fine-tuned ones, with both losses (`--help` has the rest)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.commands.train.interpolate_weights import cli

if __name__ == "__main__":
    cli()
