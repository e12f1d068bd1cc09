"""A policy plays, then a scripted player: who acted, what the policy saw, and the recording that is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from steve1 import actions
from steve1.envs.interface import Action
from steve1.rollout.play import DoNothing, play
from steve1.rollout.record import record
from steve1.rollout.takeover import TakeOver
from tests.rollout.fakes import FakeEnv


class Presses(DoNothing):
    """Presses one button, and counts what it is asked."""

    who = "player"

    def __init__(self, button: str) -> None:
        self.button, self.resets, self.asked = button, 0, 0
        self.pictures: list[Any] = []

    def reset(self, obs: Any, info: Any) -> None:
        self.resets += 1

    def act(self, obs: Any, info: Any) -> Action:
        self.asked += 1
        self.pictures.append(obs["pov"])
        return {**actions.null_action(), self.button: 1}


def test_the_player_takes_over_and_the_policy_goes_on_seeing() -> None:
    policy, player = Presses("forward"), Presses("attack")
    actor, taken = TakeOver(policy, player, 7), []
    for _ in range(2):  # an episode begins anew
        play(actor, FakeEnv(), 20, on_frame=lambda frame, action, step: taken.append((actor.who, action["forward"])))
    assert taken == ([("policy", 1)] * 7 + [("player", 0)] * 13) * 2
    assert (policy.asked, player.asked, player.resets) == (40, 26, 2)


def test_an_open_menu_is_closed_first() -> None:
    class Menu(FakeEnv):
        open = True
        before = 1  # the policy holds the key

        def step(self, action: Any) -> Any:
            if action["inventory"] and not self.before:
                self.open = not self.open
            self.before = action["inventory"]
            obs, *rest = super().step(action)
            return {**obs, "is_gui_open": self.open}, *rest

    policy, player = Presses("inventory"), Presses("attack")
    trace = play(TakeOver(policy, player, 3), Menu(), 12)
    assert player.resets == 1
    assert trace.count("dug", ["dirt"])[-1] == 1  # five of the last steps


def test_recordings_say_who_acted_and_policies_see_the_pointer(tmp_path: Path) -> None:
    class Open(FakeEnv):
        def _state(self) -> Any:
            obs, info = super()._state()
            return {**obs, "pov": np.full_like(obs["pov"], 128), "is_gui_open": self.step_number == 2}, {
                **info,
                "pointer": (60, 40),
            }

    policy = Presses("forward")
    made = record(
        Open(), TakeOver(policy, Presses("attack"), 20), 40, tmp_path / "one", behaviour="x", reset_options={}, judge=lambda trace: (True, 1.0),
    )  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().splitlines()]
    assert [line["who"] for line in lines] == ["policy"] * 20 + ["player"] * 20
    assert made.kept
    assert [bool((picture != 128).any()) for picture in policy.pictures[:4]] == [False, False, True, False]
