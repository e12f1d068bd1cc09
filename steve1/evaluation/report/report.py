"""The report of an evaluation: one list of sections, written as HTML and as Markdown; CSV and JSON to compute with.

Input: a plan, its summary and lines, and its films.
Output: report.html, report.md, report.json, report.csv and comparisons.csv in the evaluation's folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steve1 import actions
from steve1.core.files import atomic_file, write_json
from steve1.evaluation.report.insight import button_shares, camera_counts, similarity_curve
from steve1.evaluation.report.tables import (
    Summary,
    attribution_table,
    comparisons_csv,
    comparisons_table,
    cross_tables,
    failures_table,
    looks_sentence,
    rates_csv,
    rates_table,
    settings_list,
    target_sentence,
)
from steve1.evaluation.runner.plan import Plan
from steve1.evaluation.statistics.summary import Lines
from steve1.reporting.charts import Bar, bar_chart, figure, grid, heat_map, line_chart
from steve1.reporting.html import Html, element, tiles, video
from steve1.reporting.numbers import percent_range
from steve1.reporting.page import Block, Report, Section, note
from steve1.reporting.tables import Table


def write_report(plan: Plan, title: str, summary: Summary, lines: Lines, videos: Mapping[str, str]) -> dict[str, Path]:
    """Write all files; returns {"md" | "json" | "csv" | "comparisons" | "html": path}.

    Args:
        videos: {caption: path relative to the plan's folder} of videos to show side by side.
    """
    settings = plan.facts()
    report = Report(title, sections(plan, summary, lines, videos, settings))
    paths = {kind: plan.folder / f"report.{kind}" for kind in ("md", "csv", "html", "json")}
    paths["comparisons"] = plan.folder / "comparisons.csv"
    texts = {
        "md": report.markdown(),
        "csv": rates_csv(summary),
        "comparisons": comparisons_csv(summary),
        "html": report.html(),
    }
    for kind, text in texts.items():
        with atomic_file(paths[kind], "w") as handle:
            handle.write(text)
    write_json(paths["json"], {"title": title, "settings": settings, **summary})
    return paths


def sections(
    plan: Plan, summary: Summary, lines: Lines, videos: Mapping[str, str], settings: Mapping[str, Any]
) -> list[Section]:
    """What the report shows; charts and videos are for the page alone."""
    names = list(next(iter(summary["rates"].values())))
    films = [video(path, caption) for caption, path in videos.items()]
    played: list[Block] = [
        note(f"{len(lines)} episodes, {sum(line['steps'] for line in lines)} steps."),
        "Successes of episodes with Wilson's 95 % interval; same seeds and start states for all.",
        looks_sentence(summary),
        _headline(summary),
        _rate_bars(summary, names),
        rates_table(summary, plan.tasks),
    ]
    return [
        Section("", played),
        Section("Differences", _differences(summary)),
        Section("Which part fails?", [attribution_table(summary.get("attribution", {}))]),
        Section("Side by side", [tiles(films)]),
        Section("Goal similarity over time", _similarity(plan, lines, names)),
        Section("Failures worth watching", _failures(summary.get("failures", []))),
        Section("Actions", _actions(plan, lines, names)),
        Section("What each prompt does for every task", cross_tables(summary, plan.tasks), folded=True),
        Section("Settings", [settings_list(settings)]),
    ]


def _headline(summary: Summary) -> Html:
    """The result in a sentence for each policy."""
    sentences = []
    for who, tasks in summary["comparisons"].items():
        by_verdict: dict[str, list[str]] = {}
        for task, row in tasks.items():
            by_verdict.setdefault(row["verdict"], []).append(task)
        said = [f"{verdict}: {', '.join(found)}" for verdict, found in by_verdict.items() if verdict != "–"]
        if said:
            sentences.append(element("li", element("b", who), f" against {summary['base']}. {'; '.join(said)}."))
    return element("ul", *sentences) if sentences else Html()


def _rate_bars(summary: Summary, names: Sequence[str]) -> Html:
    def bar(name: str, rate: Mapping[str, Any] | None) -> Bar | None:
        if not rate:
            return None
        ends, count = (rate["low"], rate["high"]), f"{rate['successes']}/{rate['episodes']}"
        return Bar(rate["rate"], count, ends, f"{name}: {count}, {percent_range(*ends)}")

    rows = {task: [bar(name, rates.get(name)) for name in names] for task, rates in summary["rates"].items()}
    return bar_chart("", rows, label="success rates with 95 % intervals", names=names, axis=True, width=440)


def _differences(summary: Summary) -> list[str | Table]:
    table = comparisons_table(summary)
    explained = note(
        "Pairs are episodes with the same seed and start state. The interval is Newcombe's for paired rates, p is McNemar's exact one, "
        "Holm's corrects it for the number of tasks. Improved or worse: the exact p is below 0.05. Kept: the whole interval lies above -10 points."
    )
    return [explained, target_sentence(summary), table] if table else []


def _similarity(plan: Plan, lines: Lines, names: Sequence[str]) -> list[Html]:
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for task in plan.tasks:
        curves = [similarity_curve(plan.folder, lines, task.name, name) for name in names]
        if any(curve is not None for curve in curves):
            found[task.name] = {
                name: [(n / 20, float(value)) for n, value in enumerate(curve if curve is not None else [])]
                for name, curve in zip(names, curves)
            }
    values = [y for series in found.values() for points in series.values() for _, y in points if math.isfinite(y)]
    explained = (
        "Cosine of MineCLIP's embedding of the last 16 frames with the goal that the prior makes of the task's prompt, mean over the first "
        f"{plan.settings.similarity} episodes of each. One MineCLIP measures all; baselines are compared with the same goals."
    )
    charts = [
        line_chart(task, series, label=f"{task}: goal similarity over time", unit="s", span=(min(values), max(values)))
        for task, series in found.items()
        if values
    ]
    return [note(explained), grid(charts)] if found else []


def _actions(plan: Plan, lines: Lines, names: Sequence[str]) -> list[Html]:
    degrees = np.asarray(actions.BIN_DEGREES).tolist()
    tasks = []
    for task in (task.name for task in plan.tasks):
        shares = [button_shares(lines, task, name) for name in names]
        buttons = [each for each in max(shares, key=len) if max(found.get(each, 0.0) for found in shares) >= 0.001]
        rows = {button: [Bar(found[button]) if found else None for found in shares] for button in buttons}
        maps = []
        for index, name in enumerate(names):
            if shares[index]:
                counts = camera_counts(plan.folder, lines, task, name)
                chart = heat_map(counts, degrees, f"{name}: camera", index=index, cell=9)
                maps.append(figure("", chart, {name: index}))
        if maps:
            tasks.append(element("div", bar_chart(task, rows, label=f"{task}: buttons", names=names), tiles(maps)))
    explained = (
        "Share of steps with each button pressed, under the task's own prompt; below, camera movements in the policy's 11 by 11 bins "
        "(up is up, the middle is no movement)."
    )
    return [note(explained), grid(tasks)] if tasks else []


def _failures(entries: Sequence[Mapping[str, Any]]) -> list[Html | Table]:
    films = [
        video(entry["video"], f"{entry['contestant']}, {entry['task']}, episode {entry['number']}: {entry['why']}")
        for entry in entries
        if entry["video"]
    ]
    missing = (
        "None of them was recorded: the same command with --record_failures 6 plays six of them again and records them."
    )
    return [failures_table(entries), tiles(films) or note(missing)] if entries else []
