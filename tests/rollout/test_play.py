"""One episode: what is recorded, what ends it, what is repeated."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import steve1
from steve1 import actions
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.envs.interface import GameDied
from steve1.rollout.play import DoNothing, RandomActions, play, rollout
from steve1.rollout.supervise import SupervisedEnv
from steve1.rollout.trace import Trace
from tests.rollout.fakes import FakeAgent, FakeEnv, goal


def test_rollout_records_every_step_and_what_the_agent_did() -> None:
    env, agent, seen = FakeEnv(), FakeAgent(), []
    trace = rollout(
        agent,
        env,
        goal(0),
        23,
        seed=5,
        options={"inventory": {"dirt": 2}},
        on_frame=lambda f, a, s: seen.append((s, a["attack"])),
    )
    assert len(trace) == 23
    assert agent.resets == 1
    assert trace.positions.shape == (24, 3)
    assert trace.view.shape == (24, 2)
    assert seen == [(step, 1) for step in range(23)]
    assert trace.count("dug", ["dirt"]).tolist() == [min(n // 5, 4) for n in range(24)]
    assert trace.count("inventory", ["dirt"])[[0, -1]].tolist() == [2, 6]
    assert trace.count("inventory", ["dirt_with_grass", "irt"]).sum() == 0
    back = actions.to_env(trace.tokens[:, 0], trace.tokens[:, 1])
    assert all(action["attack"] == 1 and action["forward"] == 0 for action in back)


def test_seed_and_start_reach_the_reset_itself() -> None:
    env = FakeEnv()
    rollout(FakeAgent(), env, goal(2), 3, seed=9, start={"x": 7.0, "y": 1.0, "z": 2.0}, options={"biome": "shore"})
    assert env.resets == [(9, {"biome": "shore", "start": {"x": 7.0, "y": 1.0, "z": 2.0}})]


def test_a_finished_episode_ends() -> None:
    class Deadly(FakeEnv):
        def step(self, action: dict[str, Any]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
            obs, reward, _, _, info = super().step(action)
            return obs, reward, self.step_number == 4, False, info

    trace = play(DoNothing(), Deadly(), 50)
    assert len(trace) == 4
    assert trace.metadata["ended"] == "terminated"


def test_no_steps_is_refused() -> None:
    with pytest.raises(UserError, match="at least one step"):
        play(DoNothing(), FakeEnv(), 0)


def test_random_actions_repeat_with_their_seed_and_press_all_but_the_inventory() -> None:
    traces = [play(RandomActions(seed), FakeEnv(), 400).tokens for seed in (1, 1, 2)]
    assert np.array_equal(traces[0], traces[1])
    assert not np.array_equal(traces[0], traces[2])
    pressed = [actions.to_env(*traces[0].T)[n] for n in range(400)]
    assert sum(action["attack"] for action in pressed) in range(140, 260)
    assert not any(action["inventory"] for action in pressed)
    actor = RandomActions(3)
    again = [play(actor, FakeEnv(), 30).tokens for _ in range(2)]
    assert np.array_equal(again[0], again[1])


def test_trace_survives_the_disk(tmp_path: Path) -> None:
    trace = rollout(
        FakeAgent(), FakeEnv(), goal(0), 12, options={"inventory": {"wheat_seeds": 3}}, metadata={"prompt": "挖泥土"}
    )
    trace.save(tmp_path / "deep" / "a.b")
    back = Trace.load(tmp_path / "deep" / "a.b")
    assert np.array_equal(back.tokens, trace.tokens)
    assert np.array_equal(back.positions, trace.positions)
    assert back.counts.keys() == trace.counts.keys()
    assert all(
        np.array_equal(back.counts["inventory"][name], column) for name, column in trace.counts["inventory"].items()
    )
    assert back.metadata["prompt"] == "挖泥土"
    assert sorted(file.name for file in (tmp_path / "deep").iterdir()) == ["a.b.json", "a.b.npz"]


def test_missing_and_broken_traces_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Trace.load(tmp_path / "none")
    (tmp_path / "bad.npz").write_bytes(b"PK not an archive")
    with pytest.raises(UserError, match="cannot be read"):
        Trace.load(tmp_path / "bad")


def test_a_dead_game_is_reopened_and_its_episode_repeated_with_the_same_seed() -> None:
    opened: list[FakeEnv] = []
    deaths: list[int] = []

    def open_env() -> FakeEnv:
        opened.append(FakeEnv(die_at=(7,), deaths=deaths))
        return opened[-1]

    with SupervisedEnv(open_env, max_restarts=1) as game:
        trace = game.episode(lambda env: rollout(FakeAgent(), env, goal(0), 20, seed=3))
    assert len(trace) == 20
    assert game.restarts == 1
    assert [env.resets[0][0] for env in opened] == [3, 3]
    assert all(env.closed for env in opened)
    unbroken = rollout(FakeAgent(), FakeEnv(), goal(0), 20, seed=3)
    assert np.array_equal(trace.positions, unbroken.positions)


def test_restarts_are_bounded_and_other_faults_are_not_retried() -> None:
    class Dying(FakeEnv):
        def step(self, action: dict[str, Any]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
            raise GameDied("gone")

    opened: list[int] = []

    def open_dying() -> FakeEnv:
        opened.append(1)
        return Dying()

    with pytest.raises(UserError, match="too often"):
        SupervisedEnv(open_dying, max_restarts=2).episode(lambda env: play(DoNothing(), env, 5))
    assert len(opened) == 3

    game = SupervisedEnv(FakeEnv)
    with pytest.raises(ZeroDivisionError):
        game.episode(lambda env: 1 // 0)
    assert game.restarts == 0


def test_the_public_name_is_a_function_whatever_was_imported_before() -> None:
    assert len(steve1.rollout(FakeAgent(), FakeEnv(), goal(0), 2)) == 2
    for first in ("import steve1.rollout.trace, steve1.rollout.video", "from steve1.rollout.play import play", ""):
        code = f"{first}\nimport steve1, types\nfrom steve1 import rollout\nfrom steve1.rollout.trace import Trace\n"
        code += "assert isinstance(steve1.rollout, types.FunctionType) and steve1.rollout is rollout"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
