"""The game itself: seeded resets, actions' effects, menus, crashes and hangs, two side by side, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from steve1 import actions
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.envs import GameDied, make_env, start_states
from steve1.envs.luanti import portable
from steve1.envs.luanti.links import ShimLink
from tests.envs.luanti.test_game_process import gone

pytestmark = pytest.mark.game


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    with make_env("luanti", worker=False, timeout_s=60) as env:
        yield env


def act(env: Any, steps: int, **buttons: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    camera = buttons.pop("camera", [0.0, 0.0])
    for _ in range(steps):
        obs, reward, _terminated, truncated, info = env.step(
            {**actions.null_action(), **{name.replace("_", "."): v for name, v in buttons.items()}, "camera": camera}
        )
        assert reward == 0.0
        assert not truncated
    return obs, info


def at(obs: dict[str, Any]) -> np.ndarray:
    return np.array([obs["location_stats"][key] for key in ("xpos", "ypos", "zpos")])


def test_reset_gives_place_view_and_inventory(env: Any) -> None:
    start = start_states("luanti", "meadow", "eval")[0]
    obs, info = env.reset(seed=1, options={"start": start, "pitch": -30, "inventory": {"dirt": 64, "log": 3}})
    assert obs["pov"].shape == (360, 640, 3)
    assert obs["pov"].dtype == np.uint8
    assert np.allclose(at(obs), [start["x"], start["y"], start["z"]], atol=0.1)
    assert obs["inventory"] == {"dirt": 64, "log": 3}
    assert obs["location_stats"]["pitch"] == -30
    assert info["start"] == start
    assert info["step"] == 0
    sky = obs["pov"][:100].reshape(-1, 3).mean(0)
    assert sky[2] > sky[0]  # blue above: rows and colours are in order
    assert not obs["is_gui_open"]


def test_same_seed_same_episode(env: Any) -> None:
    ends, frames = [], []
    for _ in range(2):
        env.reset(seed=5, options={"biome": "meadow"})
        act(env, 20, forward=1, camera=[0.0, 2.0])
        obs, info = act(env, 10, forward=1, jump=1, attack=1)
        frames.append(obs["pov"].astype(int))
        # The position comes from the server, which hears of a move up to three ticks later: it is compared after a rest.
        obs, info = act(env, 30)
        ends.append((at(obs), info["start"]["id"]))
    assert np.allclose(ends[0][0], ends[1][0], atol=0.01)
    assert ends[0][1] == ends[1][1]
    # Clouds drift on the game's own time and bushes are drawn anew each time; the rest of the land is the same to the pixel.
    assert np.median(np.abs(frames[0] - frames[1])[200:]) < 1
    _, info = env.reset(seed=6, options={"biome": "meadow"})
    assert info["start"]["id"] != ends[0][1]


def test_resets_undo_what_was_dug_and_close_the_menu(env: Any) -> None:
    start = start_states("luanti", "meadow", "eval")[1]
    before, _ = env.reset(seed=0, options={"start": start})
    act(env, 8, camera=[10.0, 0.0])
    obs, info = act(env, 60, attack=1)
    assert obs["inventory"].get("dirt", 0) >= 1
    assert info["dug"]["grass_block"] >= 1
    act(env, 3, inventory=1)
    after, info = env.reset(seed=0, options={"start": start})
    assert after["inventory"] == {}
    assert info["dug"] == {}
    assert not after["is_gui_open"]
    assert np.abs(before["pov"].astype(int) - after["pov"].astype(int)).mean() < 4


@pytest.mark.parametrize(
    ("camera", "pitch", "yaw"),
    [([0.0, 3.2154], 0, 64.308), ([-1.6095, 0.0], -32.19, 0), ([0.6154, -10.0], 12.308, -200)],
)
def test_the_camera_turns_by_what_it_is_told(env: Any, camera: list[float], pitch: float, yaw: float) -> None:
    env.reset(seed=0, options={"biome": "meadow", "yaw": 0.0, "pitch": 0.0})
    act(env, 20, camera=camera)
    obs, info = act(env, 8)
    for place, game in (
        (obs["location_stats"]["yaw"], info["server_yaw"]),
        (obs["location_stats"]["pitch"], info["server_pitch"]),
    ):
        assert abs(place - game) < 0.1  # what we integrate is what the game did
    assert abs((obs["location_stats"]["yaw"] - yaw + 180) % 360 - 180) < 0.1
    assert abs(obs["location_stats"]["pitch"] - pitch) < 0.1


def test_keys_move_where_the_player_looks(env: Any) -> None:
    ways = {}
    for key in ("forward", "back", "left", "right"):
        obs, _ = env.reset(seed=2, options={"biome": "meadow", "yaw": 90.0})
        begin = at(obs)
        obs, _ = act(env, 12, **{key: 1})
        obs, _ = act(env, 4)
        ways[key] = at(obs) - begin
    assert ways["forward"][0] > 1.2  # yaw 90 looks along +x
    assert ways["back"][0] < -1.2
    assert ways["left"][2] > 1.2
    assert ways["right"][2] < -1.2


def test_sprinting_is_faster_and_sneaking_slower(env: Any) -> None:
    far = {}
    for name, more in (("walk", {}), ("sprint", {"sprint": 1}), ("sneak", {"sneak": 1})):
        obs, _ = env.reset(seed=2, options={"biome": "meadow"})
        begin = at(obs)
        act(env, 25, forward=1, **more)
        obs, _ = act(env, 8)  # the server hears of a move up to three ticks later
        far[name] = float(np.linalg.norm((at(obs) - begin)[[0, 2]]))
    assert far["sprint"] > 1.1 * far["walk"] > 1.5 * far["sneak"] > 0


def test_jumping_on_placed_blocks_builds_up(env: Any) -> None:
    obs, _ = env.reset(seed=3, options={"biome": "meadow", "inventory": {"dirt": 10}, "pitch": 88.0})
    begin = at(obs)[1]
    obs, info = act(env, 60, jump=1, use=1)
    obs, info = act(env, 15)
    assert info["placed"]["dirt"] >= 3
    assert at(obs)[1] - begin >= 2.5
    assert obs["inventory"].get("dirt", 0) == 10 - info["placed"]["dirt"]
    assert info["pointed"] == "default:dirt"


def test_hotbar_slots_change_and_the_ninth_is_ignored(env: Any) -> None:
    obs, _ = env.reset(seed=0, options={"inventory": {"dirt": 1, "cobblestone": 2}})
    assert obs["hotbar"] == 0
    act(env, 1, hotbar_2=1)
    obs, info = act(env, 5)
    assert obs["hotbar"] == 1
    assert info["wielded"] == "default:cobble"
    act(env, 1, hotbar_9=1)
    obs, _ = act(env, 5)
    assert obs["hotbar"] == 1
    obs, _ = env.reset(seed=0, options={})
    assert obs["hotbar"] == 0


def test_the_menu_opens_with_a_pointer_that_moves(env: Any) -> None:
    env.reset(seed=0, options={"yaw": 10.0})
    obs, _ = act(env, 3, inventory=1)
    assert obs["is_gui_open"]
    _first, before = act(env, 3)
    second, after = act(env, 4, camera=[6.0, 9.0])
    moved = np.subtract(after["pointer"], before["pointer"])
    assert np.allclose(moved, [4 * 9 * 10 / 3, 4 * 6 * 10 / 3], atol=2)
    x, y = after["pointer"]
    assert (second["pov"][y, x] == 0).all()
    assert (second["pov"][y : y + 16, x : x + 16] == 255).all(-1).sum() > 20
    assert abs(second["location_stats"]["yaw"] - 10) < 0.1  # the view stays
    env.draw_pointer = False
    bare, _ = act(env, 2)
    env.draw_pointer = True
    assert (bare["pov"][y : y + 16, x : x + 16] == 255).all(-1).sum() < 20
    act(env, 2, inventory=0)
    obs, _ = act(env, 3, inventory=1)
    assert not obs["is_gui_open"]


def test_escape_and_unknown_buttons_do_nothing(env: Any) -> None:
    env.reset(seed=0)
    obs, info = act(env, 5, ESC=1, swapHands=1, pickItem=1)
    assert not obs["is_gui_open"]
    tick = info["game_tick"]
    _, info = act(env, 10)
    assert info["game_tick"] - tick == 10  # one step is one tick of the server: the game is not paused
    with pytest.raises(UserError, match="option"):
        env.reset(options={"startt": {}})


def test_a_pause_costs_no_game_time(env: Any) -> None:
    obs, _ = env.reset(seed=3, options={"biome": "meadow"})
    begin = at(obs)
    act(env, 10, forward=1)
    time.sleep(1.5)
    act(env, 10, forward=1)
    obs, _ = act(env, 5)
    far = np.linalg.norm((at(obs) - begin)[[0, 2]])
    obs, _ = env.reset(seed=3, options={"biome": "meadow"})
    act(env, 20, forward=1)
    obs, _ = act(env, 5)
    assert abs(np.linalg.norm((at(obs) - begin)[[0, 2]]) - far) < 0.05


def test_water_is_reported(env: Any) -> None:
    start = start_states("luanti", "shore", "eval")[0]
    _, info = env.reset(
        seed=0,
        options={
            "start": start,
            "watch": {"water": {"nodes": ["default:water_source"], "r": 11, "low": -4, "high": 0}},
        },
    )
    _obs, info = act(env, 5)
    assert info["near"]["water"]
    assert not info["in_water"]
    wet = [act(env, 1, forward=1)[1]["in_water"] for _ in range(120)]
    assert any(wet)


def test_a_killed_game_is_noticed_and_restarts(env: Any) -> None:
    env.reset(seed=0)
    old = env.pids
    os.kill(old[0], signal.SIGKILL)
    with pytest.raises(GameDied):
        act(env, 3)
    assert all(gone(pid) for pid in old)
    with pytest.raises(GameDied, match="closed"):
        env.step(actions.null_action())
    env.restart()
    obs, _ = env.reset(seed=0)
    obs, _ = act(env, 3)
    assert obs["pov"].std() > 5
    assert set(env.pids).isdisjoint(old)


def test_two_games_side_by_side_do_not_mix(env: Any) -> None:
    one, two = make_env("luanti", worker=False, instance=1), env
    try:
        first, second = start_states("luanti", "meadow", "eval")[:2]
        one.reset(seed=0, options={"start": first, "inventory": {"dirt": 1}})
        two.reset(seed=0, options={"start": second, "inventory": {"cobblestone": 2}})
        for _ in range(10):
            a, _ = act(one, 1, forward=1)
            b, _ = act(two, 1, camera=[0.0, 5.0])
        assert a["inventory"] == {"dirt": 1}
        assert b["inventory"] == {"cobblestone": 2}
        assert np.allclose(at(b), [second["x"], second["y"], second["z"]], atol=0.1)
        assert np.linalg.norm((at(a) - [first["x"], first["y"], first["z"]])[[0, 2]]) > 0.8
        one.close()
        act(two, 5)  # the other one lives on
    finally:
        one.close()
    with pytest.raises(GameDied):
        act(one, 1)


def test_a_hanging_game_ends_within_the_limit(env: Any) -> None:
    """The last test of this game: nobody starts it again."""
    env.reset(seed=0)
    env._process.timeout_s = 2.0
    env._process.control.settimeout(2.0)
    pids = env.pids
    os.kill(pids[0], signal.SIGSTOP)
    begun = time.monotonic()
    with pytest.raises(GameDied, match="does not run"):
        act(env, 2)
    assert time.monotonic() - begun < 120
    assert all(gone(pid) for pid in pids)


def test_a_start_that_fails_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def join(link: ShimLink, patience_s: float) -> None:
        tries.append(link.process.game)
        if len(tries) == 1 or link.width == 64:
            raise link.process.died("the game did not start")
        real(link, patience_s)

    real = ShimLink.join
    monkeypatch.setattr(ShimLink, "join", join)
    with make_env("luanti", worker=False, width=160, height=96) as env:
        assert len(tries) == 2
        env.reset(seed=0)
    assert all(gone(process.pid) for process in tries if process is not None)
    with pytest.raises(GameDied, match="does not run"):
        make_env("luanti", worker=False, width=64, height=64)
    assert len(tries) == 4


def test_a_killed_program_leaves_no_process_behind() -> None:
    code = f"""
        import sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from steve1.envs import make_env
        env = make_env("luanti", worker=False)
        env.reset(seed=0)
        print(*env.pids, flush=True)
        while True:
            env.step({{"forward": 1, "camera": [0, 1]}})
    """
    program = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    pids = [int(pid) for pid in program.stdout.readline().split()]
    time.sleep(0.5)
    program.kill()
    program.wait()
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


@pytest.mark.parametrize("clock", ["standing", "real"])
def test_the_portable_way_plays_too(clock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if clock == "real":
        monkeypatch.setattr(portable, "find_faketime", lambda: None)
    elif portable.find_faketime() is None:
        pytest.skip("libfaketime is not installed: apt-get install libfaketime")
    with make_env("luanti", worker=False, width=320, height=180, backend="portable", timeout_s=90) as env:
        start = start_states("luanti", "meadow", "eval")[3]
        obs, _ = env.reset(seed=0, options={"start": start, "yaw": 0.0, "inventory": {"dirt": 2}})
        assert obs["inventory"] == {"dirt": 2}
        assert obs["pov"].std() > 5
        begin = at(obs)
        act(env, 10, camera=[0.0, 5.8095])
        act(env, 12, forward=1)
        obs, info = act(env, 6)
        assert abs(info["server_yaw"] - 58.1) < 0.5
        assert np.linalg.norm((at(obs) - begin)[[0, 2]]) > 0.8
        obs, _ = act(env, 4, inventory=1)
        assert obs["is_gui_open"]
        pids = env.pids  # type: ignore[attr-defined]
        os.kill(pids[0], signal.SIGKILL)
        with pytest.raises(GameDied):
            act(env, 3)
        assert all(gone(pid) for pid in pids)
