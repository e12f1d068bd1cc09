"""Success while methods of reinforcement learning practise: a CSV file with one line for each iteration, and the picture drawn from it."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from research.measure_methods.picture import document, drawing
from research.measure_methods.recipes import RECIPES
from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.paths import display
from steve1.reporting.lettering import label, lettering

_STYLES = (("#0072b2", "-", "o"), ("#d55e00", "--", "s"), ("#009e73", "-.", "^"), ("#cc79a7", ":", "D"))


@dataclasses.dataclass(frozen=True)
class Iteration:
    """How many of an iteration's episodes succeeded; `success` is a share."""

    method: str
    skill: str
    seed: int
    iteration: int
    episodes: int
    success: float


COLUMNS = [field.name for field in dataclasses.fields(Iteration)]


def read_iterations(path: Path) -> list[Iteration]:
    """The lines of the file; none where it does not exist.

    Raises:
        UserError: another table, or a damaged line.
    """
    if not path.is_file():
        return []
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    try:
        kinds: dict[str, Any] = {"seed": int, "iteration": int, "episodes": int, "success": float}
        found = [Iteration(**{name: kinds.get(name, str)(row[name]) for name in COLUMNS}) for row in rows]
        if unknown := {each.method for each in found} - RECIPES.keys():
            raise ValueError(", ".join(sorted(unknown)))
        return found
    except (KeyError, TypeError, ValueError) as fault:
        raise UserError(
            "This is not a table of iterations.", where=display(path), expected=",".join(COLUMNS), got=str(fault)
        ) from None


def keep_iterations(path: Path, found: Iterable[Iteration]) -> list[Iteration]:
    """Write those of a run in place of an earlier run of the same method, skill and seed; all that the file now holds."""
    new = list(found)
    runs = {(each.method, each.skill, each.seed) for each in new}
    kept = [each for each in read_iterations(path) if (each.method, each.skill, each.seed) not in runs]
    every = sorted(
        [*kept, *new], key=lambda each: (list(RECIPES).index(each.method), each.skill, each.seed, each.iteration)
    )
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows(dataclasses.astuple(each) for each in every)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())
    return every


@lettering()
def picture(iterations: Sequence[Iteration]) -> bytes:
    """Success by iteration as an SVG document, the same for the same lines: a colour for each method, the first seed strong and the others pale."""
    figure, axes = drawing("iteration", "success while practising (%)", height=4.2)
    axes.set_ylim(-3, 103)
    runs: dict[tuple[str, str, int], list[Iteration]] = {}
    for each in iterations:
        runs.setdefault((each.method, each.skill, each.seed), []).append(each)
    methods = list(dict.fromkeys(method for method, _, _ in runs))
    skills = {skill for _, skill, _ in runs}
    for (method, skill, seed), rows in runs.items():
        colour, line, marker = _STYLES[methods.index(method) % len(_STYLES)]
        name = label(RECIPES[method].words)
        if len(skills) > 1:
            name += f", {skill.replace('_', ' ')}"
        if len({other for kind, of, other in runs if (kind, of) == (method, skill)}) > 1:
            name += f", {label('seed')} {seed}"
        axes.plot(
            [row.iteration for row in rows],
            [100 * row.success for row in rows],
            color=colour,
            linestyle=line,
            marker=marker,
            markersize=4,
            alpha=1.0 if seed == 0 else 0.45,
            label=name,
        )
    figure.legend(frameon=False, loc="outside upper left", ncols=2)
    return document(figure, "success while practising (%)")
