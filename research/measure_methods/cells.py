"""The measured cells: a CSV file with one line for each method, skill, seed and task, appended when it is finished.

A line holds the outcome of every episode, so that tables and intervals are worked out from it alone.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from steve1.core.errors import UserError
from steve1.core.paths import display
from steve1.evaluation.statistics.tests import enough, paired_test


@dataclasses.dataclass(frozen=True)
class Cell:
    """One finished cell.

    Attributes:
        method: a name of RECIPES.
        skill, seed: what was trained on, and the seed of demonstrations and training.
        task: what was played.
        role: new (the skill), old, or called (a skill that the base has, and whose prompt calls it badly).
        base, tuned: "0" and "1" for each episode, paired by number.
        frames: trained.
        weights_sha256, base_sha256: first twelve digits.
        date: of the measurement, YYYY-MM-DD.
    """

    method: str
    skill: str
    seed: int
    task: str
    role: Literal["new", "old", "called"]
    base: str
    tuned: str
    frames: int
    weights_sha256: str
    base_sha256: str
    date: str

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What makes it another cell."""
        return self.method, self.skill, self.seed, self.task

    @property
    def differences(self) -> NDArray[np.float64]:
        """tuned - base of each episode: -1, 0 or 1."""
        return _bits(self.tuned) - _bits(self.base)


COLUMNS = [field.name for field in dataclasses.fields(Cell)]


def _bits(outcomes: str) -> NDArray[np.float64]:
    return np.array([float(each) for each in outcomes])


def read_cells(path: Path) -> list[Cell]:
    """The finished cells; none where the file does not exist. A last line that a kill cut off does not count.

    Raises:
        UserError: another table, or a damaged line.
    """
    if not path.is_file():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    rows = csv.reader(io.StringIO(whole))
    if whole and next(rows) != COLUMNS:
        raise UserError("This is not a table of cells.", where=display(path), expected=",".join(COLUMNS))
    found = []
    for number, row in enumerate(rows, 2):
        try:
            values = dict(zip(COLUMNS, row, strict=True))
            counts = {name: int(values.pop(name)) for name in ("seed", "frames")}
            cell = Cell(**values, **counts)  # type: ignore[arg-type]
            if len(cell.base) != len(cell.tuned) or set(cell.base + cell.tuned) - {"0", "1"} or not cell.base:
                raise ValueError("outcomes are 0 and 1, as many of the base as of the tuned weights")
        except ValueError as fault:
            raise UserError(
                "This line is not a cell.",
                where=f"{display(path)}:{number}",
                got=str(fault),
                todo="remove the line; its cell is then measured again",
            ) from None
        found.append(cell)
    return found


def append_cells(path: Path, cells: Iterable[Cell]) -> None:
    """Add finished cells; on disk when this returns. A line that a kill cut off is removed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = path.read_bytes() if path.is_file() else b""
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) != len(data):
        os.truncate(path, len(whole))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    if not whole:
        rows.writerow(COLUMNS)
    rows.writerows(dataclasses.astuple(cell) for cell in cells)
    with open(path, "ab") as file:
        file.write(text.getvalue().encode())
        file.flush()
        os.fsync(file.fileno())


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean change of success with its interval, as shares; `clusters`: seeds, tasks and places that it rests on."""

    mean: float
    low: float
    high: float
    clusters: tuple[int, int, int]


def change(cells: Sequence[Cell], draws: int = 10_000) -> Estimate | None:
    """The mean change over cells, every task and skill counting the same, with a 95 % interval by a cluster bootstrap; None without cells.

    Seeds and start places are drawn with replacement: episodes of one seed share their weights, and those of one number share their place.
    Skills and tasks are the ones that were chosen, so they are not drawn. Percentiles are moved outwards for the few seeds (or, of one seed,
    places), as Student's t is wider than the normal distribution. With one seed the interval says nothing about other seeds, and of so few places
    that all change in one direction by chance it is -1 to 1. Where all episodes changed alike, the interval is that of the exact paired test with
    one pair for each place.
    """
    if not cells:
        return None
    seeds = sorted({cell.seed for cell in cells})
    kinds = sorted({(cell.skill, cell.task) for cell in cells})
    places = min(len(cell.base) for cell in cells)
    table = np.full((len(seeds), len(kinds), places), np.nan)
    for cell in cells:
        table[seeds.index(cell.seed), kinds.index((cell.skill, cell.task))] = cell.differences[:places]
    of_seeds, of_places = _drawn(len(seeds), places, draws)
    sums, counts = (
        ((of_seeds @ each.sum(axis=1)) * of_places).sum(axis=1)
        for each in (np.nan_to_num(table), np.isfinite(table).astype(float))
    )
    means = sums / counts
    clusters = len(seeds) if len(seeds) > 1 else places
    tail = float(ndtr(np.sqrt(clusters / max(clusters - 1, 1)) * stdtrit(max(clusters - 1, 1), 0.025)))
    low, high = np.quantile(means, [tail, 1 - tail]) if len(seeds) > 1 or enough(places) else (-1.0, 1.0)
    found = table[np.isfinite(table)]
    if np.ptp(found) == 0:  # all draws are alike, which is no certainty
        test = paired_test(places, places * int(found[0] > 0), places * int(found[0] < 0))
        low, high = test.low, test.high
    return Estimate(float(np.nanmean(table)), float(low), float(high), (len(seeds), len(kinds), places))


@functools.cache
def _drawn(seeds: int, places: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each draw of a bootstrap has each seed (draws, seeds) and each place (draws, places); the same every time."""
    rng = np.random.default_rng(0)
    counts = np.zeros((draws, seeds)), np.zeros((draws, places))
    for draw in range(draws):
        for each in counts:
            size = each.shape[1]
            each[draw] = np.bincount(rng.integers(0, size, size), minlength=size)
    return counts


def score(cells: Sequence[Cell], method: str) -> float | None:
    """What the screening ranks by, fixed beforehand: change of the trained skills plus mean change of the old ones; None if not measured.

    A method that changes no weights has lost nothing.
    """
    mine = [cell for cell in cells if cell.method == method]
    new = [cell.differences.mean() for cell in mine if cell.role == "new"]
    old = [cell.differences.mean() for cell in mine if cell.role == "old"]
    return float(np.mean(new) + (np.mean(old) if old else 0.0)) if new else None


def best(cells: Sequence[Cell], methods: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """The methods with the highest score among those measured with this seed; of equal ones the first."""
    screened = [cell for cell in cells if cell.seed == seed]
    scores = {method: found for method in methods if (found := score(screened, method)) is not None}
    return sorted(scores, key=lambda method: -scores[method])[:count]
