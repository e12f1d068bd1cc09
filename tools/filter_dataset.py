"""Keep what succeeds: `python tools/filter_dataset.py PATH --gained dirt=3 --output_dir …` (`--help` lists all options; the same as `steve1 filter_dataset`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.__main__ import main

if __name__ == "__main__":
    main("filter_dataset")
