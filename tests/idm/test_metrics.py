"""Scores of labels, against cases that can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steve1.actions import to_bins
from steve1.actions.buttons import BUTTONS
from steve1.idm.metrics import average_precision, best_threshold, scores
from steve1.idm.score_tables import button_table, camera_table, not_labelled_well

FORWARD = BUTTONS.index("forward")


def test_average_precision() -> None:
    truth = np.array([True, False, True, False])
    assert average_precision(np.array([0.9, 0.8, 0.7, 0.1]), truth) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.full(4, 0.5), truth) == pytest.approx(0.5), "a guess has the share of presses"
    assert math.isnan(average_precision(np.zeros(4), np.zeros(4, bool)))


def test_buttons_beside_their_baselines() -> None:
    pressed, found = np.zeros((12, 20), bool), np.zeros((12, 20))
    pressed[[2, 3, 4, 9], FORWARD] = True
    found[[3, 4, 5, 10], FORWARD] = 0.9
    one = scores(found, np.full((12, 2), 5), pressed, np.zeros((12, 2))).button("forward")
    assert (one.pressed, one.share) == (4, 4 / 12)
    assert one.f1 == pytest.approx(0.5), "2 of 4 found are right, 2 of 4 true ones are found"
    assert one.f1_within_one == 1.0
    assert one.f1_before == pytest.approx(0.5)
    within = scores(found, np.full((12, 2), 5), pressed, np.zeros((12, 2)), ends=[10]).button("forward")
    assert within.f1_within_one == pytest.approx(0.75), "frames 9 and 10 are of two episodes"
    assert math.isnan(scores(found, np.full((12, 2), 5), pressed, np.zeros((12, 2))).button("jump").f1)


def test_the_camera() -> None:
    degrees = np.array([[0, 0], [0, 3.2], [0, -3.2], [0, 25.0], [0, 0], [0, 1.6]])
    bins = to_bins(degrees)
    perfect = scores(np.zeros((6, 20)), bins, np.zeros((6, 20), bool), degrees).camera[1]
    assert perfect.r2 > 0.99, "a flick of 25 degrees is the largest bin"
    assert (perfect.bins, perfect.bins_moving, perfect.sign) == (1, 1, 1)
    assert perfect.bins_still == pytest.approx(2 / 6)
    assert perfect.gain == pytest.approx(1, abs=0.01)
    wrong = scores(np.zeros((6, 20)), 10 - bins, np.zeros((6, 20), bool), degrees).camera[1]
    assert wrong.sign == 0
    assert wrong.gain < -0.9
    assert math.isnan(
        perfect_pitch := scores(np.zeros((6, 20)), bins, np.zeros((6, 20), bool), degrees).camera[0].r2
    ), perfect_pitch


def test_the_best_threshold() -> None:
    truth = np.arange(200) % 4 == 0
    probability = np.where(truth, 0.3, 0.1)
    assert best_threshold(probability, truth) == pytest.approx(0.3)
    assert best_threshold(probability, np.arange(200) < 5) == 0.5, "too few to choose by"


def test_tables_name_what_is_not_labelled_well() -> None:
    pressed = np.zeros((50, 20), bool)
    pressed[::2, FORWARD] = pressed[::5, 0] = True
    found = pressed.astype(float)
    found[:, 0] = 0.4
    result = scores(found, np.full((50, 2), 5), pressed, np.zeros((50, 2)))
    assert "forward" not in not_labelled_well(result)
    assert {"attack", "jump"} <= set(not_labelled_well(result))
    assert [row[0] for row in button_table(result).rows] == ["forward", "attack"]
    assert "R²" in camera_table(result).markdown()
