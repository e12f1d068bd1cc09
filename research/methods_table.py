"""Command: what `tools/measure_methods.sh` measured, as one table: `python -m research.methods_table`.

Input: the logs of its evaluations and the folders of its training runs, however many are finished.
Output: data/evaluations/<name>.md, and on request
the same between two marks of a page.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steve1.commands.cli import run
from steve1.core.errors import UserError
from steve1.core.files import atomic_file, read_json
from steve1.core.paths import ROOT, display, resolve
from steve1.evaluation.report.tables import success_text
from steve1.evaluation.runner.log import EpisodeLog
from steve1.evaluation.statistics.summary import Line, compare, own_row, rate
from steve1.policy import read_model
from steve1.reporting.numbers import p_value, points_range
from steve1.reporting.tables import Table
from steve1.training.config import TrainSettings
from steve1.training.finetune_modes import MODES
from steve1.training.logging.reporter import rate_text
from steve1.training.memory.estimate import Method, parameter_counts
from steve1.training.report.findings import Run, read_run

# Recipes that are no mode of their own, and every mode.
METHODS = {
    "mixed": "mixed: 55 % old skills",
    "kl": "KL to the start",
    "fixed_prompt": "fixed prompt",
} | {name: f"{name}: {mode.help}" for name, mode in MODES.items()}
BEGIN, END = "<!-- measured methods: begin -->", "<!-- measured methods: end -->"
OLD = "old skills"


@dataclasses.dataclass(frozen=True)
class Args:
    """Which measurement."""

    name: str = "methods"
    """NAME of tools/measure_methods.sh."""
    new_task: str = "dig_dirt"
    """The skill that was to be learned."""
    old_tasks: tuple[str, ...] = ("look_at_sky", "explore", "build_pillar")
    """The skills that were to be kept."""
    insert: str = ""
    """Also put the table into this page, between its marks for measured methods."""


def main(args: Args) -> None:
    """Print the table, write it, and put it into the page where one is named."""
    text = page(args)
    path = ROOT / "data/evaluations" / f"{args.name}.md"
    with atomic_file(path) as file:
        file.write(text.encode())
    print(text)
    if args.insert:
        insert(resolve(args.insert), text)
    print(f"table: {display(path)}" + (f", and in {args.insert}" if args.insert else ""))


def page(args: Args) -> str:
    """The table and what it rests on.

    Raises:
        UserError: nothing has been played.
    """
    logs = {kind: log_lines(args.name + kind) for kind in ("", "_goal")}
    lines = [*logs[""], *logs["_goal"]]
    base = next((str(each) for kind in logs for each in policies(args.name + kind)), "")
    if not lines:
        raise UserError(
            "No episode of this measurement has been played.",
            where=f"data/evaluations/{args.name}",
            todo="bash tools/measure_methods.sh",
        )
    tasks = (args.new_task, *args.old_tasks)
    rows = [["as it starts", "–", "–", *cells(logs[""] or lines, base, base, tasks), "", ""]]
    for method, words in METHODS.items():
        who = f"{args.name}_{method}"
        own = logs["_goal"] if method == "goal" else logs[""]
        if any(line["contestant"] == who for line in own):
            unlosable = "cannot be lost" if method == "goal" else "–"
            rows.append(
                [
                    words,
                    *training(args.name, method),
                    *cells(own, who, base, tasks, unlosable),
                    *losses(args.name, method),
                ]
            )
    head = ["method", "trained numbers", "rate", f"{words_of(args.new_task)} (new)", "against the start", f"{OLD} together", "against the start",
            *(words_of(task) for task in args.old_tasks), "loss, new skill", f"loss, {OLD}"]  # fmt: skip
    return Table(head, rows).markdown() + "\n\n" + grounds(args, lines) + "\n"


def log_lines(name: str) -> list[Line]:
    """The episodes of an evaluation; none where it has not begun."""
    folder = ROOT / "data/evaluations" / name
    if not (folder / "episodes.jsonl").is_file():
        return []
    return list(EpisodeLog(folder, read_json(folder / "settings.json")).lines.values())


def policies(name: str) -> list[str]:
    """Names of those who played; the first is the base."""
    path = ROOT / "data/evaluations" / name / "settings.json"
    return [facts["name"] for facts in read_json(path)["contestants"]] if path.is_file() else []


def words_of(task: str) -> str:
    """A task's name as words."""
    return task.replace("_", " ")


