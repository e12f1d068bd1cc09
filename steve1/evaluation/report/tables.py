"""The tables of an evaluation's report: for the page, the Markdown, the CSV files and the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steve1.core.messages import message, translated
from steve1.evaluation.report.sentences import Summary, failure_reason, label, span, verdict_text
from steve1.evaluation.statistics.attribution import NAMES, SOURCES
from steve1.evaluation.tasks.suite import Task
from steve1.reporting.numbers import p_value, percent_range, points_range
from steve1.reporting.tables import Cell, Table, Value

_SHADES = {"kept": "good", "gained": "good", "better": "good", "lost": "bad", "worse": "bad"}


def success_text(rate: Mapping[str, Any] | None) -> str:
    """ "8/20 (22-61 %)", or a dash."""
    if not rate:
        return "–"
    return f"{rate['successes']}/{rate['episodes']} ({percent_range(rate['low'], rate['high'])})"


def rates_table(summary: Summary, tasks: Sequence[Task]) -> Table:
    """Task by policy: successes of episodes, interval, mean measure."""
    names = list(next(iter(summary["rates"].values())))
    rows = []
    for task in tasks:
        found = [summary["rates"][task.name].get(name) for name in names]
        means = ["" if rate is None else f"{rate['mean_measure']:.1f}" for rate in found]
        cells = [
            message("mean", rate=success_text(rate), mean=mean) if mean else success_text(None)
            for rate, mean in zip(found, means)
        ]
        rows.append([task.name, *cells, task.measure_label])
    return Table([message("task"), *(label(summary, name) for name in names), message("measure")], rows)


def comparisons_table(summary: Summary) -> Table:
    """Each later policy against the first, paired."""
    rows: list[dict[str, Value]] = []
    for who, tasks in summary["comparisons"].items():
        for task, row in tasks.items():
            compared = message("against", who=label(summary, who), base=label(summary, summary["base"]))
            rows.append(
                {
                    message("compared"): compared,
                    message("task"): task,
                    message("pairs"): f"{row['pairs']} (+{row['gained']} / -{row['lost']})",
                    message("change"): message("points", change=f"{100 * row['difference']:+.0f}"),
                    message("interval"): span(row["interval"], 0, 100),
                    message("p"): p_value(row["p"]),
                    "p (Holm)": p_value(row["p_holm"]),
                    message("measure change"): f"{row['measure_difference']:+.1f} ({span(row['measure_interval'])})",
                    message("verdict"): Cell(verdict_text(row), kind=shade(row)),
                }
            )
    return Table.of(rows)


def shade(row: Mapping[str, Any]) -> str:
    """The style sheet's class of a verdict: good, bad, open, or none."""
    if row["further_episodes"]:
        return "open"
    return _SHADES.get(row["verdict"], "")


def attribution_table(found: Mapping[str, Any]) -> Table:
    """Success under each kind of goal, the differences from the prior's, and which part fails."""
    rows = []
    for who, tasks in found.items():
        for task, row in tasks.items():
            rates = [success_text(row["rates"][source]) for source in SOURCES]
            found_changes = (row[source] for source in SOURCES[1:])
            changes = [f"{100 * c['difference']:+.0f} ({points_range(*c['interval'])})" for c in found_changes]
            rows.append([who, task, *rates, *changes, translated(row["verdict"])])
    head = ["weights", "task", *(NAMES[source] for source in SOURCES), "text - prior", "shown - prior", "what fails"]
    return Table(head, rows).translated()


def failures_table(entries: Sequence[Mapping[str, Any]], summary: Summary) -> Table:
    """Failures that were filmed."""
    rows: list[dict[str, Value]] = [
        {
            message("weights"): label(summary, entry["contestant"]),
            message("task"): entry["task"],
            message("episode"): str(entry["number"]),
            message("measure"): f"{entry['measure']:.1f}",
            message("why"): failure_reason(entry, summary),
            message("film of it"): Cell(entry["video"], href=entry["video"]),
        }
        for entry in entries
    ]
    return Table.of(rows)


def cross_tables(summary: Summary, tasks: Sequence[Task]) -> list[Table]:
    """What each prompt does for each task, one table for each policy; none where there is one task alone."""
    if len(tasks) < 2:
        return []
    head = ["", *(task.name for task in tasks)]
    return [
        Table(
            head,
            [[prompt, *(success_text(rates.get(task.name)) for task in tasks)] for prompt, rates in rows.items()],
            caption=message("cross caption", who=label(summary, who)),
        )
        for who, rows in summary["cross"].items()
    ]


def settings_list(settings: Mapping[str, Any], summary: Summary) -> list[str]:
    """Who played what, with hashes, then the evaluation's settings and prompts."""
    points = []
    for entry in settings["contestants"]:
        role = summary.get("roles", {}).get(entry["name"])
        facts = [entry.get("weights", entry["kind"]), entry.get("sha256", "")[:12]]
        for name in ("cond_scale", "temperature", "mineclip", "prior", "goal"):
            facts.append("" if entry.get(name) in (None, "") else f"{name} {entry[name]}")
        points.append((f"{message(role)}: " if role else "") + f"{entry['name']}: " + ", ".join(filter(None, facts)))
    looks = f", looks {settings['looks']}" if settings.get("looks") else ""
    points.append(
        translated(
            f"seed {settings['seed']}, {settings['episodes']} episodes{looks}, suite {settings['suite']} ({settings['suite_sha256'][:12]}), env {settings['env']}"
        )
    )
    return points + [f'{row}: "{prompt}"' for row, prompt in settings["prompts"].items()]


def rates_csv(summary: Summary) -> str:
    """One line for each policy, prompt and task."""
    rows: list[dict[str, Value]] = [
        {"contestant": who, "asked_for": prompt, "task": task, **cell}
        for who, prompts in summary["cross"].items()
        for prompt, cells in prompts.items()
        for task, cell in cells.items()
    ]
    return Table.of(rows, dict.fromkeys(("rate", "low", "high", "mean_measure"), ".6f")).csv()


def comparisons_csv(summary: Summary) -> str:
    """One line for each comparison with the base."""
    numbers = ["pairs", "gained", "lost", "difference", "p", "p_holm", "measure_difference", "further_episodes"]
    intervals = ["interval", "measure_interval"]
    rows: list[list[Value]] = []
    for who, tasks in summary["comparisons"].items():
        for task, row in tasks.items():
            values = [row[name] for name in numbers] + [end for name in intervals for end in row[name]]
            rows.append(
                [who, summary["base"], task, *values, str(row["target"]).lower(), row["verdict"], row["measure"]]
            )
    ends = [f"{name}_{end}" for name in intervals for end in ("low", "high")]
    head = ["contestant", "base", "task", *numbers, *ends, "target", "verdict", "measure_change"]
    return Table(head, rows, dict.fromkeys(numbers, ".6g") | dict.fromkeys(ends, ".6f")).csv()
