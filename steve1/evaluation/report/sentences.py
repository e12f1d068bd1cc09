"""What an evaluation says in words, in the user's language: names, verdicts, rules for success.

Input: the summary's data, tasks.
Output: lines of text; console, Markdown and page print these same lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from steve1.core.messages import language, message
from steve1.evaluation.statistics.verdict import MARGIN, MOST_FURTHER, answer
from steve1.evaluation.tasks.rules import Condition, Rule
from steve1.evaluation.tasks.suite import Suite, Task
from steve1.reporting.numbers import p_value
from steve1.rollout.trace import Trace

Summary = Mapping[str, Any]
_NAMES_SHOWN = 3


def label(summary: Summary, who: str) -> str:
    """A policy as people call it: base, fine-tuned, or by its name."""
    role = summary.get("roles", {}).get(who)
    return message(role) if role else who


def task_label(task: Task) -> str:
    """A task by its prompt, in the user's language where it has one."""
    return task.shown_prompt


def verdict_text(row: Mapping[str, Any]) -> str:
    """A comparison's verdict, and how many more episodes would settle it; a dash where none was asked for."""
    kind = row["verdict"]
    if not kind:
        return "–"
    yet = " yet" if kind == "no difference" and row["further_episodes"] else ""
    words = {"more": more_episodes(row["further_episodes"]), "points": row.get("within"), "margin": _margin()}
    return message(kind + yet, **words)


def more_episodes(further: int) -> str:
    """A forecast in words: "about 40 more episodes"."""
    more = "more episodes" if further != 1 else "one more episode"
    if further > MOST_FURTHER:
        more, further = "many more episodes", MOST_FURTHER
    elif further >= 20:  # a forecast has two digits at best
        further = int(float(f"{further:.2g}"))
    return message(more, count=f"{further:,}")


def _margin() -> int:
    return round(100 * MARGIN)


def first_lines(summary: Summary, tasks: Sequence[Task]) -> list[str]:
    """For each policy that has verdicts one line: better at the task, by how much, and were the old skills kept?"""
    labels = {task.name: task_label(task) for task in tasks}
    blank = "" if language() == "zh" else " "
    lines = []
    for who, rows in summary["comparisons"].items():
        found = answer(rows)
        if not found.learned and not found.old:
            continue
        parts = [_learned_text(labels[task], row) for task, row in found.learned.items()]
        if unplayed := summary.get("unplayed"):
            parts.append(message("answer unplayed", tasks=", ".join(unplayed)))
        parts = parts or [message("answer no target")]
        comma = "、" if language() == "zh" else ", "
        names = {kind: comma.join(labels[task] for task in old) for kind, old in found.old.items()}
        told = [
            message(f"answer {kind}", tasks=each, more=more_episodes(found.further)) for kind, each in names.items()
        ]
        old = message("answer old", margin=_margin(), told=message("answer and").join(told))
        parts.append(old if told else message("answer no old"))
        line = blank.join(parts)
        if len(summary["comparisons"]) > 1 and not summary.get("roles", {}).get(who):
            line = f"{message('against', who=label(summary, who), base=label(summary, summary['base']))}: {line}"
        lines.append(line)
    return lines


def _learned_text(task: str, row: Mapping[str, Any]) -> str:
    """What is said first of a task that was to be learned."""
    key = {"better": "better", "worse": "worse", "neither": "neither too"}.get(row["verdict"], "open")
    if row["verdict"] == "no difference" and not row["further_episodes"]:
        key = "same"
    return message(
        f"answer {key}",
        task=task,
        change=f"{100 * row['difference']:+.0f}",
        interval=span(row["interval"], 0, 100),
        points=row.get("within"),
        more=more_episodes(row["further_episodes"]),
    )


def verdicts(summary: Summary, tasks: Sequence[Task]) -> list[str]:
    """The verdict on each task for each policy that has one, targets first; tasks that neither can do share a line. Then how often new skills happen under other prompts."""
    lines = []
    for who, rows in summary["comparisons"].items():
        judged = [(task, rows.get(task.name) or _NO_PAIRS) for task in tasks]
        judged = [(task, row) for task, row in judged if row["verdict"] and (rows or who in summary.get("roles", {}))]
        judged.sort(key=lambda pair: not pair[1].get("target"))
        idle = [
            task for task, row in judged if row["verdict"] == "neither" and not row["target"] and not row["measure"]
        ]
        found = [verdict_sentence(summary, who, task, row) for task, row in judged if task not in idle]
        if idle:
            names = ", ".join(task_label(task) for task in idle)
            found.append(message("verdict short", task=names, verdict=message("neither")))
        labels = {task.name: task_label(task) for task in tasks}
        found += [leak_sentence(summary, labels[task], row) for task, row in summary["leaks"].get(who, {}).items()]
        if found and len(summary["comparisons"]) > 1 and not summary.get("roles", {}).get(who):
            heading = message("against", who=label(summary, who), base=label(summary, summary["base"]))
            found = [f"{heading}: {line}" for line in found]
        lines += found
    return lines


