"""Sequential evaluation: plays further episodes only where the answer is still open.

Input: the episodes played so far, and the numbers of pairs after which a look is allowed.
Output: for each policy and task whether its question is answered, and what to play next. A question that is answered, or that even the
maximum of episodes would not answer, gets no further episodes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from steve1.evaluation.statistics.summary import own_row
from steve1.evaluation.statistics.tests import UNDECIDED, improvement, look_confidence, retention

# A forecast is rough: a question is given up only when the forecast exceeds the maximum by this factor.
_HOPELESS = 3.0


@dataclasses.dataclass(frozen=True)
class Question:
    """The question about one policy on one task, and its answer so far.

    Attributes:
        pairs: seeds that both policies have played.
        verdict: of `statistics.improvement` for target tasks, else of `statistics.retention`.
        further: episodes that would probably answer it.
    """

    policy: str
    task: str
    pairs: int
    verdict: str
    further: int


@dataclasses.dataclass(frozen=True)
class SequentialTest:
    """Decides after each look what is still to be played.

    Attributes:
        looks: numbers of pairs, ascending, as `statistics.looks` gives them.
        base: the policy that the others are compared with.
        others: the policies that are compared with it.
        tasks, target: names; the question is "improved?" for target tasks and "kept?" for the others.
    """

    looks: tuple[int, ...]
    base: str
    others: tuple[str, ...]
    tasks: tuple[str, ...]
    target: Collection[str] = ()

    def questions(self, lines: Sequence[Mapping[str, Any]]) -> list[Question]:
        """Every question, judged at the last look that it has reached."""
        level = look_confidence(len(self.looks))
        found = []
        for task in self.tasks:
            base = {line["number"]: bool(line["success"][task]) for line in own_row(lines, task, self.base)}
            for who in self.others:
                mine = {line["number"]: bool(line["success"][task]) for line in own_row(lines, task, who)}
                numbers = sorted(set(base) & set(mine))
                count = max((look for look in self.looks if look <= len(numbers)), default=0)
                if not count:
                    continue
                ask = improvement if task in self.target else retention
                verdict, further = ask(
                    [base[n] for n in numbers[:count]], [mine[n] for n in numbers[:count]], confidence=level
                )
                found.append(Question(who, task, count, verdict, further))
        return found

    def __call__(self, lines: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], int]:
        """{(policy, task): number of episodes to play up to}; nearest to an answer first; empty when all is answered."""
        wanted: dict[tuple[str, str], int] = {}
        for question in sorted(self.questions(lines), key=lambda each: each.further):
            following = next((look for look in self.looks if look > question.pairs), None)
            hopeless = question.pairs + question.further > _HOPELESS * self.looks[-1]
            if question.verdict not in UNDECIDED or following is None or hopeless:
                continue
            for who in (self.base, question.policy):
                key = (who, question.task)
                wanted[key] = max(wanted.get(key, 0), following)
        return wanted
