"""Is a dataset sound? `python tools/validate_dataset.py PATH… [--repair OUT_DIR]` (`--help` has the rest)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.commands.data.validate_dataset import cli

if __name__ == "__main__":
    cli()
