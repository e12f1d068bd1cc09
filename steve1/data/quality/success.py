"""Finds where in an episode given conditions are met, such as "3 dirt gained".

Items count by exact name, and what was there at the beginning does not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.messages import message
from steve1.data.quality.history import History

#: blocks in one tick that show a respawn or a teleport, after which distances start again
_JUMP = 8.0
#: frames of the shortest stretch that is kept
_LEAST = 32


@dataclass(frozen=True)
class Condition:
    """`amount` of `item` gained or mined, or `amount` blocks travelled (farthest from the start, height left out)."""

    kind: Literal["gained", "mined", "travelled"]
    item: str
    amount: float

    def __str__(self) -> str:
        if self.kind == "travelled":
            return f"{self.amount:g} blocks travelled"
        return f"{self.amount:g} {self.item} {self.kind}"

    def shown(self, amount: str) -> str:
        """That much of what it counts, in the user's language."""
        return message(f"condition {self.kind}", amount=amount, item=self.item)


def parse_conditions(gained: Sequence[str], mined: Sequence[str], travelled: float) -> list[Condition]:
    """Conditions from flags such as "dirt=3" or "log" (which means 1).

    Raises:
        UserError: no condition, or an amount that is not a positive number.
    """
    found: list[Condition] = []
    for kind, texts in (("gained", gained), ("mined", mined)):
        for text in texts:
            item, _, amount = text.partition("=")
            try:
                count = float(amount) if amount else 1.0
            except ValueError:
                count = math.nan
            if not item or not (math.isfinite(count) and count > 0):
                raise UserError(f"--{kind} takes an item and a count.", expected="such as dirt=3", got=text)
            found.append(Condition(kind, item.removeprefix("minecraft:"), count))  # type: ignore[arg-type]
    if not (math.isfinite(travelled) and travelled >= 0):
        raise UserError("--travelled takes a number of blocks.", got=str(travelled))
    if travelled:
        found.append(Condition("travelled", "", travelled))
    if not found:
        todo = "add --gained dirt=3, --mined log=1 or --travelled 20"
        raise UserError("There is no condition to filter by.", todo=todo)
    return found


def reached(condition: Condition, history: History) -> NDArray[np.float64]:
    """The amount reached at each frame since the first, f64 (N,); UserError if the recorder did not write it."""
    if condition.kind == "travelled":
        return _distance(history, _anchors(history.position))
    counts = _counts(condition, history)
    return (counts - counts[0]).astype(np.float64)


def _counts(condition: Condition, history: History) -> NDArray[np.int64]:
    if condition.kind == "gained" and not history.has_inventory:
        raise UserError("This recording's ticks contain no inventory.", todo="filter by --mined or --travelled")
    counts = history.items if condition.kind == "gained" else history.mined
    return counts.get(condition.item, np.zeros(len(history.position), np.int64))


def _anchors(position: NDArray[np.float64]) -> NDArray[np.int64]:
    """The frame that each frame's distance counts from: the first, or the last one after a jump; i64 (N,)."""
    if not np.isfinite(position).all():
        raise UserError("This recording's ticks contain no positions.", todo="filter by --gained or --mined")
    steps = np.linalg.norm(np.diff(position, axis=0), axis=1)
    starts = np.concatenate([[0], np.where(steps > _JUMP, np.arange(1, len(position)), 0)])
    return np.maximum.accumulate(starts).astype(np.int64)


def _distance(history: History, begin: NDArray[np.int64]) -> NDArray[np.float64]:
    level = history.position[:, [0, 2]]
    return np.linalg.norm(level - level[begin], axis=1)


def find_stretches(
    conditions: Sequence[Condition], history: History, *, before: int, after: int
) -> list[tuple[int, int]]:
    """Stretches (start, stop) in frames in which all conditions are met within `before` frames; overlapping ones are one.

    Stretches of fewer than 32 frames (at the ends of an episode) are left out.

    Args:
        before: frames in which it must happen, all kept.
        after: frames kept after the last time that something was gained or the player moved.
    """
    count = len(history.position)
    frames = np.arange(count)
    begin = np.maximum(frames - before, 0)
    met = np.ones(count, bool)
    rises = np.zeros(count, bool)
    for condition in conditions:
        if condition.kind == "travelled":
            value = _distance(history, np.maximum(begin, _anchors(history.position)))
            level = history.position[:, [0, 2]]
            rise = np.linalg.norm(np.diff(level, axis=0, prepend=level[:1]), axis=1) > 0.01
        else:
            counts = _counts(condition, history)
            # An item lost and found again is not gained: the count must exceed that at the beginning of window and episode.
            value = np.minimum(counts - counts[begin], counts - counts[0]).astype(np.float64)
            rise = np.diff(counts, prepend=counts[:1]) > 0
        met &= value >= condition.amount
        rises |= rise
    edges = np.flatnonzero(np.diff(met, prepend=False, append=False))
    found: list[tuple[int, int]] = []
    for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist()):
        last = start + int(np.flatnonzero(rises[start:stop]).max(initial=0))
        begins, ends = max(0, start - before), min(count, last + after + 1)
        if found and begins <= found[-1][1]:
            found[-1] = (found[-1][0], max(ends, found[-1][1]))
        else:
            found.append((begins, ends))
    return [(start, stop) for start, stop in found if stop - start >= _LEAST]
