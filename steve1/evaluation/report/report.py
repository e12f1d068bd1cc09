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
from steve1.core.messages import message
from steve1.data.media.video import poster
from steve1.evaluation.report.insight import button_shares, camera_counts, similarity_curve
from steve1.evaluation.report.sentences import (
    Summary,
    failure_reason,
    first_lines,
    label,
    needs,
    notes,
    task_label,
    verdicts,
)
from steve1.evaluation.report.tables import (
    attribution_table,
    comparisons_csv,
    comparisons_table,
    cross_tables,
    failures_table,
    rates_csv,
    rates_table,
    settings_list,
)
from steve1.evaluation.runner.plan import Plan
from steve1.evaluation.statistics.summary import Lines
from steve1.reporting.charts import Bar, bar_chart, figure, grid, heat_map, line_chart
from steve1.reporting.html import Html, element, join, tiles, video
from steve1.reporting.numbers import percent_range
from steve1.reporting.page import Block, Report, Section, note
from steve1.reporting.tables import Table


def write_report(plan: Plan, summary: Summary, lines: Lines, videos: Mapping[str, str]) -> dict[str, Path]:
    """Write all files; returns {"md" | "json" | "csv" | "comparisons" | "html": path}.

    Args:
        videos: {caption: path relative to the plan's folder} of videos to show side by side.
    """
    settings = plan.facts()
    names = ", ".join(next(iter(summary["rates"].values())))
    is_answer = "fine-tuned" in summary["roles"].values()
    title = message("evaluation title") if is_answer else message("evaluation of", names=names)
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
    write_json(
        paths["json"],
        {
            "title": title,
            "settings": settings,
            "answer": first_lines(summary, plan.tasks),
            "sentences": verdicts(summary, plan.tasks),
            **summary,
        },
    )
    return paths


def sections(
    plan: Plan, summary: Summary, lines: Lines, videos: Mapping[str, str], settings: Mapping[str, Any]
) -> list[Section]:
    """What the report shows, the answer first; charts and videos are for the page alone."""
    names = list(next(iter(summary["rates"].values())))
    said = verdicts(summary, plan.tasks)
    rules = [f"{task_label(task)} ({task.name}): {needs(task)}" for task in plan.tasks]
    steps = sum(line["steps"] for line in lines)
    numbers: list[Block] = [
        message("played", episodes=len(lines), steps=f"{steps:,}"),
        rates_table(summary, plan.tasks),
        *notes(summary),
        comparisons_table(summary),
        note(message("statistics explained")) if said else "",
    ]
    answer: list[Block] = [
        *first_lines(summary, plan.tasks),
        said,
        tiles([video(path, caption, poster(plan.folder / path)) for caption, path in videos.items()]),
        _rate_bars(summary, names),
        rules,
    ]
    return [
        Section("", answer),
        Section(message("statistics"), numbers, folded=True),
        Section(message("which part fails"), [attribution_table(summary.get("attribution", {}))]),
        Section(message("failures"), _failures(plan, summary)),
        Section(message("similarity"), _similarity(plan, lines, summary, names), folded=True),
        Section(message("actions"), _actions(plan, lines, summary, names), folded=True),
        Section(message("cross"), cross_tables(summary, plan.tasks), folded=True),
        Section(message("settings"), [settings_list(settings, summary)], folded=True),
    ]


def _rate_bars(summary: Summary, names: Sequence[str]) -> Html:
    def bar(name: str, rate: Mapping[str, Any] | None) -> Bar | None:
        if not rate:
            return None
        ends, count = (rate["low"], rate["high"]), f"{rate['successes']}/{rate['episodes']}"
        return Bar(rate["rate"], count, ends, f"{label(summary, name)}: {count}, {percent_range(*ends)}")

    rows = {task: [bar(name, rates.get(name)) for name in names] for task, rates in summary["rates"].items()}
    labels = [label(summary, name) for name in names]
    said = message("chart rates")
    chart = bar_chart("", rows, label=said, names=labels, axis=True, values=message("success rate"), width=440)
    return join([chart, note(said)])


def _similarity(plan: Plan, lines: Lines, summary: Summary, names: Sequence[str]) -> list[Html]:
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for task in plan.tasks:
        curves = [similarity_curve(plan.folder, lines, task.name, name) for name in names]
        if any(curve is not None for curve in curves):
            found[task.name] = {
                label(summary, name): [
                    (n / 20, float(value)) for n, value in enumerate(curve if curve is not None else [])
                ]
                for name, curve in zip(names, curves)
            }
    values = [y for series in found.values() for points in series.values() for _, y in points if math.isfinite(y)]
    explained = message("similarity explained", count=plan.settings.similarity)
    charts = [
        line_chart(
            task,
            series,
            label=f"{task}: {message('similarity')}",
            unit=message("seconds"),
            values=message("cosine"),
            span=(min(values), max(values)),
        )
        for task, series in found.items()
        if values
    ]
    return [note(explained), grid(charts)] if found else []


def _actions(plan: Plan, lines: Lines, summary: Summary, names: Sequence[str]) -> list[Html]:
    degrees = np.asarray(actions.BIN_DEGREES).tolist()
    labels = [label(summary, name) for name in names]
    tasks = []
    for task in (task.name for task in plan.tasks):
        shares = [button_shares(lines, task, name) for name in names]
        buttons = [each for each in max(shares, key=len) if max(found.get(each, 0.0) for found in shares) >= 0.001]
        rows = {button: [Bar(found[button]) if found else None for found in shares] for button in buttons}
        maps = []
        for index, name in enumerate(names):
            if shares[index]:
                counts = camera_counts(plan.folder, lines, task, name)
                if not counts.any():
                    continue
                chart = heat_map(counts, degrees, message("camera", who=labels[index]), index=index, cell=9)
                maps.append(figure("", chart, {labels[index]: index}))
        if maps:
            bars = bar_chart(task, rows, names=labels, values=message("share of steps"))
            tasks.append(element("div", bars, tiles(maps)))
    explained = message("actions explained")
    return [note(explained), grid(tasks)] if tasks else []


def _failures(plan: Plan, summary: Summary) -> list[Html | Table | str]:
    """Those that were filmed, and how to film the others."""
    entries = summary["failures"]
    filmed = [entry for entry in entries if entry["video"]]
    films = [
        video(
            entry["video"],
            f"{label(summary, entry['contestant'])}, {message('film', task=entry['task'], number=entry['number'])}: {failure_reason(entry, summary)}",
            poster(plan.folder / entry["video"]),
        )
        for entry in filmed
    ]
    others = [number for number, entry in enumerate(entries, 1) if not entry["video"]]
    count, wanted = len(others), others[:6][-1] if others else 0
    more = (
        message("failures not filmed" if count > 1 else "failure not filmed", count=count, some=wanted) if count else ""
    )
    return [failures_table(filmed, summary), tiles(films), more]
