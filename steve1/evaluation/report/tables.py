"""The tables and sentences of an evaluation's report: for the page, the Markdown, the CSV files and the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steve1.evaluation.statistics.attribution import NAMES, SOURCES
from steve1.evaluation.statistics.tests import UNDECIDED
from steve1.evaluation.tasks.suite import Task
from steve1.reporting.numbers import p_value, percent_range, points_range
from steve1.reporting.tables import Cell, Table, Value

_SHADES = {"kept": "good", "improved": "good", "lost": "bad", "worse": "bad", **dict.fromkeys(UNDECIDED, "open")}

Summary = Mapping[str, Any]


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
        cells = [success_text(rate) + (f", mean {rate['mean_measure']:.1f}" if rate else "") for rate in found]
        rows.append([task.name, *cells, task.measure_name])
    return Table(["task", *names, "the mean is of"], rows)


def comparisons_table(summary: Summary) -> Table:
    """Each later policy against the first, paired."""
    rows: list[dict[str, Value]] = []
    for who, tasks in summary["comparisons"].items():
        for task, row in tasks.items():
            low, high = row["measure_bootstrap"]
            rows.append(
                {
                    f"against {summary['base']}": who,
                    "task": task,
                    "pairs (gained / lost)": f"{row['pairs']} (+{row['gained']} / -{row['lost']})",
                    "change": f"{100 * row['difference']:+.0f} points",
                    "95 % interval": points_range(*row["interval"]),
                    "(bootstrap)": points_range(*row["bootstrap"]),
                    "p (exact paired)": p_value(row["p_mcnemar"]),
                    "p (Holm)": p_value(row["p_holm"]),
                    "mean measure": f"{row['measure_difference']:+.1f} ({low:+.1f} to {high:+.1f})",
                    "verdict": Cell(verdict_text(row), kind=_SHADES.get(row["verdict"], "")),
                }
            )
    return Table.of(rows)


def verdict_text(row: Mapping[str, Any]) -> str:
    """A comparison's verdict, and how many more episodes would settle it."""
    if row["verdict"] == "–":
        return "–"
    more = f" (about {row['further_episodes']} more)" if row["further_episodes"] else ""
    return f"{row['asked']} {row['verdict']}{more}"


def attribution_table(found: Mapping[str, Any]) -> Table:
    """Success under each kind of goal, the differences from the prior's, and which part fails."""
    rows = []
    for who, tasks in found.items():
        for task, row in tasks.items():
            rates = [success_text(row["rates"][source]) for source in SOURCES]
            found_changes = (row[source] for source in SOURCES[1:])
            changes = [f"{100 * c['difference']:+.0f} ({points_range(*c['interval'])})" for c in found_changes]
            rows.append([who, task, *rates, *changes, row["verdict"]])
    head = ["weights", "task", *(NAMES[source] for source in SOURCES), "text - prior", "shown - prior", "what fails"]
    return Table(head, rows)


def failures_table(entries: Sequence[Mapping[str, Any]]) -> Table:
    """Failures worth watching."""
    rows: list[dict[str, Value]] = [
        {
            "weights": entry["contestant"],
            "task": entry["task"],
            "episode": str(entry["number"]),
            "measure": f"{entry['measure']:.1f}",
            "why": entry["why"] + (f"; {entry['again']}" if "again" in entry else ""),
            "video": Cell(entry["video"] or "not recorded", href=entry["video"]),
        }
        for entry in entries
    ]
    return Table.of(rows)


def cross_tables(summary: Summary, tasks: Sequence[Task]) -> list[Table]:
    """What each prompt does for each task, one table for each policy."""
    head = ["prompt", *(task.name for task in tasks)]
    return [
        Table(
            head,
            [[prompt, *(success_text(rates.get(task.name)) for task in tasks)] for prompt, rates in rows.items()],
            caption=f"{who}: prompt (row), success of each task (column)",
        )
        for who, rows in summary["cross"].items()
    ]


def target_sentence(summary: Summary) -> str:
    """Which tasks are asked "improved?" and which "kept?"; empty without comparisons."""
    if not any(row["asked"] != "–" for tasks in summary["comparisons"].values() for row in tasks.values()):
        return ""
    if not summary["target"]:
        return 'Every task counts as a skill to be kept. If one was to be learnt, name it (--target TASK): it is then asked "improved?".'
    others = '; of every other one, "kept?"' if set(summary["rates"]) - set(summary["target"]) else ""
    return f'Asked of {", ".join(summary["target"])}: "improved?"{others}.'


def looks_sentence(summary: Summary) -> str:
    """What the repeated looks of a sequential evaluation did to its intervals; empty for a fixed number of episodes."""
    looks = summary["looks"]
    if not looks:
        return ""
    return (
        f"Played until the answer was clear, with looks after {', '.join(map(str, looks))} pairs. Each interval is one of {100 * summary['confidence']:.1f} %, and each p is "
        f"multiplied by {len(looks)}, so that together, wherever it stopped, they hold at 95 %."
    )


def settings_list(settings: Mapping[str, Any]) -> list[str]:
    """Who played what, with hashes, then the evaluation's settings and prompts."""
    points = []
    for entry in settings["contestants"]:
        facts = [entry.get("weights", entry["kind"]), entry.get("sha256", "")[:12]]
        for name in ("cond_scale", "temperature", "mineclip", "prior", "goal"):
            facts.append("" if entry.get(name) in (None, "") else f"{name} {entry[name]}")
        points.append(f"{entry['name']}: " + ", ".join(filter(None, facts)))
    looks = f", looks {settings['looks']}" if settings.get("looks") else ""
    points.append(
        f"seed {settings['seed']}, {settings['episodes']} episodes{looks}, suite {settings['suite']} ({settings['suite_sha256'][:12]}), env {settings['env']}"
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
    numbers = ["pairs", "gained", "lost", "difference", "p_mcnemar", "p_holm", "measure_difference", "further_episodes"]
    intervals = ["interval", "bootstrap", "measure_bootstrap"]
    rows: list[list[Value]] = []
    for who, tasks in summary["comparisons"].items():
        for task, row in tasks.items():
            values = [row[name] for name in numbers] + [end for name in intervals for end in row[name]]
            rows.append([who, summary["base"], task, *values, row["asked"], row["verdict"]])
    ends = [f"{name}_{end}" for name in intervals for end in ("low", "high")]
    head = ["contestant", "base", "task", *numbers, *ends, "asked", "verdict"]
    return Table(head, rows, dict.fromkeys(numbers, ".6g") | dict.fromkeys(ends, ".6f")).csv()
