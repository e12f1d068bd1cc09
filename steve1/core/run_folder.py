"""The folder of one training run: settings, resumable state, curves.

Input: the settings and, at checkpoints, the state and scalars. Output: `settings.json`, `state.pt`, `curves.json` and
TensorBoard files, each written whole. A run with other settings in the same folder is refused.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.tensorboard import SummaryWriter

from steve1.core.errors import UserError
from steve1.core.files import atomic_path, read_json, write_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SETTINGS, STATE, CURVES = "settings.json", "state.pt", "curves.json"


def settings_dict(kind: type[DataclassInstance], settings: DataclassInstance) -> dict[str, Any]:
    """The fields of the dataclass `kind`, without those that a subclass, such as a command's arguments, adds."""
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(kind)}


class RunFolder:
    """One run's folder.

    Args:
        path: the folder; made when missing.
        settings: everything that shapes the result, as JSON values.
        overwrite: forget a run that is there (its settings, state, curves and TensorBoard files; nothing else).

    Raises:
        UserError: a run with other settings is there and `overwrite` is off.
    """

    def __init__(self, path: Path, settings: dict[str, Any], overwrite: bool = False) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        if overwrite:
            for old in [path / SETTINGS, path / STATE, path / CURVES, *path.glob("events.out.tfevents.*")]:
                old.unlink(missing_ok=True)
        if (path / STATE).exists() and (path / SETTINGS).exists():
            self._compare(read_json(path / SETTINGS), settings)
        write_json(path / SETTINGS, settings)
        self.rows: list[dict[str, float]] = []
        self._board: SummaryWriter | None = None

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        differing = [
            f"{key}: {before.get(key)!r} then, {now.get(key)!r} now"
            for key in sorted({*before, *now})
            if before.get(key) != now.get(key)
        ]
        if differing:
            raise UserError(
                "another run with other settings is in this folder",
                where=self.path,
                got="; ".join(differing),
                todo="use the same settings to go on, another output name, or --overwrite to begin anew",
            )

    def load(self) -> dict[str, Any] | None:
        """The saved state (tensors and plain values), or None at the beginning.

        Raises:
            UserError: the file is torn.
        """
        file = self.path / STATE
        if not file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            raise UserError(
                "the state of this run cannot be read", where=file, got=str(error)[:200], todo="begin anew: --overwrite"
            ) from error
        self.rows = list(state["rows"])
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Write the state and the curves, each whole."""
        with atomic_path(self.path / STATE) as part:
            torch.save({**state, "rows": self.rows}, part)
        write_json(self.path / CURVES, self.rows)

    def log(self, step: int, **scalars: float) -> None:
        """Add a row to the curves and TensorBoard; a row of the same step is replaced."""
        self.rows = [row for row in self.rows if row["step"] != step] + [{"step": step, **scalars}]
        if self._board is None:
            self._board = SummaryWriter(str(self.path), purge_step=step)
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush the TensorBoard file."""
        if self._board is not None:
            self._board.close()
            self._board = None
