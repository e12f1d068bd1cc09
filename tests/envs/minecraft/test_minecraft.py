"""MineRL, MineDojo and MineStudio behind the worker protocol, each played against a stand-in of its package in a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1 import actions
from steve1.core import processes
from steve1.core.errors import UserError
from steve1.envs import make_env
from steve1.envs.minecraft.malmo.game import java_pids
from steve1.envs.minecraft.minedojo.backend import SUCCESS
from steve1.envs.minecraft.minedojo.tasks import find_tasks
from steve1.rollout.play import DoNothing, RandomActions, play
from steve1.rollout.supervise import SupervisedEnv
from tests.envs.leftovers import watch
from tests.envs.standins.making import make_backend, make_java

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="leftovers are found through /proc")
SMALL = {"width": 64, "height": 36}
# Long enough for a crowded machine; a hang costs as much.
LIMITS = {"start_s": 60.0, "reset_s": 60.0, "step_s": 20.0, "silence_s": 60.0}
MINEDOJO = {"minedojo": {"task": "harvest_1_log"}}


@pytest.fixture(autouse=True)
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEVE1_WORKER_BEAT_S", "0.2")
    monkeypatch.setenv("DISPLAY", ":99")  # the stand-ins draw nothing


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    return watch(monkeypatch)


def act(*names: str, camera: tuple[float, float] = (0.0, 0.0)) -> dict[str, Any]:
    return {**actions.null_action(), **dict.fromkeys(names, 1), "camera": list(camera)}


def command_of(pid: int) -> bytes:
    """A process's words; none where it has ended meanwhile, as what the fake Java forks does all the time."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def place(obs: dict[str, Any]) -> tuple[float, float]:
    return obs["location_stats"]["xpos"], obs["location_stats"]["zpos"]


def test_minerl_looks_as_the_policy_was_trained_and_counts_from_the_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: Any
) -> None:
    make_backend("minerl", tmp_path / "env", monkeypatch)
    with make_env("minerl", **SMALL, limits_more=LIMITS) as env:
        options = {"inventory": {"dirt": 70}, "time_of_day": 0.5, "biome": "forest"}
        obs, info = env.reset(seed=7, options=options)
        assert obs["pov"].shape == (36, 64, 3)
        assert obs["pov"][0, 0].tolist() == [70, 2, 1], "field of view, gamma, scale of the menus"
        assert obs["pov"][0, 1].tolist() == [16, 60, len("forest")], "cursor, noon, biome"
        assert obs["inventory"] == {"dirt": 70}
        first = place(obs)
        for _ in range(5):
            obs, _, terminated, truncated, info = env.step(act("attack", "ESC", camera=(3.0, 181.5)))
        assert info["dug"] == {"dirt": 1}
        assert obs["inventory"] == {"dirt": 71}
        assert obs["location_stats"]["pitch"] == 15.0
        assert -180 <= obs["location_stats"]["yaw"] < 180
        obs, _, _, _, info = env.step(act("use", "inventory", "hotbar.3"))
        assert (info["placed"], obs["is_gui_open"], obs["hotbar"]) == ({"dirt": 1}, True, 2)
        assert env.step(act("hotbar.5"))[0]["hotbar"] == 2, "in a menu these keys move items"
        assert env.step(act("inventory", "hotbar.6"))[0]["hotbar"] == 2
        assert env.step(act("hotbar.7"))[0]["hotbar"] == 6
        assert not terminated
        assert not truncated
        again, info = env.reset(seed=7)
        assert place(again) == first, "the same seed, the same world, from the first episode on"
        assert info["dug"] == {}
        assert again["inventory"] == {}
        elsewhere, _ = env.reset(seed=8)
        assert place(elsewhere) != first
        there, _ = env.reset(seed=8, options={"start": {"x": 1, "y": 70, "z": -2, "yaw": 90}})
        assert place(there) == (1.0, -2.0)
    assert left() == []


def test_the_stand_in_of_minerl_has_the_published_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parents[1] / "standins"
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == "minerl"]:
        monkeypatch.delitem(sys.modules, name)
    from minerl.spaces import PUBLISHED, Space, problems  # type: ignore[import-not-found]

    assert set(PUBLISHED["action_space"]) == {*actions.ENV_BUTTONS, "camera"}
    obs = Space(PUBLISHED["observation_space"]).no_op()
    assert problems(obs, PUBLISHED["observation_space"]) == []
    assert obs["pov"].shape == (360, 640, 3)
    assert len(obs["inventory"]) == 976
    del obs["inventory"]["dirt"]
    assert problems(obs, PUBLISHED["observation_space"]) == [".inventory: keys ['dirt']"]
    for name in [name for name in sys.modules if name.split(".")[0] == "minerl"]:
        monkeypatch.delitem(sys.modules, name)


