"""What an executor is given and what it gives back, and the part of a worker that is the same on every backend."""

from __future__ import annotations

import abc
import dataclasses
import errno
import pickle
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from steve1.core.errors import UserError
from steve1.core.processes import limit_threads

J = TypeVar("J")
R = TypeVar("R")
J_contra = TypeVar("J_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Runner(Protocol[J_contra, R_co]):
    """Does jobs one after the other; lives in a worker."""

    def run(self, job: J_contra) -> R_co:
        """Do one job."""

    def close(self) -> None:
        """Release everything."""


Recipe = Callable[[int], Runner[J, R]]
"""Builds the runner of the worker with this index. Recipes and jobs travel by pickle."""


@dataclasses.dataclass(frozen=True)
class ExecutorConfig:
    """How jobs are run; it changes nothing about their results.

    Attributes:
        workers: processes; 0 runs all jobs in this one, where nothing protects from a hang.
        threads: torch threads of each worker.
        timeout_s: maximum time for one job, including the building of its runner.
        max_restarts: workers that may be replaced over the whole run.
        attempts: a job that has lost this many workers gets the result WorkerDied; 0: it is repeated as long as restarts are left.
        ray: spread the workers over the cluster that `RAY_ADDRESS` names, or over one started on this machine.
        cpus, gpus: what a Ray worker reserves on its machine.
    """

    workers: int = 1
    threads: int = 1
    timeout_s: float = 600.0
    max_restarts: int = 5
    attempts: int = 0
    ray: bool = False
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.workers < 0 or self.timeout_s <= 0 or self.max_restarts < 0:
            raise UserError(
                "Workers need a number and a time.",
                expected="--workers ≥ 0, --timeout_s > 0, --max_restarts ≥ 0",
                got=f"workers {self.workers}, timeout_s {self.timeout_s:g}, max_restarts {self.max_restarts}",
            )


@dataclasses.dataclass(frozen=True)
class JobResult(Generic[J, R]):
    """A finished job: its value, or the error that it raised (with a worker's traceback as a note)."""

    job: J
    value: R | None = None
    error: Exception | None = None


class WorkerDied(Exception):
    """A worker has ended or does not answer; says how."""


class Worker(abc.ABC):
    """Does one job at a time, somewhere. `handle` is what `ready` waits for."""

    handle: Any

    @abc.abstractmethod
    def __init__(self, recipe: Recipe, index: int, config: ExecutorConfig) -> None:
        """Start the process."""

    @staticmethod
    @abc.abstractmethod
    def ready(handles: Sequence[Any], timeout_s: float) -> Sequence[Any]:
        """Those handles whose workers have an answer or have died, after `timeout_s` at the latest."""

    def why_not_started(self) -> str:
        """What is known of a process that has not started; "" once it has."""
        return ""

    @abc.abstractmethod
    def give(self, job: Any) -> None:
        """Hand over a job. A worker that is dead already shows it in `answer`."""

    @abc.abstractmethod
    def answer(self) -> JobResult:
        """The result of the job. Raises WorkerDied."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let the runner close in order, then end the process."""

    @abc.abstractmethod
    def kill(self) -> None:
        """End the process, with everything below it, now."""


class JobRunner(Generic[J, R]):
    """Lives in the worker: builds its runner at the first job, and turns errors into results that can travel."""

    def __init__(self, recipe: Recipe[J, R], index: int, threads: int, *, inline: bool = False) -> None:
        limit_threads(threads)
        self._recipe, self._index, self._inline = recipe, index, inline
        self._runner: Runner[J, R] | None = None

    def run(self, job: J) -> JobResult[J, R]:
        """Do one job."""
        try:
            self._runner = self._runner or self._recipe(self._index)
            return JobResult(job, self._runner.run(job))
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                where = error.filename or "while a result was written"
                todo = "free some space and run the same command again; finished results are kept"
                return JobResult(job, error=UserError("The disk is full.", where=where, todo=todo))
            return JobResult(job, error=error if self._inline else _portable(error))

    def close(self) -> None:
        """Close the runner, if one was built."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()


def _portable(error: Exception) -> Exception:
    """The error as another process can receive it; pickle drops the traceback, so it becomes a note."""
    text = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(text)
    error.add_note(f"in the worker:\n{text}")
    return error


class Restarts:
    """Counts the replacements of something that may die, and refuses more than `most`.

    Args:
        what: the subject of the message ("Workers").
        todo: what to do next.
    """

    def __init__(self, most: int, what: str, todo: str) -> None:
        self.count, self.most, self._what, self._todo = 0, most, what, todo

    def add(self, why: str) -> int:
        """Count one more; returns how many there are by now.

        Raises:
            UserError: that is one too many.
        """
        self.count += 1
        if self.count > self.most:
            raise UserError(
                f"{self._what} died too often; the run stops here.",
                expected=f"at most {self.most} restarts",
                got=why,
                todo=self._todo,
            )
        return self.count
