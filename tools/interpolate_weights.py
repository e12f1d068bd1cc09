"""Weights between base and fine-tuned ones, with both losses: `python tools/interpolate_weights.py --base … --tuned …` (`--help` lists all options; the same as `steve1 interpolate_weights`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.__main__ import main

if __name__ == "__main__":
    main("interpolate_weights")
