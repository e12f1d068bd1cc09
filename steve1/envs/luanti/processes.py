"""Owns one private X server and one game.

In: a configuration. Out: two processes in sessions of their own, which end with `close()`, with this interpreter, and
with a killed interpreter; a UDP port and a folder in memory that no other instance uses.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from steve1.core.errors import UserError
from steve1.envs.errors import GameDied

PREFIX = "steve1_luanti_"
_libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
_PR_SET_PDEATHSIG = 1
_spawner: tuple[int, ThreadPoolExecutor] | None = None
_spawner_lock = threading.Lock()


def _die_with_parent(number: int) -> Callable[[], None]:
    parent = os.getpid()

    def prepare() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def spawn(command: list[str], death_signal: int, **more: Any) -> subprocess.Popen[bytes]:
    """Popen in a new session that gets `death_signal` when this process ends, however it ends.

    The kernel sends the signal when the *thread* that forked ends, so one thread that lives as long as the process
    forks everything.
    """
    global _spawner
    with _spawner_lock:
        if _spawner is None or _spawner[0] != os.getpid():
            _spawner = (os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="spawner"))
        pool = _spawner[1]
    prepare = _die_with_parent(death_signal)

    def fork() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=prepare, **more)

    return pool.submit(fork).result()


def end(process: subprocess.Popen[Any] | None, first: int = signal.SIGTERM, patience_s: float = 3.0) -> None:
    """End a process that we started, with its whole session: politely, then not."""
    if process is None:
        return
    for number in (first, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        try:
            process.wait(patience_s)
            return
        except subprocess.TimeoutExpired:
            continue


def _try_lock(path: Path) -> IO[str] | None:
    handle = open(path, "w")  # noqa: SIM115  (held open as long as the lock)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return None
    return handle


def memory_folder() -> Path:
    """Where instances keep their files: memory where the system offers it."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() and os.access(shm, os.W_OK) else Path(tempfile.gettempdir())


def remove_left_behind(base: Path) -> int:
    """Remove the folders of instances whose process is gone (a kill -9 leaves them); returns how many."""
    removed = 0
    for folder in base.glob(PREFIX + "*"):
        if not folder.is_dir() or folder.stat().st_uid != os.getuid() or time.time() - folder.stat().st_mtime < 5:
            continue
        lock = _try_lock(folder / "lock")
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            lock.close()
            removed += 1
    return removed


def reserve_port(base: Path, tries: int = 200) -> tuple[int, IO[str]]:
    """A free UDP port and the lock that keeps other instances from choosing it."""
    locks = base / f"steve1_ports_{os.getuid()}"
    locks.mkdir(exist_ok=True)
    for _ in range(tries):
        port = random.SystemRandom().randrange(20_000, 32_000)
        lock = _try_lock(locks / str(port))
        if lock is None:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                lock.close()
                continue
        return port, lock
    raise UserError("No free UDP port was found between 20000 and 32000.", todo="end some of the games that run")


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
        *more,
    ]
    try:
        process = spawn(
            command, signal.SIGTERM, pass_fds=(writer,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
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


def threads_of(pid: int) -> str:
    """What each thread of a process does: "main R 12.3s, Server S futex_wait 0.4s", with the processor time that it had."""
    told = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*"), key=lambda path: int(path.name)):
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            waits = (task / "wchan").read_text().strip("0\n ")
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            name = "main" if int(task.name) == pid else (task / "comm").read_text().strip()
            told.append(" ".join(filter(None, [name, fields[0], waits, f"{seconds:.1f}s"])))
    return ", ".join(told[:24])


class GameProcess:
    """Folder, port, X server and game of one instance. `start` may be called again after `close`."""

    def __init__(self, *, xvfb: str, width: int, height: int, timeout_s: float) -> None:
        self._xvfb, self._size, self.timeout_s = xvfb, (width, height), timeout_s
        self.folder = Path()
        self.game: subprocess.Popen[bytes] | None = None
        self.xserver: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self._locks: list[IO[str]] = []
        self.port = self.display = -1

    def open_folder(self) -> Path:
        """Make the instance's folder and reserve its port."""
        base = memory_folder()
        remove_left_behind(base)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}_", dir=base))
        lock = _try_lock(self.folder / "lock")
        assert lock is not None, "a new folder's lock is free"
        self.port, port_lock = reserve_port(base)
        self._locks = [lock, port_lock]
        _alive.add(self)
        return self.folder

    def start(self, command: list[str], environment: dict[str, str], xvfb_arguments: tuple[str, ...] = ()) -> None:
        """Start the X server, then the game with its end of the control socket in STEVE_FD."""
        self.xserver, self.display = start_xvfb(self._xvfb, *self._size, *xvfb_arguments)
        ours, theirs = socket.socketpair()
        ours.settimeout(self.timeout_s)
        self.control = ours
        environment = {
            **os.environ,
            **environment,
            "DISPLAY": f":{self.display}",
            "STEVE_FD": str(theirs.fileno()),
        }
        environment.pop("WAYLAND_DISPLAY", None)
        with theirs, open(self.folder / "stderr.txt", "wb") as log:
            self.game = spawn(
                command,
                signal.SIGKILL,
                env=environment,
                pass_fds=(theirs.fileno(),),
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self.folder,
            )

    def wait_done(self) -> None:
        """Wait for the game's byte that says a frame is complete.

        Raises:
            GameDied: the process ended, or nothing came within `timeout_s` seconds.
        """
        assert self.control is not None, "start() comes first"
        try:
            byte = self.control.recv(1)
        except TimeoutError:
            raise self.died(f"no answer within {self.timeout_s:g} s") from None
        except OSError as fault:
            raise self.died(str(fault)) from None
        if byte != b"d":
            raise self.died("the game's process ended")

    def go(self) -> None:
        """Let the game run one tick and wait until it is done."""
        assert self.control is not None, "start() comes first"
        try:
            self.control.send(b"g")
        except OSError as fault:
            raise self.died(str(fault)) from None
        self.wait_done()

    def died(self, got: str) -> GameDied:
        """The exception to raise, with the last lines of the game's log; everything is ended first."""
        text, last = "", ""
        for name in ("game.log", "stderr.txt"):
            with contextlib.suppress(OSError):
                lines = (self.folder / name).read_text(errors="replace").splitlines()
                text += " | ".join(line for line in lines if "ERROR" in line or name == "stderr.txt")[-400:]
                last = last or (lines or [""])[-1][-160:]
        code = self.game.poll() if self.game else None
        if code is not None:
            got += f" (exit code {code})"
        elif self.game is not None:  # it hangs: say where, before the evidence is gone
            server = self.xserver.poll() if self.xserver is not None else None
            got += f"; last in its log: {last}; X server: {'alive' if server is None else f'exit code {server}'}; threads: {threads_of(self.game.pid)}"
        self.close()
        return GameDied(
            "The game does not run any more.",
            got=got + (f"; its log: {text}" if text else ""),
            todo="call restart(); the recorder and the player do so by themselves",
        )

    def close(self) -> None:
        """End both processes and remove the folder. Touches nothing that this instance did not start."""
        if self.control is not None:
            self.control.close()
            self.control = None
        end(self.game, signal.SIGKILL)
        end(self.xserver)
        self.game = self.xserver = None
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = Path()
        for lock in self._locks:
            lock.close()
        self._locks = []
        _alive.discard(self)


_alive: weakref.WeakSet[GameProcess] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for process in list(_alive):
        process.close()
