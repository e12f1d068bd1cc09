"""What a run prints and records: console lines, TensorBoard's curves and pictures, and the same numbers in `scalars.jsonl`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from steve1.core.files import read_json
from steve1.core.messages import message, progress
from steve1.core.run_folder import SETTINGS_FILE
from steve1.training.config import RESUME_IGNORED
from steve1.training.logging.action_metrics import ActionMetrics
from steve1.training.logging.layout import custom_scalars, histogram, settings_table
from steve1.training.logging.pictures import actions_picture
from steve1.training.logging.scalars import ScalarFile
from steve1.training.logging.tracker import Tracker

if TYPE_CHECKING:
    from steve1.training.logging.board import Board


# With the remaining time of the run's own clock: the bar's would jump at every validation.
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"


def rate_text(rate: float) -> str:
    """A learning rate as people write it: 5.0e-6."""
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def clock_text(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def below(folder: str, numbers: dict[str, float]) -> dict[str, float]:
    """Curves named <folder>/<name>; names that have a folder keep it."""
    return {name if "/" in name else f"{folder}/{name}": value for name, value in numbers.items()}


def _shaping(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide the weights, with the names of what was trained from what on what."""
    named = ("in_weights", "sampling_name")
    return {name: value for name, value in settings.items() if name in named or name not in RESUME_IGNORED}


