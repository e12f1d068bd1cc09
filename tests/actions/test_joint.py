"""Joint classes against the stored mapping of the published code, and the rules that the table cannot show."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1 import actions
from steve1.core.errors import UserError
from tests.goldens import golden_arrays

Stored = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def stored() -> Stored:
    return golden_arrays("action_mapping.npz")


def env_actions(stored: Stored) -> list[dict[str, Any]]:
    names = stored["env_keys"].tolist()
    rows = stored["env_buttons"].tolist()
    return [
        {**dict(zip(names, row, strict=True)), "camera": camera}
        for row, camera in zip(rows, stored["env_camera"].tolist(), strict=True)
    ]


def test_names_are_the_published_ones(stored: Stored) -> None:
    assert stored["button_names"].tolist() == actions.BUTTONS
    assert stored["env_keys"].tolist() == actions.ENV_BUTTONS


def test_bins_and_centres(stored: Stored) -> None:
    assert (actions.to_bins(stored["quant_grid"]) == stored["quant_bins"]).all()
    assert np.allclose(actions.BIN_DEGREES, stored["unquant"], atol=1e-12)


def test_every_class_decodes_as_published(stored: Stored) -> None:
    classes = np.arange(actions.N_BUTTONS)
    pressed, bins = actions.joint_to_arrays(classes, np.zeros_like(classes))
    assert (pressed == stored["button_idx_to_factored"]).all()
    camera_off = (bins == actions.N_BINS // 2).all(axis=1)
    assert (camera_off == stored["button_idx_camera_meta_off"]).all()
    cameras = np.arange(actions.N_CAMERA)
    _, bins = actions.joint_to_arrays(np.ones_like(cameras), cameras)
    assert (bins == stored["camera_idx_to_factored"]).all()


def test_encoding_2000_actions(stored: Stored) -> None:
    buttons, camera = actions.to_joint(env_actions(stored))
    assert buttons.dtype == camera.dtype == np.int64
    assert (buttons == stored["joint_buttons"]).all()
    assert (camera == stored["joint_camera"]).all()
    pressed, degrees = actions.actions_to_arrays(env_actions(stored))
    assert (pressed == stored["policy_buttons"]).all()
    assert (actions.to_bins(degrees) == stored["policy_camera"]).all()


def test_decoding_2000_actions(stored: Stored) -> None:
    cases = [
        ("joint", "back_buttons", "back_camera", "back_env_camera"),
        ("inv_joint", "inv_buttons", "inv_camera_bins", "inv_camera_env"),
    ]
    for source, buttons_key, bins_key, degrees_key in cases:
        buttons, camera = stored[f"{source}_buttons"], stored[f"{source}_camera"]
        pressed, bins = actions.joint_to_arrays(buttons, camera)
        assert (pressed == stored[buttons_key]).all()
        assert (bins == stored[bins_key]).all()
        decoded = actions.to_env(buttons, camera)
        assert np.allclose([action["camera"] for action in decoded], stored[degrees_key], atol=1e-12)
        names = actions.BUTTONS
        assert ([[action[name] for name in names] for action in decoded] == stored[buttons_key]).all()
        assert all(set(action) == {*actions.ENV_BUTTONS, "camera"} for action in decoded)


def test_decoding_then_encoding_returns_every_reachable_class() -> None:
    buttons = np.arange(actions.N_BUTTONS)
    camera = np.where(
        buttons == actions.INVENTORY, actions.NULL_CAMERA, np.where(buttons % 2 == 1, 13, actions.NULL_CAMERA)
    )
    again = actions.to_joint(actions.to_env(buttons, camera))
    assert (again[0] == buttons).all()
    assert (again[1] == camera).all()


def test_decoded_actions_are_independent() -> None:
    first, second = actions.to_env([0, 0], [60, 60])
    first["attack"], first["camera"][0] = 1, 5.0
    assert second == actions.null_action() == actions.to_env([0], [60])[0]


def test_missing_buttons_count_as_not_pressed() -> None:
    buttons, camera = actions.to_joint([{"attack": 1}, {"camera": [0, 3]}, actions.null_action()])
    assert actions.is_null(buttons, camera).tolist() == [False, False, True]
    assert actions.to_joint([])[0].shape == (0,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: actions.to_env([8641], [0]), ["button class", "8641", "0..8640"]),
        (lambda: actions.to_env([0], [-1]), ["camera class", "-1"]),
        (lambda: actions.to_env([0, 1], [3]), ["one length"]),
        (lambda: actions.arrays_to_joint(np.zeros((2, 19)), np.zeros((2, 2))), ["(2, 19)"]),
        (lambda: actions.arrays_to_joint(np.zeros((2, 20)), [[0, 0], [0, float("nan")]]), ["tick 1"]),
        (lambda: actions.to_joint([{"attack": "yes"}]), ["MineRL action"]),
        (lambda: actions.to_joint([{"camera": [1.0]}]), ["pitch, yaw"]),
    ],
)
def test_bad_input_is_named(call: Any, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_far_faster_than_one_tick_at_a_time(stored: Stored) -> None:
    """The published loop needs 97 us a tick; whole arrays stay under a twentieth of that, even on a busy machine."""
    batch = env_actions(stored) * 5
    best = float("inf")
    for _ in range(5):
        start = time.thread_time()
        actions.to_joint(batch)
        best = min(best, time.thread_time() - start)
    assert best / len(batch) < 97e-6 / 20


def test_contractor_examples(golden: Path) -> None:
    for case in json.loads((golden / "contractor_actions.json").read_text()):
        tick = {
            "mouse": {"dx": case["dx"], "dy": case["dy"], "buttons": case["mouse"], "newButtons": []},
            "keyboard": {"keys": case["keys"]},
            "hotbar": 0,
        }
        floats, _ = actions.from_contractor([tick])
        assert floats[0]["camera"] == pytest.approx(case["camera_float"], abs=1e-12)
        # the stored classes are those of the truncated camera
        legacy, keep = actions.from_contractor([tick], camera_rounding="legacy_int")
        assert legacy[0]["camera"] == case["camera_ref"]
        assert [int(values[0]) for values in actions.to_joint(legacy)] == case["joint"]
        assert keep.tolist() == [not case["joint_is_null"]]


def test_one_action_equals_the_whole_array_way() -> None:
    buttons = np.arange(0, actions.N_BUTTONS, 7).tolist() + [actions.INVENTORY]
    camera = [number % actions.N_CAMERA for number in buttons]
    assert [actions.env_action(*pair) for pair in zip(buttons, camera, strict=True)] == actions.to_env(buttons, camera)
    with pytest.raises(UserError, match="8641"):
        actions.env_action(8641, 0)
