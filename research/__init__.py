"""Studies that are run once: `python -m research.NAME`."""

from steve1.__main__ import find_packages

find_packages()
