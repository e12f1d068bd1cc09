"""Compile what the game needs: `python tools/build_shim.py` (`--help` has the rest)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.commands.tools.build_shim import cli

if __name__ == "__main__":
    cli()
