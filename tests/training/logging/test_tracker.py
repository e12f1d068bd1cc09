"""The experiment tracker: it is told the curves, and no fault of it reaches the training."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from steve1.core.errors import UserError
from steve1.training.checks import faults
from steve1.training.config import TrainSettings
from steve1.training.logging.reporter import Reporter
from steve1.training.logging.tracker import Tracker


class Package(types.ModuleType):
    """A tracker's package with its three calls, which notes them."""

    def __init__(self, name: str, fails: str = "") -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any]] = []
        self._fails = fails

    def _note(self, name: str, value: Any) -> None:
        if name == self._fails:
            raise ConnectionError("no network")
        self.calls.append((name, value))

    def init(self, **named: Any) -> None:
        self._note("init", named)

    def log(self, numbers: dict[str, float], step: int) -> None:
        self._note("log", (step, numbers))

    def finish(self) -> None:
        self._note("finish", None)


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
def test_it_is_told_the_curves_and_settings_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    package = Package(kind)
    monkeypatch.setitem(sys.modules, kind, package)
    run = tmp_path / "my run"
    run.mkdir()
    (run / "settings.json").write_text(
        json.dumps({"settings": {"learning_rate": 1e-5, "lora_targets": ["x"], "seed": 3}})
    )
    reporter = Reporter(run, 3, speaks=True, tracker=kind)
    reporter.describe()
    reporter.curves(1, {"train/loss": 2.0, "train/odd": float("nan")})
    reporter.close()
    names = [name for name, _ in package.calls]
    assert names == ["init", "log", "finish"]
    init = package.calls[0][1]
    assert (init["name"], init["resume"]) == ("my run", "allow")
    assert init["config"]["learning_rate"] == 1e-5
    assert init.get("id") == ("my-run" if kind == "wandb" else None)
    assert package.calls[1][1] == (1, {"train/loss": 2.0})


@pytest.mark.parametrize("fails", ["init", "log", "finish"])
def test_a_tracker_that_fails_is_warned_of_once(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    monkeypatch.setitem(sys.modules, "trackio", Package("trackio", fails))
    said: list[str] = []
    tracker = Tracker("trackio", "run", {}, said.append)
    tracker.curves(1, {"loss": 1.0})
    tracker.curves(2, {"loss": 1.0})
    tracker.close()
    assert said == ["trackio is not told any more: ConnectionError: no network"]


def test_it_is_off_by_default_and_a_missing_package_is_told_before_anything_loads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert TrainSettings().log == "none"
    monkeypatch.setitem(sys.modules, "trackio", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert any(
        "needs the package trackio" in fault for fault in faults(dataclasses.replace(TrainSettings(), log="trackio"))
    )
    with pytest.raises(UserError, match="needs the package trackio"):
        Tracker("trackio", "run", {}, print)
