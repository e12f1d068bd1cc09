"""Sequential evaluation: plays further episodes only where the answer is still open.

Input: the episodes played so far, and the numbers of pairs after which a look is allowed.
Output: what to play next. A question that is answered, or that even the maximum of episodes would not answer, gets no further
episodes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from steve1.evaluation.statistics.summary import Lines, own_row
from steve1.evaluation.statistics.tests import look_confidence
from steve1.evaluation.statistics.verdict import decide

# A forecast is rough: a question is given up only when the forecast exceeds the maximum by this factor.
_HOPELESS = 3.0


@dataclasses.dataclass(frozen=True)
class SequentialTest:
    """Decides after each look what is still to be played.

    Attributes:
        looks: numbers of pairs, ascending, as `statistics.looks` gives them.
        base: the policy that the others are compared with.
        others: the policies that are compared with it.
        tasks, target: names; target tasks were to be learned, the others to be kept.
    """

    looks: tuple[int, ...]
    base: str
    others: tuple[str, ...]
    tasks: tuple[str, ...]
    target: Collection[str] = ()

    def __call__(self, lines: Lines) -> dict[tuple[str, str], int]:
        """{(policy, task): number of episodes to play up to}; nearest to an answer first; empty when all is answered."""
        level = look_confidence(len(self.looks))
        undecided: list[tuple[int, int, str, str]] = []
        for task in self.tasks:
            base, *others = (
                {line["number"]: bool(line["success"][task]) for line in own_row(lines, task, who)}
                for who in (self.base, *self.others)
            )
            for who, mine in zip(self.others, others):
                numbers = sorted(set(base) & set(mine))
                pairs = max((look for look in self.looks if look <= len(numbers)), default=0)
                following = next((look for look in self.looks if look > pairs), None)
                if not pairs or following is None:
                    continue
                seen = [(base[n], mine[n]) for n in numbers[:pairs]]
                gained, lost = seen.count((False, True)), seen.count((True, False))
                wins = sum(first for first, _ in seen)
                found = decide(pairs, gained, lost, wins, target=task in self.target, confidence=level)
                if found.further and pairs + found.further <= _HOPELESS * self.looks[-1]:
                    undecided.append((found.further, following, who, task))
        wanted: dict[tuple[str, str], int] = {}
        for _, following, other, task in sorted(undecided, key=lambda question: question[0]):
            for who in (self.base, other):
                wanted[who, task] = max(wanted.get((who, task), 0), following)
        return wanted
