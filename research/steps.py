"""Commands of the program, one after another, as steps of a measurement."""

from __future__ import annotations

from collections.abc import Sequence

from steve1.commands.cli import run_command


def step(*words: object, good: Sequence[int] = (0,)) -> None:
    """Say which command it is and run it; the measurement ends where it fails, and the same command resumes it."""
    said = list(map(str, words))
    print(f"\n== {' '.join(said)}", flush=True)
    run_command(said, good)
