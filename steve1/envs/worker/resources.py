"""What a game is handed: a folder in memory, locked ports, a private display, its share of processors and memory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from steve1.core.errors import UserError
from steve1.core.processes import end, spawn
from steve1.envs.interface import GameDied

RENDERER_THREADS = "LP_NUM_THREADS"  # of Mesa's llvmpipe; by default it takes every processor, in each game


def memory_folder() -> Path:
    """Where games keep their files: memory where the system offers it."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() and os.access(shm, os.W_OK) else Path(tempfile.gettempdir())


def try_lock(path: Path) -> IO[str] | None:
    """A locked file, which stays locked while it is open; None where another process holds it."""
    handle = open(path, "w")  # noqa: SIM115  (held open as long as the lock)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return None
    return handle


class Ports:
    """Free TCP ports of the loopback interface, or UDP ports of all, locked against other games until `close`."""

    def __init__(self, count: int, first: int = 33_000, last: int = 45_000, *, udp: bool = False) -> None:
        self.numbers: list[int] = []
        self._locks: list[IO[str]] = []
        self._address, self._kind = ("0.0.0.0", socket.SOCK_DGRAM) if udp else ("127.0.0.1", socket.SOCK_STREAM)
        folder = memory_folder() / f"steve1_ports_{os.getuid()}"
        folder.mkdir(exist_ok=True)
        begin = random.SystemRandom().randrange(last - first)  # two games that start at once seldom meet
        for offset in range(last - first):
            if len(self.numbers) < count:
                self._try(folder, first + (begin + offset) % (last - first))
        if len(self.numbers) == count:
            return
        self.close()
        raise UserError(
            "There are not enough free ports.",
            expected=f"{count} between {first} and {last}",
            todo="end some of the games that run",
        )

    def _try(self, folder: Path, number: int) -> None:
        lock = try_lock(folder / str(number))
        if lock is None:
            return
        with socket.socket(socket.AF_INET, self._kind) as probe:
            try:
                probe.bind((self._address, number))
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


@contextlib.contextmanager
def shared_renderer(games: int) -> Iterator[None]:
    """Meanwhile each of `games` draws with its share of the processors, unless the variable says something already.

    Two games on two cores that draw with two threads each wait for one another: six episodes took 57 s one after another, 35 s side by side
    with one thread each.
    """
    if games < 2 or RENDERER_THREADS in os.environ:
        yield
        return
    os.environ[RENDERER_THREADS] = str(max(1, (os.cpu_count() or 1) // games))
    try:
        yield
    finally:
        os.environ.pop(RENDERER_THREADS, None)


def free_memory_mb() -> float:
    """Memory that can be had without swapping; infinite where the system does not say."""
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return float("inf")


def heap_for(wanted_mb: int, least_mb: int = 1024) -> int:
    """Java's heap in MB: what is wanted, or 60 % of the free memory.

    Raises:
        UserError: that is less than a game can start with.
    """
    if not wanted_mb:
        return 0
    free = free_memory_mb()
    heap = min(wanted_mb, int(free * 0.6))
    if heap < min(least_mb, wanted_mb):
        raise UserError(
            "There is too little free memory for a Minecraft.",
            expected=f"{least_mb / 0.6:.0f} MB free",
            got=f"{free:.0f} MB",
            todo="end other programs, or play with fewer --workers",
        )
    return heap


def java_environment(heap_mb: int, folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for every Java below a worker, whatever its package's own start script says: the heap, and where temporary files go.

    A package copies its whole game into the temporary folder; in `folder`, which the supervisor removes, no killed worker leaves it behind.
    """
    if not heap_mb:
        return {}
    # Java reads this variable after its command line, so that the last word about the heap is ours.
    options = f"{environment.get('_JAVA_OPTIONS', '')} -Xmx{heap_mb}M".strip()
    return {"_JAVA_OPTIONS": options, "TMPDIR": str(folder)}


def needs_xvfb(headless: bool | None) -> bool:
    """Whether a worker that draws needs a private display. headless None: where there is no other."""
    if not sys.platform.startswith("linux"):
        return False
    return headless is True or (headless is None and not os.environ.get("DISPLAY"))


def open_display(width: int, height: int) -> tuple[subprocess.Popen[bytes], str]:
    """A private X server large enough for the window, and its name for DISPLAY.

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


def start_xvfb(
    program: str, width: int, height: int, *more: str, timeout_s: float = 20.0
) -> tuple[subprocess.Popen[bytes], int]:
    """A private X server on a display number that it chooses itself (so two starts cannot collide)."""
    reader, writer = os.pipe()
    command = [
        program,
        "-displayfd",
        str(writer),
        "-screen",
        "0",
        f"{width}x{height}x24",
        "-nolisten",
        "tcp",
        "-noreset",
    ]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        process = spawn([*command, *more], signal.SIGTERM, pass_fds=(writer,), **silent)
    finally:
        os.close(writer)
    text = b""
    limit = time.monotonic() + timeout_s
    os.set_blocking(reader, False)
    try:
        while not text.endswith(b"\n"):
            with contextlib.suppress(BlockingIOError):
                text += os.read(reader, 32)
            if process.poll() is not None or time.monotonic() > limit:
                end(process)
                raise GameDied("The X server did not start.", where=program, got=f"exit code {process.poll()}")
            time.sleep(0.01)
    finally:
        os.close(reader)
    return process, int(text)
