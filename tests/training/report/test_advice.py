"""What to do next: each finding from a run whose numbers call for it, and from no healthy one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from steve1.training.logging.scalars import Curves
from steve1.training.report.advice import advise, texts
from steve1.training.report.findings import Run

SETTINGS = {
    "learning_rate": 1e-5, "total_frames": 10_000, "max_grad_norm": 5.0, "num_workers": 1,
    "in_weights": "a.weights", "out_weights": "b.weights",
}  # fmt: skip
BUTTONS = {"attack": [0.4, 0.38], "drop": [0.001, 0.0]}


def curve(*values: float, every: int = 100, first: int = 0) -> list[tuple[int, float]]:
    return [(first + every * index, value) for index, value in enumerate(values)]


def healthy() -> Curves:
    """Both losses fall and level off, the goal is heard, old skills are kept."""
    return {
        "train/loss": curve(2.4, 2.2, 2.1, 2.0, 1.96, 1.95, 1.94, 1.935, 1.93, first=100),
        "validation/loss": curve(2.5, 2.2, 2.1, 2.05, 2.03, 2.025, 2.022, 2.02),
        "retention/loss": curve(2.0, 2.0, 2.01),
        "goal/true_minus_shuffled": curve(-0.05, -0.1),
        "goal/true_minus_none": curve(-0.06, -0.12),
        "goal/error_shuffled": curve(0.01, 0.01),
        "goal/error_none": curve(0.01, 0.01),
        "train/gradient_norm": curve(2.0, 2.0, 2.0, first=100),
        "train/clipped_share": curve(0.05, 0.02, 0.02, 0.01, first=100),
        "speed/data_wait_share": curve(0.02, 0.02, 0.02, first=100),
    }


def found(
    changes: dict[str, Any] | None = None,
    *,
    settings: dict[str, Any] | None = None,
    tables: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Findings by key; a change of None takes a curve away."""
    curves = {name: points for name, points in {**healthy(), **(changes or {})}.items() if points is not None}
    known = {"data": {"train_frames": 9000, "val_frames": 4000}, "actions/buttons": BUTTONS, **(tables or {})}
    run = Run(curves, {**SETTINGS, **(settings or {})}, {"out_weights": "b.weights"}, known)
    return {advice.key: advice for advice in advise(run)}


def test_a_healthy_run_is_told_so() -> None:
    assert set(found()) == {"learned", "goal_heard", "kept", "play_it"}
    assert "a.weights b.weights" in found()["play_it"].do_en[1]


SHAPES: dict[str, dict[str, Any]] = {
    "unstable": {"changes": {"train/skipped_steps": curve(1, 3)}},
    "rate_too_high": {"changes": {"train/loss": curve(2.0, 2.1, 2.2, 2.4, 2.6, 2.7)}},
    "not_learning": {"changes": {"train/loss": curve(2.0, 2.01, 2.0, 1.99, 2.0, 1.995), "validation/loss": curve(2.0, 1.999, 1.998)}},
    "overfitting": {"changes": {"validation/loss": curve(2.5, 2.1, 2.0, 2.05, 2.1, 2.2)}},
    "worse_than_start": {"changes": {"validation/loss": curve(1.9, 2.0, 1.99, 1.99)}},
    "goal_ignored": {"changes": {"goal/true_minus_shuffled": curve(-0.001), "goal/true_minus_none": curve(0.002)}},
    "goals_alike": {"changes": {"goal/true_minus_shuffled": curve(-0.001)}},
    "goal_unclear": {"changes": {"goal/error_shuffled": curve(0.3), "goal/error_none": curve(0.3)}},
    "forgetting": {"changes": {"retention/loss": curve(2.0, 2.02, 2.1)}},
    "retention_unknown": {"changes": {"retention/loss": None}},
    "no_validation": {"changes": {"validation/loss": None}},
    "clipped": {"changes": {"train/clipped_share": curve(0.1, 0.9, 1.0, 0.95)}},
    "unfinished": {"changes": {"validation/loss": curve(2.5, 2.4, 2.3, 2.2, 2.1, 2.0)}},
    "missed_actions": {"tables": {"actions/buttons": {**BUTTONS, "jump": [0.1, 0.04]}}},
    "little_data": {"tables": {"data": {"train_frames": 100, "val_frames": 4000}}},
    "waiting": {"changes": {"speed/data_wait_share": curve(0.3, 0.4, 0.5)}},
}  # fmt: skip


@pytest.mark.parametrize("key", SHAPES)
def test_each_finding_and_what_it_says(key: str) -> None:
    advice = found(**SHAPES[key])
    assert key in advice
    assert advice[key].en
    assert len(advice[key].do_en) == len(advice[key].do_zh) > 0
    assert any("一" <= letter <= "鿿" for letter in advice[key].zh)


