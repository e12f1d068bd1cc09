"""Keep what succeeds: `python tools/filter_dataset.py PATH --gained dirt=3 --output_dir …` (`--help` has the rest)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.commands.data.filter_dataset import cli

if __name__ == "__main__":
    cli()
