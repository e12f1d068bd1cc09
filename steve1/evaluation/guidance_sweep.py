"""The best guidance scale for weights: a sweep of cond_scale over tasks, on the same seeds.

Input: one weights file, scales, tasks.
Output: success over tasks at each scale with its interval, a curve, and the best scale, which can be stored beside the weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from steve1.core.checkpoint_metadata import GOAL_SUFFIX, read_checkpoint_metadata, write_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.files import atomic_file, atomic_path, write_json
from steve1.core.messages import heading, translated
from steve1.core.paths import resolve
from steve1.evaluation.policies import parse_policies, split_scale
from steve1.evaluation.runner.episodes import EpisodeInputs
from steve1.evaluation.runner.plan import make_plan
from steve1.evaluation.runner.run import play_plan
from steve1.evaluation.settings import EvaluationSettings
from steve1.evaluation.statistics.summary import Lines, own_row, rate
from steve1.evaluation.statistics.tests import clustered_error, look_confidence, mean_interval, wilson, worth
from steve1.reporting.lettering import label, lettering
from steve1.reporting.numbers import percent, percent_range, points_range
from steve1.reporting.page import Report, Section
from steve1.reporting.tables import Table


def by_seed(lines: Lines, tasks: Sequence[str], who: str) -> NDArray[np.float64]:
    """Success of each episode number that all tasks have, float (N, tasks)."""
    tables = [{line["number"]: float(line["success"][task]) for line in own_row(lines, task, who)} for task in tasks]
    numbers = sorted(set.intersection(*(set(table) for table in tables)))
    return np.array([[table[number] for table in tables] for number in numbers])


def success_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Wilson's interval of the mean of (N, tasks); episodes of one number are of one group."""
    rate, groups = float(values.mean()), np.repeat(np.arange(len(values)), values.shape[1]).tolist()
    count = worth(rate, values.size, clustered_error(values.ravel().tolist(), groups))
    return wilson(rate * count, count)


def summarise_sweep(lines: Lines, names: Mapping[float, str], tasks: Sequence[str], current: float) -> dict[str, Any]:
    """Success at each scale, its difference from the current one, and which to take.

    The best is the scale with the highest mean success; among equals the one nearest to the current. The change is proven where
    the interval of the difference lies above 0. The best of several looks better than it is: the intervals of all scales hold together.
    """
    found = {scale: by_seed(lines, tasks, name) for scale, name in names.items()}
    means = {scale: values.mean(axis=1) for scale, values in found.items()}
    level = look_confidence(len(means) - 1)
    points: list[dict[str, Any]] = []
    for scale, values in means.items():
        low, high = success_interval(found[scale])
        against = mean_interval(means[current], values, level) if scale != current else (0.0, 0.0)
        cells = {task: rate(own_row(lines, task, names[scale]), task) for task in tasks}
        points.append(
            {
                "scale": scale,
                "success": float(values.mean()),
                "low": low,
                "high": high,
                "episodes": len(values),
                "difference": float(values.mean() - means[current].mean()),
                "interval": list(against),
                "tasks": cells,
            }
        )
    best = max(points, key=lambda point: (round(point["success"], 9), -abs(point["scale"] - current)))
    return {"points": points, "current": current, "best": best["scale"], "proven": best["interval"][0] > 0}


