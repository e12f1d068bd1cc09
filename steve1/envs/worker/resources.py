"""What a worker is handed: ports that nobody else uses, a display, a heap that the machine can bear.

In: how many, how big. Out: locks that are held as long as the worker lives, and plain numbers.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from steve1.core.errors import UserError
from steve1.envs.luanti.processes import memory_folder, start_xvfb


class Ports:
    """Free TCP ports of the loopback interface, locked against other workers until `close`."""

    def __init__(self, count: int, first: int = 33_000, last: int = 45_000) -> None:
        self.numbers: list[int] = []
        self._locks: list[IO[str]] = []
        folder = memory_folder() / f"steve1_ports_{os.getuid()}"
        folder.mkdir(exist_ok=True)
        # Begin somewhere else in every process: two that start at once seldom meet.
        begin = first + (os.getpid() * 97) % (last - first)
        for offset in range(last - first):
            if len(self.numbers) < count:
                self._try(folder, first + (begin - first + offset) % (last - first))
        if len(self.numbers) == count:
            return
        self.close()
        raise UserError(
            "There are not enough free ports.",
            expected=f"{count} between {first} and {last}",
            todo="end some of the games that run",
        )

    def _try(self, folder: Path, number: int) -> None:
        lock = open(folder / str(number), "w")  # noqa: SIM115  (held open as long as the lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind(("127.0.0.1", number))
        except OSError:
            lock.close()
            return
        self.numbers.append(number)
        self._locks.append(lock)

    def close(self) -> None:
        """Give the ports back."""
        for lock in self._locks:
            lock.close()
        self._locks = []


def free_memory_mb() -> float:
    """Memory that can be had without swapping; infinite where the system does not tell."""
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return float("inf")


def heap_for(wanted_mb: int, least_mb: int = 1024) -> int:
    """Java's heap in MB: what is wanted, or 60 % of what is free.

    Raises:
        UserError: that is less than a game can start with.
    """
    if not wanted_mb:
        return 0
    free = free_memory_mb()
    heap = min(wanted_mb, int(free * 0.6))
    if heap < min(least_mb, wanted_mb):
        raise UserError(
            "There is too little free memory for a Minecraft.", expected=f"{least_mb / 0.6:.0f} MB free", got=f"{free:.0f} MB",
            todo="end other programs, or play with fewer --workers",
        )  # fmt: skip
    return heap


def java_environment(heap_mb: int, folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that bound every Java below a worker, whatever its package's own start script says: the heap, and where temporary files go.

    A package copies its whole game into the temporary folder; in `folder`, which the supervisor removes, no killed worker leaves it behind.
    """
    if not heap_mb:
        return {}
    # Java reads this variable after its command line, so that the last word about the heap is ours.
    options = f"{environment.get('_JAVA_OPTIONS', '')} -Xmx{heap_mb}M".strip()
    return {"_JAVA_OPTIONS": options, "TMPDIR": str(folder)}


def needs_xvfb(headless: bool | None) -> bool:
    """Whether a worker that draws needs a display of its own. headless None: where there is none."""
    if not sys.platform.startswith("linux"):
        return False
    return headless is True or (headless is None and not os.environ.get("DISPLAY"))


def open_display(width: int, height: int) -> tuple[subprocess.Popen[bytes], str]:
    """A private X server with room for the window, and its name for DISPLAY.

    Raises:
        UserError: Xvfb is missing.
    """
    program = shutil.which("Xvfb")
    if program is None:
        raise UserError(
            "There is no display, and Xvfb, which would give one, is not installed.",
            where="DISPLAY",
            todo="apt-get install -y xvfb",
        )
    process, number = start_xvfb(program, max(width, 1280), max(height, 720), "+extension", "GLX", "+render")
    return process, f":{number}"
