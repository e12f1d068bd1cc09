"""Episodes → other programs' layouts: `python tools/export_dataset.py PATH --to guide --output_dir …` (`--help` has the rest)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.commands.data.export_dataset import cli

if __name__ == "__main__":
    cli()
