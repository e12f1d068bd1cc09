"""What is in a dataset? `python tools/inspect_dataset.py PATH…` (`--help` has the rest)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.commands.data.inspect_dataset import cli

if __name__ == "__main__":
    cli()
