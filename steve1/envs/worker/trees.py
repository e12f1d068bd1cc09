"""Which processes belong to a worker, how much memory they hold, and how they all end. The same file on both sides.

In: a process id, and the mark that a worker's environment carries and every process below it inherits. Out: process ids, bytes,
signals. The mark also finds what was moved to another parent or session, as some launchers do with their Java. Python 3.8.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

MARK = "STEVE1_WORKER"
_PROC = "/proc"
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def _stat(pid: int) -> tuple[str, int] | None:
    """(state letter, parent) of a process; None when it is gone."""
    try:
        with open(f"{_PROC}/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()  # the name before may hold spaces and brackets
        return fields[0], int(fields[1])
    except (OSError, IndexError, ValueError):
        return None


def _parents() -> dict[int, tuple[str, int]]:
    """{pid: (state, parent)} of all processes."""
    if os.path.isdir(_PROC + "/self"):
        known = ((int(name), _stat(int(name))) for name in os.listdir(_PROC) if name.isdigit())
        return {pid: facts for pid, facts in known if facts is not None}
    listing = subprocess.run(["ps", "-axo", "pid=,ppid=,state="], stdout=subprocess.PIPE, check=False).stdout.decode()
    rows = (line.split() for line in listing.splitlines())
    return {int(row[0]): (row[2][:1], int(row[1])) for row in rows if len(row) >= 3}


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents before children; without `pid` itself."""
    children: dict[int, list[int]] = {}
    for child, (_, parent) in _parents().items():
        children.setdefault(parent, []).append(child)
    found = [pid]
    for known in found:
        found.extend(child for child in children.get(known, []) if child not in found)
    return found[1:]


def marked(mark: str) -> list[int]:
    """Every living process whose environment carries this mark (Linux; elsewhere none)."""
    wanted = f"{MARK}={mark}".encode()
    found: list[int] = []
    if not mark or not os.path.isdir(_PROC + "/self"):
        return found
    for name in os.listdir(_PROC):
        if name.isdigit():
            try:
                with open(f"{_PROC}/{name}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0"):
                        found.append(int(name))
            except OSError:
                continue
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended, a zombie counted as ended."""
    facts = _parents().get(pid) if not os.path.isdir(_PROC + "/self") else _stat(pid)
    return facts is None or facts[0] == "Z"


def memory(pids: set[int]) -> int:
    """Bytes that these processes hold for themselves (resident, without what is shared)."""
    total = 0
    for pid in pids:
        try:
            with open(f"{_PROC}/{pid}/statm") as file:
                fields = file.read().split()
            total += (int(fields[1]) - int(fields[2])) * _PAGE
        except (OSError, IndexError, ValueError):
            continue
    return total


def members(pid: int, mark: str) -> set[int]:
    """`pid`, all below it, and all that carry the mark; this very process is never among them."""
    return ({pid, *descendants(pid), *marked(mark)}) - {os.getpid(), 0, 1}


def _signal(pids: set[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def end_all(pid: int, mark: str, patience_s: float = 3.0) -> list[int]:
    """End a worker and everything that belongs to it; returns what could not be ended.

    The members are listed before the first signal, since a parent's end moves its children elsewhere, and listed again
    until nobody new is found.
    """
    known: set[int] = set()
    limit = time.monotonic() + patience_s
    while True:
        known |= members(pid, mark)
        living = {each for each in known if not gone(each)}
        if not living or time.monotonic() > limit:
            return sorted(living)
        _signal(living, signal.SIGKILL)
        time.sleep(0.01)
