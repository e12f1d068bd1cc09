"""Room `training`, the folder of a run: whose it is, and whether this run may go on in it.

In: settings. Out: the folder, held by this process alone, with `settings.json` (resolved settings, commit, hashes of weights
and lists); a refusal that names every difference where the folder belongs to a run with other settings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import read_json, sha256_file, write_json
from steve1.core.paths import CHECKOUT, display, resolve
from steve1.training.checkpoint.exports import sidecar_files
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks

SETTINGS_FILE = "settings.json"
RESULT_FILE = "result.json"
REPORT_FILE = "report.html"
RESUME_FOLDER = "resume"
# Our lock, and what a kill leaves of a file or resume point that was being written.
_LEFTOVER = re.compile(r"\.lock|\.step\d+\.part|\..+\.\d+\.[0-9a-f]{8}\.\w+")


def describe_run(
    settings: TrainSettings, ranks: Ranks, precision: torch.dtype, goal: NDArray[np.float32] | None = None
) -> dict[str, Any]:
    """Everything that the weights of this run will depend on, as JSON; `goal` (E,): the fixed one, or where tuning begins."""
    files = {"in_model": resolve(settings.in_model), "train_list": settings.train_path}
    if not settings.starts_empty:
        files["in_weights"] = resolve(settings.in_weights)
    if settings.val_path is not None:
        files["val_list"] = settings.val_path
    if settings.retention_path is not None:
        files["retention_list"] = settings.retention_path
    hashes = {name: sha256_file(path) for name, path in files.items()}
    if goal is not None:
        hashes["goal"] = hashlib.sha256(np.ascontiguousarray(goal, dtype="<f4").tobytes()).hexdigest()
    return {
        "settings": dataclasses.asdict(settings),
        "resolved": {"processes": ranks.world, "precision": str(precision).removeprefix("torch.")},
        "sha256": hashes,
        "made_by": {
            "commit": _commit(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": platform.platform(),
            "device": _device_name(ranks.device),
        },
    }


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(CHECKOUT), *words], capture_output=True, text=True, timeout=10
        ).stdout.strip()

    if CHECKOUT is None:
        return ""
    try:
        commit = git("rev-parse", "HEAD")
        return commit + (" with local changes" if commit and git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def differences(record: dict[str, Any], earlier: dict[str, Any], settings: TrainSettings) -> list[str]:
    """What differs between the run so far and this one and would change the weights, as sentences."""
    found = settings.differences(earlier.get("settings", {}))
    for part in ("resolved", "sha256"):
        then, now = earlier.get(part, {}), record[part]
        for name in sorted(set(then) | set(now)):
            if then.get(name) != now.get(name):
                kind = "content " if part == "sha256" else ""
                found.append(f"{name}: {kind}{str(then.get(name))[:12]} then, {str(now.get(name))[:12]} now")
    return found


class RunFolder:
    """The folder of one run, locked against a second process that would train in it at the same time."""

    def __init__(self, settings: TrainSettings, record: dict[str, Any]) -> None:
        self.path = settings.run_dir
        self._settings, self._record = settings, record
        self._lock: Any = None

    def claim(self) -> Path | None:
        """Make or take over the folder; called by the first process only.

        Returns:
            The newest resume point to go on from; None for a fresh start.

        Raises:
            UserError: the folder or the output weights belong to something else.
        """
        ours = (self.path / SETTINGS_FILE).is_file()
        if self.path.exists() and not ours and not all(_LEFTOVER.fullmatch(item.name) for item in self.path.iterdir()):
            raise UserError(
                "The run's folder exists and holds something that is not a training run.",
                where=display(self.path),
                todo="choose another OUT_WEIGHTS name or CHECKPOINT_DIR",
            )
        self._hold()
        self._sweep()
        if self._settings.overwrite:
            self._clear()
            ours = False
        point = newest_resume_point(self.path)
        if ours and point is not None:
            self._compare(point)
        self._guard_output()
        if point is None or self._settings.force_resume or not ours:
            write_json(self.path / SETTINGS_FILE, self._record)
        return point

    def _hold(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            import fcntl
        except ImportError:  # no file locks on this system: two runs of one name are then up to the person
            return
        self._lock = open(self.path / ".lock", "w")  # noqa: SIM115  (held until the run ends)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                "Another process is training in this folder right now.",
                where=display(self.path),
                todo="wait for it, stop it, or choose another OUT_WEIGHTS name",
            ) from None

    def _sweep(self) -> None:
        """Remove half-written files of a run that was killed; nobody else writes here while the lock is held."""
        for item in [*self.path.glob(".*"), *(self.path / RESUME_FOLDER).glob(".*")]:
            if item.name != ".lock" and _LEFTOVER.fullmatch(item.name):
                shutil.rmtree(item) if item.is_dir() else item.unlink()

    def _clear(self) -> None:
        for item in list(self.path.iterdir()):
            if item.name == ".lock":
                continue
            shutil.rmtree(item) if item.is_dir() else item.unlink()
        for path in self._outputs():
            for file in sidecar_files(path, self._settings):
                file.unlink(missing_ok=True)

    def _outputs(self) -> list[Path]:
        return [self._settings.out_path, self._settings.best_path, self._settings.beside("ema")]

    def _compare(self, point: Path) -> None:
        found = differences(self._record, read_json(self.path / SETTINGS_FILE), self._settings)
        if found and not self._settings.force_resume:
            raise UserError(
                f"A run of this name stands at {point.name} and began with other settings: " + "; ".join(found),
                where=display(self.path),
                todo="--force_resume goes on with the new settings, --overwrite deletes it and starts again, "
                "another OUT_WEIGHTS leaves it alone",
            )

    def _guard_output(self) -> None:
        """Refuse to replace weights that an earlier run of this folder did not write."""
        outputs = [path for path in self._outputs() if path.exists()]
        if self._settings.overwrite or not outputs:
            return
        result = self.path / RESULT_FILE
        written = read_json(result) if result.is_file() else {}
        # A run killed between its last two files has the weights, but not yet the record of them.
        own = [
            sha256_file(path)
            for kind in ("latest", "best", "ema")
            for path in self.path.glob(f"*_{kind}{self._settings.suffix}")
        ]
        ours = {written.get("out_sha256"), written.get("best_sha256"), *own}
        for path in outputs:
            if sha256_file(path) not in ours:
                raise UserError(
                    "The output weights exist already and are not this run's.",
                    where=display(path),
                    todo="choose another OUT_WEIGHTS, or --overwrite to replace them",
                )

    def release(self) -> None:
        """Let other processes have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def newest_resume_point(run_dir: Path) -> Path | None:
    """The complete resume folder with the highest step."""
    points = sorted((run_dir / RESUME_FOLDER).glob("step[0-9]*"))
    return points[-1] if points else None
