"""A training run, finished or not, as its report reads it: `Run` answers what the rules of advice.py ask."""

from __future__ import annotations

import dataclasses
import math
import shlex
from pathlib import Path
from typing import Any

from steve1.core.checkpoint_metadata import GOAL_SUFFIX
from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.paths import display
from steve1.core.run_folder import SETTINGS_FILE
from steve1.training.checkpoint.run_folder import RESULT_FILE
from steve1.training.config import TrainSettings, current_names, frames_of_steps
from steve1.training.finetune_modes import MODES
from steve1.training.logging.scalars import read_scalars, read_tables
from steve1.training.report.advising import RecordedRun, command_line, next_name

# What a run's folder and the files in it are named after.
_NAMING = ("out_weights", "checkpoint_dir", "finetune_mode")


# Variables of 3_train_finetune_template.sh; each is a setting of that name in small letters, but for T.
VARIABLES = """
IN_MODEL IN_WEIGHTS OUT_WEIGHTS SAMPLING_NAME FINETUNE_MODE BATCH_SIZE GRADIENT_ACCUM_STEPS LEARNING_RATE TOTAL_FRAMES WARMUP_FRAMES
WEIGHT_DECAY MAX_GRAD_NORM T TRUNC_T MIN_BTWN_GOALS MAX_BTWN_GOALS P_UNCOND VAL_FREQ SAVE_EVERY PATIENCE RETENTION_SAMPLING BEST_BY
REPLAY REPLAY_SHARE KEEP ROLLOUT_EVERY CHECKPOINT_DIR NUM_WORKERS ACTIVATION_CHECKPOINTING THREADS FRAMES_AT_ONCE SEED
""".split()  # noqa: SIM905  (a word list; quoted it would be thirty lines)


@dataclasses.dataclass(frozen=True)
class Run(RecordedRun):
    """What the folder of a training run holds.

    Attributes:
        tables: as `read_tables` gives them.
        record: all of settings.json.
    """

    tables: dict[str, Any]
    record: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Optimizer steps so far."""
        seen = (points[-1][0] for points in self.curves.values() if points)
        return int(self.result.get("step") or max(seen, default=0))

    @property
    def frames(self) -> int:
        """Frames trained on so far."""
        trunc_t = int(self.setting("trunc_t", 1))
        windows = int(self.setting("batch_size", 1)) * int(self.setting("gradient_accum_steps", 1)) * self.processes
        return frames_of_steps(self.steps, windows * trunc_t, int(self.setting("T", trunc_t)), trunc_t)

    @property
    def processes(self) -> int:
        """Processes that trained (PROCESSES)."""
        return int(self.record.get("resolved", {}).get("processes", 1))

    @property
    def frames_and_seconds(self) -> tuple[int, float]:
        """Frames trained on and the time that they took, validations and checkpoints included; 0.0 where nobody took it."""
        if self.result:
            return int(self.result.get("frames", 0)), float(self.result.get("seconds", 0.0))
        if not (points := self.points("speed/seconds")):
            return 0, 0.0
        step, seconds = points[-1]
        return self.frames * step // max(self.steps, 1), seconds

    @property
    def weights(self) -> str:
        """The weights to use: the best of a finished run, else its final ones; of one that trains, its latest; "" before there are any."""
        if self.result:
            final = str(self.result.get("out_weights") or self.setting("out_weights", ""))
            suffix = GOAL_SUFFIX if final.endswith(GOAL_SUFFIX) else Path(final).suffix
            better = self.kept is not None and self.kept[0] != self.validations[-1][0]
            best = f"{final.removesuffix(suffix)}_best{suffix}"
            return best if better and self.result.get("best_sha256") != "" else final
        chosen = self._chosen(*_NAMING)
        latest = chosen.run_dir / f"{chosen.name}_latest{chosen.suffix}"
        return display(latest) if latest.is_file() else ""

    def _chosen(self, *names: str) -> TrainSettings:
        """These settings of the run; the others as they are by default."""
        return TrainSettings(**{name: self.settings[name] for name in names if name in self.settings})

    @property
    def goal_file(self) -> Path | None:
        """The file of the goal that the weights were trained on and no prompt gives; None without one."""
        path = self._chosen(*_NAMING, "fixed_prompt", "fixed_prompt_by").goal_path
        return path if path is not None and path.is_file() else None

    @property
    def kl_weight(self) -> float:
        """The coefficient of the KL divergence from the starting policy that was in force."""
        return self._chosen("keep", "kl_coef", "replay").kl_weight

    @property
    def replays(self) -> bool:
        """Whether old episodes were mixed in (KEEP, REPLAY)."""
        return bool(self._chosen("keep", "replay").replay_source)

    @property
    def datasets(self) -> list[str]:
        """Folders of the run's episodes, the training list's first."""
        return list(dict.fromkeys(str(Path(name).parent) for name in self.record.get("episodes", {})))

    @property
    def has_old_skills(self) -> bool:
        """True where weights were trained that could do something before."""
        changes = MODES[self.setting("finetune_mode", "all")].changes_weights
        return changes and not self.setting("from_scratch", False) and self.setting("in_weights", "") != "none"

    @property
    def validate_every(self) -> int:
        """VAL_FREQ, or what gives five validations where there was none."""
        return int(self.setting("val_freq", 0)) or max(1, self.steps // 5)

    def list_of(self, kind: str) -> str:
        """The sampling list for "train" or "val"."""
        named = self.setting(f"{kind}_list", "")
        return str(
            named or f"{self.setting('sampling_dir', 'data/samplings')}/{self.setting('sampling_name', '')}_{kind}.txt"
        )

    def command(self, *, same: bool = False, **changes: Any) -> str:
        """The line that trains again with other settings, under another name of the output; `same`: the line that continues this run."""
        settings = {**self.settings, **changes}
        if not same and not changes.get("lr_find"):
            settings["out_weights"] = next_name(str(settings.get("out_weights", "")))
        if settings.get("warmup_frames", 0) >= settings.get("total_frames", math.inf):
            settings["warmup_frames"] = max(1, settings["total_frames"] // 10)
        defaults = {field.name: field.default for field in dataclasses.fields(TrainSettings)}
        unsaid = ("force_resume", "overwrite")
        other = {
            name: settings[name]
            for name in defaults
            if name not in unsaid and settings.get(name, defaults[name]) != defaults[name]
        }
        variables = {name if name == "T" else name.lower(): name for name in VARIABLES}
        line = command_line("3_train_finetune_template.sh", variables, other, list(changes))
        # The learning-rate finder runs in one process.
        return f"PROCESSES={self.processes} {line}" if self.processes > 1 and not changes.get("lr_find") else line

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

    @property
    def kept(self) -> tuple[int, float] | None:
        """Step and validation loss of the best weights, which `best_by` can choose by more than this loss."""
        step = self.result.get("best_step")
        return next((point for point in self.validations if point[0] == step), self.best)


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
    settings = record.get("settings") if isinstance(record, dict) else None
    if isinstance(settings, dict) and "reward" in settings:
        raise UserError(
            "This folder holds a run of reinforcement learning, which has a report of its own.",
            where=display(run_dir),
            todo=f"python -m steve1 report_run {shlex.quote(display(run_dir))}",
        )
    curves = read_scalars(run_dir)
    if not isinstance(record, dict) or not isinstance(record.get("settings"), dict) or not curves:
        raise UserError("This run has recorded nothing to report yet.", where=display(run_dir))
    result = read_json(run_dir / RESULT_FILE) if (run_dir / RESULT_FILE).is_file() else {}
    return Run(curves, current_names(record["settings"]), result, read_tables(run_dir), record)