_NO_PAIRS: dict[str, Any] = {"verdict": "no pairs", "further_episodes": 0, "target": False, "measure": ""}


def verdict_sentence(summary: Summary, who: str, task: Task, row: Mapping[str, Any]) -> str:
    """The verdict on a task with what it rests on."""
    if row["verdict"] == "no pairs":
        return message("verdict short", task=task_label(task), verdict=verdict_text(row))
    counts = [message("of", successes=wins, episodes=row["pairs"]) for wins in row["successes"]]
    said = message(
        "verdict sentence",
        task=task_label(task),
        verdict=verdict_text(row),
        base=label(summary, summary["base"]),
        other=label(summary, who),
        first=counts[0],
        second=counts[1],
        change=f"{100 * row['difference']:+.0f}",
        interval=span(row["interval"], 0, 100),
        p=p_value(row["p"]),
    )
    settled_alike = {"better": ("better", "gained"), "worse": ("worse", "lost")}.get(row["measure"])
    if settled_alike is None or row["verdict"] in settled_alike:
        return said
    values = {"change": f"{row['measure_difference']:+.1f}", "interval": span(row["measure_interval"])}
    blank = "" if language() == "zh" else " "
    return said + blank + message(f"measure {row['measure']}", measure=task.measure_label, **values)


def leak_sentence(summary: Summary, task: str, row: Mapping[str, Any]) -> str:
    """How often a skill that was to be learned happens under other prompts, before and after."""
    first, second = (message("of", successes=wins, episodes=row["pairs"]) for wins in row["successes"])
    return message(
        "leak" if row["interval"][0] > 0 else "no leak",
        task=task,
        base=label(summary, summary["base"]),
        first=first,
        second=second,
        change=f"{100 * row['difference']:+.0f}",
        interval=span(row["interval"], 0, 100),
    )


def span(ends: Sequence[float], decimals: int = 1, scale: float = 1) -> str:
    """An interval with signs: "+8 to +100"."""
    low, high = (f"{scale * end:+.{decimals}f}" for end in ends)
    return message("range", low=low, high=high)


def failure_reason(entry: Mapping[str, Any], summary: Summary) -> str:
    """Why a failure is worth watching."""
    base = label(summary, summary["base"])
    said = message(f"failure {entry['why']}", base=base, steps=entry["steps"])
    return said + (f"; {message(entry['again'])}" if "again" in entry else "")


def needs(task: Task) -> str:
    """What counts as success."""
    return message("needs", rule=rule_text(task.success))


def rule_text(condition: Condition) -> str:
    """A rule, or several of them, in words."""
    if not isinstance(condition, Rule):
        return message(condition.how).join(rule_text(part) for part in condition.parts)
    low, high = condition.at_least, condition.at_most
    number = f"{high if low is None else low:g}"
    values = condition.parameters
    names = [name.replace("_", " ") for name in values.get("names", ())]
    shown = ", ".join(names[:_NAMES_SHOWN])
    if len(names) > _NAMES_SHOWN:
        count = len(names) if language() == "zh" else len(names) - _NAMES_SHOWN
        shown = message("others", names=shown, count=count)
    return message(
        f"rule {condition.kind}",
        bound=message("at most" if low is None else "at least", number=number),
        names=shown,
        size=" x ".join(map(str, values.get("size", ()))),
        count=len(values.get("rules", ())),
        percent=round(100 * values.get("part", 0)),
    )


def notes(summary: Summary) -> Iterator[str]:
    """Which tasks were to be learned, and what repeated looks did to the intervals; nothing without comparisons."""
    if any(row["verdict"] for rows in summary["comparisons"].values() for row in rows.values()):
        target, unplayed = summary["target"], summary.get("unplayed")
        if target or not unplayed:
            chosen = "missing" if not target else "found" if summary.get("target_found") else "given"
            yield message(f"target {chosen}", tasks=", ".join(target))
        if unplayed:
            yield message("answer unplayed", tasks=", ".join(unplayed))
            if not target:
                yield message("all old")
    count, folder = summary.get("known", (0, ""))
    if folder:
        yield message("known results" if count else "no known results", count=count, folder=folder)
    if looks := summary["looks"]:
        percent = f"{100 * summary['confidence']:.1f}"
        yield message("looks", looks=", ".join(map(str, looks)), percent=percent, count=len(looks))


def achievements(suite: Suite, task: Task | None, biome: str, trace: Trace) -> list[str]:
    """How the task of the prompt went, and which other tasks of the place were solved on the way."""
    lines = []
    for judge in suite.tasks.values():
        if judge.biome == biome:
            won, measure = judge.judge(trace)
            if won or judge == task:
                lines.append(
                    message(
                        "achieved" if won else "not achieved",
                        task=judge.name,
                        measure=judge.measure_label,
                        value=f"{measure:.1f}",
                    )
                )
    return lines
