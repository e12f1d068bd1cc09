"""The verdict on one task: what paired episodes of two policies say, and how many more would settle it.

Input: counts of pairs, the successes of the first policy, the interval of the measure's change.
Output: a Verdict. Console, page, tables and files all use this one, and its p and interval are of one test. `answer` puts the verdicts of a
policy's tasks together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from steve1.evaluation.statistics.tests import PairedTest, enough, paired_test, score, wilson

MARGIN = 0.1
"""A rate that changes by less counts as the same."""
SELDOM = 0.2
"""A policy cannot do a task if its rate lies below this as a whole interval."""
MOST_FURTHER = 1000
"""Forecasts end here; one more stands for "over this many"."""
POWER = 0.8
"""A forecast is the number of episodes after which the verdict is settled with this probability."""

Kind = Literal[
    "better", "worse", "looks better", "looks worse", "no difference",
    "kept", "lost", "gained", "cannot tell", "neither", "no pairs",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What can be said of a task.

    Attributes:
        kind: better, worse, looks better, looks worse or no difference of a target; kept, lost, gained or cannot tell of any other
            task; neither (can do it) and no pairs of both.
        test: p and interval; None without pairs.
        further: about how many more pairs would settle it; 0 if it is settled, MOST_FURTHER + 1 for more than that.
        measure: whether the task's measure got better or worse for sure; "" if that is open.
    """

    kind: Kind
    test: PairedTest | None = None
    further: int = 0
    measure: Literal["", "better", "worse"] = ""

    @property
    def within(self) -> int:
        """Percentage points that the difference does not exceed, to either side."""
        return 100 if self.test is None else int(np.ceil(100 * max(-self.test.low, self.test.high) - 1e-9))


def decide(
    pairs: int,
    gained: int,
    lost: int,
    successes: int,
    *,
    target: bool = False,
    measure: tuple[float, float] | None = None,
    lower_is_better: bool = False,
    confidence: float = 0.95,
) -> Verdict:
    """The verdict on a task.

    Args:
        pairs, gained, lost: pairs played; those in which only the second policy succeeded, and only the first.
        successes: of the first policy.
        target: the task was to be learned; else it is a skill to be kept.
        measure: interval (low, high) of the change of the task's measure.
        lower_is_better: the measure is to be small.
    """
    if not pairs:
        return Verdict("no pairs")
    test = paired_test(pairs, gained, lost, confidence)
    if measure and lower_is_better:
        measure = -measure[1], -measure[0]
    moved: Literal["", "better", "worse"] = ""
    if measure and enough(pairs, confidence):  # five of five in one direction happen by chance in one of sixteen cases
        moved = "better" if measure[0] > 0 else "worse" if measure[1] < 0 else ""
    idle = [wilson(wins, pairs, confidence)[1] < SELDOM for wins in (successes, successes + gained - lost)]
    kind, settled = _kind(gained, lost, test, idle, target)
    more = 0 if settled else further(pairs, gained, lost, confidence, target=target, keeps=not idle[0])
    return Verdict(kind, test, more, moved)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What an evaluation of fine-tuned weights says first: was the skill learned, were the old ones kept?

    Attributes:
        learned: {task: its comparison} of the tasks that were to be learned.
        old: {kind of verdict: tasks}, the worst first, of all others.
        further: about how many more episodes would settle every old skill that is open; 0 if none is.
    """

    learned: dict[str, Mapping[str, Any]]
    old: dict[Kind, list[str]]
    further: int


def answer(rows: Mapping[str, Mapping[str, Any]]) -> Answer:
    """The answer of a policy's comparisons {task: comparison} with the base; those without a verdict do not count."""
    judged = {task: row for task, row in rows.items() if row["verdict"]}
    others = {task: row for task, row in judged.items() if not row["target"]}
    order: tuple[Kind, ...] = ("lost", "cannot tell", "kept", "gained", "neither")
    return Answer(
        learned={task: row for task, row in judged.items() if row["target"]},
        old={kind: found for kind in order if (found := [t for t, row in others.items() if row["verdict"] == kind])},
        further=max((row["further_episodes"] for row in others.values()), default=0),
    )


def _kind(gained: int, lost: int, test: PairedTest, idle: Sequence[bool], target: bool) -> tuple[Kind, bool]:
    """(what is said, whether it is settled); `idle`: which of the two cannot do the task."""
    not_worse, not_better = test.low > -MARGIN, test.high < MARGIN
    if test.low > 0:
        return "better" if target else "gained", True
    if test.high < 0 and (target or not not_worse):
        return "worse" if target else "lost", True
    if all(idle):
        return "neither", True
    if not target:
        # What the first cannot do has not been kept.
        return ("kept", True) if not_worse and not idle[0] else ("cannot tell", False)
    if (not_worse and not_better) or gained == lost:
        return "no difference", not_worse and not_better
    return "looks better" if gained > lost else "looks worse", False


def further(
    pairs: int, gained: int, lost: int, confidence: float = 0.95, *, target: bool = False, keeps: bool = True
) -> int:
    """The least number of more pairs after which the verdict is settled with probability POWER, MOST_FURTHER + 1 if it is larger.

    Future pairs are taken to gain and lose as often as those seen, drawn a little to the middle (a third of a pair for each outcome), so
    that two of two are not taken for certainty. `keeps`: the first can do it, so that it may be kept.
    """
    more = np.arange(1, MOST_FURTHER + 1)
    gain, loss = (gained + 1 / 3) / (pairs + 1), (lost + 1 / 3) / (pairs + 1)
    spread = np.sqrt(more * (gain + loss - (gain - loss) ** 2))
    level = float(ndtri(0.5 + confidence / 2))

    def rejected(up: float, down: float, had: int, had_not: int, difference: float) -> NDArray[np.float64]:
        """Probability that more pairs show a difference above `difference`."""
        reached, deviation = score(pairs + more, had + more * up, had_not + more * down, difference)
        return np.asarray(ndtr((reached - level) * deviation / spread))

    better, worse = rejected(gain, loss, gained, lost, 0.0), rejected(loss, gain, lost, gained, 0.0)
    not_worse, not_better = rejected(gain, loss, gained, lost, -MARGIN), rejected(loss, gain, lost, gained, -MARGIN)
    same = not_worse + not_better - 1 if target else not_worse * keeps
    settled = np.max([better, worse, same], axis=0) >= POWER
    return int(more[settled][0]) if settled.any() else MOST_FURTHER + 1
