"""Tries files of every format, made wrong in many ways, on their readers: `python tools/fuzz.py --minutes 10 [--only videos]`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzzing import FORMATS, main

if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=1.0, help="how long to try; every format gets its turn")
    options.add_argument("--only", default="", choices=["", *FORMATS], help="one format alone")
    given = options.parse_args()
    sys.exit(main(given.minutes, given.only))
