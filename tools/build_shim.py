"""Compile the library that steps Luanti: `python tools/build_shim.py` (`--help` lists all options; the same as `steve1 build_shim`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.__main__ import main

if __name__ == "__main__":
    main("build_shim")
