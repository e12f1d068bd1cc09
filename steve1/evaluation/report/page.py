"""The HTML page of a report: everything that one would want to look at, in one file.

In: a plan, its summary and lines, films. Out: a page with tables, charts as inline SVG, and links to the videos beside it; no script, nothing
from the net.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steve1.evaluation.report import charts
from steve1.evaluation.report.insight import button_shares, camera_shares, similarity_curves
from steve1.evaluation.report.report import (
    attribution_table,
    cell_text,
    cross_tables,
    interval_text,
    looks_sentence,
    p_text,
    percent,
    settings_list,
    target_sentence,
    verdict_text,
)
from steve1.evaluation.runner.campaign import Plan
from steve1.evaluation.statistics.tests import UNDECIDED

_STYLE = """:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1120px;padding:0 1em;color:#222;background:#fff}
h1{margin-bottom:.2em}h2{margin-top:2em;border-bottom:1px solid #ddd}h3{margin:1.2em 0 .3em}.note{color:#555;max-width:52em}
.scroll{overflow-x:auto}table{border-collapse:collapse;margin:.8em 0}td,th{border:1px solid #d4d4d4;padding:4px 9px;text-align:left;vertical-align:top}
th{background:#f3f3f3}td.good{background:#e3f3e3}td.bad{background:#f9e0de}td.open{background:#f7f2dc}
svg{max-width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#333}
.legend span{margin-right:1.4em;white-space:nowrap}.legend i{display:inline-block;width:12px;height:12px;margin-right:6px;border-radius:2px}
.tiles{display:flex;flex-wrap:wrap;gap:14px 26px}.tiles figure{margin:0}.tiles figcaption{font-size:12px;color:#444}
video{max-width:min(100%,640px);background:#000}code,pre{font-size:12px}li{overflow-wrap:anywhere}"""

_SHADES = {"kept": "good", "improved": "good", "lost": "bad", "worse": "bad", **dict.fromkeys(UNDECIDED, "open")}


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], shades: Mapping[tuple[int, int], str] | None = None
) -> str:
    """A table of escaped cells; `shades`: {(row, column): class}."""
    body = []
    for y, row in enumerate(rows):
        cells = (f'<td class="{(shades or {}).get((y, x), "")}">{html.escape(cell)}</td>' for x, cell in enumerate(row))
        body.append(f"<tr>{''.join(cells)}</tr>".replace(' class=""', ""))
    heads = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    return f'<div class="scroll"><table><tr>{heads}</tr>{"".join(body)}</table></div>'


def from_markdown(text: str) -> str:
    """The few Markdown forms that a report uses (tables, points, paragraphs), as HTML."""
    out: list[str] = []
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0].startswith("|"):
            cells = [
                [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if not line.startswith("|---")
            ]
            out.append(_table(cells[0], cells[1:]))
        elif lines and lines[0].startswith("- "):
            out.append("<ul>" + "".join(f"<li>{html.escape(line[2:])}</li>" for line in lines) + "</ul>")
        elif block.strip():
            out.append(f"<p>{html.escape(block).replace('**', '')}</p>")
    return "\n".join(out)


def _rates(plan: Plan, summary: Mapping[str, Any], names: Sequence[str]) -> str:
    rows = []
    for task in plan.tasks:
        cells = [summary["rates"][task.name].get(name) for name in names]
        prompt = next((row.prompt for row in plan.rows if row.task == task.name), "")
        texts = [cell_text(cell) + (f", mean {cell['mean_measure']:.1f}" if cell else "") for cell in cells]
        rows.append([task.name, prompt, *texts, task.measure_name])
    return _table(["task", "asked for", *names, "the mean is of"], rows)


def _differences(summary: Mapping[str, Any]) -> str:
    rows: list[list[str]] = []
    shades: dict[tuple[int, int], str] = {}
    for who, tasks in summary["comparisons"].items():
        for task, row in tasks.items():
            low, high = row["measure_bootstrap"]
            shades[len(rows), 8] = _SHADES.get(row["verdict"], "")
            counts = f"{row['pairs']} (+{row['gained']} / -{row['lost']})"
            rows.append(
                [who, task, counts, f"{100 * row['difference']:+.0f}", interval_text(*row["interval"]), interval_text(*row["bootstrap"]),
                 f"{p_text(row['p_mcnemar'])} / {p_text(row['p_holm'])}", f"{row['measure_difference']:+.1f} ({low:+.1f} to {high:+.1f})", verdict_text(row)]
            )  # fmt: skip
    if not rows:
        return ""
    head = [
        f"against {summary['base']}",
        "task",
        "pairs (gained / lost)",
        "points",
        "95 % interval",
        "bootstrap",
        "p exact / Holm",
        "measure",
        "verdict",
    ]
    return (
        "<p class=\"note\">Pairs are episodes on the same seed and start place. The interval is Newcombe's for paired rates, p is McNemar's exact "
        "one, Holm's corrects it for the number of tasks. Improved or worse: the exact p is below 0.05. Kept: the whole interval lies above -10 points. "
        f"{html.escape(target_sentence(summary))}</p>" + _table(head, rows, shades)
    )


def _headline(summary: Mapping[str, Any]) -> str:
    """The result in a sentence for each policy."""
    out = []
    for who, tasks in summary["comparisons"].items():
        by: dict[str, list[str]] = {}
        for task, row in tasks.items():
            by.setdefault(row["verdict"], []).append(task)
        said = [f"{verdict}: {', '.join(found)}" for verdict, found in by.items() if verdict != "–"]
        if said:
            out.append(
                f"<li><b>{html.escape(who)}</b> against {html.escape(summary['base'])}. {html.escape('; '.join(said))}.</li>"
            )
    return f"<ul>{''.join(out)}</ul>" if out else ""


def _similarity(plan: Plan, lines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    found = similarity_curves(plan.folder, lines, [task.name for task in plan.tasks], names)
    if not found:
        return ""
    values = np.concatenate([row[np.isfinite(row)] for curves in found.values() for row in curves.values()])
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    tiles = "".join(
        f"<figure>{charts.curves(curves, names, task, low, high)}</figure>" for task, curves in found.items()
    )
    return (
        "<h2>Goal similarity over time</h2>"
        f"<p class=\"note\">Cosine of MineCLIP's embedding of the last 16 frames with the goal that the prior makes of the task's prompt, mean over the first "
        f"{plan.similarity} episodes of each. One MineCLIP judges all; baselines are judged by the same goals.</p>"
        f'{charts.legend(names)}<div class="tiles">{tiles}</div>'
    )


def _actions(plan: Plan, lines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    shares = button_shares(lines, [task.name for task in plan.tasks], names)
    tiles = []
    for task, by_name in shares.items():
        grids = []
        for index, name in enumerate(names):
            if name in by_name:
                counts = camera_shares(plan.folder, lines, task, name)
                grids.append(
                    f"<figure>{charts.camera_grid(counts, index, name)}<figcaption>{html.escape(name)}</figcaption></figure>"
                )
        tiles.append(
            f'<figure>{charts.button_bars(by_name, names, task)}<div class="tiles">{"".join(grids)}</div></figure>'
        )
    return (
        "<h2>Actions</h2>"
        "<p class=\"note\">Share of steps with each button pressed, under the task's own prompt; below, the camera's movements in the policy's eleven by eleven "
        f'classes (the middle is no movement).</p>{charts.legend(names)}<div class="tiles">{"".join(tiles)}</div>'
    )


def _video(path: str, caption: str) -> str:
    return f'<figure><video controls preload="metadata" src="{html.escape(path)}"></video><figcaption>{html.escape(caption)}</figcaption></figure>'


def _failures(entries: Sequence[Mapping[str, Any]]) -> str:
    if not entries:
        return ""
    rows = [
        [entry["contestant"], entry["task"], str(entry["number"]), f"{entry['measure']:.1f}", entry["why"], entry.get("again", ""),
         "below" if entry["video"] else "not filmed"]
        for entry in entries
    ]  # fmt: skip
    films = [
        _video(entry["video"], f"{entry['contestant']}, {entry['task']}, episode {entry['number']}: {entry['why']}")
        for entry in entries
        if entry["video"]
    ]
    hint = (
        ""
        if films
        else '<p class="note">None of them was filmed: the same command with --record_failures 6 plays six of them again and films them.</p>'
    )
    table = _table(["weights", "task", "episode", "measure", "why", "played again", "video"], rows)
    return f'<h2>Failures worth watching</h2>{table}{hint}<div class="tiles">{"".join(films)}</div>'


def render_page(
    plan: Plan, title: str, summary: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], videos: Mapping[str, str]
) -> str:
    """The whole page. `videos`: {caption: path relative to the page}."""
    names = list(next(iter(summary["rates"].values())))
    steps = sum(line["steps"] for line in lines)
    films = "".join(_video(path, caption) for caption, path in videos.items())
    attribution = attribution_table(summary.get("attribution", {}))
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="note">{len(lines)} episodes, {steps} steps. Successes of episodes with Wilson\'s {percent(0.95)} interval; the same seeds and start places '
        f"for all. {html.escape(looks_sentence(summary))}</p>",
        _headline(summary),
        charts.legend(names),
        charts.rate_bars(summary["rates"], names),
        _rates(plan, summary, names),
        f"<h2>Differences</h2>{_differences(summary)}" if summary["comparisons"] else "",
        f"<h2>Which part fails?</h2>{from_markdown(attribution)}" if attribution else "",
        f'<h2>Side by side</h2><div class="tiles">{films}</div>' if films else "",
        _similarity(plan, lines, names),
        _failures(summary.get("failures", [])),
        _actions(plan, lines, names),
        f"<h2>What each prompt does for every task</h2><details><summary>cross table</summary>{from_markdown(cross_tables(summary, plan.tasks))}</details>",
        f"<h2>Settings</h2>{from_markdown(settings_list(plan.settings()))}",
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(part for part in parts if part) + "\n</body></html>\n"
    )
