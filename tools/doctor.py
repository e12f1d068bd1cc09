"""What is wrong with this machine, and how to fix it: `python3 tools/doctor.py [--json] [--env minerl]` (`--help` lists all options)."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if sys.version_info < (3, 9):  # noqa: UP036  (this one file is meant to be started by whatever Python a machine has)
    found = ".".join(map(str, sys.version_info[:2]))
    print("WRONG  Python:            " + found + " is too old even for this check; 3.11 or newer is needed")
    sys.exit("                         -> PYTHON=/path/to/python3.11 bash tools/setup.sh")

sys.path.insert(0, str(ROOT))

if __name__ == "__main__":
    from steve1.__main__ import main

    main("doctor")
