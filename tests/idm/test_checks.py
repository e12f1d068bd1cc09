"""What the checks measure, and what they say of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from steve1.actions import to_bins
from steve1.data.media.motion import Motion, grey_of
from steve1.idm.labelling.checks import (
    Evidence,
    Thresholds,
    calibrated,
    field_of_view,
    measured,
    reasons_against,
    section_reasons,
    warnings_on,
)
from tests.data.videos.films import pictures, turns
from tests.idm.oracle import Oracle

N = 240


def evidence_of(degrees: Any, change: Callable[[Any], Any] = lambda frames: frames) -> Evidence:
    frames, motion = change(list(pictures(degrees))), Motion()
    small = [cv2.resize(frame, (128, 128)) for frame in frames]
    for frame in small:
        motion.add(grey_of(frame))
    return Evidence.of(Oracle().label(small), motion)


def test_measures_of_good_labels() -> None:
    found = measured(evidence_of(turns(N)))
    assert found.lag == 0
    assert found.follow_pitch is not None
    assert found.follow_yaw is not None
    assert min(found.follow_pitch, found.follow_yaw) > 0.9
    pitch, yaw = found.pixels_per_degree
    assert pitch == pytest.approx(1.6, rel=0.1), "at a field of view of 70 degrees"
    assert yaw == pytest.approx(0.9, rel=0.2)
    assert found.doubled == 0
    assert not reasons_against(found, Thresholds())


@pytest.mark.parametrize("times", [2, 3, 4])
def test_a_game_that_is_slower_than_its_video(times: int) -> None:
    slow = measured(evidence_of(turns(150), lambda frames: [frame for frame in frames for _ in range(times)]))
    assert slow.doubled == pytest.approx(1 - 1 / times, abs=0.03)
    assert "repeat the one before" in reasons_against(slow, Thresholds())[0]


def test_pauses_are_no_repeats() -> None:
    degrees = np.full((240, 2), 3.2)
    degrees[::2] *= -1  # stays over the landscape
    degrees[np.arange(240) % 7 < 3] = 0
    assert measured(evidence_of(degrees)).doubled == 0


def test_a_calibration_knows_the_mirror_and_the_field_of_view() -> None:
    known = dataclasses.replace(measured(evidence_of(turns(N))), mirror=0.94)
    limits = calibrated(known, [])
    assert limits.mirror == 0.94
    assert not warnings_on(dataclasses.replace(known, mirror=0.9), limits)
    (note,) = warnings_on(dataclasses.replace(known, mirror=0.8), limits)
    assert "80% of the turns" in note
    wide = dataclasses.replace(known, pixels_per_degree=[1.12, 0.63])
    assert field_of_view(wide, dataclasses.replace(known, pixels_per_degree=[1.6, 0.9]), 70.0) == pytest.approx(
        90, 0.01
    )
    assert field_of_view(dataclasses.replace(known, pixels_per_degree=[None, None]), known, 70.0) is None


@pytest.mark.parametrize("by", [-2, 1, 2])
def test_a_shift_is_seen_where_turns_last_for_seconds(by: int) -> None:
    """The picture follows these labels by 0.9 and more at lag 0, too: no more than 0.1 better where it should."""
    degrees = np.zeros((N, 2))
    for start, yaw in ((0, 3.2), (45, -3.2), (90, 0), (120, 1.6), (170, -3.2)):
        degrees[start:, 1] = yaw
    good = evidence_of(degrees)
    assert not reasons_against(measured(good), Thresholds())
    found = measured(Evidence(**{**good.__dict__, "bins": np.roll(good.bins, by, axis=0)}))
    assert found.follow[-by + 20] - found.follow[20] < 0.1
    assert f"off by {-by:+d} frames" in reasons_against(found, Thresholds())[0]


def test_sections_that_do_not_follow_are_rejected_alone() -> None:
    good = evidence_of(turns(600))
    bins = good.bins.copy()
    bins[200:300] = to_bins(turns(100, 8))
    reasons = section_reasons(Evidence(**{**good.__dict__, "bins": bins}), Thresholds())
    assert [bool(reason) for reason in reasons] == [False, False, True, False, False, False]