def test_every_finding_is_among_these() -> None:
    assert set(SHAPES) | set(found()) == set(texts())


@pytest.mark.parametrize(
    ("shape", "key", "words"),
    [
        ({"changes": {"validation/loss": curve(2.5, 2.1, 2.0, 2.05, 2.1, 2.2)}}, "overfitting", ["step 200", "2.000", "2.200", "+10.0 %", "TOTAL_FRAMES=4000"]),
        ({"changes": {"retention/loss": curve(2.0, 2.02, 2.1)}}, "forgetting", ["2.000", "2.100", "+5.0 %", "LEARNING_RATE=5e-6", "TOTAL_FRAMES=5000"]),
        ({"changes": {"goal/true_minus_shuffled": curve(-0.001), "goal/true_minus_none": curve(0.002)}}, "goal_ignored", ["-0.001 / +0.002"]),
        ({"tables": {"data": {"train_frames": 100, "val_frames": 640}}}, "little_data", ["100 times", "640 frames"]),
        ({"changes": {"train/loss": curve(2.0, 2.1, 2.2, 2.4, 2.6, 2.7)}}, "rate_too_high", ["2.050", "2.650", "LEARNING_RATE=2e-6"]),
        ({"changes": {"train/clipped_share": curve(0.1, 0.9, 1.0, 0.9)}}, "clipped", ["95 %", "limit 5"]),
        ({"changes": {"validation/loss": curve(2.5, 2.1, 2.0, 2.05, 2.1, 2.2)}}, "play_it", ["b_best.weights"]),
    ],
)  # fmt: skip
def test_the_numbers_in_it(shape: dict[str, Any], key: str, words: list[str]) -> None:
    advice = found(**shape)[key]
    text = " ".join([advice.en, *advice.do_en])
    assert [word for word in words if word not in text] == []


BOUNDS: dict[str, Callable[[float], dict[str, Any]]] = {
    "overfitting": lambda far: {"changes": {"validation/loss": curve(2.5, 2.0, 2.0, 2.0 * (1 + 0.01 * far))}},
    "forgetting": lambda far: {"changes": {"retention/loss": curve(2.0, 2.0 * (1 + 0.02 * far))}},
    "clipped": lambda far: {"changes": {"train/clipped_share": curve(*[0.5 * far] * 4)}},
    "waiting": lambda far: {"changes": {"speed/data_wait_share": curve(*[0.2 * far] * 4)}},
    "missed_actions": lambda far: {"tables": {"actions/buttons": {"jump": [0.1, 0.05 / far]}}},
    "little_data": lambda far: {"settings": {"total_frames": round(30 * 9000 * far)}},
}


@pytest.mark.parametrize("key", BOUNDS)
def test_just_below_a_bound_nothing_is_said(key: str) -> None:
    assert key in found(**BOUNDS[key](1.05))
    assert key not in found(**BOUNDS[key](0.95))


def test_on_few_validation_frames_a_small_rise_is_no_overfitting() -> None:
    few = {"data": {"train_frames": 9000, "val_frames": 900}}
    assert "overfitting" not in found({"validation/loss": curve(2.5, 2.0, 2.0, 2.03)}, tables=few)
    assert "overfitting" in found({"validation/loss": curve(2.5, 2.0, 2.0, 2.08)}, tables=few)


def test_a_gap_within_its_own_error_is_chance() -> None:
    noisy = {"goal/true_minus_shuffled": curve(-0.1), "goal/true_minus_none": curve(-0.1)}
    assert "goal_heard" in found(noisy)
    wide = {"goal/error_shuffled": curve(0.06), "goal/error_none": curve(0.06)}
    assert "goal_unclear" in found({**noisy, **wide})
    assert "standard error of 0.060" in found({**noisy, **wide})["goal_unclear"].en


def test_pressing_ones_come_first() -> None:
    levels = [advice.level for advice in found({"retention/loss": curve(2.0, 3.0), "validation/loss": None}).values()]
    assert levels == sorted(levels, key=["act", "note", "good"].index)
    assert levels[0] == "act"


def test_when_training_gets_worse_too_it_is_no_overfitting() -> None:
    worse = {
        "validation/loss": curve(2.5, 2.1, 2.0, 2.05, 2.1, 2.2),
        "train/loss": curve(2.4, 2.0, 2.0, 2.3, 2.5, 2.6, first=100),
    }
    assert "overfitting" not in found(worse)
    assert "rate_too_high" in found(worse)
