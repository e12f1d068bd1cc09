"""What is wrong with this machine, and what mends it: `python3 tools/doctor.py [--json] [--env minerl]` (`--help` has the rest)."""

import sys
from pathlib import Path

if sys.version_info < (3, 9):  # noqa: UP036  (this one file is meant to be started by whatever Python a machine has)
    found = ".".join(str(part) for part in sys.version_info[:2])
    print("WRONG  Python:            " + found + " is too old even for this check; the project needs 3.10 or newer")
    sys.exit("                         -> PYTHON=/path/to/python3.11 bash tools/setup.sh")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from steve1.commands.tools.doctor import cli

if __name__ == "__main__":
    cli()
