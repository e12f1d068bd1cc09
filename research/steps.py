"""Commands of the program, one after another, as steps of a measurement."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from steve1.core.errors import UserError
from steve1.core.paths import ROOT, python_path


def environment() -> dict[str, str]:
    """Of a process that runs a module of this repository."""
    return os.environ | {"PYTHONPATH": python_path()}


def step(*words: object, good: Sequence[int] = (0,)) -> None:
    """Run a command of the program.

    Raises:
        UserError: it failed; its own message stands above.
    """
    command = [sys.executable, "-m", "steve1", *map(str, words)]
    print(f"\n== {' '.join(command[2:])}", flush=True)
    code = subprocess.run(command, cwd=ROOT, env=environment(), check=False).returncode
    if code not in good:
        raise UserError(
            f"{words[0]} failed.", got=f"exit code {code}", todo="see its message above; the same command resumes"
        )
