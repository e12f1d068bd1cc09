"""The golden tiny policy, its inputs and its stored outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steve1.policy import GoalPolicy, load_policy
from tests.goldens import golden_arrays

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def tiny_model(golden: Path) -> dict[str, Any]:
    """The tiny policy's settings, nested as in a `.model` file."""
    stored = json.loads((golden / "policy_tiny_config.json").read_text())
    return {"model": {"args": {"net": {"args": stored["policy_kwargs"]}, "pi_head_opts": stored["pi_head_kwargs"]}}}


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny policy's stored weights as a torch state dict on disk."""
    stored = golden_arrays("policy_tiny_state.npz")
    path = tmp_path_factory.mktemp("weights") / "tiny.weights"
    torch.save({key: torch.from_numpy(array) for key, array in stored.items()}, path)
    return path


@pytest.fixture
def tiny(tiny_model: dict[str, Any], tiny_weights: Path) -> GoalPolicy:
    """A fresh copy of the tiny policy."""
    return load_policy(tiny_model, tiny_weights)


@pytest.fixture(scope="session")
def inputs() -> dict[str, torch.Tensor]:
    """frames, goals, first, buttons, camera of three rows and 64 steps, and lens of the stored chunks."""
    stored = golden_arrays("policy_tiny_inputs.npz")
    return {
        "frames": torch.from_numpy(stored["img"]),
        "goals": torch.from_numpy(stored["mineclip_embed"]),
        "first": torch.from_numpy(stored["first"]),
        "buttons": torch.from_numpy(stored["action_buttons"]).long().squeeze(-1),
        "camera": torch.from_numpy(stored["action_camera"]).long().squeeze(-1),
        "lens": torch.from_numpy(stored["lens"]),
    }


@pytest.fixture(scope="session")
def outputs() -> Arrays:
    """What the published network made of them."""
    return golden_arrays("policy_tiny_outputs.npz")


@pytest.fixture(scope="session")
def meta(golden: Path) -> dict[str, Any]:
    """Stored losses, gradient norms and optimizer figures."""
    return json.loads((golden / "policy_tiny_meta.json").read_text())
