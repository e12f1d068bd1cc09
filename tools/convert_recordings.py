"""Recordings → episodes: `python tools/convert_recordings.py --input_dir … --output_dir …` (`--help` has the rest)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.commands.data.convert import cli

if __name__ == "__main__":
    cli()
