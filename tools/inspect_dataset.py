"""What is in a dataset? `python tools/inspect_dataset.py PATH…` (`--help` lists all options; the same as `steve1 inspect_dataset`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.__main__ import main

if __name__ == "__main__":
    main("inspect_dataset")
