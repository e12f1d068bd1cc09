"""Processes for many equal calls on this machine, which end at once where an exception ends the work."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from steve1.core.errors import UserError


@contextlib.contextmanager
def process_pool(
    workers: int, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """Spawned processes: this one may have threads (a progress bar, torch) that a fork would break.

    Raises:
        UserError: one of them died.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(initializer, initargs))
    try:
        yield pool
    except BrokenProcessPool:
        end_pool(pool)
        raise UserError(
            "A worker process died (out of memory?).", todo="run the same command again with fewer --workers"
        ) from None
    except BaseException:
        end_pool(pool)
        raise
    pool.shutdown()


def end_pool(pool: ProcessPoolExecutor) -> None:
    """Kill the pool's processes in the middle of their work, so that nobody waits for it."""
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.kill()
    pool.shutdown(wait=False)  # its futures fail, as broken


def _begin(initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    if initializer is not None:
        initializer(*initargs)
