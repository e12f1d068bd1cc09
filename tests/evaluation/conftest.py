"""Fixtures of the evaluation tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.evaluation import policies as contestants_module
from steve1.rollout.play import GoalActor
from tests.evaluation.worlds import SUITE
from tests.rollout.fakes import FakeAgent


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two weights files that stand for fake agents: the skilled one follows its goal, the other does nothing."""
    (tmp_path / "suite.yaml").write_text(SUITE)
    (tmp_path / "m.model").write_bytes(b"model")
    for name in ("base", "tuned"):
        (tmp_path / f"{name}.weights").write_bytes(name.encode())
        (tmp_path / f"{name}.weights.json").write_text(
            json.dumps({"model": str(tmp_path / "m.model"), "env": "luanti"})
        )

    def actor(self: Any, contestant: Any, goal_: Any, seed: int, behaviour: str = "") -> Any:
        if contestant.kind != "weights":
            return original(self, contestant, goal_, seed, behaviour)
        return GoalActor(FakeAgent(), goal_ if contestant.name == "tuned" else np.zeros(4))

    original = contestants_module.Bench.actor
    monkeypatch.setattr(contestants_module.Bench, "actor", actor)
    monkeypatch.setattr(contestants_module.Bench, "prepare", lambda self, contestant, goal_: None)
    return tmp_path
