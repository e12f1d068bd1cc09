"""The prompt matrix: does a prompt make its own task happen, and no other?

Input: one weights file and tasks.
Output: for each prompt (and no goal, and random actions) every task's success rate, Fisher's
test of each task's own prompt against all others pooled, as JSON, Markdown and a heat map.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.stats import fisher_exact

from steve1.core.errors import UserError
from steve1.core.files import atomic_file, atomic_path, write_json
from steve1.core.messages import heading, translated
from steve1.core.paths import slug
from steve1.evaluation.policies import NO_GOAL, PolicySpec
from steve1.evaluation.report.tables import success_text
from steve1.evaluation.runner.episodes import EpisodeInputs
from steve1.evaluation.runner.plan import Plan, Row, make_plan
from steve1.evaluation.runner.run import play_plan
from steve1.evaluation.settings import EvaluationSettings
from steve1.evaluation.statistics.summary import Line, rate, select
from steve1.reporting.lettering import label, lettering
from steve1.reporting.numbers import p_value
from steve1.reporting.page import Block, Report, Section
from steve1.reporting.tables import Table


def matrix(lines: Sequence[Line], weights: str, rows: Sequence[str], tasks: Sequence[str]) -> dict[str, Any]:
    """The prompt matrix of one weights file.

    Args:
        lines: of the weights and, if played, of the policy "random".
        rows: row names; a row with a task's name is that task's own prompt; NO_GOAL is the row without a goal; other
            rows (paraphrases and the like) are shown and stay out of the tests.
        tasks: the columns.

    Returns:
        {"cells": {row: {task: rate}}, "tests": {task: own against pooled others and no goal, with one-sided Fisher p}}.
    """
    cells: dict[str, dict[str, Any]] = {
        row: {task: found for task in tasks if (found := rate(select(lines, task, weights, row), task))} for row in rows
    }
    random = {task: found for task in tasks if (found := rate(select(lines, task, "random"), task))}
    if random:
        cells["(random actions)"] = random
    tests: dict[str, Any] = {}
    for task in tasks:
        own = cells.get(task, {}).get(task)
        against = [row for row in rows if row != task and (row in tasks or row == NO_GOAL)]
        others = [cells[row][task] for row in against if task in cells[row]]
        if own is None or not others:
            continue
        wins, count = sum(cell["successes"] for cell in others), sum(cell["episodes"] for cell in others)
        counts = [[own["successes"], own["episodes"] - own["successes"]], [wins, count - wins]]
        tests[task] = {
            "own_successes": own["successes"],
            "own_episodes": own["episodes"],
            "other_successes": wins,
            "other_episodes": count,
            "p_fisher": float(fisher_exact(counts, alternative="greater").pvalue),
        }
    return {"rows": list(cells), "tasks": list(tasks), "cells": cells, "tests": tests, "no_goal": NO_GOAL in rows}


def prompt_matrix(
    settings: EvaluationSettings,
    extra_prompts: Sequence[str] = (),
    random_row: bool = True,
    inputs: EpisodeInputs | None = None,
) -> tuple[dict[str, Any], Plan, dict[str, Path]]:
    """Play every prompt at every selected task's start, and write matrix.json, matrix.md and matrix.png.

    Returns:
        the matrix (see `matrix`), its plan, and the files' paths.

    Raises:
        UserError: not exactly one weights file.
    """
    plan = make_plan(settings, "prompt_matrices")
    if len(plan.policies) != 1 or not plan.policies[0].needs_goal:
        raise UserError("A prompt matrix is of one weights file.", got=", ".join(settings.weights))
    no_goal = Row(NO_GOAL, NO_GOAL)
    rows = with_prompts([*plan.rows, no_goal], extra_prompts)
    rows = [*(row for row in rows if row != no_goal), no_goal]
    policies = [*plan.policies, *([PolicySpec("random", "random")] if random_row else [])]
    plan = dataclasses.replace(plan, rows=rows, policies=policies, crossed=True)
    lines = play_plan(plan, inputs)
    found = matrix(lines, plan.policies[0].name, [row.name for row in plan.rows], plan.task_names)
    paths = {kind: plan.folder / f"matrix.{kind}" for kind in ("json", "md", "png")}
    write_json(paths["json"], {"settings": plan.facts(), **found})
    with atomic_file(paths["md"], "w") as handle:
        handle.write(render(found, plan))
    heat_map(found, plan.policies[0].name, paths["png"])
    return found, plan, paths


def with_prompts(rows: Sequence[Row], prompts: Sequence[str]) -> list[Row]:
    """The rows and one for each further prompt that has none yet, with a name on disk of its own."""
    found = list(rows)
    for prompt in prompts:
        if any(row.prompt == prompt for row in found):
            continue
        name, number, taken = slug(prompt), 1, {slug(row.name) for row in found}
        while slug(name) in taken:
            number += 1
            name = f"{slug(prompt)[:70]}-{number}"
        found.append(Row(name, prompt))
    return found


def render(found: Mapping[str, Any], plan: Plan) -> str:
    """The matrix and its tests as Markdown."""
    tasks = found["tasks"]
    prompts = {row.name: row.prompt for row in plan.rows}

    def label(row: str) -> str:
        return heading(row) if prompts.get(row, row) == row else f'{row} ("{prompts[row]}")'

    body = []
    for row in found["rows"]:
        texts = {task: success_text(found["cells"][row].get(task)) for task in tasks}
        body.append([label(row), *(f"**{text}**" if task == row else text for task, text in texts.items())])
    tests = []
    for task, test in found["tests"].items():
        own, other = (f"{test[f'{who}_successes']}/{test[f'{who}_episodes']}" for who in ("own", "other"))
        tests.append([task, own, other, p_value(test["p_fisher"]), heading("yes" if test["p_fisher"] < 0.05 else "no")])
    facts = plan.policies[0].facts()
    blocks: list[Block] = [
        translated(
            "Prompt (row), success of each task (column): successes of episodes with Wilson's 95 % interval. "
            "All rows have the same seeds and start states."
        ),
        Table([heading("prompt"), *tasks], body),
        translated(
            "Each task's own prompt against all other prompts and no goal, pooled (Fisher's exact test, one-sided):"
        ),
        Table(["task", "own prompt", "others", "p", "p < 0.05"], tests).translated(),
        translated(
            f"Weights {facts.get('weights', '')}, sha256 {facts.get('sha256', '')[:12]}, cond_scale {facts.get('cond_scale', '')}, temperature {facts.get('temperature', '')}, "
            f"seed {plan.settings.seed}, {plan.settings.episodes} episodes a row and start, {plan.suite.path.name}."
        ),
    ]
    return Report(translated(f"Prompt matrix: {plan.policies[0].name}"), [Section("", blocks)]).markdown()


@lettering()
def heat_map(found: Mapping[str, Any], name: str, path: Path) -> None:
    """Draw the matrix as a PNG: shades for rates, counts written into the fields, a frame round own prompts."""
    rows, tasks = found["rows"], found["tasks"]
    rates = np.array([[(found["cells"][row].get(task) or {"rate": np.nan})["rate"] for task in tasks] for row in rows])
    figure = Figure(figsize=(2.2 + 1.05 * len(tasks), 1.6 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(rates, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(tasks)), tasks, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), map(label, rows))
    axes.set_xlabel(label("success of"))
    axes.set_ylabel(label("prompt"))
    axes.set_title(label(f"{name}: success by prompt"))
    for y, row in enumerate(rows):
        for x, task in enumerate(tasks):
            cell = found["cells"][row].get(task)
            if cell:
                colour, count = "black" if cell["rate"] > 0.6 else "white", f"{cell['successes']}/{cell['episodes']}"
                axes.text(x, y, count, ha="center", va="center", color=colour, fontsize=9)
            if row == task:
                axes.add_patch(Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, fill=False, edgecolor="red", linewidth=2))
    figure.colorbar(image, ax=axes, label=label("success rate"))
    with atomic_path(path) as part:
        figure.savefig(part, dpi=130)