def pooled(lines: Sequence[Line], who: str, tasks: Sequence[str]) -> list[dict[str, Any]]:
    """Episodes of several tasks as if of one: a success is a success."""
    return [
        {
            "number": (task, line["number"]),
            "success": {OLD: line["success"][task]},
            "measure": {OLD: float(line["success"][task])},
        }
        for task in tasks
        for line in own_row(lines, task, who)
    ]


def cells(lines: Sequence[Line], who: str, base: str, tasks: Sequence[str], unplayed: str = "–") -> list[str]:
    """Successes of the new task and its change, of the old ones together (or `unplayed`) and their change, and of each."""
    new, *old = tasks
    own, start = own_row(lines, new, who), own_row(lines, new, base)
    together = pooled(lines, who, old)
    old_cells = [own_row(lines, task, who) for task in old]
    return [
        success_text(rate(own, new)),
        "" if who == base else change(compare(start, own, new, target=True)),
        success_text(rate(together, OLD)) if together else unplayed,
        "" if who == base or not together else change(compare(pooled(lines, base, old), together, OLD)),
        *(success_text(rate(found, task)) for task, found in zip(old, old_cells)),
    ]


def change(found: dict[str, Any] | None) -> str:
    """A paired comparison in a few words."""
    if not found:
        return "–"
    return f"{100 * found['difference']:+.0f} ({points_range(*found['interval'])}), p {p_value(found['p'])}"


def run_of(name: str, method: str) -> Run | None:
    """The training run; None where its folder has gone."""
    folder = ROOT / "data/finetuning_checkpoint" / f"{name}_{method}"
    return read_run(folder) if (folder / "settings.json").is_file() else None


def training(name: str, method: str) -> list[str]:
    """How many numbers were trained, and at which rate."""
    found = run_of(name, method)
    if found is None:
        return ["–", "–"]
    known = {field.name for field in dataclasses.fields(TrainSettings)}
    settings = TrainSettings(**{name: value for name, value in found.settings.items() if name in known})
    trained = parameter_counts(read_model(resolve(settings.in_model)), Method.of(settings))[1]
    return [f"{trained:,}", rate_text(settings.learning_rate)]


def losses(name: str, method: str) -> list[str]:
    """Validation loss of the new skill and of the old ones, before training and after."""
    found = run_of(name, method)
    told = []
    for curve in ("validation/loss", "retention/loss"):
        points = found.points(curve) if found is not None else []
        told.append(f"{points[0][1]:.2f} → {points[-1][1]:.2f}" if points else "")
    return told


def grounds(args: Args, lines: Sequence[Line]) -> str:
    """What the figures rest on."""
    runs = [(method, found) for method in METHODS if (found := run_of(args.name, method)) is not None]
    speeds = [
        f"{method} {statistics.median(values):,.0f}"
        for method, found in runs
        if (values := [value for _, value in found.points("speed/frames_per_second")])
    ]
    frames = sorted({found.settings["total_frames"] for _, found in runs})
    parts = [
        f"{len(lines)} episodes on the same places and seeds for all. Successes with 95 % Wilson intervals; changes in points with 95 % intervals of the "
        "paired difference and its exact p, not corrected for the number of methods.",
        f"Trained on {', '.join(f'{count:,}' for count in frames)} frames each." if frames else "",
        f"Trained frames a second (median of the console lines; with a frozen CNN from cached features): {', '.join(speeds)}."
        if speeds
        else "",
    ]
    return " ".join(part for part in parts if part)


def insert(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put the table between the page's marks.

    Raises:
        UserError: the page has no such marks.
    """
    old = path.read_text(encoding="utf-8")
    before, begun, rest = old.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise UserError("This page has no place for the table.", where=display(path), expected=f"{begin} … {end}")
    with atomic_file(path) as file:
        file.write(f"{before}{begin}\n{text}{end}{after}".encode())


if __name__ == "__main__":
    run(Args, main, "The table of what each way of fine-tuning gains and costs.")
