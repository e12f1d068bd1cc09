"""Workers on this machine: spawned processes, or this very process."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from steve1.core.executor.jobs import ExecutorConfig, JobResult, JobRunner, Recipe, Worker, WorkerDied
from steve1.core.messages import translate_warnings
from steve1.core.processes import end_tree

_CLOSE_S = 20.0
_log = logging.getLogger(__name__)


class LocalWorker(Worker):
    """A process of this machine; its handle is our end of the pipe."""

    handle: Connection

    def __init__(self, recipe: Recipe, index: int, config: ExecutorConfig) -> None:
        context = multiprocessing.get_context("spawn")
        self.handle, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(recipe, index, config.threads, other), daemon=False)
        self._process.start()
        other.close()

    @staticmethod
    def ready(handles: Sequence[Connection], timeout_s: float) -> Sequence[Any]:
        return wait(handles, timeout_s)

    def give(self, job: Any) -> None:
        with contextlib.suppress(OSError):
            self.handle.send(job)

    def answer(self) -> JobResult:
        try:
            result: JobResult = self.handle.recv()
            return result
        except (EOFError, OSError):
            self._process.join(5)
            raise WorkerDied(f"ended with code {self._process.exitcode}") from None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.handle.send(None)
            self._process.join(_CLOSE_S)
        self.kill()

    def kill(self) -> None:
        if self._process.pid is not None and self._process.is_alive():
            end_tree(self._process.pid)
        self._process.join(5)
        self.handle.close()


def _serve(recipe: Recipe, index: int, threads: int, pipe: Connection) -> None:
    """The process's main function: do jobs until told to stop, or until the process that gives them is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; it closes us in order
    translate_warnings()
    with contextlib.closing(JobRunner(recipe, index, threads)) as runner:
        while True:
            try:
                job = pipe.recv()
            except EOFError:
                _log.warning("worker %d: the process that gave the jobs is gone; ending", index)
                return
            if job is None:
                return
            result = runner.run(job)
            try:
                pipe.send(result)
            except BrokenPipeError:
                _log.warning("worker %d: the process that gave the jobs is gone; its last result is lost", index)
                return


class InlineWorker(Worker):
    """This process, which works when it is asked for the answer."""

    handle = None

    def __init__(self, recipe: Recipe, index: int, config: ExecutorConfig) -> None:
        self._runner = JobRunner(recipe, index, config.threads, inline=True)
        self._job: Any = None

    @staticmethod
    def ready(handles: Sequence[None], timeout_s: float) -> Sequence[None]:
        return handles

    def give(self, job: Any) -> None:
        self._job = job

    def answer(self) -> JobResult:
        return self._runner.run(self._job)

    def close(self) -> None:
        self._runner.close()

    kill = close
