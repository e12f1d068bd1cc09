"""Finds the Python that a game's worker runs in.

In: a backend's name, or a range of versions. Out: the path of an interpreter that was tried and runs.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from steve1.core.errors import UserError
from steve1.core.paths import ROOT

Version = tuple[int, int]
FOLDER = ROOT / "data" / "backends"


def variable(name: str) -> str:
    """The environment variable that names a backend's Python."""
    return f"STEVE1_{name.upper()}_PYTHON"


@functools.cache
def version_of(python: str) -> Version | None:
    """(major, minor) that an interpreter says; None when it does not run (as a pyenv shim without its version)."""
    command = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
        return int(answer[0]), int(answer[1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _candidates(lowest: Version, highest: Version) -> Iterator[str]:
    minors = range(lowest[1], highest[1] + 1)
    for name in (*(f"python{lowest[0]}.{minor}" for minor in minors), "python3", "python"):
        found = shutil.which(name)
        if found:
            yield found
    for folder in sorted((Path.home() / ".pyenv" / "versions").glob("*/bin")):
        yield str(folder / "python3")


def find_python(lowest: Version, highest: Version = (3, 99)) -> str | None:
    """An interpreter with lowest ≤ version ≤ highest: on PATH, then in ~/.pyenv/versions/*/bin; None without one."""
    highest_tried = (highest[0], min(highest[1], lowest[1] + 8))
    for python in _candidates(lowest, highest_tried):
        version = version_of(python) if os.path.exists(python) else None
        if version is not None and lowest <= version <= highest:
            return python
    return None


def backend_python(name: str) -> str:
    """The interpreter of a backend's own environment.

    It is $STEVE1_<NAME>_PYTHON, or the one that `tools/install_minecraft.sh <name>` made in data/backends/<name>.

    Raises:
        UserError: there is none, or it does not run; names the command that makes it.
    """
    install = f"bash tools/install_minecraft.sh {name}"
    given = os.environ.get(variable(name), "")
    python = given or str(FOLDER / name / "bin" / "python")
    if not os.path.exists(python):
        raise UserError(
            f"The environment of {name} is not installed." if not given else f"${variable(name)} names no file.", where=python, todo=install
        )
    if version_of(python) is None:
        raise UserError(f"The Python of {name} does not run.", where=python, todo=f"remove its environment, then {install}")
    return python
