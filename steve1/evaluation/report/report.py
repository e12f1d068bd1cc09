"""An evaluation for people: Markdown to paste, JSON and CSV to compute with; the HTML page is `page`'s.

In: a plan, its summary and lines. Out: report.md, report.json, report.csv, comparisons.csv, report.html in the run's folder, each
written whole.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.core.files import atomic_file, write_json
from steve1.evaluation.runner.campaign import Plan
from steve1.evaluation.statistics.attribution import NAMES, SOURCES
from steve1.evaluation.tasks.suite import Task


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
    """Task by policy: successes of episodes, interval, mean measure."""
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
    """Each later policy against the first, paired; empty without comparisons."""
    rows = []
    for who, tasks in summary["comparisons"].items():
        for task, row in tasks.items():
            verdict = verdict_text(row)
            change = f"{100 * row['difference']:+.0f} points"
            low, high = row["measure_bootstrap"]
            rows.append(
                [who, task, str(row["pairs"]), change, interval_text(*row["interval"]), interval_text(*row["bootstrap"]),
                 p_text(row["p_mcnemar"]), p_text(row["p_holm"]), f"{row['measure_difference']:+.1f} ({low:+.1f} to {high:+.1f})", verdict]
            )  # fmt: skip
    if not rows:
        return ""
    head = [f"against {summary['base']}", "task", "pairs", "change", "95 % interval", "(bootstrap)", "p (exact paired)",
            "p (Holm)", "mean measure", "verdict"]  # fmt: skip
    return markdown_table(head, rows)


def verdict_text(row: Mapping[str, Any]) -> str:
    """A comparison's verdict, and what would settle it."""
    if row["verdict"] == "–":
        return "–"
    return f"{row['asked']} {row['verdict']}" + (
        f" (about {row['further_episodes']} more)" if row["further_episodes"] else ""
    )


def attribution_table(found: Mapping[str, Any]) -> str:
    """Success under each kind of goal, the differences from the prior's, and which part fails; empty without."""
    rows = []
    for who, tasks in found.items():
        for task, row in tasks.items():
            changes = [
                f"{100 * row[source]['difference']:+.0f} ({interval_text(*row[source]['interval'])})"
                for source in SOURCES[1:]
            ]
            rows.append([who, task, *(cell_text(row["rates"][source]) for source in SOURCES), *changes, row["verdict"]])
    head = ["weights", "task", *(NAMES[source] for source in SOURCES), "text - prior", "shown - prior", "what fails"]
    return markdown_table(head, rows) if rows else ""


def failures_table(entries: Sequence[Mapping[str, Any]]) -> str:
    """Failures worth watching; empty without."""
    rows = [[entry["contestant"], entry["task"], str(entry["number"]), f"{entry['measure']:.1f}", entry["why"] + (f"; {entry['again']}" if "again" in entry else ""),
             entry["video"] or "not filmed"] for entry in entries]  # fmt: skip
    return markdown_table(["weights", "task", "episode", "measure", "why", "video"], rows) if rows else ""


def target_sentence(summary: Mapping[str, Any]) -> str:
    """Which tasks are asked "improved?" and which "kept?"; empty without comparisons."""
    if not any(row["asked"] != "–" for tasks in summary["comparisons"].values() for row in tasks.values()):
        return ""
    if not summary["target"]:
        return 'Every task counts as a skill to be kept. If one was to be learnt, name it (--target TASK): it is then asked "improved?".'
    others = '; of every other one, "kept?"' if set(summary["rates"]) - set(summary["target"]) else ""
    return f'Asked of {", ".join(summary["target"])}: "improved?"{others}.'


def looks_sentence(summary: Mapping[str, Any]) -> str:
    """What the repeated looks of an adaptive evaluation did to its intervals; empty for a fixed number of episodes."""
    looks = summary["looks"]
    if not looks:
        return ""
    return (
        f"Played until settled, with looks after {', '.join(map(str, looks))} pairs. Each interval is one of {100 * summary['confidence']:.1f} %, and each p is "
        f"multiplied by {len(looks)}, so that together, wherever it stopped, they hold at 95 %."
    )


def cross_tables(summary: Mapping[str, Any], tasks: Sequence[Task]) -> str:
    """What each prompt does for each task, one table a policy."""
    parts = []
    for who, rows in summary["cross"].items():
        body = [[row, *(cell_text(cells.get(task.name)) for task in tasks)] for row, cells in rows.items()]
        parts.append(
            f"**{who}**: asked for (row), success of (column)\n\n"
            + markdown_table(["", *(task.name for task in tasks)], body)
        )
    return "\n\n".join(parts)


