"""Processes of ours that may have to be ended, and what they leave behind.

In: process ids, folders. Out: whole process trees ended; half-written files of processes that are gone swept away. Nothing that
this program did not start is ever touched.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

# As `core.files` names what it has not finished: .<name>.<process id>.<8 hex digits>.<suffix>
_HALF_WRITTEN = re.compile(r"^\..+\.(\d+)\.[0-9a-f]{8}\.\w+$")


def limit_threads(threads: int) -> None:
    """Keep torch to so many threads in this process.

    A game beside the policy wants processors as well, and a policy's threads that wait for one another while the game
    runs cost a hundred times what they save (measured: 550 ms a step in place of 5).
    """
    # Read by torch when it is imported; most workers import it later, and those of floor players never.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def process_tree(pid: int) -> list[int]:
    """`pid` and all processes below it, parents first (Linux; elsewhere `pid` alone)."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The command's name may hold spaces and brackets; the parent is the second field after the last bracket.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    tree = [pid]
    for known in tree:
        tree.extend(children.get(known, []))
    return tree


def end_tree(pid: int) -> None:
    """Kill a process that this one started, and everything below it."""
    for member in reversed(process_tree(pid)):
        try:
            os.kill(member, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def alive(pid: int) -> bool:
    """Whether a process of that id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sweep(folder: Path) -> list[Path]:
    """Remove files below `folder` that a process began and did not live to finish; returns what was removed."""
    removed = []
    for path in folder.rglob(".*"):
        match = _HALF_WRITTEN.match(path.name)
        if match and path.is_file() and not alive(int(match[1])):
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed
