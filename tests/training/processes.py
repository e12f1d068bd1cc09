"""Trainings in processes of their own, from a server that never trained."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from steve1.envs.worker.resources import Ports
from steve1.training.config import TrainSettings
from steve1.training.loop import Hooks
from steve1.training.train import finetune
from tests import forks

DIED = 9


def _train(chosen: TrainSettings, environment: dict[str, str], die_at: int) -> None:
    os.environ |= environment

    def on_step(step: int) -> None:
        if step == die_at:
            os._exit(DIED)

    finetune(chosen, hooks=Hooks(on_step=on_step))


def start_training(
    chosen: TrainSettings, log: Path, environment: dict[str, str] | None = None, die_at: int = 0
) -> BaseProcess:
    """A process that trains and ends with 0, 7 (a UserError), 9 (it died after step `die_at`) or 1; it prints to `log`."""
    return forks.start(_train, chosen, environment or {}, die_at, log=log)


def log_of(chosen: TrainSettings, rank: int) -> Path:
    return Path(f"{chosen.checkpoint_dir}.rank{rank}.log")


def run_processes(chosen: TrainSettings, world: int = 2, die_at: int = 0, within: float = 240) -> list[int | None]:
    """Train in `world` processes as torchrun would; their exit codes, None for one that did not end in time and was killed."""
    return run_ranks(
        lambda rank, environment: start_training(chosen, log_of(chosen, rank), environment, die_at), world, within
    )


def run_ranks(
    start: Callable[[int, dict[str, str]], BaseProcess], world: int = 2, within: float = 240
) -> list[int | None]:
    """As `run_processes`, of the processes that `start` makes of a rank and its environment."""
    children = []
    # A port below those that the system gives to anybody who connects, and locked: the first process takes it only later.
    with contextlib.closing(Ports(1, 20_000, 32_000)) as ports:
        for rank in range(world):
            environment = {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(ports.numbers[0]),
            }  # fmt: skip
            children.append(start(rank, environment))
        end = time.monotonic() + within
        for child in children:
            child.join(max(0.1, end - time.monotonic()))
        codes = [child.exitcode for child in children]
        for child in children:
            if child.is_alive():
                child.kill()
                child.join()
    return codes
