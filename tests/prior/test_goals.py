"""Prompts → goals: seeded, alike at any place, and the nearest of several draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steve1.core.errors import UserError
from steve1.mineclip.config import MineCLIPConfig
from steve1.mineclip.model import MineCLIP
from steve1.prior import Prior, PriorConfig, text_goal

SIZES = MineCLIPConfig(
    embed_dim=32,
    resolution=(80, 128),
    vision_width=32,
    vision_layers=1,
    vision_heads=1,
    text_width=32,
    text_layers=1,
    text_heads=1,
    temporal_heads=1,
)


@pytest.fixture(scope="module")
def mineclip() -> MineCLIP:
    torch.manual_seed(0)
    return MineCLIP(SIZES).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def prior() -> Prior:
    torch.manual_seed(0)
    return Prior(PriorConfig(32, 48, 16)).eval().requires_grad_(False)


def test_the_same_prompt_and_seed_give_the_same_goal(mineclip: MineCLIP, prior: Prior) -> None:
    goal = text_goal("dig a hole", mineclip, prior, seed=3)
    assert goal.shape == (32,)
    assert goal.dtype == np.float32
    torch.randn(5)  # the global generator has no say
    assert np.array_equal(goal, text_goal("dig a hole", mineclip, prior, seed=3))
    assert not np.array_equal(goal, text_goal("dig a hole", mineclip, prior, seed=4))
    assert not np.array_equal(goal, text_goal("look at the sky", mineclip, prior, seed=3))


def test_it_is_what_the_prior_gives_for_the_text(mineclip: MineCLIP, prior: Prior) -> None:
    goals = prior.goal(mineclip.encode_text(["swim", "dig a hole"]), seed=3).numpy()
    assert np.allclose(text_goal("dig a hole", mineclip, prior, seed=3), goals[1], atol=1e-5)
    middle = text_goal("swim", mineclip, prior, seed=3, deterministic=True)
    assert np.array_equal(middle, text_goal("swim", mineclip, prior, seed=4, deterministic=True, n_samples=8))


def test_the_nearest_of_n_is_kept(mineclip: MineCLIP, prior: Prior) -> None:
    """It is one of the draws, and none of them scores higher."""
    text = mineclip.encode_text(["swim"])
    draws = prior.samples(text, seed=1, n=16)
    scores = mineclip.scores(draws, text)[:, 0]
    best = text_goal("swim", mineclip, prior, seed=1, n_samples=16)
    assert np.allclose(best, draws[int(scores.argmax())].numpy(), atol=1e-6)
    assert float(scores.max()) > float(scores[0])


def test_faults_are_named(mineclip: MineCLIP, prior: Prior) -> None:
    with pytest.raises(UserError, match="families"):
        text_goal("swim", mineclip, Prior(PriorConfig(64, 8, 8)))
    with pytest.raises(UserError, match="n_samples"):
        text_goal("swim", mineclip, prior, n_samples=0)
    with pytest.raises(UserError, match="empty"):
        text_goal("  ", mineclip, prior)
