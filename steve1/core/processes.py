"""Operating-system processes: started so that they end with this one, found with everything below them, ended as a whole.

The workers of the games load this file as well, in Pythons of their own: standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

MARK = "STEVE1_WORKER"
"""Environment variable that a game's worker carries and every process below it inherits. It also finds processes that were
moved to another parent or session, as some launchers do with their Java."""

_PROC = Path("/proc")
_HAS_PROC = (_PROC / "self").is_dir()
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
_spawner: tuple[int, ThreadPoolExecutor] | None = None
_spawner_lock = threading.Lock()


def started_with() -> list[str]:
    """The words after `python` with which this process was started, without the interpreter's own flags: -m MODULE …, or FILE …."""
    words = list(getattr(sys, "orig_argv", [sys.executable, *sys.argv])[1:])
    while words and words[0].startswith("-") and words[0] != "-m":
        words.pop(0)
    return words


def limit_threads(threads: int) -> None:
    """Keep torch to this number of threads in this process.

    A game beside the policy needs processors as well. Policy threads that wait for one another while the game runs cost
    a hundred times what they save (measured: 550 ms a step instead of 5).
    """
    # torch reads this when it is imported; most workers import it later, and those without a policy never do.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


# ---- starting and ending ----


def spawn(command: list[str], death_signal: int, **more: Any) -> subprocess.Popen[bytes]:
    """Popen in a new session that gets `death_signal` when this process ends, however it ends (Linux).

    The kernel sends the signal when the *thread* that forked ends, so one thread that lives as long as the process
    forks everything.
    """
    global _spawner
    with _spawner_lock:
        if _spawner is None or _spawner[0] != os.getpid():
            _spawner = (os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="spawner"))
        pool = _spawner[1]
    parent = os.getpid()

    def prepare() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:
            os._exit(1)

    def fork() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=prepare, **more)

    return pool.submit(fork).result()


def end(process: subprocess.Popen[Any], first: int = signal.SIGTERM, patience_s: float = 3.0) -> None:
    """End a process started by `spawn`, with its whole session: `first`, then SIGKILL after `patience_s`."""
    for number in (first, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        try:
            process.wait(patience_s)
            return
        except subprocess.TimeoutExpired:
            continue


# ---- signals ----


@contextlib.contextmanager
def handling(handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[dict[int, Any]]:
    """Within the body these signals go to `handler`; those that are ignored stay ignored, as nohup and a shell's background jobs want it.

    Yields {number: its handler before}, which is empty outside the main thread: only that may say what a signal does.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {int(number): signal.getsignal(number) for number in numbers}
        before = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, handler)
        yield before
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP wait for the end of the body: within, a frame that is being encoded would be lost, or a file that is being finished."""
    came: list[int] = []
    waits = True

    def note(number: int, frame: FrameType | None) -> None:
        if waits:
            came.append(number)
        elif callable(old := before[number]):  # one that came first has interrupted the end
            old(number, frame)
        else:
            signal.signal(number, old)
            signal.raise_signal(number)

    try:
        with handling(note, signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as before:
            try:
                yield
            finally:
                waits = False
    finally:
        for first in came[:1]:
            signal.raise_signal(first)


def forget_lost_terminal() -> None:
    """After SIGHUP: what is written to a terminal that is gone goes nowhere, where it would raise OSError."""
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


# ---- process trees ----


def _stat(pid: int) -> tuple[str, int] | None:
    """(state letter, parent) of a process; None when it is gone."""
    try:
        # The name in front may hold spaces and brackets.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return fields[0], int(fields[1])
    except (OSError, IndexError, ValueError):
        return None


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdigit()]


def _processes() -> dict[int, tuple[str, int]]:
    """{pid: (state, parent)} of all processes."""
    if _HAS_PROC:
        known = {pid: _stat(pid) for pid in _pids()}
        return {pid: facts for pid, facts in known.items() if facts is not None}
    listing = subprocess.run(["ps", "-axo", "pid=,ppid=,state="], stdout=subprocess.PIPE, check=False).stdout.decode()
    rows = (line.split() for line in listing.splitlines())
    return {int(row[0]): (row[2][:1], int(row[1])) for row in rows if len(row) >= 3}


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents before children; without `pid` itself."""
    children: dict[int, list[int]] = {}
    for child, (_, parent) in _processes().items():
        children.setdefault(parent, []).append(child)
    found = [pid]
    for known in found:
        found.extend(child for child in children.get(known, []) if child not in found)
    return found[1:]


def marked(mark: str) -> list[int]:
    """Every living process whose environment carries this mark (Linux; elsewhere none)."""
    if not mark or not _HAS_PROC:
        return []
    wanted, found = f"{MARK}={mark}".encode(), []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if wanted in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie counts as ended."""
    facts = _stat(pid) if _HAS_PROC else _processes().get(pid)
    return facts is None or facts[0] == "Z"


def memory(pids: Iterable[int]) -> int:
    """Bytes that these processes hold for themselves (resident, without shared pages)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = (_PROC / str(pid) / "statm").read_text().split()
            total += (int(fields[1]) - int(fields[2])) * _PAGE
    return total


def end_tree(pid: int, mark: str = "", patience_s: float = 3.0) -> list[int]:
    """Kill `pid`, everything below it and everything that carries `mark`; returns what could not be ended.

    The members are listed before the first signal, because the children of a dead process get another parent, and listed
    again until no new one is found. This very process is never among them.
    """
    known: set[int] = set()
    limit = time.monotonic() + patience_s
    while True:
        known |= {pid, *descendants(pid), *marked(mark)} - {os.getpid(), 0, 1}
        living = {each for each in known if not gone(each)}
        if not living or time.monotonic() > limit:
            return sorted(living)
        for each in living:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)
        time.sleep(0.01)
