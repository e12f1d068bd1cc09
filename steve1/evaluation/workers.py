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
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from steve1.core.errors import UserError

_log = logging.getLogger(__name__)


class Runner(Protocol):
    """What a recipe builds."""

    def run(self, job: Any) -> Any:
        """Do one job."""

    def close(self) -> None:
        """Let go of everything."""


Recipe = Callable[[int], Runner]


def limit_threads(threads: int) -> None:
    """Keep torch to so many threads in this process.

    A game beside the policy wants processors as well, and a policy's threads that wait for one another while the game
    runs cost a hundred times what they save (measured: 550 ms a step in place of 5).
    """
    # Read by torch when it is imported; most workers import it later, and those of floor players never.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def process_tree(pid: int) -> list[int]:
    """`pid` and all processes below it, parents first (Linux; elsewhere `pid` alone)."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The command's name may hold spaces and brackets; the parent is the second field after the last bracket.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    tree = [pid]
    for known in tree:
        tree.extend(children.get(known, []))
    return tree


def end_tree(pid: int) -> None:
    """Kill a process that this one started, and everything below it."""
    for member in reversed(process_tree(pid)):
        try:
            os.kill(member, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _serve(recipe: Recipe, index: int, threads: int, pipe: Connection) -> None:
    """A worker's life: build the runner, answer jobs until told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; it closes us in order.
    limit_threads(threads)
    runner: Runner | None = None
    try:
        while (job := pipe.recv()) is not None:
            try:
                runner = runner or recipe(index)
                pipe.send(("done", runner.run(job)))
            except UserError as fault:
                pipe.send(("user", fault))
            except Exception as fault:
                pipe.send(("user", _disk_full(fault)) if _is_disk_full(fault) else ("fault", traceback.format_exc()))
    except (EOFError, BrokenPipeError):
        pass
    finally:
        if runner is not None:
            runner.close()


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
        _log.warning("worker %d %s: replaced (%d of %d), its episode is repeated", index, why, self.restarts, self.max_restarts)
        self.members[index] = _Worker(self.recipe, index, self.threads)

    def close(self, quick: bool) -> None:
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
) -> None:
    """Run all jobs; `on_result(job, result)` is called here, once a job, in the order in which they finish.

    Args:
        recipe: picklable; recipe(worker index) builds a worker's runner.
        workers: processes; 0 runs everything in this one (no protection against a hang).
        threads: torch threads of each worker.
        timeout_s: longest that one job may take, the building of its runner included.
        max_restarts: over the whole run.

    Raises:
        UserError: a worker's own UserError, or too many restarts. RuntimeError: any other fault inside a job.
    """
    if workers == 0:
        limit_threads(threads)
        runner = recipe(0)
        try:
            for job in jobs:
                on_result(job, runner.run(job))
        finally:
            runner.close()
        return
    waiting, busy = deque(jobs), 0
    if not waiting:
        return
    pool, finished = _Pool(recipe, min(workers, len(waiting)), threads, timeout_s, max_restarts), False
    try:
        while waiting or busy:
            for member in pool.members:
                if member.job is None and waiting:
                    member.give(waiting.popleft())
            ready = wait([member.pipe for member in pool.members if member.job is not None], timeout=1.0)
            for index, member in enumerate(list(pool.members)):
                if member.job is None:
                    continue
                if member.pipe in ready:
                    kind, content = _answer(member)
                elif time.monotonic() - member.began > timeout_s:
                    kind, content = "died", f"gave no answer for {timeout_s:.0f} s"
                else:
                    continue
                if kind == "done":
                    on_result(member.job, content)
                    member.job = None
                elif kind == "died":
                    waiting.appendleft(member.job)
                    pool.replace(index, content)
                else:
                    raise content if kind == "user" else RuntimeError(content)
            busy = sum(member.job is not None for member in pool.members)
        finished = True
    finally:
        pool.close(quick=not finished)