class Reporter:
    """Console and TensorBoard of one run.

    Args:
        speaks: false on every process but the first, where all calls do nothing.
        first_step: what was recorded beyond it (by a run that was killed after its last checkpoint) is dropped.
        tracker: "none", or the experiment tracker that gets the curves too.
    """

    def __init__(
        self, run_dir: Path, total_steps: int, *, speaks: bool, first_step: int = 0, tracker: str = "none"
    ) -> None:
        self.total_steps, self._run_dir, self._first_step = total_steps, run_dir, first_step
        self.board: Board | None = None
        self._file: ScalarFile | None = None
        self._tracker: Tracker | None = None
        self._tracks = tracker if speaks else "none"
        self._speaks, self._status = speaks, (0, 0.0)  # frames and seconds at the last line about speed
        self._bar: Any = None
        if speaks:
            from steve1.training.logging.board import Board  # costs a second, and the other processes do not need it

            self.board = Board(run_dir, first_step)
            self._file = ScalarFile(run_dir, first_step)

    def say(self, *lines: str) -> None:
        if self._bar is not None:
            self._bar.write("\n".join(lines))
        elif self._speaks:
            print("\n".join(lines), flush=True)

    def warn(self, text: str) -> None:
        if self._speaks:
            print(f"{message('warning')}: {text}", file=sys.stderr, flush=True)

    def started(self, lines: list[str]) -> None:
        self.say(message("training started"), *[f"  {line}" for line in lines])

    def tick(self, step: int) -> None:
        """Move the progress bar to `step`, on a terminal; log files get the lines alone."""
        if self._speaks and sys.stderr.isatty():
            if self._bar is None:
                total = self.total_steps
                self._bar = progress(
                    total=total, initial=step - 1, desc=message("bar training"), unit="step", bar_format=_BAR
                )
            self._bar.update(step - self._bar.n)

    def step(self, step: int, frames: int, rate: float, averages: dict[str, float], speed: dict[str, float]) -> None:
        """One line of progress and its curves.

        Args:
            frames: trained on so far.
            averages: means since the last line, by name (loss, loss_buttons, ..., gradient_norm).
            speed: frames_per_second, seconds (of the run so far), seconds_left, peak_memory_mb, and shares of the sources as "share/<name>".
        """
        if self._bar is not None:
            self._bar.set_postfix_str(message("time left", left=clock_text(speed["seconds_left"])), refresh=False)
        self.say(f"Step {step}/{self.total_steps}, Loss: {averages['loss']:.3f}, LR: {rate_text(rate)}")
        before, then = self._status
        span = speed["seconds"] - then
        if span > 60 or not then:
            self._status = (frames, speed["seconds"])
        if span > 60 and then:
            pace, norm = f"{(frames - before) / span:.0f}", f"{averages['gradient_norm']:.2f}"
            self.say("  " + message("training pace", speed=pace, norm=norm, left=clock_text(speed["seconds_left"])))
        speeds = {name: value for name, value in speed.items() if name != "seconds_left"}
        self.curves(step, {**below("train", averages), "train/learning_rate": rate, **below("speed", speeds)})

    def validated(
        self, step: int, results: dict[str, float], better: bool, actions: ActionMetrics | None = None
    ) -> None:
        """The result of a validation; `better` than all before."""
        self.say(f"Validation @ step {step}: Loss={results['loss']:.3f}" + (" (best so far)" if better else ""))
        self.validation_curves(step, results, actions)

    def retained(self, step: int, results: dict[str, float]) -> None:
        """The result of a validation on old skills."""
        self.say(f"Retention @ step {step}: Loss={results['loss']:.3f}")
        self.curves(step, below("retention", results))

    def validation_curves(self, step: int, results: dict[str, float], actions: ActionMetrics | None = None) -> None:
        """A validation's numbers without a line on the console; step 0: before training."""
        if self.board is None:
            return
        self.curves(step, below("validation", results | (actions.numbers() if actions is not None else {})))
        if actions is not None and actions.button_shares():
            self._actions(step, actions.button_shares(), actions.camera_shares())

    def curves(self, step: int, numbers: dict[str, float]) -> None:
        """Points of curves, in TensorBoard and in the run's file."""
        if self.board is None or self._file is None:
            return
        for name, value in numbers.items():
            self.board.curve(name, value, step)
        self._file.add(step, numbers)
        if self._tracker is not None:
            self._tracker.curves(step, numbers)

    def _actions(
        self, step: int, buttons: dict[str, tuple[float, float]], camera: dict[str, list[tuple[float, float, float]]]
    ) -> None:
        """What was pressed and what the policy would press: a picture, histograms, and a table for the report."""
        if self.board is None or self._file is None:
            return
        groups = {f"camera_{axis}_degrees": bins for axis, bins in camera.items()}
        groups["buttons_by_number"] = [(float(number), *shares) for number, shares in enumerate(buttons.values())]
        for name, rows in groups.items():
            for column, whose in ((1, "recorded"), (2, "policy")):
                shares = histogram([(row[0], row[column]) for row in rows])
                self.board.add_histogram_raw(f"{name}/{whose}", **shares, global_step=step)
        self.picture("actions", actions_picture(buttons, camera), step)
        self._file.add(step, {"actions/buttons": buttons, "actions/camera": camera})

    def describe(self, data: dict[str, Any] | None = None) -> None:
        """Record settings.json as text, the layout of the charts, and how much data there is."""
        if self._file is not None and data and self._first_step == 0:
            self._file.add(0, {"data": data})
        if self.board is not None:
            self.board.add_custom_scalars(custom_scalars())
            record = read_json(self._run_dir / SETTINGS_FILE)
            self.board.add_text("settings", settings_table(record))
            self.board.settings(_shaping(record["settings"]))
            if self._tracks != "none":
                self._tracker = Tracker(self._tracks, self._run_dir.name, _shaping(record["settings"]), self.warn)

    def saved(self, path: Path) -> None:
        self.say(f"Saved checkpoint: {path.name}")

    def skipped(self, step: int, in_a_row: int, total: int, why: str = "loss or gradient is not finite") -> None:
        """Warn of skipped steps up to `step`."""
        self.warn(f"step {step}: {why}; skipped ({in_a_row} in a row, {total} in all)")
        self.curves(step, {"train/skipped_steps": total})

    def picture(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """A picture, u8 (H,W,3) RGB, for TensorBoard."""
        if self.board is not None:
            self.board.add_image(name, torch.from_numpy(np.ascontiguousarray(image)), step, dataformats="HWC")

    def film(self, name: str, gif: bytes, width: int, height: int, step: int) -> None:
        """An animation for TensorBoard: the bytes of a GIF."""
        if self.board is not None:
            self.board.film(name, gif, width, height, step)

    def finished(self, final: Path, best: Path | None, lines: list[str]) -> None:
        """Say that the run is over, and name the weights."""
        self._end_bar()
        if self.board is not None:
            self.board.settings({}, finished=True)
        said = [message("training finished"), message("final weights", name=final.name)]
        if best is not None:
            said.append(message("best weights", name=best.name))
        self.say(*said, *[f"  {line}" for line in lines])

    def close(self) -> None:
        self._end_bar()
        if self.board is not None:
            self.board.close()
        if self._file is not None:
            self._file.close()
        if self._tracker is not None:
            self._tracker.close()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
