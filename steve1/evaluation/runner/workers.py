"""Jobs over processes that may hang or die.

In: jobs, and a recipe from which a process builds whoever runs them. Out: each job's result, through a callback in this
process, as they finish. A worker that dies or takes too long is ended with every process below it and replaced, its
job repeated, a bounded number of times.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import multiprocessing
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from steve1.core.errors import UserError
from steve1.core.processes import end_tree, limit_threads

_log = logging.getLogger(__name__)


class Runner(Protocol):
    """What a recipe builds."""

    def run(self, job: Any) -> Any:
        """Do one job."""

    def close(self) -> None:
        """Let go of everything."""


Recipe = Callable[[int], Runner]


def outcome(runner_of: Callable[[], Runner], job: Any) -> tuple[str, Any]:
    """Run one job: ("done", result), ("user", UserError) or ("fault", traceback); what a worker answers."""
    try:
        return "done", runner_of().run(job)
    except UserError as fault:
        return "user", fault
    except Exception as fault:
        return ("user", _disk_full(fault)) if _is_disk_full(fault) else ("fault", traceback.format_exc())


def _serve(recipe: Recipe, index: int, threads: int, pipe: Connection) -> None:
    """A worker's life: build the runner, answer jobs until told to stop or until whoever gave them is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; it closes us in order.
    limit_threads(threads)
    built: list[Runner] = []

    def runner() -> Runner:
        if not built:
            built.append(recipe(index))
        return built[0]

    try:
        while True:
            try:
                job = pipe.recv()
            except EOFError:
                _log.warning("worker %d: the process that gave the jobs is gone; ending", index)
                return
            if job is None:
                return
            answer = outcome(runner, job)
            try:
                pipe.send(answer)
            except BrokenPipeError:
                _log.warning("worker %d: nobody is left to take the result of %s; it will be played again", index, job)
                return
    finally:
        for each in built:
            each.close()


def _is_disk_full(fault: Exception) -> bool:
    return isinstance(fault, OSError) and fault.errno == errno.ENOSPC


def _disk_full(fault: Exception) -> UserError:
    return UserError(
        "The disk is full.",
        where=getattr(fault, "filename", None) or "while an episode was written",
        todo="free some space and run the same command again; finished episodes are kept",
    )


class _Worker:
    def __init__(self, recipe: Recipe, index: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(recipe, index, threads, other), daemon=False)
        self.process.start()
        other.close()
        self.job: Any = None
        self.began = 0.0

    def give(self, job: Any) -> None:
        self.job, self.began = job, time.monotonic()
        # One that died before its first job shows it at the next look at its pipe.
        with contextlib.suppress(OSError):
            self.pipe.send(job)

    def end(self, patience_s: float = 20.0) -> None:
        """Ask it to stop; end its process tree if it does not."""
        with contextlib.suppress(OSError):
            self.pipe.send(None)
            self.process.join(patience_s)
        self.kill()

    def kill(self) -> None:
        if self.process.pid is not None and self.process.is_alive():
            end_tree(self.process.pid)
        self.process.join(5)
        self.pipe.close()


class _Pool:
    def __init__(self, recipe: Recipe, workers: int, threads: int, timeout_s: float, max_restarts: int) -> None:
        self.recipe, self.threads, self.timeout_s, self.max_restarts = recipe, threads, timeout_s, max_restarts
        self.members = [_Worker(recipe, index, threads) for index in range(workers)]
        self.restarts = 0

    def replace(self, index: int, why: str) -> None:
        """End a worker and start another in its place.

        Raises:
            UserError: this has happened too often.
        """
        self.members[index].kill()
        self.restarts += 1
        if self.restarts > self.max_restarts:
            raise UserError(
                "Workers died too often; the run stops here.",
                expected=f"at most {self.max_restarts} restarts",
                got=why,
                todo="finished episodes are kept; the same command continues after them",
            )
        _log.warning(
            "worker %d %s: replaced (%d of %d), its episode is repeated", index, why, self.restarts, self.max_restarts
        )
        self.members[index] = _Worker(self.recipe, index, self.threads)

    @property
    def busy(self) -> bool:
        """Whether any worker has a job."""
        return any(member.job is not None for member in self.members)

    def close(self, quick: bool) -> None:
        """End all workers: in order, or at once."""
        for member in self.members:
            if quick:
                member.kill()
            else:
                member.end()


