"""One task by name: `python evaluate_on_minedojo.py --weights … --task "BuildVillageHouse"` (`--help` lists all options; the same as `steve1 evaluate_on_minedojo`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from steve1.__main__ import main

if __name__ == "__main__":
    main("evaluate_on_minedojo")
