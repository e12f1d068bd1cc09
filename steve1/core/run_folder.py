"""The folder of one training run: its lock, its recorded settings, and what it can go on from.

Fine-tuning keeps resume points below `resume/`; MineCLIP and the prior keep one `state.pt`, which this module reads and writes.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch

from steve1.core.errors import UserError
from steve1.core.files import HALF_WRITTEN, atomic_path, lock_file, read_json, remove, write_json
from steve1.core.messages import translated
from steve1.core.paths import CHECKOUT, display

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from torch.utils.tensorboard import SummaryWriter

SETTINGS_FILE, STATE_FILE, CURVES_FILE = "settings.json", "state.pt", "curves.json"
RESUME_FOLDER = "resume"
Record = dict[str, Any]
RESUME_POINT = re.compile(r"step\d+|\.step\d+\.part")
# Our lock, and what a kill leaves of a file or resume point that was being written.
_LEFTOVER = re.compile(rf"\.lock|\.step\d+\.part|{HALF_WRITTEN.pattern}")


def settings_dict(kind: type[DataclassInstance], settings: DataclassInstance) -> dict[str, Any]:
    """The fields of the dataclass `kind`, without those that a subclass, such as a command's arguments, adds."""
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(kind)}


def newest_resume_point(run_dir: Path) -> Path | None:
    """What a run can go on from: the complete resume folder with the highest step, or `state.pt`."""
    steps = sorted(item for item in run_dir.glob(f"{RESUME_FOLDER}/step*") if RESUME_POINT.fullmatch(item.name))
    points = [*run_dir.glob(STATE_FILE), *steps]
    return points[-1] if points else None


def differing_entries(earlier: Record, now: Record) -> list[str]:
    """Entries that are not the same, as sentences."""
    return [
        f"{key}: {earlier.get(key)!r} then, {now.get(key)!r} now"
        for key in sorted({*earlier, *now})
        if earlier.get(key) != now.get(key)
    ]


class RunFolder:
    """One run's folder, locked until `close` so that no second process trains in it.

    Args:
        record: everything that shapes the result, as JSON values; kept as settings.json.
        overwrite: delete an earlier run and begin anew.
        output: the weights that the run writes from its first validation on; those of others are not replaced.
        force: go on although settings differ; None where there is no flag for that.
        differences: (earlier record, record) → reasons not to go on.
        layout: of TensorBoard's page of charts, as `add_custom_scalars` takes it.

    Raises:
        UserError: the folder or the output holds something else, another process trains in it, or its run has other settings.
    """

    def __init__(
        self,
        path: Path,
        record: Record,
        overwrite: bool = False,
        *,
        output: Path | None = None,
        force: bool | None = None,
        differences: Callable[[Record, Record], list[str]] = differing_entries,
        layout: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._layout = layout
        self._board: SummaryWriter | None = None
        self._lock: IO[str] | None = None
        ours = (path / SETTINGS_FILE).is_file()
        if path.exists() and not ours and not all(_LEFTOVER.fullmatch(item.name) for item in path.iterdir()):
            raise UserError(
                "The run's folder exists and holds something that is not a training run.",
                where=display(path),
                todo="choose another name for the output, or CHECKPOINT_DIR",
            )
        if output is not None and output.exists() and not (ours or overwrite):
            raise UserError(
                "The output weights exist already and are not this run's.",
                where=display(output),
                todo="choose another OUT_WEIGHTS, or --overwrite to replace them",
            )
        self.output = output
        self._hold()
        try:
            # What a killed run left half-written, or the whole run; nobody else writes here while the lock is held.
            for item in [*path.glob(f"{RESUME_FOLDER}/*"), *path.iterdir()]:
                if item.name != ".lock" and (overwrite or _LEFTOVER.fullmatch(item.name)):
                    remove(item, ours=_LEFTOVER, asked=overwrite)
            self.resume_point = newest_resume_point(path)
            if ours and self.resume_point is not None and not force:
                found = differences(read_json(path / SETTINGS_FILE), record)
                if found:
                    go_on = translated("--force_resume continues with the new settings, ") if force is not None else ""
                    raise UserError(
                        f"A run of this name exists, at {self.resume_point.name}, with other settings: {'; '.join(map(translated, found))}",
                        where=display(path),
                        todo=f"{go_on}--overwrite deletes it and starts again, another output name leaves it alone",
                    )
            if self.resume_point is None or force or not ours:
                write_json(path / SETTINGS_FILE, record)
        except BaseException:
            self.close()
            raise

    def _hold(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.path / ".lock", "w")  # noqa: SIM115  (held until the run ends)
        if not lock_file(self._lock):
            self._lock.close()
            raise UserError(
                "Another process is training in this folder right now.",
                where=display(self.path),
                todo="wait for it, stop it, or choose another name for the output",
            )

    def load(self) -> dict[str, Any] | None:
        """The saved state (tensors and plain values), or None at the beginning.

        Raises:
            UserError: the file is damaged, or the weights that belong to it are gone.
        """
        file = self.path / STATE_FILE
        if not file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            raise UserError(
                "The state of this run cannot be read.",
                where=file,
                got=str(error)[:200],
                todo="start again with --overwrite",
            ) from error
        if self.output is not None and not self.output.exists():
            raise UserError(
                "This run has state, but its weights are gone.", where=self.output, todo="start again with --overwrite"
            )
        self.rows = list(state["rows"])
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Write the state and the curves, each whole."""
        with atomic_path(self.path / STATE_FILE) as part:
            torch.save({**state, "rows": self.rows}, part)
        write_json(self.path / CURVES_FILE, self.rows)

    def log(self, step: int, **scalars: float) -> None:
        """Add a row to the curves and TensorBoard; a row of the same step is replaced."""
        self.rows = [row for row in self.rows if row["step"] != step] + [{"step": step, **scalars}]
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter  # costs a second, and fine-tuning has its own

            self._board = SummaryWriter(str(self.path), purge_step=step)
            if self._layout:
                self._board.add_custom_scalars(self._layout)
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush the TensorBoard file and let other processes have the folder."""
        if self._board is not None:
            self._board.close()
            self._board = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def commit(short: bool = False) -> str:
    """The commit that is checked out, marked where files differ from it; "" outside a checkout or without git."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(CHECKOUT), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()

    if CHECKOUT is None:
        return ""
    try:
        found = git("rev-parse", *(["--short"] if short else []), "HEAD")
        return found + (" with local changes" if found and git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.TimeoutExpired):
        return ""
