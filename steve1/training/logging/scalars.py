"""The numbers of a run, in `scalars.jsonl` in its folder: one JSON object a line ({"step": 100, "train/loss": 2.3}).

A resumed run first drops the lines after its resume point, so that no step is there twice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.paths import display

SCALARS_FILE = "scalars.jsonl"
Curves = dict[str, list[tuple[int, float]]]


class ScalarFile:
    """The open file of a run.

    Args:
        first_step: the step at which the run goes on; 0 begins an empty file.
    """

    def __init__(self, run_dir: Path, first_step: int = 0) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        path = run_dir / SCALARS_FILE
        kept = [line for line in _lines(path) if line["step"] <= first_step] if first_step else []
        with atomic_file(path) as file:
            file.write("".join(json.dumps(line) + "\n" for line in kept).encode())
        self._handle = open(path, "a", encoding="utf-8")  # noqa: SIM115  (open until the run ends)

    def add(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Write a line; numbers that are not finite become null, which every reader of JSON knows."""
        line: dict[str, Any] = {"step": step}
        for name, value in numbers.items():
            line[name] = None if isinstance(value, float) and not math.isfinite(value) else value
        self._handle.write(json.dumps(line) + "\n")
        self._handle.flush()

    def close(self) -> None:
        self._handle.close()


def _lines(path: Path) -> list[dict[str, Any]]:
    """The file's lines; a last one that a kill cut short is left out, damage elsewhere is a UserError."""
    if not path.is_file():
        return []
    found: list[dict[str, Any]] = []
    rows = path.read_text(encoding="utf-8").split("\n")
    for number, row in enumerate(rows, 1):
        if not row:
            continue
        try:
            line = json.loads(row)
            found.append({**line, "step": int(line["step"])})
        except (ValueError, KeyError, TypeError):
            if number == len(rows):
                break
            raise UserError(
                "This line is not one of a run's numbers.",
                where=f"{display(path)}, line {number}",
                expected='a JSON object with "step"',
                got=row[:80],
            ) from None
    return found


def read_scalars(run_dir: Path) -> Curves:
    """The run's curves by name, each [(step, value), ...] in the order of steps; NaN where a number was not finite.

    Runs made before there was `scalars.jsonl` are read from TensorBoard's files.
    """
    curves: Curves = {}
    for line in _lines(run_dir / SCALARS_FILE):
        for name, value in line.items():
            if name != "step" and (value is None or isinstance(value, (int, float))):
                curves.setdefault(name, []).append((line["step"], math.nan if value is None else float(value)))
    if not (run_dir / SCALARS_FILE).is_file():
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # costs a second

        events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0, "images": 1})
        events.Reload()
        for name in events.Tags()["scalars"]:
            curves[name] = [(event.step, float(event.value)) for event in events.Scalars(name)]
    return {name: sorted(points, key=lambda point: point[0]) for name, points in curves.items()}


def read_tables(run_dir: Path) -> dict[str, Any]:
    """The newest tables (shares of buttons, of camera movements), by name."""
    found: dict[str, Any] = {}
    for line in _lines(run_dir / SCALARS_FILE):
        found.update({name: value for name, value in line.items() if isinstance(value, (dict, list))})
    return found
