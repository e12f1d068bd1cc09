"""Divides work among machines: by shards, one command per machine, or as tasks of a Ray cluster."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar, cast

from steve1.core.errors import UserError
from steve1.core.executor import ExecutorConfig, WorkerDied, job_results
from steve1.core.executor.cluster import connected_ray
from steve1.core.files import lock_file

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 1) of `count`; 1 of 1 is everything."""

    number: int = 1
    count: int = 1

    @property
    def whole(self) -> bool:
        """Whether it is everything."""
        return self.count == 1

    @property
    def suffix(self) -> str:
        """For the names of files that each shard writes: "" or "-2of4"."""
        return "" if self.whole else f"-{self.number}of{self.count}"

    def of(self, work: Sequence[T]) -> list[T]:
        """Every n-th item, which divides a sorted list evenly. All shards must see the same list."""
        return list(work[self.number - 1 :: self.count])


#: everything
WHOLE = Shard()


def parse_shard(text: str) -> Shard:
    """ "2/4" is the second of four parts; "" is everything.

    Raises:
        UserError: it is not i/n with 1 <= i <= n.
    """
    if not text:
        return Shard()
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError("This is not a shard.", expected="i/n with 1 <= i <= n, such as --shard 2/4", got=text)
    return Shard(int(match[1]), int(match[2]))


@contextlib.contextmanager
def alone_in(folder: Path, shard: Shard = WHOLE, work: str = "convert") -> Iterator[None]:
    """Hold a folder's lock, which the system releases when the process ends. Only the shards of one work share it.

    Args:
        folder: where something is written.
        shard: the part of the work.
        work: what is done; the lock is the hidden file `.<work>.lock`.

    Raises:
        UserError: another process holds it.
    """
    with contextlib.ExitStack() as stack:
        _hold(stack.enter_context(open(folder / f".{work}.lock", "w")), folder, shared=not shard.whole)
        if not shard.whole:
            _hold(stack.enter_context(open(folder / f".{work}.lock{shard.suffix}", "w")), folder, shared=False)
        yield


def _hold(handle: IO[str], folder: Path, *, shared: bool) -> None:
    # Where a disk has no locks, episodes still appear completely or not at all.
    if not lock_file(handle, shared=shared):
        todo = "wait for it to end, or choose another folder"
        raise UserError("Another run is writing into this folder.", where=folder, todo=todo)


def ray_results(
    function: Callable[..., T], calls: Sequence[tuple[Any, ...]], *, cpus: float = 1.0, gpus: float = 0.0
) -> Iterator[tuple[int, T | Exception]]:
    """Call `function` once for each tuple of arguments on the workers of a Ray cluster; (number, result or exception) as they end.

    Uses the cluster that `RAY_ADDRESS` names or that runs on this machine, else starts one on this machine. Every machine
    needs this project at the same path, and the same files at the given paths.

    Args:
        function: importable by name.
        calls: arguments, which travel by pickle.
        cpus, gpus: what a task reserves on its machine.

    Raises:
        UserError: Ray is not installed.
    """
    resources = cluster_resources()
    places = [resources.get(name, 0) // each for name, each in (("CPU", cpus), ("GPU", gpus)) if each]
    # A job that dies with its machine is repeated elsewhere, which is safe: everything is written whole or not at all.
    workers, restarts = max(1, int(min(places, default=1))), 3 * len(calls)
    config = ExecutorConfig(
        workers, timeout_s=math.inf, max_restarts=restarts, attempts=3, ray=True, cpus=cpus, gpus=gpus
    )
    for result in job_results(list(enumerate(calls)), _CallEach(function), config):
        lost = isinstance(result.error, WorkerDied)
        error = RuntimeError(f"its worker was lost: {result.error}") if lost else result.error
        yield result.job[0], cast(T, result.value) if error is None else error


@dataclass(frozen=True)
class _CallEach(Generic[T]):
    """A runner whose jobs are (number, arguments of one call)."""

    function: Callable[..., T]

    def __call__(self, index: int) -> _CallEach[T]:
        return self

    def run(self, job: tuple[int, tuple[Any, ...]]) -> T:
        return self.function(*job[1])

    def close(self) -> None:
        """Nothing is held open."""


def cluster_resources() -> dict[str, float]:
    """ "CPU" and "GPU" (absent if there are none) of the whole Ray cluster; UserError where Ray is not installed."""
    found: dict[str, float] = connected_ray("use --shard i/n, which needs nothing").cluster_resources()
    return found
