"""Threads of the games' software renderer, where several games share a machine.

In: how many games play at a time. Out: the variable that Mesa reads, for every game that is started from this process.
"""

from __future__ import annotations

import os

VARIABLE = "LP_NUM_THREADS"  # of Mesa's llvmpipe; by default it takes every processor, in each game


def share_renderer(games: int) -> None:
    """Give each of `games` its share of the processors to draw with, unless the variable says something already.

    Two games on two cores that draw with two threads each wait for one another: six episodes took 57 s one after another, 35 s side by side
    with one thread each.
    """
    if games > 1:
        os.environ.setdefault(VARIABLE, str(max(1, (os.cpu_count() or 1) // games)))
