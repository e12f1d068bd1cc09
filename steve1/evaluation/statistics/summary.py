"""From episode lines to rates, intervals and tests.

Input: the lines of an episode log.
Output: plain dictionaries (the report's JSON): rates with Wilson intervals, and paired comparisons of later policies with the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from steve1.evaluation.statistics.tests import (
    bootstrap_difference,
    holm,
    look_confidence,
    mean_interval,
    paired_test,
    wilson,
)
from steve1.evaluation.statistics.verdict import decide

Line = Mapping[str, Any]
Lines = Sequence[Line]


def select(lines: Lines, task: str, policy: str, row: str | None = None) -> list[Line]:
    """Lines judged by `task`, of one policy (and row), by episode number."""
    mine = (line for line in lines if line["contestant"] == policy and task in line["success"])
    return sorted((line for line in mine if row in (None, line["row"])), key=lambda line: line["number"])


def rate(lines: Lines, task: str, confidence: float = 0.95) -> dict[str, Any] | None:
    """Successes, episodes, rate with its interval, mean measure; None without lines."""
    if not lines:
        return None
    wins, count = sum(bool(line["success"][task]) for line in lines), len(lines)
    low, high = wilson(wins, count, confidence)
    return {
        "successes": wins,
        "episodes": count,
        "rate": wins / count,
        "low": low,
        "high": high,
        "mean_measure": float(np.mean([line["measure"][task] for line in lines])),
    }


def own_row(lines: Lines, task: str, policy: str) -> list[Line]:
    """A policy's episodes that count for a task: under the task's own prompt, or all where it takes no goal."""
    return select(lines, task, policy, task) or select(lines, task, policy, "")


def compare(
    first: Lines,
    second: Lines,
    task: str,
    *,
    looks: Sequence[int] = (),
    target: bool = False,
    lower_is_better: bool = False,
    judged: bool = True,
) -> dict[str, Any] | None:
    """Paired comparison on the episode numbers that both have; None without any.

    Args:
        looks: of a sequential evaluation: only as many pairs count as its last look saw, intervals hold for all looks
            together, and p is multiplied by their number.
        target: the skill was to be learned; else it is one to be kept.
        lower_is_better: the task's measure is to be small.
        judged: whether there is a verdict; without, it is "".
    """
    a, b = ({line["number"]: line for line in lines} for lines in (first, second))
    numbers = sorted(set(a) & set(b))
    if looks:
        numbers = numbers[: max((look for look in looks if look <= len(numbers)), default=len(numbers))]
    if not numbers:
        return None
    level = look_confidence(len(looks))
    wins1, wins2 = ([bool(lines[number]["success"][task]) for number in numbers] for lines in (a, b))
    measures1, measures2 = ([lines[number]["measure"][task] for number in numbers] for lines in (a, b))
    gained = sum(y and not x for x, y in zip(wins1, wins2))
    lost = sum(x and not y for x, y in zip(wins1, wins2))
    measured = bootstrap_difference(measures1, measures2, confidence=level)
    test = paired_test(len(numbers), gained, lost, level)
    found: dict[str, Any] = {
        "pairs": len(numbers),
        "gained": gained,
        "lost": lost,
        "successes": [sum(wins1), sum(wins2)],
        "difference": (sum(wins2) - sum(wins1)) / len(numbers),
        "interval": [test.low, test.high],
        "p": min(1.0, test.p * max(len(looks), 1)),
        "measure_difference": float(np.mean(measures2) - np.mean(measures1)),
        "measure_interval": list(measured),
        "target": target,
        "verdict": "",
        "further_episodes": 0,
        "measure": "",
    }
    if judged:
        said = decide(
            len(numbers),
            gained,
            lost,
            sum(wins1),
            target=target,
            measure=measured,
            lower_is_better=lower_is_better,
            confidence=level,
        )
        found |= {
            "verdict": said.kind,
            "further_episodes": said.further,
            "within": said.within,
            "measure": said.measure,
        }
    return found


def leaks(lines: Lines, base: str, who: str, target: Collection[str]) -> dict[str, Any]:
    """{task: how often it happens under other prompts, before and after}, for the tasks that were to be learned.

    Every episode is judged by all tasks of its place and length, so this takes no further episodes. A task that none of them is judged by is
    left out. Episodes of one number have one seed and start under all prompts: each number counts once for the interval.
    """
    found: dict[str, Any] = {}
    for task in sorted(target):
        before, after = (
            {
                (line["number"], line["row"]): bool(line["success"][task])
                for line in select(lines, task, policy)
                if line["row"] not in ("", task)
            }
            for policy in (base, who)
        )
        pairs = sorted(before.keys() & after.keys())
        if not pairs:
            continue
        rows = Counter(number for number, _ in pairs)
        wins1, wins2 = (Counter(pair[0] for pair in pairs if results[pair]) for results in (before, after))
        # Each episode has the same weight, where some prompts were played more often.
        shares1, shares2 = ([wins[number] * len(rows) / len(pairs) for number in rows] for wins in (wins1, wins2))
        successes = [wins1.total(), wins2.total()]
        found[task] = {
            "pairs": len(pairs),
            "successes": successes,
            "difference": (successes[1] - successes[0]) / len(pairs),
            "interval": list(mean_interval(shares1, shares2)),
        }
    return found


def summarise(
    lines: Lines,
    policies: Sequence[str],
    tasks: Sequence[str],
    base: str,
    baselines: Collection[str] = (),
    *,
    looks: Sequence[int] = (),
    target: Collection[str] = (),
    lower_is_better: Collection[str] = (),
) -> dict[str, Any]:
    """Rates by task and policy, and each policy's comparison with `base` (Holm over the tasks).

    `baselines`: policies that were not made from the base, so that nothing can have been learned, kept or lost.
    `lower_is_better`: tasks whose measure is to be small. `looks`, `target`: as in `compare`.
    """
    level = look_confidence(len(looks))
    rates = {task: {who: rate(own_row(lines, task, who), task, level) for who in policies} for task in tasks}
    comparisons: dict[str, dict[str, Any]] = {}
    for who in policies:
        if who == base:
            continue
        known: dict[str, dict[str, Any]] = {}
        # Targets first: everything that is printed follows this order.
        for task in sorted(tasks, key=lambda task: task not in target):
            rows = own_row(lines, task, base), own_row(lines, task, who)
            found = compare(
                *rows,
                task,
                looks=looks,
                target=task in target,
                lower_is_better=task in lower_is_better,
                judged=who not in baselines,
            )
            if found:
                known[task] = found
        for row, adjusted in zip(known.values(), holm([row["p"] for row in known.values()])):
            row["p_holm"] = adjusted
        comparisons[who] = known
    return {
        "base": base,
        "looks": list(looks),
        "confidence": level,
        "target": sorted(target),
        "rates": rates,
        "comparisons": comparisons,
        "leaks": {who: leaks(lines, base, who, target) for who in comparisons if who not in baselines},
        "cross": cross_table(lines, policies, tasks),
    }


def cross_table(lines: Lines, policies: Sequence[str], tasks: Sequence[str]) -> dict[str, Any]:
    """{policy: {row: {task: rate}}}: what each prompt does for every task judged on its episodes."""
    table: dict[str, Any] = {}
    for who in policies:
        rows = list(dict.fromkeys(line["row"] for line in lines if line["contestant"] == who))
        table[who] = {
            row or "(any)": {task: found for task in tasks if (found := rate(select(lines, task, who, row), task))}
            for row in rows
        }
    return table
