"""Owns one private X server and one game: they end with `close()`, with this interpreter, and with a killed interpreter."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from steve1.core.files import remove
from steve1.core.processes import end, spawn
from steve1.envs.interface import GameDied
from steve1.envs.worker.resources import Ports, memory_folder, start_xvfb, try_lock

PREFIX = "steve1_luanti_"


def remove_left_behind(base: Path) -> int:
    """Remove the folders of instances whose process is gone (a kill -9 leaves them); returns how many."""
    removed = 0
    for folder in base.glob(PREFIX + "*"):
        with contextlib.suppress(FileNotFoundError):  # another game that starts removes it at this moment
            if not folder.is_dir() or folder.stat().st_uid != os.getuid() or time.time() - folder.stat().st_mtime < 5:
                continue
            lock = try_lock(folder / "lock")
            if lock is not None:
                with lock:
                    _remove_instance(folder)
                removed += 1
    return removed


def _remove_instance(folder: Path) -> None:
    with contextlib.suppress(OSError):
        remove(folder, ours=re.compile(PREFIX + r"\w+"))


def threads_of(pid: int) -> str:
    """What each thread of a process does, with its processor time: "main R 12.3s, Server S futex_wait 0.4s"."""
    found = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*"), key=lambda path: int(path.name)):
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            waits = (task / "wchan").read_text().strip("0\n ")
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            name = "main" if int(task.name) == pid else (task / "comm").read_text().strip()
            found.append(" ".join(filter(None, [name, fields[0], waits, f"{seconds:.1f}s"])))
    return ", ".join(found[:24])


class GameProcess:
    """Folder, port, X server and game of one instance. `start` may be called again after `close`."""

    def __init__(self, *, xvfb: str, width: int, height: int, timeout_s: float) -> None:
        self._xvfb, self._size, self.timeout_s = xvfb, (width, height), timeout_s
        self.folder = Path()
        self.game: subprocess.Popen[bytes] | None = None
        self.xserver: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.port = self.display = -1  # the port (UDP) is no other game's
        self._held = contextlib.ExitStack()  # released in the reverse order

    def open_folder(self) -> Path:
        """Make the instance's folder and reserve its port."""
        base = memory_folder()
        remove_left_behind(base)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}_", dir=base))
        lock = try_lock(self.folder / "lock")
        assert lock is not None, "a new folder is nobody else's"
        self._held.enter_context(lock)
        self._held.callback(_remove_instance, self.folder)
        self.port = self._held.enter_context(contextlib.closing(Ports(1, 20_000, 32_000, udp=True))).numbers[0]
        atexit.register(self.close)
        return self.folder

    def start(self, command: list[str], environment: dict[str, str], xvfb_arguments: tuple[str, ...] = ()) -> None:
        """Start the X server, then the game with its end of the control socket in STEVE_FD."""
        self.xserver, self.display = start_xvfb(self._xvfb, *self._size, *xvfb_arguments)
        self._held.callback(end, self.xserver)
        self.control, theirs = socket.socketpair()
        self._held.enter_context(self.control).settimeout(self.timeout_s)
        own = {"DISPLAY": f":{self.display}", "STEVE_FD": str(theirs.fileno())}
        environment = {**os.environ, **environment, **own}
        environment.pop("WAYLAND_DISPLAY", None)
        with theirs, open(self.folder / "stderr.txt", "wb") as log:
            files = {"pass_fds": (theirs.fileno(),), "stdout": subprocess.DEVNULL, "stderr": log}
            self.game = spawn(command, signal.SIGKILL, env=environment, cwd=self.folder, **files)
        self._held.callback(end, self.game, signal.SIGKILL)

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
            got = f"{got} (exit code {code})"
        elif self.game is not None:  # it hangs: say where, before the evidence is gone
            server = self.xserver.poll() if self.xserver is not None else None
            alive = "alive" if server is None else f"exit code {server}"
            got = f"{got}; last in its log: {last}; X server: {alive}; threads: {threads_of(self.game.pid)}"
        self.close()
        return GameDied(
            "The game does not run any more.",
            got=f"{got}; its log: {text}" if text else got,
            todo="call restart(); the recorder and the player do so by themselves",
        )

    def close(self) -> None:
        """End both processes and remove the folder. Touches nothing that this instance did not start."""
        self._held.close()
        self.game = self.xserver = self.control = None
        self.folder = Path()
        atexit.unregister(self.close)
