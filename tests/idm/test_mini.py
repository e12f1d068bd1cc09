"""The mini inverse dynamics model labels a play of the game that it was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from steve1 import load_idm
from steve1.actions import BUTTONS, to_degrees
from steve1.core.files import read_json
from steve1.core.frames import agent_frame
from steve1.core.paths import ROOT
from steve1.envs import make_env, start_states
from steve1.idm.metrics import true_actions
from steve1.idm.training.settings import MINI
from steve1.rollout.play import play
from steve1.rollout.players import BABBLING, make_player

MODEL, WEIGHTS = (ROOT / "data/mini" / f"mini_idm.{kind}" for kind in ("model", "weights"))


def test_it_is_small_and_says_how_good_it_is() -> None:
    model = load_idm(MODEL, WEIGHTS)
    assert model.config == MINI
    assert WEIGHTS.stat().st_size < 5e6
    told = read_json(f"{WEIGHTS}.json")
    assert (told["kind"], told["env"]) == ("idm", "luanti")
    assert set(told["thresholds"]) == set(BUTTONS)


@pytest.mark.game
def test_it_labels_a_play_at_a_place_that_it_has_not_seen() -> None:
    start = start_states("luanti", BABBLING["babble_meadow"].biome, "eval")[3]
    frames: list[Any] = []
    actions: list[Any] = []

    def keep(frame: Any, action: Any, step: int) -> None:
        frames.append(agent_frame(frame))
        actions.append(action)

    with make_env("luanti", timeout_s=120) as env:
        play(make_player("babble_meadow", 7), env, 300, seed=7, start=start, on_frame=keep)
    pressed, degrees = true_actions(actions)
    found = load_idm(MODEL, WEIGHTS).label(iter(frames))
    turned = to_degrees(found.camera.argmax(2))
    left = ((turned - degrees) ** 2).sum(0) / ((degrees - degrees.mean(0)) ** 2).sum(0)
    assert (left < 0.5).all(), f"camera R² {1 - left}"
    attack = BUTTONS.index("attack")
    guessed = np.exp(found.buttons[:, attack, 1]) > 0.5
    assert (guessed == pressed[:, attack]).mean() > max(pressed[:, attack].mean(), 1 - pressed[:, attack].mean())
