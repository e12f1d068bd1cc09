"""Games in worker processes: whatever happens to one, the episode is played to its end and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.core.seeds import generator
from steve1.envs.interface import GameDied
from steve1.envs.worker.backend import Backend, Limits
from steve1.envs.worker.env import WorkerEnv
from steve1.rollout.play import DoNothing, play
from steve1.rollout.supervise import SupervisedEnv
from tests.envs.leftovers import watch

MODULE = "tests.envs.worker.worker_game"
PATIENT = Limits(start_s=60, reset_s=60, step_s=60, silence_s=60)
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="leftovers are found through /proc")


@pytest.fixture(autouse=True)
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE1_WORKER_BEAT_S", "0.2")


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    return watch(monkeypatch)


def open_game(limits: dict[str, float] | None = None, **settings: Any) -> WorkerEnv:
    backend = Backend("stand_in", MODULE, lambda: sys.executable, PATIENT, confirms_seed=True)
    return WorkerEnv(backend, settings, width=64, height=36, limits_more=limits)


def test_steps_resets_and_calls_pass_unchanged(left: Callable[[], list[str]]) -> None:
    with open_game() as env:
        obs, info = env.reset(seed=3, options={"start": {"id": "a"}})
        assert obs["pov"].shape == (36, 64, 3)
        assert (obs["pov"] == 21).all()
        assert info["seed"] == 3
        assert info["start"] == {"id": "a"}
        first = obs["pov"]
        obs, reward, terminated, truncated, info = env.step(
            {"forward": 1, "ESC": 1, "camera": np.array([0.15, -1 / 3])}
        )
        assert info["pressed"] == ["forward"], "ESC is masked"
        assert info["camera"] == [0.15, -1 / 3], "exact to the last bit"
        assert (obs["pov"] == 22).all()
        assert (first == 21).all(), "an earlier picture stays as it was"
        assert (reward, terminated, truncated, info["health"], obs["inventory"]) == (
            1.0,
            False,
            False,
            20.0,
            {"dirt": 1},
        )
        assert env.call("echo", text="ü", numbers=[1, 2.5]) == {"text": "ü", "numbers": [1, 2.5]}
        with pytest.raises(UserError, match="no such call"):
            env.call("unknown")
        assert env.reset(seed=4)[1]["seed"] == 4, "a refused call leaves the game alive"
    assert left() == []


# Each fault: what the exception says, and the limits under which it is found. A hang costs as much; a busy machine may need longer for
# what does not hang, and is then started once more.
FAULTS: dict[str, tuple[str, dict[str, float]]] = {
    "hang_start": ("no answer to start", {"start_s": 5}),
    "hang_reset": ("no answer to reset", {"reset_s": 3}),
    "hang_step": ("no answer to step", {"step_s": 3}),
    "socket_hour": ("no answer to step", {"step_s": 3}),
    "stopped": ("no heartbeat", {"silence_s": 5}),
    "dead": ("process ended", {}),
    "dead_game": ("game's process", {}),
    "zombie": ("game's process", {}),
    "small": ("shape", {}),
    "torn": ("torn message", {}),
    "old_picture": ("picture", {}),
    "grows": ("of memory", {"memory_mb": 500}),
    "raises": ("the game says no", {}),
    "exits": ("SystemExit", {}),
}


@pytest.mark.e2e
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_costs_one_restart(
    fault: str, tmp_path: Path, left: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    said, limits = FAULTS[fault]
    if fault == "hang_start":
        began = time.monotonic()
        open_game().close()
        limits = {"start_s": max(limits["start_s"], 5 * (time.monotonic() - began))}
    settings = {"fault": fault, "at": 3, "once": str(tmp_path / "struck")}
    died: list[str] = []

    def episode(env: WorkerEnv) -> Any:
        try:
            return play(DoNothing(), env, 30 if fault == "grows" else 6, seed=5)
        except GameDied as death:
            died.append(death.got)
            raise

    with SupervisedEnv(lambda: open_game(limits, **settings), max_restarts=9) as game:
        trace = game.episode(episode)
        assert game.restarts >= 1
        assert (tmp_path / "struck").exists()
        assert len(trace) == (30 if fault == "grows" else 6)
        assert trace.count("inventory", ["dirt"]).tolist() == list(range(len(trace) + 1)), (
            "the episode began again from its start"
        )
        if died:  # a start that hangs has not come to an episode
            assert any(said in why for why in died)
    assert left() == []


def test_done_early_ends_the_episode_and_refuses_steps_after_it(left: Callable[[], list[str]]) -> None:
    with open_game(fault="early", at=3) as env:
        trace = play(DoNothing(), env, 10, seed=1)
        assert (len(trace), trace.metadata["ended"]) == (3, "terminated")
        with pytest.raises(UserError, match="over"):
            env.step({})
        assert len(play(DoNothing(), env, 2, seed=1)) == 2
    assert left() == []


def test_a_seed_that_comes_one_reset_late_is_asked_for_again() -> None:
    with open_game(fault="late_seed") as env:
        for seed in (7, 9):
            obs, info = env.reset(seed=seed)
            assert info["seed"] == seed
            assert (obs["pov"] == seed * 7 % 256).all()


@pytest.mark.e2e
def test_a_game_that_has_grown_is_renewed_between_episodes() -> None:
    with open_game({"memory_mb": 520}, fault="grows", at=0) as env:
        env.reset(seed=1)
        java = env.facts["java"]
        while env._worker.memory_mb < 430:  # full from 416 on; a step takes 20
            before, until = env._worker.memory_mb, time.monotonic() + 5
            env.step({})
            while env._worker.memory_mb == before and time.monotonic() < until:
                time.sleep(0.1)  # how much there is comes with the heartbeat
                env.call("echo")
        env.reset(seed=2)
        assert env.facts["java"] != java
        assert env._worker.memory_mb < 200
        assert len(play(DoNothing(), env, 5, seed=2)) == 5


def test_what_the_user_can_fix_is_told_and_not_retried(left: Callable[[], list[str]]) -> None:
    opened: list[int] = []

    def open_bad() -> WorkerEnv:
        opened.append(1)
        return open_game(bad=True)

    with pytest.raises(UserError, match="no Java") as told, SupervisedEnv(open_bad) as game:
        game.episode(lambda env: None)
    assert not isinstance(told.value, GameDied)
    assert "openjdk" in told.value.todo
    assert len(opened) == 1
    missing = Backend("nothing", "tests.envs.no_such_adapter", lambda: sys.executable)
    with pytest.raises(UserError, match="package") as told:
        WorkerEnv(missing)
    assert "install_minecraft.sh" in told.value.todo
    assert left() == []


def test_restarts_are_bounded(left: Callable[[], list[str]]) -> None:
    with (
        pytest.raises(UserError, match="too often"),
        SupervisedEnv(lambda: open_game(fault="dead", at=2), max_restarts=2) as game,
    ):
        game.episode(lambda env: play(DoNothing(), env, 5, seed=1))
    assert left() == []


def test_nothing_outlives_a_killed_main_program(left: Callable[[], list[str]]) -> None:
    code = """
        import sys, time
        from steve1.envs.worker.backend import Backend
        from steve1.envs.worker.env import WorkerEnv
        env = WorkerEnv(Backend("stand_in", "tests.envs.worker.worker_game", lambda: sys.executable), width=64, height=36)
        env.reset(seed=1)
        print("ready", flush=True)
        time.sleep(60)
    """
    main = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert main.stdout is not None
    assert main.stdout.readline() == "ready\n"
    main.send_signal(signal.SIGKILL)
    main.wait()
    main.stdout.close()
    assert left() == []


def test_a_worker_is_marked_and_has_its_own_session() -> None:
    with open_game() as env:
        (pid,) = env.pids
        assert os.getsid(pid) == pid
        assert env.facts["executable"] == sys.executable
    started = time.monotonic()
    with pytest.raises(GameDied, match="closed"):
        env.step({"forward": 1})
    env.close()
    assert time.monotonic() - started < 50


@pytest.mark.e2e
def test_fifty_episodes_with_faults_at_random_give_fifty_results(tmp_path: Path, left: Callable[[], list[str]]) -> None:
    rng = generator(0, "faults")
    kinds = [name for name in FAULTS if name not in ("hang_start", "stopped", "grows")]
    limits = {"reset_s": 3.0, "step_s": 3.0}
    results = []
    with SupervisedEnv(lambda: open_game(limits), max_restarts=60) as game:
        for number in range(50):
            options: dict[str, Any] = {"fault": "", "at": 0}
            if rng.random() < 0.4:
                options = {
                    "fault": str(rng.choice(kinds)),
                    "at": int(rng.integers(1, 8)),
                    "once": str(tmp_path / f"{number}"),
                }
            trace = game.episode(lambda env, n=number, o=options: play(DoNothing(), env, 8, seed=n, options=o))
            results.append(trace)
        struck = len(list(tmp_path.iterdir()))
        assert struck >= 10
        assert game.restarts >= struck
    assert len(results) == 50
    assert [trace.metadata["seed"] for trace in results] == list(range(50))
    assert all(trace.count("inventory", ["dirt"]).tolist() == list(range(9)) for trace in results)
    assert left() == []
