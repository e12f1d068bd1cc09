"""A run of reinforcement learning, finished or not, as its report reads it: `RlRun` answers what the rules of advice.py ask."""

from __future__ import annotations

import dataclasses
import math
import shlex
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.paths import display
from steve1.core.run_folder import CURVES_FILE, SETTINGS_FILE
from steve1.evaluation.statistics.tests import wilson, worth
from steve1.rl.settings import RlSettings
from steve1.training.checkpoint.run_folder import RESULT_FILE
from steve1.training.config import TrainSettings
from steve1.training.finetune_modes import MODES
from steve1.training.logging.scalars import Curves
from steve1.training.report.advising import RecordedRun, command_line, next_name

SCRIPT = "3_train_finetune_rl.sh"
# {setting: variable of the script}
VARIABLES = {
    name: {"lam": "LAMBDA"}.get(name, name.upper())
    for name in """in_weights out_weights reward prompt method group_form finetune_mode iterations places group steps workers ray learning_rate epochs
    minibatches clip clip_high gamma lam value target_kl max_grad_norm seed checkpoint_dir keep replay kl_coef kl_decay keep_prompts keep_episodes keep_coef""".split()  # noqa: SIM905  (a word list)
}
_UNSAID = ("overwrite", "dry_run")


@dataclasses.dataclass(frozen=True)
class Change:
    """A rate or a mean at two times: before, after, and the ends of the 95 % interval of their difference."""

    before: float
    after: float
    low: float
    high: float

    @property
    def rose(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0

    @property
    def fell(self) -> bool:
        """Whether the interval lies below 0."""
        return self.high < 0


@dataclasses.dataclass(frozen=True)
class RlRun(RecordedRun):
    """What the folder of a run of reinforcement learning holds.

    Attributes:
        record: all of settings.json.
    """

    record: dict[str, Any] = dataclasses.field(default_factory=dict)

    def setting(self, name: str, default: Any = None) -> Any:
        """A setting; today's default where the run was made before there was one."""
        return self.settings.get(name, getattr(RlSettings, name, default))

    @property
    def iterations(self) -> int:
        """Iterations so far."""
        return max((points[-1][0] for points in self.curves.values() if points), default=0)

    @property
    def episodes(self) -> int:
        """Episodes of an iteration."""
        return int(self.setting("places")) * int(self.setting("group"))

    @property
    def planned_steps(self) -> int:
        """Optimizer steps of an iteration whose learning is not stopped."""
        places, compares = int(self.setting("places")), self.setting("method") in ("group", "preference")
        minibatches = min(int(self.setting("minibatches")), places if compares else self.episodes)
        return int(self.setting("epochs")) * minibatches

    @property
    def learned(self) -> bool:
        """Whether any iteration changed the weights."""
        return bool(self.points("rl/kl_update"))

    @property
    def seconds(self) -> float:
        """What playing and learning took, without starts of the games and the episodes that were played to keep old skills."""
        return sum(value for name in ("playing", "learning") for _, value in self.points(f"rl/seconds_{name}"))

    @property
    def weights(self) -> str:
        """The weights, or the goal file, that the run has written; "" before."""
        if not self.result:
            return ""
        named = TrainSettings(out_weights=str(self.setting("out_weights")), finetune_mode=self.setting("finetune_mode"))
        return str(Path(named.out_weights).with_name(named.name + named.suffix))

    @property
    def evaluation(self) -> str:
        """The command that holds the weights against those that it started from; "" before they are written."""
        if not self.weights:
            return ""
        before, after, task = map(shlex.quote, (str(self.setting("in_weights")), self.weights, self.task))
        tasks = " ".join([task, *map(shlex.quote, self.resolved.get("old_tasks", []))])
        return f"bash 5_evaluate.sh --weights {before} {after} --tasks {tasks} --target {task} --episodes 60 --seed 7"

    @property
    def changes_weights(self) -> bool:
        """False where only a goal is tuned."""
        return MODES[self.setting("finetune_mode")].changes_weights

    @property
    def keeping(self) -> str:
        """How it kept old skills (KEEP), decided."""
        names = ("keep", "replay", "finetune_mode", "keep_prompts", "keep_episodes", "keep_coef")
        return RlSettings(**{name: self.setting(name) for name in names}).keeping

    @property
    def resolved(self) -> dict[str, Any]:
        """Game, prompt, task and old tasks; {} in runs of before they were recorded."""
        found = self.record.get("resolved", {})
        return found if isinstance(found, dict) else {}

    @property
    def task(self) -> str:
        """The reward's task."""
        named = str(self.setting("reward"))
        return str(self.resolved.get("task") or named.rpartition(":")[2])

    @property
    def prompt(self) -> str:
        """What the policy was asked for; the task's name where that was not recorded."""
        return str(self.resolved.get("prompt") or self.setting("prompt") or self.task.replace("_", " "))

    def third(self, name: str, number: int) -> list[float]:
        """The values of a curve in the first (0), second or last (2) third of the iterations; at least one where there are three."""
        values = [value for _, value in self.points(name)]
        ends = [round(len(values) * part / 3) for part in range(4)]
        return values[ends[number] : ends[number + 1]]

    def success(self, first: int = 0, last: int = 2) -> Change | None:
        """The success rate of one third of the iterations and of a later one (Newcombe's interval, of as many independent episodes as theirs are worth); None with fewer than three."""
        before, after = self.third("rl/success", first), self.third("rl/success", last)
        if not before or not after:
            return None
        rates, ends = [], []
        for number, shares in ((first, before), (last, after)):
            played = len(shares) * self.episodes
            rate = min(played, round(sum(shares) * self.episodes)) / played
            # In a run of before it was recorded there is no error, and episodes count as independent.
            count = worth(rate, played, math.hypot(*self.third("rl/error_of_success", number)) / len(shares))
            rates.append(rate)
            ends.append(wilson(rate * count, count))
        (one, two), ((low_1, high_1), (low_2, high_2)) = rates, ends
        difference = two - one
        low = difference - math.hypot(two - low_2, high_1 - one)
        high = difference + math.hypot(high_2 - two, one - low_1)
        return Change(one, two, low, high)

    def earned(self, first: int = 0, last: int = 2) -> Change | None:
        """The return of one third of the iterations and of a later one, as `success`."""
        before, after = self.third("rl/return", first), self.third("rl/return", last)
        if not before or not after:
            return None
        means = [sum(part) / len(part) for part in (before, after)]
        errors = [
            math.hypot(*self.third("rl/error_of_return", number)) / len(part)
            for number, part in ((first, before), (last, after))
        ]
        if not any(errors):  # a run of before they were recorded
            return None
        difference, half = means[1] - means[0], 1.96 * math.hypot(*errors)
        return Change(means[0], means[1], difference - half, difference + half)

    def kept(self) -> dict[str, float]:
        """{prompt: KL to the start} after the last iteration."""
        prefix = "rl/keep_kl/"
        found = {name.removeprefix(prefix): self.last(name) for name in self.curves if name.startswith(prefix)}
        return {name.replace("_", " "): value for name, value in found.items() if value is not None}

    def command(self, **changes: Any) -> str:
        """The line that trains again with other settings, under another name of the output."""
        settings = {**self.settings, **changes}
        if "out_weights" not in changes:
            settings["out_weights"] = next_name(str(self.setting("out_weights")))
        defaults = {field.name: field.default for field in dataclasses.fields(RlSettings)}
        other = {
            name: settings[name]
            for name in defaults
            if name not in _UNSAID and settings.get(name, defaults[name]) != defaults[name]
        }
        return command_line(SCRIPT, VARIABLES, {**other, **changes}, list(changes))


def holds_rl_run(run_dir: Path) -> bool:
    """Whether a folder's run is one of reinforcement learning."""
    path = run_dir / SETTINGS_FILE
    record = read_json(path) if path.is_file() else None
    settings = record.get("settings") if isinstance(record, dict) else None
    return isinstance(settings, dict) and {"reward", "method"} <= set(settings)


def read_rl_run(run_dir: Path) -> RlRun:
    """The run in a folder.

    Raises:
        UserError: the folder holds no run of reinforcement learning, or one that has finished no iteration yet.
    """
    if not holds_rl_run(run_dir):
        raise UserError("This folder holds no run of reinforcement learning.", where=display(run_dir))
    record = read_json(run_dir / SETTINGS_FILE)
    rows = read_json(run_dir / CURVES_FILE, list) if (run_dir / CURVES_FILE).is_file() else []
    curves: Curves = {}
    for row in rows:
        for name, value in row.items():
            if name != "step":
                curves.setdefault(name, []).append((int(row["step"]), math.nan if value is None else float(value)))
    if not curves:
        raise UserError("This run has finished no iteration to report yet.", where=display(run_dir))
    result = read_json(run_dir / RESULT_FILE) if (run_dir / RESULT_FILE).is_file() else {}
    return RlRun(curves, record["settings"], result, record)
