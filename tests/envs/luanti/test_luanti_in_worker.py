"""Luanti in its worker process: the same environment, under the supervision that all games have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from steve1.core import processes
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.envs import make_env, start_states
from steve1.envs.luanti import backend as luanti
from steve1.evaluation.settings import EpisodeExecutor
from steve1.rollout.play import DoNothing, play
from steve1.rollout.supervise import SupervisedEnv
from tests.envs.leftovers import watch


def named(pids: list[int], *names: str) -> list[int]:
    """Those of these processes whose program has one of these names."""
    found = []
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() in names:
                found.append(pid)
        except OSError:
            continue
    return found


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
            assert env.step({"camera": [0.0, 15.0]})[0]["location_stats"]["yaw"] == pytest.approx(
                (place["yaw"] + 15 + 180) % 360 - 180, abs=0.1
            )
            games = named(processes.descendants(env.pids[0]), "luanti", "minetest")
            killed.append(games[0])
            os.kill(games[0], signal.SIGKILL)
        return play(DoNothing(), env, 5, seed=5, start=place)

    with SupervisedEnv(lambda: make_env("luanti", width=160, height=96)) as game:
        assert len(game.episode(episode)) == 5
        assert game.restarts == 1
    assert left() == []


def test_each_wait_lies_within_the_next_outer_one() -> None:
    for timeout_s in (20.0, 60.0, 120.0):
        limits = luanti.limits(timeout_s)
        assert timeout_s < limits.step_s < limits.reset_s < limits.start_s
        assert 2 * timeout_s < limits.start_s, "a start is tried twice"
    limits = luanti.limits(60.0)
    assert limits.start_s + limits.reset_s < EpisodeExecutor().timeout_s, "an episode may wait for a fresh game"


@pytest.mark.e2e
@pytest.mark.game
def test_an_evaluation_whose_game_dies_has_all_its_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = watch(monkeypatch)
    suite = (ROOT / "steve1" / "evaluation" / "tasks" / "luanti.yaml").read_text()
    (tmp_path / "short.yaml").write_text(suite.replace("steps: 300", "steps: 40"))
    command = [
        sys.executable,
        "-m",
        "steve1",
        "evaluate",
        "--weights",
        "nothing",
        "random",
        "--tasks",
        "dig_dirt",
        "--episodes",
        "1",
        "--videos",
        "0",
    ]
    command += ["--suite", str(tmp_path / "short.yaml"), "--folder", str(tmp_path / "run"), "--workers", "1"]
    with (tmp_path / "said").open("w") as said:
        run = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)
        killed, limit = False, time.monotonic() + 240
        while not killed and run.poll() is None and time.monotonic() < limit:
            time.sleep(0.3)
            for game in named(processes.descendants(run.pid), "luanti", "minetest"):
                holder = int(Path(f"/proc/{game}/stat").read_text().rpartition(")")[2].split()[1])
                os.kill(holder, signal.SIGKILL)
                killed = True
        assert run.wait(240) == 0, (tmp_path / "said").read_text()
    lines = [json.loads(line) for line in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    assert sorted(line["contestant"] for line in lines) == ["nothing", "random"]
    assert all(line["steps"] == 40 for line in lines)
    assert killed
    assert sum(line["restarts"] for line in lines) == 1
    assert left() == []
