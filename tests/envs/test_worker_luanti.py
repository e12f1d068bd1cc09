"""Luanti in a worker process: the same environment, under the protocol's supervision."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from steve1.core.errors import UserError
from steve1.envs import make_env, start_states
from steve1.envs.worker import trees
from steve1.rollout.play import DoNothing, play
from steve1.rollout.supervise import SupervisedEnv

from .leftovers import watch


@pytest.mark.game
def test_luanti_plays_in_a_worker_and_survives_its_death(monkeypatch: pytest.MonkeyPatch) -> None:
    left = watch(monkeypatch)
    place = start_states("luanti", "meadow", "eval")[2]
    killed: list[int] = []

    def episode(env: Any) -> Any:
        if not killed:
            obs, info = env.reset(seed=5, options={"start": place, "inventory": {"dirt": 9}})
            assert obs["pov"].shape == (96, 160, 3)
            assert (obs["inventory"], info["start"]["id"]) == ({"dirt": 9}, place["id"])
            with pytest.raises(UserError, match="option"):
                env.reset(seed=5, options={"unknown": 1})
            env.reset(seed=5, options={"start": place})
            assert env.step({"camera": [0.0, 15.0]})[0]["location_stats"]["yaw"] == pytest.approx((place["yaw"] + 15 + 180) % 360 - 180, abs=0.1)
            games = [pid for pid in trees.descendants(env.pids[0]) if Path(f"/proc/{pid}/comm").read_text().strip() in ("luanti", "minetest")]
            killed.append(games[0])
            os.kill(games[0], signal.SIGKILL)
        return play(DoNothing(), env, 5, seed=5, start=place)

    with SupervisedEnv(lambda: make_env("luanti", worker=True, width=160, height=96)) as game:
        assert len(game.episode(episode)) == 5
        assert game.restarts == 1
    assert left() == []
