"""Trainings in processes of their own, from a server that never trained.

Forking the test process itself would copy locks that its threads (TensorBoard's writer, progress bars, autograd) may hold, and the
child would wait for them for ever.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
import traceback
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from steve1.core.errors import UserError
from steve1.training.config import TrainSettings
from steve1.training.loop import Hooks
from steve1.training.train import finetune

needs_forkserver = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="processes cannot be forked here"
)
USER_ERROR = 7
DIED = 9


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["steve1.training"])
    return context


def _train(chosen: TrainSettings, log: str, environment: dict[str, str], die_at: int) -> None:
    os.environ |= environment
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    sys.stdout = os.fdopen(1, "w")

    def on_step(step: int) -> None:
        if step == die_at:
            os._exit(DIED)

    code = 0
    try:
        finetune(chosen, hooks=Hooks(on_step=on_step))
    except UserError as fault:
        print(fault)
        code = USER_ERROR
    except BaseException:
        print(traceback.format_exc())
        code = 1
    sys.stdout.flush()
    os._exit(code)


def start_training(
    chosen: TrainSettings, log: Path, environment: dict[str, str] | None = None, die_at: int = 0
) -> BaseProcess:
    """A process that trains and ends with 0, 7 (a UserError), 9 (it died after step `die_at`) or 1; it prints to `log`."""
    child = _context().Process(target=_train, args=(chosen, str(log), environment or {}, die_at), daemon=False)
    child.start()
    return child


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def log_of(chosen: TrainSettings, rank: int) -> Path:
    return Path(f"{chosen.checkpoint_dir}.rank{rank}.log")


def run_processes(chosen: TrainSettings, world: int = 2, die_at: int = 0, within: float = 120) -> list[int | None]:
    """Train in `world` processes as torchrun would; their exit codes, None for one that did not end in time and was killed."""
    port = free_port()
    children = []
    for rank in range(world):
        environment = {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        children.append(start_training(chosen, log_of(chosen, rank), environment, die_at))
    end = time.monotonic() + within
    for child in children:
        child.join(max(0.1, end - time.monotonic()))
    codes = [child.exitcode for child in children]
    for child in children:
        if child.is_alive():
            child.kill()
            child.join()
    return codes
