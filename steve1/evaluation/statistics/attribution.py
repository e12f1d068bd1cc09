"""Attribution: does the prior fail, or the policy?

Input: episodes under three kinds of goal, on the same seeds: the prior's for the prompt, the prompt's text embedding itself, and a
moment of a successful demonstration.
Output: rates, paired differences, and a sentence for each task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from steve1.evaluation.policies import PolicySpec
from steve1.evaluation.statistics.summary import Lines, compare, own_row, rate

NAMES = {"prior": "text → prior", "text": "text alone", "shown": "shown"}
SOURCES = tuple(NAMES)


def variants(policies: Sequence[PolicySpec]) -> list[PolicySpec]:
    """Each weights policy, followed by itself under text embeddings and under the goals of demonstrations."""
    found: list[PolicySpec] = []
    for policy in policies:
        found.append(policy)
        if policy.needs_goal and policy.goal == "prior":
            found += [
                dataclasses.replace(policy, name=f"{policy.name}+{source}", goal=source) for source in SOURCES[1:]
            ]
    return found


def verdict(rates: Mapping[str, Any], text: Mapping[str, Any], shown: Mapping[str, Any]) -> str:
    """One sentence, from the rates of each source and the paired differences of text and shown from the prior."""
    text_better = text["interval"][0] > 0
    if shown["interval"][0] > 0:
        if text_better:
            return "the prior: shown the goal, the policy does it more often; even the text alone does better"
        return "the prior: shown the goal, the policy does it more often"
    if rates["prior"]["low"] > 0.5:
        return "neither: it mostly succeeds"
    if rates["shown"]["high"] < 0.5:
        return "the policy: even shown the goal it mostly fails"
    if text_better:
        return "the prior: the text alone does better"
    if shown["interval"][1] < 0:
        return "the demonstration's goal does worse than the prior's; another moment may be a better goal"
    return "cannot tell yet: play more episodes"


def attribute(lines: Lines, policies: Sequence[PolicySpec], tasks: Sequence[str]) -> dict[str, Any]:
    """{weights: {task: {"rates": {source: rate}, "text" and "shown": comparison with "prior", "verdict"}}}."""
    names = {policy.name for policy in policies}
    found: dict[str, Any] = {}
    for who in (policy.name for policy in policies if policy.goal == "prior" and f"{policy.name}+shown" in names):
        for task in tasks:
            prior, *others = (own_row(lines, task, name) for name in (who, f"{who}+text", f"{who}+shown"))
            rates = {source: rate(rows, task) for source, rows in zip(SOURCES, (prior, *others))}
            text, shown = (compare(prior, rows, task) for rows in others)
            if text and shown:
                row = {"rates": rates, "text": text, "shown": shown, "verdict": verdict(rates, text, shown)}
                found.setdefault(who, {})[task] = row
    return found
