"""The game judges its own tasks: scripted players succeed where doing nothing does not, and the game says what they did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from steve1.envs import make_env, missing_mods, start_states
from steve1.evaluation.tasks.suite import load_suite
from steve1.rollout.play import DoNothing, play
from steve1.rollout.players import BEHAVIOURS, make_player
from steve1.rollout.trace import Trace

pytestmark = pytest.mark.game
SUITE = load_suite("luanti")


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    with make_env("luanti", timeout_s=120) as env:
        yield env


def episode(env: Any, name: str, actor: Any, steps: int) -> Trace:
    task = SUITE.tasks[name]
    start = task.states(start_states("luanti", task.biome, "eval"))[0]
    options = {**task.reset_options(), "watch": dict(BEHAVIOURS[task.player].watch)}
    return play(actor, env, steps, seed=0, start=start, options=options)


@pytest.mark.parametrize(("name", "steps"), [("craft_planks", 130), ("build_floor", 200), ("light_lamp", 90)])
def test_scripted_players_do_the_task(env: Any, name: str, steps: int) -> None:
    task = SUITE.tasks[name]
    if task.requires and missing_mods("luanti", task.requires):
        pytest.skip(task.unavailable())
    done = episode(env, name, make_player(task.player, 0), steps)
    assert task.judge(done)[0]
    assert not task.judge(episode(env, name, DoNothing(), 20))[0]
    if name == "craft_planks":
        clicks, view = done.menu.sum(), done.view[done.menu]
        assert clicks > 20
        opening = np.cumsum(np.diff(done.menu.astype(int), prepend=0) == 1)[done.menu]
        for number in np.unique(opening):
            moved = np.ptp(view[opening == number], axis=0)
            assert moved.max() < 0.5, "the mouse moves the pointer, not the view"
        assert done.count("crafted", ["planks"])[-1] % 4 == 0
        assert done.count("inventory", ["planks"])[-1] >= 4
    if name == "build_floor":
        own = done.blocks[done.blocks[:, 5] == 1]
        assert len(own) >= done.count("placed", ["dirt"])[-1] >= 9
    if name == "light_lamp":
        states = [(int(row[5]), done.block_names[row[4]]) for row in done.blocks]
        assert states == [(0, "lamp"), (1, "switch"), (1, "switch_on"), (0, "lamp_lit")]