def sweep_guidance(
    settings: EvaluationSettings, scales: Sequence[float], *, store: bool = False, inputs: EpisodeInputs | None = None
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Play what is missing, write sweep.json, sweep.md and sweep.png; with `store` write the best scale into `<weights>.json`.

    Raises:
        UserError: not one weights file, or fewer than two scales, or a negative one.
    """
    if any(weights.endswith(GOAL_SUFFIX) for weights in settings.weights):
        raise UserError(
            "A goal file has no guidance scale of its own.",
            got=", ".join(settings.weights),
            todo="name the weights that it was made for",
        )
    if len(settings.weights) != 1 or split_scale(settings.weights[0])[1] is not None:
        raise UserError("A sweep is of one weights file, without @.", got=", ".join(settings.weights))
    if any(not np.isfinite(scale) or scale < 0 for scale in scales):
        raise UserError("A guidance scale is a number of at least 0.", got=", ".join(f"{scale:g}" for scale in scales))
    weights = settings.weights[0]
    (spec,) = parse_policies(settings.weights, **settings.metadata_overrides())
    current = spec.metadata.cond_scale
    wanted = sorted({*map(float, scales), float(current)})
    if len(wanted) < 2:
        raise UserError("A sweep needs at least two scales.", got=", ".join(f"{scale:g}" for scale in wanted))
    specs = tuple(f"{weights}@{scale!r}" for scale in wanted)
    # One folder, whichever scales: what one sweep has played counts for the next.
    name = settings.name or spec.name
    settings = dataclasses.replace(settings, weights=specs, cond_scale=None, similarity=0, name=name)
    plan = make_plan(settings, "guidance_sweeps")
    lines = play_plan(plan, inputs)
    names = dict(zip(wanted, (spec.name for spec in plan.policies)))
    found = summarise_sweep(lines, names, plan.task_names, current)
    paths = {kind: plan.folder / f"sweep.{kind}" for kind in ("json", "md", "png")}
    write_json(paths["json"], {"settings": plan.facts(), **found})
    with atomic_file(paths["md"], "w") as handle:
        handle.write(render(found, weights))
    draw(found, paths["png"])
    if store:
        file = resolve(weights)  # beside the weights, wherever they were found
        metadata = dataclasses.replace(read_checkpoint_metadata(file), cond_scale=found["best"])
        paths["metadata"] = write_checkpoint_metadata(file, metadata)
    return found, paths


def render(found: Mapping[str, Any], weights: str) -> str:
    """The sweep and what to take of it as Markdown."""
    best, current = found["best"], found["current"]
    sure = "but the difference from the current value may be chance"
    if found["proven"]:
        sure = "its advantage over the current value is beyond chance"
    advice = translated(f"Suggested: cond_scale {best:g} (now {current:g}); {sure}.")
    if best == current:
        advice = translated(f"Keep cond_scale {current:g}: none was better.")
    rows = []
    for point in found["points"]:
        mark = translated(" (now)") if point["scale"] == current else ""
        success = f"{percent(point['success'], 0)} ({percent_range(point['low'], point['high'])})"
        cells = [f"{cell['successes']}/{cell['episodes']}" for cell in point["tasks"].values()]
        rows.append([f"{point['scale']:g}{mark}", success, points_range(*point["interval"]), *cells])
    tasks = found["points"][0]["tasks"]
    head = ["cond_scale", heading("success, mean over tasks"), heading("difference from now, 95 %"), *tasks]
    note = translated(
        "An episode's number counts once for all tasks. The intervals of differences hold for all scales together. The best of several is lucky as well as good: confirm it with another --seed."
    )
    return Report(translated(f"Guidance: {weights}"), [Section("", [advice, Table(head, rows), note])]).markdown()


@lettering()
def draw(found: Mapping[str, Any], path: Path) -> None:
    """The curve: mean success with its interval, each task as a thin line, the current and the best value marked."""
    points = found["points"]
    scales = [point["scale"] for point in points]
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for task in points[0]["tasks"]:
        axes.plot(scales, [point["tasks"][task]["rate"] for point in points], linewidth=0.9, alpha=0.6, label=task)
    middle = [point["success"] for point in points]
    ends = np.array([[point["success"] - point["low"], point["high"] - point["success"]] for point in points]).T
    axes.errorbar(
        scales, middle, yerr=ends, color="black", marker="o", capsize=3, linewidth=2, label=label("mean over tasks")
    )
    axes.axvline(found["current"], color="grey", linestyle=":", label=label("now"))
    axes.axvline(found["best"], color="green", linestyle="--", label=label("best"))
    axes.set_xlabel("cond_scale")
    axes.set_ylabel(label("success rate"))
    axes.set_ylim(-0.03, 1.03)
    axes.legend(fontsize=8)
    with atomic_path(path) as part:
        figure.savefig(part, dpi=120)
