"""Recorded ticks: keys, camera rounding, the stuck attack, the hotbar and open screens."""

from __future__ import annotations

from typing import Any

import pytest

from steve1 import actions
from steve1.core.errors import UserError


def tick(
    dx: float = 0,
    dy: float = 0,
    keys: list[str] | None = None,
    buttons: list[int] | None = None,
    new: list[int] | None = None,
    **more: Any,
) -> dict[str, Any]:
    names = [f"key.keyboard.{key}" for key in keys or []]
    return {
        "mouse": {"dx": dx, "dy": dy, "buttons": buttons or [], "newButtons": new or []},
        "keyboard": {"keys": names},
        **more,
    }


def pressed(action: dict[str, Any]) -> set[str]:
    return {name for name in actions.ENV_BUTTONS if action[name]}


def test_all_keys_and_mouse_buttons() -> None:
    keys = ["w", "s", "a", "d", "space", "left.shift", "left.control", "q", "e", "f", "escape", "1", "9", "tab"]
    acts, _ = actions.from_contractor([tick(keys=keys, buttons=[0, 1, 2, 7])])
    assert pressed(acts[0]) == {
        "forward", "back", "left", "right", "jump", "sneak", "sprint", "drop", "inventory", "swapHands", "ESC",
        "hotbar.1", "hotbar.9", "attack", "use", "pickItem",
    }  # fmt: skip


def test_small_movements_survive_only_as_floats() -> None:
    """Truncation to whole degrees turns movements below 6.67 pixels into none; floats keep them."""
    small = [tick(dx=dx) for dx in (3, 4, 5, 6, -6)]
    _, keep = actions.from_contractor(small)
    assert keep.all()
    legacy, keep = actions.from_contractor(small, camera_rounding="legacy_int")
    assert not keep.any()
    assert all(action["camera"] == [0.0, 0.0] for action in legacy)


def test_large_movements_are_kept_and_only_the_bins_clip() -> None:
    acts, _ = actions.from_contractor([tick(dx=3000, dy=-2500)])
    assert acts[0]["camera"] == [-375.0, 450.0]
    assert actions.to_joint(acts)[1].tolist() == [10]


def test_stuck_attack_is_dropped_until_pressed_again() -> None:
    ticks = [
        tick(buttons=[0], new=[0]),
        tick(buttons=[0]),
        tick(buttons=[0, 1], new=[1]),
        tick(buttons=[0], new=[0]),
        tick(buttons=[0]),
    ]
    acts, keep = actions.from_contractor(ticks)
    assert [action["attack"] for action in acts] == [0, 0, 0, 1, 1]
    assert acts[2]["use"] == 1
    assert keep.tolist() == [False, False, True, True, True]
    held, _ = actions.from_contractor([tick(buttons=[0]), tick(buttons=[0])])
    assert [action["attack"] for action in held] == [1, 1]
    acts, _ = actions.from_contractor(ticks, may_stick=False)
    assert [action["attack"] for action in acts] == [1, 1, 1, 1, 1]


def test_hotbar_changes_press_a_key_and_are_not_null() -> None:
    acts, keep = actions.from_contractor([tick(hotbar=0), tick(hotbar=3), tick(hotbar=3), tick(), tick(hotbar=0)])
    assert [pressed(action) for action in acts] == [set(), {"hotbar.4"}, set(), set(), {"hotbar.1"}]
    assert keep.tolist() == [False, True, False, False, True]


def test_keys_that_the_policy_lacks_are_null() -> None:
    acts, keep = actions.from_contractor([tick(keys=["escape"]), tick(buttons=[2]), tick(keys=["f"]), tick(keys=["e"])])
    assert keep.tolist() == [False, False, False, True]
    assert acts[0]["ESC"] == 1


@pytest.mark.parametrize(("version", "scale"), [("", 1.0), ("5.8", 0.5), ("6.7", 2.0), ("6.9", 2.0), ("6.13", 1.0)])
def test_open_screens_rescale_the_mouse(version: str, scale: float) -> None:
    acts, _ = actions.from_contractor(
        [tick(dx=20, isGuiOpen=True), tick(dx=20, isGuiOpen=False)], recorder_version=version
    )
    assert acts[0]["camera"][1] == pytest.approx(3.0 * scale)
    assert acts[1]["camera"][1] == pytest.approx(3.0)


def test_escape_closes_a_screen_as_inventory_on_request() -> None:
    ticks = [tick(keys=["escape"], isGuiOpen=True), tick(keys=["escape"], isGuiOpen=False)]
    acts, keep = actions.from_contractor(ticks, esc_as_inventory=True)
    assert [pressed(action) for action in acts] == [{"inventory"}, {"ESC"}]
    assert keep.tolist() == [True, False]


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        ({"keyboard": {"keys": []}}, "mouse"),
        (tick(dx="3"), "tick 1"),  # type: ignore[arg-type]
        (tick(dx=float("nan")), "nan"),
        (tick(hotbar=12), "hotbar 12"),
        ("text", "tick 1"),
    ],
)
def test_broken_ticks_are_named(broken: Any, word: str) -> None:
    with pytest.raises(UserError, match=word):
        actions.from_contractor([tick(), broken])


def test_unknown_rounding_is_refused() -> None:
    with pytest.raises(UserError, match="legacy_int"):
        actions.from_contractor([], camera_rounding="int")