def settings_list(settings: Mapping[str, Any]) -> str:
    """Who played what, with hashes, as Markdown points."""
    who = []
    for entry in settings["contestants"]:
        facts = [entry.get("weights", entry["kind"]), entry.get("sha256", "")[:12]]
        facts += [
            f"{name} {entry[name]}"
            for name in ("cond_scale", "temperature", "mineclip", "prior", "goal")
            if entry.get(name) not in (None, "")
        ]
        who.append(f"- {entry['name']}: " + ", ".join(fact for fact in facts if fact))
    looks = f", looks {settings['looks']}" if settings.get("looks") else ""
    facts = [
        f"- seed {settings['seed']}, {settings['episodes']} episodes{looks}, suite {settings['suite']} ({settings['suite_sha256'][:12]}), env {settings['env']}"
    ]
    facts += [f'- {row}: "{prompt}"' for row, prompt in settings["prompts"].items()]
    return "\n".join(who + facts)


def render_markdown(title: str, summary: Mapping[str, Any], tasks: Sequence[Task], settings: Mapping[str, Any]) -> str:
    """The whole report as Markdown."""
    parts = [f"# {title}", "Successes of episodes with Wilson's 95 % interval; same seeds and start states for all."]
    parts += [looks_sentence(summary), rates_table(summary, tasks)]
    differences = [target_sentence(summary), comparisons_table(summary)]
    sections = {
        "Differences": "\n\n".join(text for text in differences if text),
        "Which part fails?": attribution_table(summary.get("attribution", {})),
        "Failures worth watching": failures_table(summary.get("failures", [])),
        "Cross table": cross_tables(summary, tasks),
        "Settings": settings_list(settings),
    }
    for name, text in sections.items():
        parts += [f"## {name}", text] if text else []
    return "\n\n".join(part for part in parts if part) + "\n"


def render_csv(summary: Mapping[str, Any]) -> str:
    """One line for each policy, row and task."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["contestant", "asked_for", "task", "successes", "episodes", "rate", "low", "high", "mean_measure"])
    for who, rows in summary["cross"].items():
        for row, cells in rows.items():
            for task, cell in cells.items():
                numbers = [f"{cell[name]:.6f}" for name in ("rate", "low", "high", "mean_measure")]
                writer.writerow([who, row, task, cell["successes"], cell["episodes"], *numbers])
    return out.getvalue()


def render_comparisons_csv(summary: Mapping[str, Any]) -> str:
    """One line for each comparison with the base."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    numbers = ["pairs", "gained", "lost", "difference", "p_mcnemar", "p_holm", "measure_difference", "further_episodes"]
    ends = ["interval", "bootstrap", "measure_bootstrap"]
    writer.writerow(
        [
            "contestant",
            "base",
            "task",
            *numbers,
            *(f"{name}_{end}" for name in ends for end in ("low", "high")),
            "asked",
            "verdict",
        ]
    )
    for who, tasks in summary["comparisons"].items():
        for task, row in tasks.items():
            intervals = [f"{value:.6f}" for name in ends for value in row[name]]
            writer.writerow(
                [
                    who,
                    summary["base"],
                    task,
                    *(f"{row[name]:.6g}" for name in numbers),
                    *intervals,
                    row["asked"],
                    row["verdict"],
                ]
            )
    return out.getvalue()


def write_report(
    plan: Plan,
    title: str,
    summary: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    videos: Mapping[str, str] | None = None,
) -> dict[str, Path]:
    """Write all files; returns {"md" | "json" | "csv" | "comparisons" | "html": path}."""
    from steve1.evaluation.report.page import render_page

    settings = plan.settings()
    texts = {
        "report.md": render_markdown(title, summary, plan.tasks, settings),
        "report.csv": render_csv(summary),
        "comparisons.csv": render_comparisons_csv(summary),
        "report.html": render_page(plan, title, summary, lines, videos or {}),
    }
    for name, text in texts.items():
        with atomic_file(plan.folder / name, "w") as handle:
            handle.write(text)
    write_json(plan.folder / "report.json", {"title": title, "settings": settings, **summary})
    names = {
        "md": "report.md",
        "json": "report.json",
        "csv": "report.csv",
        "comparisons": "comparisons.csv",
        "html": "report.html",
    }
    return {kind: plan.folder / name for kind, name in names.items()}
