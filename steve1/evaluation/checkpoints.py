"""Rollouts of checkpoints while training goes on: videos and results in the run's folder and in its report.

The game and the policy that plays it run in another process, one at a time, at low priority and on the CPU: training neither waits nor
fails for them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from steve1.core.checkpoint_metadata import checkpoint_metadata_path
from steve1.core.files import read_json, remove
from steve1.core.messages import message, translated
from steve1.core.paths import display, python_path
from steve1.core.processes import end

FOLDER = "rollouts"
PROGRAM = (sys.executable, "-m", "steve1", "rollout_checkpoint")
_WAIT_AT_END_S = 900
_OURS = re.compile(r"step\d+(\..+)?")  # a rollout's folder, and the copy of the weights in it


class Board(Protocol):
    """Who reports the run: training's Reporter."""

    def say(self, *lines: str) -> None:
        """Print lines."""

    def curves(self, step: int, numbers: dict[str, float]) -> None:
        """Record numbers."""

    def film(self, name: str, gif: bytes, width: int, height: int, step: int) -> None:
        """Record a moving picture."""


class CheckpointRollouts:
    """Starts a rollout at checkpoints and gathers what earlier ones found.

    Args:
        run_dir: the run's folder.
        every: minimum steps between two rollouts.
        words: further arguments of `program`.
        program: what plays: called with weights, --out and `words`.
    """

    def __init__(self, run_dir: Path, every: int, words: Sequence[str] = (), program: Sequence[str] = PROGRAM) -> None:
        self._folder, self._every, self._words, self._program = run_dir / FOLDER, every, list(words), list(program)
        self._child: subprocess.Popen[bytes] | None = None
        self._step, self._missing = 0, False

    def on_checkpoint(self, step: int, weights: Path, board: Board) -> None:
        """Take note of a checkpoint: gather what is finished, start the next rollout where one is due."""
        self.gather(board)
        if self._missing or step - self._last_before(step) < self._every:
            return
        if self._child is not None:
            board.say(translated(f"  rollout @ step {step}: left out, that of step {self._step} is still playing"))
            return
        try:
            self._start(step, weights)
        except OSError as fault:
            self._remove_copy()
            self._skipped(board, str(fault))

    def _last_before(self, step: int) -> int:
        """The step of the last rollout, one of before a resume too; 0 without one."""
        names = (folder.name.removeprefix("step") for folder in self._folder.glob("step*"))
        return max((int(name) for name in names if name.isdecimal() and int(name) < step), default=0)

    def on_end(self, board: Board) -> None:
        """The run is over: wait for a rollout that is still playing."""
        if self._child is not None:
            board.say(translated(f"  waiting for the rollout of step {self._step}"))
            try:
                self._child.wait(_WAIT_AT_END_S)
            except subprocess.TimeoutExpired:
                board.say(translated(f"  rollout @ step {self._step}: not over after {_WAIT_AT_END_S} s, given up"))
                self.close()
        self.gather(board)

    def close(self) -> None:
        """End a rollout that is still playing, with its game."""
        child, self._child = self._child, None
        if child is not None:
            if child.poll() is None:
                end(child, patience_s=20)
            self._remove_copy()

    def _start(self, step: int, weights: Path) -> None:
        self._step = step
        folder = self._folder / f"step{step:09d}"
        remove(folder, ours=_OURS)
        folder.mkdir(parents=True)
        # Under another name: the next checkpoint replaces the latest weights while this one is being read.
        kept = folder / f"step{step}{weights.suffix}"
        for source, name in ((weights, kept), (checkpoint_metadata_path(weights), checkpoint_metadata_path(kept))):
            try:
                os.link(source, name)
            except OSError:
                shutil.copyfile(source, name)
        words = [*self._program, str(kept), "--out", str(folder), *self._words]
        with open(folder / "log.txt", "wb") as log:
            env = {**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
            self._child = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=env
            )

    def gather(self, board: Board) -> None:
        """Report the rollout that has ended since, if one has."""
        if self._child is None or self._child.poll() is None:
            return
        code, self._child = self._child.returncode, None
        folder = self._folder / f"step{self._step:09d}"
        self._remove_copy()
        if code:
            self._missing = code == 2  # what the user has to fix is not tried again
            self._skipped(board, _reason(folder / "log.txt"))
            return
        for found in read_json(folder / "rollouts.json", list):
            self._report(found, folder, board)

    def _remove_copy(self) -> None:
        """Remove the copy of the weights that the rollout played."""
        for file in (self._folder / f"step{self._step:09d}").glob(f"step{self._step}.*"):
            remove(file, ours=_OURS)

    def _skipped(self, board: Board, why: str) -> None:
        again = "; rollouts are skipped from here on" if self._missing else ""
        board.say(translated(f"  rollout @ step {self._step}: skipped: {why}{again}"))

    def _report(self, found: dict[str, Any], folder: Path, board: Board) -> None:
        gif = folder / found["gif"]
        board.film(f"rollout/{found['name']}", gif.read_bytes(), found["width"], found["height"], self._step)
        words = translated(f"{found['steps']} steps, {found['distance']:.1f} nodes from the start")
        numbers = {f"rollout/{found['name']}/distance": found["distance"]}
        if found.get("measure_name"):
            numbers[f"rollout/{found['name']}/{found['task']}"] = found["measure"]
            words += message("rollout measure", name=found["measure_name"], value=f"{found['measure']:.1f}")
            words += translated(" (success)") if found["success"] else ""
        board.curves(self._step, numbers)
        board.say(f"  rollout @ step {self._step}: {found['name']}: {words}: {display(folder / found['video'])}")


def _reason(log: Path) -> str:
    """The error's own line in a log, or its last one."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith(message("error") + ": "):
            return line.removeprefix(message("error") + ": ")
    return f"{lines[-1] if lines else 'no reason given'} (see {display(log)})"
