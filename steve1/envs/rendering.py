"""Threads of the games' software renderer (Mesa), where several games share a machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

VARIABLE = "LP_NUM_THREADS"  # of Mesa's llvmpipe; by default it takes every processor, in each game


@contextlib.contextmanager
def shared_renderer(games: int) -> Iterator[None]:
    """Meanwhile each of `games` draws with its share of the processors, unless the variable says something already.

    Two games on two cores that draw with two threads each wait for one another: six episodes took 57 s one after another, 35 s side by side
    with one thread each.
    """
    if games < 2 or VARIABLE in os.environ:
        yield
        return
    os.environ[VARIABLE] = str(max(1, (os.cpu_count() or 1) // games))
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
