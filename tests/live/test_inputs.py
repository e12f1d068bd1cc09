"""What a person does becomes actions: nothing is lost, nothing sticks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steve1.live.inputs import BUTTONS, MOST_PIXELS, STALE_S, TURN_PIXELS, PersonInput

PIXELS = st.floats(-3000, 3000, allow_nan=False)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(PIXELS, PIXELS, st.integers(0, 2)), min_size=1, max_size=40))
def test_the_camera_moves_as_far_as_the_mouse(moves: list[tuple[float, float, int]]) -> None:
    person, turned = PersonInput(Time()), [0.0, 0.0]

    def take() -> None:
        pitch, yaw = person.take()["camera"]
        assert abs(pitch / 0.15 - round(pitch / 0.15)) < 1e-6
        assert max(abs(pitch), abs(yaw)) <= MOST_PIXELS * 0.15 + 1e-9
        turned[0], turned[1] = turned[0] + pitch, turned[1] + yaw

    for dx, dy, ticks in moves:
        person.update((), (), dx, dy, 0)
        for _ in range(ticks):
            take()
    for _ in range(200):  # what was too much for one tick
        take()
    way = [sum(move[1] for move in moves), sum(move[0] for move in moves)]
    assert turned == pytest.approx([0.15 * pixels for pixels in way], abs=0.15)


def test_a_key_that_was_pressed_between_two_ticks_counts_for_one() -> None:
    person = PersonInput(Time())
    person.update([], ["KeyE"], 0, 0, 0)
    assert person.take()["inventory"] == 1
    assert person.take()["inventory"] == 0


def test_keys_are_held_until_the_page_says_otherwise() -> None:
    person = PersonInput(Time())
    person.update(["KeyW", "Mouse0", "KeyZ"], ["KeyW"], 0, 0, 0)
    assert [person.take()["forward"] for _ in range(3)] == [1, 1, 1]
    assert person.take()["attack"] == 1
    person.update(["Mouse0"], [], 0, 0, 0)
    assert (person.take()["forward"], person.take()["attack"]) == (0, 1)
    person.release()
    assert not any(person.take()[name] for name in set(BUTTONS.values()))


def test_the_keyboard_alone_is_enough() -> None:
    """Arrow keys turn at each tick, like so many mouse pixels, and with the mouse; two keys are the mouse's buttons."""
    person = PersonInput(Time())
    person.update(["ArrowRight", "ArrowUp", "KeyC"], ["ArrowRight"], 1, 0, 0)
    turned = [person.take() for _ in range(3)]
    turn = 0.15 * TURN_PIXELS
    assert [action["camera"] for action in turned] == [
        pytest.approx([-turn, turn + 0.15]), pytest.approx([-turn, turn]), pytest.approx([-turn, turn])
    ]  # fmt: skip
    assert [action["attack"] for action in turned] == [1, 1, 1]
    person.update([], ["ArrowLeft", "KeyV"], 0, 0, 0)
    action = person.take()
    assert (action["camera"], action["attack"], action["use"]) == (pytest.approx([0, -turn]), 0, 1)
    assert person.take()["camera"] == [0, 0]


def test_a_page_that_sleeps_lets_go() -> None:
    clock = Time()
    person = PersonInput(clock)
    person.update(["KeyW"], ["KeyW"], 0, 0, 0)
    clock.now = STALE_S * 0.9
    assert person.take()["forward"] == 1
    clock.now = STALE_S * 1.1
    assert person.take()["forward"] == 0
    person.update(["KeyW"], [], 0, 0, 0)
    assert person.take()["forward"] == 1


@pytest.mark.parametrize(
    ("slot", "notches", "slots", "wanted"), [(0, 1, 9, 2), (0, -1, 8, 8), (7, 2, 8, 2), (8, 1, 9, 1)]
)
def test_the_wheel_goes_round_the_slots(slot: int, notches: int, slots: int, wanted: int) -> None:
    person = PersonInput(Time())
    person.update([], [], 0, 0, notches)
    assert [name for name, value in person.take(slot, slots).items() if value == 1] == [f"hotbar.{wanted}"]
    assert not any(value == 1 for value in person.take(slot, slots).values())
