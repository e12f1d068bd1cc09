"""Spending episodes where they decide.

In: the episodes played so far, and after how many one may look. Out: for each policy and task whether its question is answered, and
what to play next. Questions that are answered get no further episodes; nor do those that the most allowed would not answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from steve1.evaluation.statistics.summary import own_row
from steve1.evaluation.statistics.tests import UNDECIDED, improvement, look_confidence, retention

# A forecast is rough: only when it exceeds what is allowed by this factor is a question given up.
_HOPELESS = 3.0


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked of one policy on one task, and how far it is answered.

    Attributes:
        pairs: seeds that both have played.
        verdict: of `statistics.improvement` for target tasks, else of `statistics.retention`.
        further: episodes that would probably settle it.
    """

    policy: str
    task: str
    pairs: int
    verdict: str
    further: int


@dataclasses.dataclass(frozen=True)
class SequentialTest:
    """Says after each look what is still to be played.

    Attributes:
        looks: numbers of pairs, ascending, as `statistics.looks` gives them.
        base: the policy that the others are compared with.
        others: those that questions are asked of.
        tasks, target: names; target tasks are asked "improved?", the others "kept?".
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
        """{(policy, task): play up to so many episodes}; what is nearest to an answer first; empty when all is said."""
        asked: dict[tuple[str, str], int] = {}
        for question in sorted(self.questions(lines), key=lambda each: each.further):
            following = next((look for look in self.looks if look > question.pairs), None)
            hopeless = question.pairs + question.further > _HOPELESS * self.looks[-1]
            if question.verdict not in UNDECIDED or following is None or hopeless:
                continue
            for who in (self.base, question.policy):
                key = (who, question.task)
                asked[key] = max(asked.get(key, 0), following)
        return asked