def test_minestudio_takes_the_keys_it_has_and_names_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: Any
) -> None:
    make_backend("minestudio", tmp_path / "env", monkeypatch)
    with make_env("minestudio", **SMALL, limits_more=LIMITS) as env:
        obs, _ = env.reset(
            seed=3, options={"inventory": {"dirt": 70}, "time_of_day": 0.25, "start": {"x": 5, "y": 64, "z": 6}}
        )
        assert obs["inventory"] == {"dirt": 70}
        assert place(obs) == (5.0, 6.0)
        for _ in range(5):
            obs, _, _, _, info = env.step(act("attack"))
        assert info["dug"] == {"dirt": 1}
        assert "without_effect" not in info
        obs, _, _, _, info = env.step(act("drop", "inventory"))
        assert info["without_effect"] == ["drop"]
        assert obs["is_gui_open"]
    assert left() == []


def test_minestudio_without_its_engine_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_backend("minestudio", tmp_path / "env", monkeypatch)
    monkeypatch.setenv("STANDIN_NO_ENGINE", "1")
    with pytest.raises(UserError, match="engine") as fault:
        make_env("minestudio", **SMALL, limits_more=LIMITS)
    assert "no route to the hub" in str(fault.value)


def test_minedojo_plays_a_task_to_its_own_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: Any) -> None:
    make_backend("minedojo", tmp_path / "env", monkeypatch)
    with make_env("minedojo", task="harvest_milk", **SMALL, limits_more=LIMITS) as env:
        obs, info = env.reset(seed=5)
        first = place(obs)
        assert info["task"] == "harvest_milk"
        _, reward, _, _, info = env.step(act("use", "attack", "forward", "inventory", "hotbar.2", camera=(0.15, -0.3)))
        assert (reward, info["success"], info["without_effect"]) == (1.0, False, ["inventory"])
        env.step(act("use"))
        obs, _, terminated, truncated, info = env.step(act("use"))
        assert (info["success"], info["crafted"], terminated, truncated) == (True, {SUCCESS: 1}, False, True)
        assert obs["location_stats"]["yaw"] == pytest.approx(-0.3), "the camera is not rounded to MineDojo's 15 degrees"
        with pytest.raises(UserError, match="over"):
            env.step(act())
        again, _ = env.reset(seed=5)
        assert place(again) == first, "the seed makes the world"
        other, info = env.reset(seed=6, options={"start": {"task": "harvest_milk_with_empty_bucket"}})
        assert other["inventory"] == {"bucket": 1, "dirt": 7}, "the task's own inventory"
        assert place(other) != first
        with pytest.raises(UserError, match="harvest_milk"):
            env.reset(seed=6, options={"start": {"task": "harvest_mlik"}})
    assert left() == []


@pytest.mark.parametrize("name", ["minerl", "minedojo", "minestudio"])
def test_java_has_the_port_the_heap_and_the_folder_that_it_was_handed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: Any
) -> None:
    make_backend(name, tmp_path / "env", monkeypatch)
    monkeypatch.setenv("_JAVA_OPTIONS", "-Xmx64G -Dmine=1")
    with make_env(name, **SMALL, limits_more=LIMITS, **MINEDOJO.get(name, {})) as env, socket.socket() as other:
        if name == "minedojo":  # its Java starts with the first reset: time enough for somebody to take a port
            other.bind(("127.0.0.1", env._worker.ports[0]))
            other.listen()
        env.reset(seed=1)
        ports = env._worker.ports
        java, *_ = (  # then what its shell has just forked
            Path("/proc") / str(pid) for pid in processes.descendants(env.pids[0]) if b"mcprec" in command_of(pid)
        )
        words = java.joinpath("cmdline").read_bytes().decode().split("\0")
        given = dict(
            line.split("=", 1) for line in java.joinpath("environ").read_bytes().decode().split("\0") if "=" in line
        )
        assert f"--envPort={ports[1 if name == 'minedojo' else 0]}" in words
        assert given["_JAVA_OPTIONS"] == f"-Xmx64G -Dmine=1 -Xmx{env.backend.heap_mb}M", "Java heeds the last"
        folder = Path(given["TMPDIR"])
        (folder / "a_copy_of_the_game").mkdir()
    assert not folder.exists()
    assert left() == []


def test_minedojo_lists_its_tasks_and_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_backend("minedojo", tmp_path / "env", monkeypatch)
    assert list(find_tasks(["harvest_milk*", "survival"])) == [
        "harvest_milk",
        "harvest_milk_with_empty_bucket",
        "survival",
    ]
    assert list(find_tasks(["combat"])) == ["combat_spider_plains_iron_armors_iron_sword_shield"]
    with pytest.raises(UserError, match="no programmatic task") as fault:
        make_env("minedojo", task="harvest_mlik")
    assert "harvest_milk" in str(fault.value)


