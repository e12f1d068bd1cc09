"""Work on many machines: which part of it is mine, or a cluster that hands it out.

In: a list of work and `i/n`, or a function and its arguments. Out: the part, or the results as they come from Ray tasks.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from steve1.core.cluster import connected_ray
from steve1.core.errors import UserError

T = TypeVar("T")
_log = logging.getLogger(__name__)


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
        """My part: every n-th piece, so that a sorted list is spread evenly. All shards must see the same list."""
        return list(work[self.number - 1 :: self.count])


#: all of it
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
    """Hold a folder's lock; the system releases it when the process ends, however it ends.

    Args:
        folder: where something is written.
        shard: which part of the work.
        work: of which kind; the lock is the hidden file `.<work>.lock`.

    Shards share the folder with one another, each being there once, and with nobody else.

    Raises:
        UserError: another process holds it.
    """
    with contextlib.ExitStack() as stack:
        _hold(stack.enter_context(open(folder / f".{work}.lock", "w")), folder, shared=not shard.whole)
        if not shard.whole:
            _hold(stack.enter_context(open(folder / f".{work}.lock{shard.suffix}", "w")), folder, shared=False)
        yield


def _hold(handle: Any, folder: Path, *, shared: bool) -> None:
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            "Another conversion or embedding is writing into this folder.",
            where=folder,
            todo="wait for it to end, or choose another folder",
        ) from None
    except OSError as fault:
        # Some network file systems know no locks. Episodes still appear whole or not at all.
        _log.warning("%s cannot be locked (%s): see to it that nothing else writes there", folder, fault.strerror)


def ray_results(
    function: Callable[..., T], calls: Sequence[tuple[Any, ...]], *, cpus: float = 1.0, gpus: float = 0.0
) -> Iterator[tuple[int, T | Exception]]:
    """Call `function` once for each tuple of arguments as Ray tasks; (number, result or exception) as they end.

    Uses the cluster that `RAY_ADDRESS` names or that runs on this machine, and starts one of this machine alone otherwise.
    Every machine needs this project at the same path, and the same files below the paths that it is given.

    Args:
        function: importable by name; the very one that a single machine calls.
        calls: arguments, which travel by pickle.
        cpus, gpus: what a task takes of its machine.

    Raises:
        UserError: Ray is not installed.
    """
    ray = _connected()
    # A task that dies with its machine is started anew elsewhere, which is safe: everything is written whole or not at all.
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=2)(function)
    waiting = {task.remote(*arguments): number for number, arguments in enumerate(calls)}
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=1)
        for reference in done:
            number = waiting.pop(reference)
            try:
                yield number, ray.get(reference)
            except ray.exceptions.RayTaskError as fault:
                yield number, fault.cause if isinstance(fault.cause, Exception) else RuntimeError(str(fault))
            except ray.exceptions.RayError as fault:
                yield number, RuntimeError(f"its task was lost: {fault}")


def cluster_gpus() -> float:
    """GPUs of the whole cluster."""
    return float(_connected().cluster_resources().get("GPU", 0))


def cluster_cpus() -> int:
    """Processor cores of the whole cluster that tasks may take, at least 1."""
    return max(1, int(_connected().cluster_resources().get("CPU", 1)))


def _connected() -> Any:
    return connected_ray("use --shard i/n, which needs nothing")
