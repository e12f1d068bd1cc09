"""Fixtures of the evaluation tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.evaluation import policies as policies_module
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

    def actor(self: Any, spec: Any, goal_: Any, seed: int, behaviour: str = "") -> Any:
        if spec.kind != "weights":
            return original(self, spec, goal_, seed, behaviour)
        return GoalActor(FakeAgent(), goal_ if spec.name == "tuned" else np.zeros(4))

    original = policies_module.PolicyCache.actor
    monkeypatch.setattr(policies_module.PolicyCache, "actor", actor)
    monkeypatch.setattr(policies_module.PolicyCache, "prepare", lambda self, spec, goal_: None)
    return tmp_path