@pytest.mark.parametrize(
    ("java", "version", "words"),
    [
        ("1.8.0_402", "0.4.4", ["0.4", "bash tools/install_minecraft.sh minerl"]),
        ("21.0.1", "1.0.2", ["needs Java 8", "21"]),
        ("", "1.0.2", ["there is no Java here", "openjdk-8-jdk"]),
    ],
    ids=["minerl 0.4", "the wrong Java", "no Java"],
)
def test_what_is_missing_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, java: str, version: str, words: list[str]
) -> None:
    make_backend("minerl", tmp_path / "env", monkeypatch, version=version)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("STEVE1_JAVA_FOLDERS", "")
    if java:
        monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path / "java", java)))
    else:
        monkeypatch.delenv("JAVA_HOME")
    with pytest.raises(UserError) as fault:
        make_env("minerl")
    for word in words:
        assert word in str(fault.value)


def plan(monkeypatch: pytest.MonkeyPatch, fault: str, once: Path | None) -> None:
    """Have the stand-in show a fault; `once`: in the first worker alone."""
    monkeypatch.setenv("STANDIN_FAULTS", json.dumps({"fault": fault, "at": 3, **({"once": str(once)} if once else {})}))


def episode(name: str, limits: dict[str, float], seed: int = 11, **more: Any) -> tuple[Any, int]:
    """One episode of 8 steps with a supervised game: (trace, restarts)."""

    def open_env() -> Any:
        return make_env(name, **SMALL, limits_more={**LIMITS, **limits}, **MINEDOJO.get(name, {}), **more)

    # A crowded machine may be slow enough to look like a hang once more.
    with SupervisedEnv(open_env, max_restarts=6) as game:
        trace = game.episode(lambda env: play(RandomActions(1), env, 8, seed=seed))
        return trace, game.restarts


UNDISTURBED: dict[str, tuple[Any, float]] = {}


def undisturbed(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, float]:
    """The trace of the same episode without a fault, played once, and the seconds that it took."""
    if name not in UNDISTURBED:
        monkeypatch.delenv("STANDIN_FAULTS", raising=False)
        began = time.monotonic()
        UNDISTURBED[name] = episode(name, {})[0], time.monotonic() - began
    return UNDISTURBED[name]


def check_fault(name: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault strikes once; the episode is played whole, and the same as without it."""
    make_backend(name, tmp_path / "env", monkeypatch)
    clean, took = undisturbed(name, monkeypatch)
    plan(monkeypatch, fault, None if fault in ("early", "late_seed") else tmp_path / "struck")
    patience = max(6.0, 2 * took)
    limits = {"hang_step": {"step_s": 2.5}}
    limits["hang_start"] = limits["hang_reset"] = {"start_s": patience, "reset_s": patience}
    trace, restarts = episode(name, limits.get(fault, {}), **({"resets_per_seed": 2} if fault == "late_seed" else {}))
    if fault == "early":
        assert (len(trace), trace.metadata["ended"], restarts) == (3, "truncated", 0), (
            "as short as it was, and not repeated"
        )
        return
    assert restarts == 0 if fault == "late_seed" else restarts >= 1
    assert len(trace) == 8
    np.testing.assert_array_equal(trace.positions, clean.positions)
    np.testing.assert_array_equal(trace.tokens, clean.tokens)


@pytest.mark.parametrize("name", ["minerl", "minedojo", "minestudio"])
def test_a_lost_connection_is_no_end_of_the_episode(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: Any
) -> None:
    check_fault(name, "dead_java", tmp_path, monkeypatch)
    assert left() == []


@pytest.mark.e2e
@pytest.mark.parametrize(
    "fault", ["hang_start", "hang_reset", "hang_step", "zombie", "early", "small", "torn", "late_seed"]
)
@pytest.mark.parametrize("name", ["minerl", "minedojo", "minestudio"])
def test_every_other_fault_is_survived(
    name: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: Any
) -> None:
    check_fault(name, fault, tmp_path, monkeypatch)
    assert left() == []


def test_a_fork_of_java_is_not_another_java(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\n(echo forked; read nothing)\n")  # the brackets are a child with its parent's name
    java.chmod(0o755)
    with subprocess.Popen([java], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"forked\n"
        assert len(processes.descendants(process.pid)) == 1
        assert java_pids() == [process.pid]
        process.stdin.close()


@pytest.mark.e2e
def test_a_game_that_grows_is_started_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: Any) -> None:
    make_backend("minerl", tmp_path / "env", monkeypatch)
    plan(monkeypatch, "grows", None)
    with make_env("minerl", **SMALL, limits_more={**LIMITS, "memory_mb": 2000.0}) as env:
        first, worker = env.pids, env._worker
        assert len(play(DoNothing(), env, 30, seed=1)) == 30
        deadline = time.monotonic() + 120
        while worker.memory_mb < 1600 and time.monotonic() < deadline:
            time.sleep(0.6)
            env.step(act())
        assert len(play(DoNothing(), env, 4, seed=3)) == 4
        assert env.pids != first, "a fresh worker"
    assert left() == []
