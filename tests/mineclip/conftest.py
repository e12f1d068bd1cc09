"""Fixtures: the tiny configuration of the golden files, filled and random."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steve1.mineclip.config import MineCLIPConfig
from steve1.mineclip.model import MineCLIP
from steve1.mineclip.weights import fill
from tests.goldens import golden_arrays

TINY = MineCLIPConfig(
    embed_dim=64,
    vision_width=128,
    vision_layers=2,
    vision_heads=2,
    text_width=64,
    text_layers=2,
    text_heads=2,
    vocabulary=300,
    temporal_heads=4,
)
SMALL = MineCLIPConfig(
    embed_dim=64,
    resolution=(80, 128),
    vision_width=64,
    vision_layers=1,
    vision_heads=1,
    text_width=32,
    text_layers=1,
    text_heads=1,
    temporal_heads=1,
)


@pytest.fixture(scope="session")
def tiny_tensors() -> dict[str, torch.Tensor]:
    """The golden weights under their published keys, without the prefix `model.`; both towers under all their names."""
    tensors = {}
    for key, array in golden_arrays("mineclip_tiny_state.npz").items():
        names = {key}
        if key.startswith("clip_model."):
            names |= {f"reward_head.{key}", key.replace("clip_model.vision_model.", "image_encoder.")}
        tensors |= dict.fromkeys(names, torch.from_numpy(array))
    assert len(tensors) == 188
    return tensors


@pytest.fixture(scope="session")
def tiny(tiny_tensors: dict[str, torch.Tensor]) -> MineCLIP:
    """The golden tiny model."""
    model = MineCLIP(TINY)
    fill(model, tiny_tensors)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_io() -> dict[str, np.ndarray]:
    """The golden inputs and outputs of the tiny model."""
    return golden_arrays("mineclip_tiny_io.npz")


@pytest.fixture
def small() -> MineCLIP:
    """A random model with CLIP's vocabulary, cheap enough for any test."""
    torch.manual_seed(0)
    return MineCLIP(SMALL).eval().requires_grad_(False)
