"""One task by name: python evaluate_on_minedojo.py --weights … --task "BuildVillageHouse" (--help has the rest)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from steve1.commands.evaluate.evaluate_on_minedojo import cli

if __name__ == "__main__":
    cli()
