"""Command: what each way of fine-tuning gains and costs: `python -m research.measure_methods`.

Killed at any moment, the same command goes on: a finished cell is a line of docs/evaluations/method_cells.csv.
"""

from __future__ import annotations

from collections.abc import Iterator

from research.measure_methods.cells import best
from research.measure_methods.page import write_page
from research.measure_methods.recipes import RECIPES, Recipe
from research.measure_methods.run import Measurement
from research.measure_methods.settings import Settings
from steve1.commands.cli import run
from steve1.core.messages import message, translated
from steve1.core.paths import display

Args = Settings
# On two quiet cores, with the mini weights.
_SECONDS_PER_EPISODE, _SECONDS_PER_TRAINING, _SECONDS_PER_ITERATION = 4.0, 200.0, 150.0


def main(settings: Settings) -> None:
    """Measure what is missing, and write table and picture after each trained policy."""
    settings.check()
    measurement = Measurement(settings)
    if settings.dry_run:
        print(budget(measurement))
        return
    if not settings.write_only:
        for method, skill, seed, old in plan(measurement):
            if measurement.measure(method, skill, seed, old):
                write_page(measurement.cells, settings)
    print(write_page(measurement.cells, settings))
    told = translated(f"; table: {settings.page}") if settings.page else ""
    print(translated(f"cells: {display(measurement.path)}") + told)


def plan(measurement: Measurement) -> Iterator[tuple[str, str, int, bool]]:
    """(method, skill, seed, whether old tasks are played too) in order: the screening, goal tuning where the prompt calls badly, then the best methods
    with the other seeds, and with the old tasks that they have not played.

    The best are chosen when the screening is finished, from its cells.
    """
    settings = measurement.settings
    every = settings.old_tasks_of == "all"
    for method in settings.methods:
        for skill in settings.skills:
            yield method, skill, 0, every
    if "goal" in settings.methods:
        for skill in settings.called:
            yield "goal", skill, 0, every
    candidates = [method for method in settings.methods if method != "placebo"]
    # Cells of old tasks that a stopped run has finished do not change the choice.
    judged = [cell for cell in measurement.cells if every or cell.role == "new"]
    for method in best(judged, candidates, settings.best):
        for seed in range(int(every), settings.seeds):
            for skill in settings.skills:
                yield method, skill, seed, True


def budget(measurement: Measurement) -> str:
    """How much is missing, before anything starts."""
    settings, found = measurement.settings, {cell.key for cell in measurement.cells}
    every, skills, old = settings.old_tasks_of == "all", len(settings.skills), len(settings.old_tasks)
    called = settings.called if "goal" in settings.methods else ()
    first = {(method, skill, 0, skill) for method in settings.methods for skill in settings.skills}
    first |= {("goal", skill, 0, skill) for skill in called}
    if every:
        first |= {
            (method, skill, 0, task)
            for method in settings.methods
            for skill in settings.skills
            for task in settings.old_tasks
            if RECIPES[method].changes_weights
        }
    # Which methods are the best is known after the screening.
    chosen = min(settings.best, len([method for method in settings.methods if method != "placebo"]))
    more = chosen * (settings.seeds - 1) * skills
    then = more * (1 + old) + (0 if every else chosen * skills * old)
    others = [
        key
        for key in found - first
        if key[0] in settings.methods
        and key[1] in settings.skills
        and key[2] < settings.seeds
        and key[3] in (key[1], *settings.old_tasks)
    ]
    cells, done = len(first) + then, len(found & first) + min(then, len(others))
    missing, screened = cells - done, len(settings.methods) * skills
    training = sum(_seconds(RECIPES[method], settings) for method in settings.methods) / max(1, len(settings.methods))
    policies = screened + more + len(called)
    hours = missing * (settings.episodes * _SECONDS_PER_EPISODE + policies / max(1, cells) * training) / 3600
    sizes = {"screened": screened, "more": more, "cells": cells, "episodes": settings.episodes, "done": done}
    return message("measurement budget", hours=f"{hours:.1f}", **sizes)


def _seconds(recipe: Recipe, settings: Settings) -> float:
    """How long a policy is trained."""
    if recipe.rl is not None:
        return settings.iterations * _SECONDS_PER_ITERATION
    return 0.0 if recipe.between else _SECONDS_PER_TRAINING


if __name__ == "__main__":
    run(Args, main, "Measure what each way of fine-tuning gains and costs.")
