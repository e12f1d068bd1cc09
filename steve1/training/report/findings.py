"""A training run, finished or not, as its report reads it: `Run` answers what the rules of advice.py ask, `Advice` is what they find."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.paths import display
from steve1.core.run_folder import SETTINGS_FILE
from steve1.training.checkpoint.run_folder import RESULT_FILE
from steve1.training.config import current_names
from steve1.training.logging.scalars import Curves, read_scalars, read_tables

Level = Literal["act", "note", "good"]


@dataclasses.dataclass(frozen=True)
class Advice:
    """One finding and what to try, in both languages."""

    key: str
    level: Level
    en: str
    zh: str
    do_en: tuple[str, ...] = ()
    do_zh: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run's folder holds.

    Attributes:
        curves: by name, as `read_scalars` gives them.
        settings: "settings" of settings.json.
        result: result.json; {} while the run trains.
        tables: as `read_tables` gives them.
        record: all of settings.json.
    """

    curves: Curves
    settings: dict[str, Any]
    result: dict[str, Any]
    tables: dict[str, Any]
    record: dict[str, Any] = dataclasses.field(default_factory=dict)

    def points(self, name: str) -> list[tuple[int, float]]:
        """The finite points of a curve."""
        return [(step, value) for step, value in self.curves.get(name, []) if math.isfinite(value)]

    def last(self, name: str) -> float | None:
        """The last value of a curve."""
        points = self.points(name)
        return points[-1][1] if points else None

    def part(self, name: str, start: float, stop: float) -> float | None:
        """Mean of a curve between two shares of its length; None with fewer than three points."""
        values = [value for _, value in self.points(name)]
        if len(values) < 3:
            return None
        chosen = values[int(len(values) * start) : max(int(len(values) * start) + 1, math.ceil(len(values) * stop))]
        return sum(chosen) / len(chosen)

    def setting(self, name: str, default: Any = 0) -> Any:
        """A setting, or a default where the run was made before there was one."""
        return self.settings.get(name, default)

    @property
    def validations(self) -> list[tuple[int, float]]:
        """(step, loss) of the validations after training began."""
        return [point for point in self.points("validation/loss") if point[0] > 0]

    @property
    def at_start(self) -> float | None:
        """Validation loss of the starting weights."""
        return next((value for step, value in self.points("validation/loss") if step == 0), None)

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and value of the lowest validation loss."""
        return min(self.validations, key=lambda point: point[1], default=None)


def read_run(run_dir: Path) -> Run:
    """The run in a folder.

    Raises:
        UserError: the folder holds no training run, or one that has recorded nothing yet.
    """
    if not (run_dir / SETTINGS_FILE).is_file():
        raise UserError(
            "This folder holds no training run.",
            where=display(run_dir),
            expected=f"a folder with {SETTINGS_FILE}",
            todo="name the run's folder, such as data/finetuning_checkpoint/<name of the output weights>",
        )
    record = read_json(run_dir / SETTINGS_FILE)
    curves = read_scalars(run_dir)
    if not isinstance(record, dict) or not isinstance(record.get("settings"), dict) or not curves:
        raise UserError("This run has recorded nothing to report yet.", where=display(run_dir))
    result = read_json(run_dir / RESULT_FILE) if (run_dir / RESULT_FILE).is_file() else {}
    return Run(curves, current_names(record["settings"]), result, read_tables(run_dir), record)
