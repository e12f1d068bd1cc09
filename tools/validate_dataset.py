"""Is a dataset sound? `python tools/validate_dataset.py PATH… [--repair OUT_DIR]` (`--help` lists all options; the same as `steve1 validate_dataset`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.__main__ import main

if __name__ == "__main__":
    main("validate_dataset")
