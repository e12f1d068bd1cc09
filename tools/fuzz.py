"""Tries files of every format, made wrong in many ways, on their readers: `python tools/fuzz.py --minutes 10 [--inputs 1000] [--only videos]`."""

import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzzing import FORMATS, main

if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, help="how long to try; every format gets its turn (default: 1)")
    options.add_argument("--inputs", type=int, default=0, help="stop when every format has had this many")
    options.add_argument("--only", default="", choices=["", *FORMATS], help="one format alone")
    given = options.parse_args()
    minutes = given.minutes or (math.inf if given.inputs else 1.0)
    sys.exit(main(minutes, given.only, given.inputs or math.inf))
