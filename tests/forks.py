"""Processes for tests that start in milliseconds: forked from a server that has imported what they need and never ran anything.

Forking the test process itself would copy locks that its threads (TensorBoard's writer, progress bars, autograd) may hold, and the
child would wait for them for ever. A spawned process imports torch first, which takes seconds.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import multiprocessing.forkserver
import os
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.context import BaseContext, ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.core.processes import descendants, gone

HERE = "forkserver" in multiprocessing.get_all_start_methods()
needs_forkserver = pytest.mark.skipif(not HERE, reason="processes cannot be forked here")
USER_ERROR = 7
# A process that takes longer writes to its log where it is.
_LONG_S = 200
_IMPORTED = [
    "tests.quick_disk",
    "steve1.training.train",
    "steve1.evaluation.pipeline",
    "steve1.data.recordings.convert_folder",
    "tests.evaluation.worlds",
    "torch._dynamo",  # a first step of an optimizer imports it: a second for each process
    "torch.utils.tensorboard",
]
_SERVER: Any = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
plain_context = multiprocessing.get_context


def _context() -> ForkServerContext:
    context = plain_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    if server() is None:
        # It looks for the modules in its current folder alone, and says nothing where they are not: each child would import them.
        with contextlib.chdir(ROOT):
            _SERVER.ensure_running()
    return context


def quick_context(method: str | None = None) -> BaseContext:
    """In place of `multiprocessing.get_context`: what would be spawned is forked from the server."""
    return _context() if method == "spawn" and HERE else plain_context(method)


def start(job: Callable[..., object], *args: Any, log: Path) -> BaseProcess:
    """A process that does this and ends with 0, 7 (a UserError) or 1; it prints to `log`."""
    context = _context()
    child = context.Process(target=_run, args=(job, args, str(log), _SERVER._forkserver_address), daemon=False)
    child.start()
    return child


def _run(job: Callable[..., object], args: tuple[Any, ...], log: str, address: Any) -> None:
    # Its own workers come from the same server; it would start another one.
    _SERVER._forkserver_address, _SERVER.ensure_running = address, lambda: None
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    sys.stdout = os.fdopen(1, "w")
    multiprocessing.get_context = quick_context  # type: ignore[assignment]
    faulthandler.dump_traceback_later(_LONG_S)
    code = 0
    try:
        job(*args)
    except UserError as fault:
        print(fault)
        code = USER_ERROR
    except BaseException:
        print(traceback.format_exc())
        code = 1
    sys.stdout.flush()
    os._exit(code)


def server() -> int | None:
    """The server's process id, None where none was needed so far."""
    found: int | None = _SERVER._forkserver_pid
    return found


def workers() -> list[int]:
    """The living processes that this one has forked from the server, and those below them."""
    pid = server()
    return [pid for pid in descendants(pid) if not gone(pid)] if pid else []


def left(within_s: float = 60.0) -> list[int]:
    """Of `workers`, those that do not end by themselves; what was killed may take a moment."""
    limit = time.monotonic() + within_s
    while (found := workers()) and time.monotonic() < limit:
        time.sleep(0.02)
    return found
