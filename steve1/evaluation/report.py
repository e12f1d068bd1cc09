"""An evaluation for people: Markdown to paste, JSON and CSV to compute with, one HTML page to look at.

In: the summary of an evaluation and its settings. Out: report.md, report.json, report.csv, report.html in the run's folder, each written
whole. The page needs nothing beside it but the videos it links to.
"""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.core.files import atomic_file, write_json

from .suite import Task


def percent(value: float) -> str:
    """0.5 → "50 %"."""
    return f"{100 * value:.0f} %"


def p_text(p: float) -> str:
    """A p-value as people write it."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def cell_text(cell: Mapping[str, Any] | None) -> str:
    """ "8/20 (22-61 %)", or a dash."""
    if not cell:
        return "–"
    return f"{cell['successes']}/{cell['episodes']} ({100 * cell['low']:.0f}-{100 * cell['high']:.0f} %)"


def interval_text(low: float, high: float) -> str:
    """An interval of a difference of rates, in points."""
    return f"{100 * low:+.0f} to {100 * high:+.0f}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def rates_table(summary: Mapping[str, Any], tasks: Sequence[Task]) -> str:
    """Task by contestant: successes of episodes, interval, mean measure."""
    names = list(next(iter(summary["rates"].values())))
    rows = []
    for task in tasks:
        cells = summary["rates"][task.name]
        row = [task.name]
        for name in names:
            cell = cells[name]
            row.append(cell_text(cell) + (f", mean {cell['mean_measure']:.1f}" if cell else ""))
        rows.append(row + [task.measure_name])
    return markdown_table(["task", *names, "the mean is of"], rows)


def comparisons_table(summary: Mapping[str, Any]) -> str:
    """Each later contestant against the first, paired; empty without comparisons."""
    rows = []
    for who, tasks in summary["comparisons"].items():
        for task, row in tasks.items():
            verdict = row["retention"] + (f" (about {row['further_episodes']} more)" if row["further_episodes"] else "")
            change = f"{100 * row['difference']:+.0f} points"
            low, high = row["measure_bootstrap"]
            rows.append(
                [who, task, str(row["pairs"]), change, interval_text(*row["interval"]), interval_text(*row["bootstrap"]),
                 p_text(row["p_mcnemar"]), p_text(row["p_holm"]), f"{row['measure_difference']:+.1f} ({low:+.1f} to {high:+.1f})", verdict]
            )  # fmt: skip
    if not rows:
        return ""
    head = [f"against {summary['base']}", "task", "pairs", "change", "95 % interval (Newcombe)", "(bootstrap)", "p (exact paired)",
            "p (Holm)", "mean measure", "skill kept within 10 points?"]  # fmt: skip
    return markdown_table(head, rows)


def cross_tables(summary: Mapping[str, Any], tasks: Sequence[Task]) -> str:
    """What each prompt does for each task, one table a contestant."""
    parts = []
    for who, rows in summary["cross"].items():
        body = [[row, *(cell_text(cells.get(task.name)) for task in tasks)] for row, cells in rows.items()]
        parts.append(f"**{who}**: asked for (row), success of (column)\n\n" + markdown_table(["", *(task.name for task in tasks)], body))
    return "\n\n".join(parts)


def render_markdown(title: str, summary: Mapping[str, Any], tasks: Sequence[Task], settings: Mapping[str, Any]) -> str:
    """The whole report as Markdown."""
    parts = [f"# {title}", "Successes of episodes with Wilson's 95 % interval; same seeds and start states for all.", rates_table(summary, tasks)]
    comparisons = comparisons_table(summary)
    if comparisons:
        parts += ["## Differences", comparisons]
    parts += ["## Cross table", cross_tables(summary, tasks)]
    who = [f"- {entry['name']}: {entry.get('weights', entry['kind'])} {entry.get('sha256', '')[:12]}".rstrip() for entry in settings["contestants"]]
    facts = [f"- seed {settings['seed']}, {settings['episodes']} episodes, suite {settings['suite']} ({settings['suite_sha256'][:12]}), env {settings['env']}"]
    return "\n\n".join([*parts, "## Settings", "\n".join(who + facts)]) + "\n"


def render_csv(summary: Mapping[str, Any]) -> str:
    """One line for each contestant, row and task."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["contestant", "asked_for", "task", "successes", "episodes", "rate", "low", "high", "mean_measure"])
    for who, rows in summary["cross"].items():
        for row, cells in rows.items():
            for task, cell in cells.items():
                numbers = [f"{cell[name]:.6f}" for name in ("rate", "low", "high", "mean_measure")]
                writer.writerow([who, row, task, cell["successes"], cell["episodes"], *numbers])
    return out.getvalue()


