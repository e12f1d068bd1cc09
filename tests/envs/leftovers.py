"""Finds what a test's games left running: every process that inherited a variable set for that test."""

from __future__ import annotations

import multiprocessing
import time
import uuid
from collections.abc import Callable
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from tests.forks import plain_context

VARIABLE = "STEVE1_TEST_RUN"


def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Mark all processes started from now on; the function returned lists those that still live after a moment."""
    resource_tracker.ensure_running()  # one helper of this Python for all its worker processes: it stays
    value = f"{VARIABLE}={uuid.uuid4()}"
    monkeypatch.setenv(*value.split("="))
    # What is forked from the tests' server would have the server's environment.
    monkeypatch.setattr(multiprocessing, "get_context", plain_context)

    def living() -> list[str]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if value.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(f"{folder.name}: {(folder / 'cmdline').read_bytes()!r}")
            except OSError:
                continue
        return found

    def left() -> list[str]:
        limit = time.monotonic() + 60.0
        while living() and time.monotonic() < limit:
            time.sleep(0.05)
        return living()

    return left
