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
from steve1.evaluation.statistics.summary import compare, own_row, rate

SOURCES = ("prior", "text", "shown")
NAMES = {"prior": "text → prior", "text": "text alone", "shown": "shown"}


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


def verdict(
    prior: Mapping[str, Any],
    shown: Mapping[str, Any],
    against_text: Mapping[str, Any],
    against_shown: Mapping[str, Any],
) -> str:
    """One sentence, from rates with intervals and paired differences (text minus prior, shown minus prior)."""
    if against_shown["interval"][0] > 0:
        extra = "; even the text alone does better" if against_text["interval"][0] > 0 else ""
        return f"the prior: shown the goal, the policy does it more often{extra}"
    if prior["low"] > 0.5:
        return "neither: it mostly succeeds"
    if shown["high"] < 0.5:
        return "the policy: even shown the goal it mostly fails"
    if against_text["interval"][0] > 0:
        return "the prior: the text alone does better"
    if against_shown["interval"][1] < 0:
        return "the demonstration's goal does worse than the prior's; another moment may be a better goal"
    return "cannot tell yet: play more episodes"


def attribute(
    lines: Sequence[Mapping[str, Any]], policies: Sequence[PolicySpec], tasks: Sequence[str]
) -> dict[str, Any]:
    """{weights: {task: {"rates": {source: rate}, "text" and "shown": comparison with "prior", "verdict"}}}."""
    by_name = {policy.name: policy for policy in policies}
    found: dict[str, Any] = {}
    for who, policy in by_name.items():
        if policy.goal != "prior" or f"{who}+shown" not in by_name:
            continue
        for task in tasks:
            played = {
                source: own_row(lines, task, who if source == "prior" else f"{who}+{source}") for source in SOURCES
            }
            rates = {source: rate(rows, task) for source, rows in played.items()}
            text, shown = (compare(played["prior"], played[source], task) for source in ("text", "shown"))
            if rates["prior"] and rates["shown"] and text and shown:
                sentence = verdict(rates["prior"], rates["shown"], text, shown)
                found.setdefault(who, {})[task] = {"rates": rates, "text": text, "shown": shown, "verdict": sentence}
    return found