_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1100px;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}td,th{border:1px solid #ccc;padding:4px 9px;text-align:left}
th{background:#f2f2f2}h2{margin-top:2em}.bars text{font-size:12px}video{max-width:100%}code{font-size:12px}"""
_COLOURS = ("#4878a8", "#e08a3c", "#5a9e6f", "#b65d5d", "#8770a8", "#7a7a7a")


def _bars(summary: Mapping[str, Any], tasks: Sequence[Task]) -> str:
    """Bars of success rates with their intervals, as inline SVG."""
    names = list(next(iter(summary["rates"].values())))
    thick, gap, left, width = 14, 14, 190, 560
    rows, y = [], 24
    for index, name in enumerate(names):
        x = left + 150 * index
        rows.append(f'<rect x="{x}" y="2" width="12" height="12" fill="{_COLOURS[index % 6]}"/><text x="{x + 17}" y="12">{html.escape(name)}</text>')
    for task in tasks:
        rows.append(f'<text x="{left - 8}" y="{y + thick * len(names) / 2 + 4}" text-anchor="end">{html.escape(task.name)}</text>')
        for index, name in enumerate(names):
            cell = summary["rates"][task.name][name]
            if cell:
                bar, low, high = (left + width * cell[key] for key in ("rate", "low", "high"))
                middle = y + thick / 2 - 1
                rows.append(
                    f'<rect x="{left}" y="{y}" width="{bar - left:.1f}" height="{thick - 3}" fill="{_COLOURS[index % 6]}"/>'
                    f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8" stroke="#222" fill="none"/>'
                    f'<text x="{max(bar, high) + 8:.1f}" y="{middle + 4}">{cell["successes"]}/{cell["episodes"]}</text>'
                )
            y += thick
        y += gap
    axis = "".join(f'<text x="{left + width * tick / 100}" y="{y + 12}" text-anchor="middle">{tick} %</text>' for tick in (0, 25, 50, 75, 100))
    size = max(left + width + 90, left + 150 * len(names))
    return f'<svg class="bars" viewBox="0 0 {size} {y + 18}" width="{size}">{"".join(rows)}{axis}</svg>'


def _html_tables(markdown: str) -> str:
    """The few Markdown forms that the report uses, as HTML."""
    out: list[str] = []
    for block in markdown.split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0].startswith("|"):
            cells = [[html.escape(cell.strip()) for cell in line.strip("|").split(" | ")] for line in lines if not line.startswith("|---")]
            head = "".join(f"<th>{cell}</th>" for cell in cells[0])
            body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in cells[1:])
            out.append(f"<table><tr>{head}</tr>{body}</table>")
        elif block.startswith("#"):
            level = len(block) - len(block.lstrip("#"))
            out.append(f"<h{level}>{html.escape(block[level:].strip())}</h{level}>")
        elif lines and lines[0].startswith("- "):
            out.append("<ul>" + "".join(f"<li>{html.escape(line[2:])}</li>" for line in lines) + "</ul>")
        elif block.strip():
            out.append(f"<p>{html.escape(block).replace('**', '')}</p>")
    return "\n".join(out)


def render_html(title: str, summary: Mapping[str, Any], tasks: Sequence[Task], settings: Mapping[str, Any], videos: Mapping[str, str]) -> str:
    """One self-contained page. `videos`: {caption: path relative to the page}."""
    body = _html_tables(render_markdown(title, summary, tasks, settings))
    head, rest = body.split("</h1>", 1)
    shown = "".join(
        f'<h3>{html.escape(caption)}</h3><video controls preload="metadata" src="{html.escape(path)}"></video>' for caption, path in videos.items()
    )
    films = f"<h2>Videos</h2>{shown}" if videos else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
        f"<body>{head}</h1>{_bars(summary, tasks)}{rest}{films}</body></html>\n"
    )


def write_report(
    folder: Path, title: str, summary: Mapping[str, Any], tasks: Sequence[Task], settings: Mapping[str, Any],
    videos: Mapping[str, str] | None = None,
) -> dict[str, Path]:  # fmt: skip
    """Write all four files; returns {"md" | "json" | "csv" | "html": path}."""
    texts = {
        "md": render_markdown(title, summary, tasks, settings),
        "csv": render_csv(summary),
        "html": render_html(title, summary, tasks, settings, videos or {}),
    }
    paths = {kind: folder / f"report.{kind}" for kind in ("md", "json", "csv", "html")}
    for kind, text in texts.items():
        with atomic_file(paths[kind], "w") as handle:
            handle.write(text)
    write_json(paths["json"], {"title": title, "settings": settings, **summary})
    return paths
