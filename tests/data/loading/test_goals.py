"""Hindsight goals: the published choices under the legacy rule, and what must hold for any of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steve1.core.errors import UserError
from steve1.core.seeds import generator
from steve1.data.loading.goals import hindsight_goals


def test_legacy_equals_the_published_code(golden: Path) -> None:
    cases = json.loads((golden / "relabel.json").read_text())["relabel"]
    assert len(cases) >= 40
    for case in cases:
        rng = np.random.RandomState(case["np_seed"])
        goals = hindsight_goals(case["n"], case["min"], case["max"], rng, "legacy")
        dropped = rng.random_sample() < case["p_uncond"]
        assert dropped == case["uncond"]
        expected = [0] * case["n"] if dropped else case["embed_index_per_t"]
        assert (goals * (not dropped)).tolist() == expected


@settings(deadline=None)
@given(n=st.integers(1, 1500), low=st.integers(1, 200), width=st.integers(1, 200), seed=st.integers(0, 10**6))
def test_every_frame_looks_ahead_and_the_last_goal_is_the_last_frame(n: int, low: int, width: int, seed: int) -> None:
    goals = hindsight_goals(n, low, low + width, generator(seed, "g"))
    assert goals.shape == (n,)
    assert (goals >= np.arange(n)).all()
    assert goals[-1] == n - 1
    assert (np.diff(goals) >= 0).all()
    distinct = np.unique(goals)
    gaps = np.diff(np.concatenate([[0], distinct]))
    assert (gaps[:-1] >= low).all()
    assert (gaps[:-1] < low + width).all()
    # A goal serves the frames up to and including itself.
    assert (goals[distinct] == distinct).all()


def test_exact_and_legacy_differ_by_one_frame_only() -> None:
    exact = hindsight_goals(500, 15, 60, np.random.RandomState(3), "exact")
    legacy = hindsight_goals(500, 15, 60, np.random.RandomState(3), "legacy")
    differing = np.flatnonzero(exact != legacy)
    assert differing.tolist() == (np.unique(exact)[:-1] + 1).tolist()
    assert (legacy[differing] < differing).all()  # the fault of the legacy rule: a goal in the past


@pytest.mark.parametrize(("low", "high"), [(15, 15), (30, 15), (0, 10), (-5, 5)])
def test_empty_ranges_are_refused(low: int, high: int) -> None:
    with pytest.raises(UserError, match="range of gaps") as fault:
        hindsight_goals(100, low, high, generator(0))
    assert f"min_btwn_goals={low}" in str(fault.value)


def test_unknown_rule_is_refused() -> None:
    with pytest.raises(UserError, match="goal_switch"):
        hindsight_goals(100, 15, 30, generator(0), "nearest")  # type: ignore[arg-type]
