"""Recordings → clips: `python tools/trim_recordings.py --input_dir … --times times.csv --output_dir …` (`--help` lists all options; the same as `steve1 trim_recordings`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.__main__ import main

if __name__ == "__main__":
    main("trim_recordings")