def _answer(worker: _Worker) -> tuple[str, Any]:
    """What a readable worker says; ("died", how) if it has ended."""
    try:
        kind, content = worker.pipe.recv()
        return kind, content
    except (EOFError, OSError):
        worker.process.join(5)
        return "died", f"ended with code {worker.process.exitcode}"


def run_jobs(
    jobs: Sequence[Any],
    recipe: Recipe,
    on_result: Callable[[Any, Any], None],
    *,
    workers: int = 1,
    threads: int = 1,
    timeout_s: float = 600.0,
    max_restarts: int = 5,
    more: Callable[[], Sequence[Any]] | None = None,
) -> None:
    """Run all jobs; `on_result(job, result)` is called here, once a job, in the order in which they finish.

    Args:
        recipe: picklable; recipe(worker index) builds a worker's runner.
        workers: processes; 0 runs everything in this one (no protection against a hang).
        threads: torch threads of each worker.
        timeout_s: longest that one job may take, the building of its runner included.
        max_restarts: over the whole run.
        more: asked for further jobs when all are done; the run ends when it has none.

    Raises:
        UserError: a worker's own UserError, or too many restarts. RuntimeError: any other fault inside a job.
    """
    supply = Supply(jobs, more)
    if not supply.waiting:
        return
    if workers == 0:
        _run_here(supply, recipe, on_result, threads)
        return
    pool, finished = (
        _Pool(recipe, min(workers, len(supply.waiting)) if more is None else workers, threads, timeout_s, max_restarts),
        False,
    )
    try:
        while supply.waiting or pool.busy or supply.refill():
            for member in pool.members:
                if member.job is None and supply.waiting:
                    member.give(supply.waiting.popleft())
            _collect(pool, supply, on_result)
        finished = True
    finally:
        pool.close(quick=not finished)


class Supply:
    """Jobs that wait, and where further ones come from."""

    def __init__(self, jobs: Sequence[Any], more: Callable[[], Sequence[Any]] | None) -> None:
        self.waiting, self._more = deque(jobs), more

    def refill(self) -> bool:
        """Ask for further jobs; False when there are none."""
        self.waiting.extend(self._more() if self._more else ())
        return bool(self.waiting)


def _run_here(supply: Supply, recipe: Recipe, on_result: Callable[[Any, Any], None], threads: int) -> None:
    limit_threads(threads)
    runner = recipe(0)
    try:
        while supply.waiting or supply.refill():
            job = supply.waiting.popleft()
            try:
                result = runner.run(job)
            except OSError as fault:
                if _is_disk_full(fault):
                    raise _disk_full(fault) from fault
                raise
            on_result(job, result)
    finally:
        runner.close()


def _collect(pool: _Pool, supply: Supply, on_result: Callable[[Any, Any], None]) -> None:
    """Take what workers have to say, or replace those that say nothing for too long."""
    ready = wait([member.pipe for member in pool.members if member.job is not None], timeout=1.0)
    for index, member in enumerate(list(pool.members)):
        if member.job is None:
            continue
        if member.pipe in ready:
            kind, content = _answer(member)
        elif time.monotonic() - member.began > pool.timeout_s:
            kind, content = "died", f"gave no answer for {pool.timeout_s:.0f} s"
        else:
            continue
        if kind == "done":
            on_result(member.job, content)
            member.job = None
        elif kind == "died":
            supply.waiting.appendleft(member.job)
            pool.replace(index, content)
        else:
            raise content if kind == "user" else RuntimeError(content)
