"""Scripted players on a plain without a game: quiet first frames, camera moves on the policy's bins, repeatable, judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from steve1 import actions
from steve1.core.errors import UserError
from steve1.data.recordings.contractor import DISTURBANCE, PLAYER
from steve1.envs.interface import wrap
from steve1.evaluation.tasks.suite import load_suite
from steve1.rollout.players import BABBLING, BEHAVIOURS, MINI, make_player
from steve1.rollout.players.builders import LightLamp
from steve1.rollout.players.player import DEGREES_PER_PIXEL, EYE, IDLE_TICKS, PIXELS, SIZES
from steve1.rollout.trace import Trace, TraceRecorder

SUITE = load_suite("luanti")


class Plain:
    """Turns and walks as told; a tuft, a flower, a trunk, leaves, a lake and a lamp stand ahead, all of which stay what they are.

    A block in hand lands where one looks; the inventory's screen opens and has a pointer.
    """

    def __init__(self, pitch: float = 20.0) -> None:
        self.place, self.pitch, self.yaw = np.array([0.5, 8.5, 0.5]), pitch, 0.0
        self.jumps = 0
        self.screen, self.pointer, self.pressed = False, np.array([320.0, 180.0]), {"inventory": 0, "use": 0}
        self.built: dict[tuple[int, int, int], str] = {}
        self.pointed = "default:dirt"

    def look(self) -> tuple[dict[str, Any], dict[str, Any]]:
        x, y, z = self.place
        where = {"xpos": x, "ypos": y, "zpos": z, "pitch": self.pitch, "yaw": self.yaw}
        near = {
            "grass": [[0, 9, 4], [3, 9, 2]],
            "trunk": [[1, 9, 5], [1, 10, 5]],
            "water": [[0, 8, n] for n in range(6, 16)],
        }
        near |= {"flower": [[-3, 9, 5]], "leaves": [[1, 11, 5], [1, 11, 6]], "plant": [[0, 9, 4]]}
        near["ground"] = [[round(x) + dx, 8, round(z) + dz] for dx in range(-4, 5) for dz in range(-4, 5)]
        obs = {
            "pov": np.zeros((360, 640, 3), np.uint8),
            "inventory": {},
            "location_stats": where,
            "is_gui_open": self.screen,
        }
        info = {"dug": {}, "placed": {"dirt": self.jumps // 10}, "in_water": False, "near": near, "velocity": [0, 0, 0]}
        blocks = [[*place, name] for place, name in self.built.items()]
        screen = {"pointer": tuple(int(v) for v in self.pointer), "built": blocks, "scene": [[0, 9, 3, "lamp"]]}
        return obs, {**info, **screen, "pointed": self.pointed}

    def aimed_at(self) -> tuple[int, int, int] | None:
        """The place above the ground, or above a block, that the view's ray comes down on."""
        eye, pitch, yaw = self.place + [0, EYE, 0], np.radians(self.pitch), np.radians(self.yaw)
        ray = np.array([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        for far in np.arange(0.0, 4.0, 0.02):
            x, y, z = (int(n) for n in np.rint(eye + far * ray))
            if y <= 8 or (x, y, z) in self.built:
                x, y, z = (int(n) for n in np.rint(eye + (far - 0.02) * ray))
                return None if (x, y, z) in self.built else (x, y, z)
        return None

    def step(self, action: dict[str, Any]) -> None:
        fresh = {name for name in self.pressed if action.get(name) and not self.pressed[name]}
        self.pressed = {name: int(action.get(name, 0)) for name in self.pressed}
        if self.screen and "inventory" not in fresh:
            self.pointer += np.array(action["camera"])[::-1] * 10 / 3
            return
        self.screen ^= "inventory" in fresh
        place = self.aimed_at() if "use" in fresh and not action.get("jump") else None
        if place is not None:
            self.built[place] = "dirt"
        self.pitch = float(np.clip(self.pitch + action["camera"][0], -89.5, 89.5))
        self.yaw += action["camera"][1]
        self.jumps += action.get("jump", 0) and action.get("use", 0)
        if action.get("forward"):
            self.place += 0.2 * np.array([np.sin(np.radians(self.yaw)), 0, np.cos(np.radians(self.yaw))])


def play(name: str, seed: int, steps: int = 200, pitch: float = 20.0) -> tuple[list[dict[str, Any]], Trace]:
    world, player = Plain(pitch), make_player(name, seed)
    player.reset(*world.look())
    recorder = TraceRecorder(*world.look())
    done = []
    for _ in range(steps):
        done.append(player.act(*world.look()))
        world.step(done[-1])
        recorder.add({**actions.null_action(), **done[-1]}, *world.look())
    return done, recorder.trace({})


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_first_frames_are_quiet(name: str) -> None:
    for seed in range(5):
        done, _ = play(name, seed, IDLE_TICKS + 15)
        for action in done[:IDLE_TICKS]:
            assert set(action) == {"camera"}
            assert np.abs(action["camera"]).max() <= SIZES[2]
        assert any(len(a) > 1 or np.abs(a["camera"]).max() > SIZES[2] for a in done[IDLE_TICKS:])


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_camera_moves_are_whole_pixels_in_the_middle_of_a_bin(name: str) -> None:
    done, _ = play(name, 1)
    moves = np.array([action["camera"] for action in done])
    pixels = moves / DEGREES_PER_PIXEL
    assert np.allclose(pixels, np.rint(pixels))
    assert set(np.abs(np.rint(pixels)).astype(int).ravel()) <= set(PIXELS.tolist())
    assert len(np.unique(moves)) > 3


def test_sizes_are_the_bins_centres() -> None:
    bins = actions.to_bins(np.array(SIZES))
    assert len(set(bins.tolist())) == len(SIZES)
    assert np.allclose(actions.to_degrees(bins), SIZES, atol=0.1)


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_same_seed_same_play(name: str) -> None:
    once = play(name, 3)[0]
    assert once == play(name, 3)[0]
    assert once != play(name, 4)[0]


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_what_is_by_chance_is_a_disturbance_and_the_rest_does_not_depend_on_the_seed(name: str) -> None:
    """Once the quiet frames are over, two players with other seeds at the same place do the same until one looks away."""
    worlds, players = [Plain(), Plain()], [make_player(name, seed) for seed in (1, 2)]
    said: list[list[str]] = [[], []]
    for world, player in zip(worlds, players):
        player.reset(*world.look())
    compared = 0
    for tick in range(240):
        done = []
        for world, player, words in zip(worlds, players, said):
            done.append(player.act(*world.look()))
            words.append(player.who)
            world.step(done[-1])
        if tick == IDLE_TICKS - 1:  # the quiet frames end at slightly different views
            for world, player in zip(worlds, players):
                world.pitch, world.yaw = player.pitch, player.yaw = 20.0, 0.0
        if tick >= IDLE_TICKS and all(DISTURBANCE not in words[IDLE_TICKS:] for words in said):
            assert done[0] == done[1]
            compared += 1
    for words in said:
        assert words[:IDLE_TICKS] == [DISTURBANCE] * IDLE_TICKS
        assert words[IDLE_TICKS] == PLAYER
        assert np.mean([word == DISTURBANCE for word in words[IDLE_TICKS:]]) < 0.6
    assert compared > 5


@pytest.mark.parametrize("name", ["collect_grass", "pick_flower", "chop_tree", "collect_leaves"])
def test_what_is_not_in_view_is_searched_to_the_right(name: str) -> None:
    world, player = Plain(), make_player(name, 0)
    world.yaw = 130.0  # all of it stands to the left, more than 45 degrees away
    player.reset(*world.look())
    turned = 0.0
    for tick in range(70):
        action = player.act(*world.look())
        world.step(action)
        yaw = wrap(world.yaw)
        if tick >= IDLE_TICKS and not -80 < yaw < 105:
            assert action["camera"][1] == pytest.approx(SIZES[-1])
            assert not action.get("forward")
            turned += action["camera"][1]
    assert turned > 140
    assert -80 < wrap(world.yaw) < 80


def test_the_sky_is_found_from_any_pitch_and_found_again() -> None:
    for pitch in (-70.0, 0.0, 70.0):
        done, history = play("look_at_sky", 2, 300, pitch)
        assert SUITE.tasks["look_at_sky"].judge(history)[0]
        assert sum(abs(a["camera"][0]) > 5 for a in done[60:]) > 5  # distracted, and back


def test_the_pillar_looks_down_before_it_jumps() -> None:
    done, history = play("build_pillar", 0, 120)
    first = next(n for n, action in enumerate(done) if action.get("jump") and action.get("use"))
    assert history.view[first, 0] > 83
    assert first > IDLE_TICKS


def test_digging_looks_down_and_holds_attack() -> None:
    done, history = play("dig_dirt", 0, 150)
    attacks = [n for n, action in enumerate(done) if action.get("attack")]
    assert len(attacks) > 60
    assert min(history.view[n, 0] for n in attacks) > 25


@pytest.mark.parametrize("pointed", ["default:stone", "default:sand", ""])
def test_digging_turns_to_soil(pointed: str) -> None:
    """Away from what gives no dirt, as soon as it is seen."""
    world, player = Plain(), make_player("dig_dirt", 0)
    player.steady = True
    player.reset(*world.look())
    while player.pitch < 38:
        world.step(player.act(*world.look()))
    world.pointed = pointed
    turns = [abs(player.act(*world.look())["camera"][1]) > 5 for _ in range(40)]
    assert 2 <= turns.index(True) <= 4


def test_digging_turns_after_each_block_of_soil() -> None:
    world, player = Plain(), make_player("dig_dirt", 0)
    player.steady = True
    player.reset(*world.look())
    turned = []
    for tick in range(120):
        obs, info = world.look()
        action = player.act(obs, {**info, "dug": {"grass_block": max(0, tick - 20) // 20, "grass_1": tick // 5}})
        world.step(action)
        if abs(action["camera"][1]) > 5:
            turned.append(tick)
    assert {tick // 20 for tick in turned} == {2, 3, 4, 5}, "and not after tufts"
    assert wrap(world.yaw) == pytest.approx(4 * 30, abs=10)


def test_digging_looks_up_again_from_too_far_down() -> None:
    world, player = Plain(pitch=85.0), make_player("dig_dirt", 0)
    player.steady = True
    player.reset(*world.look())
    for _ in range(40):
        world.step(player.act(*world.look()))
    assert player.pitch == pytest.approx(40, abs=2)


def test_a_tuft_is_attacked_while_walking_up_but_never_for_as_long_as_dirt_takes() -> None:
    done, _ = play("collect_grass", 0, 250)
    stands = longest = 0
    for action in done:
        stands = stands + 1 if action.get("attack") and not action.get("forward") else 0
        longest = max(longest, stands)
    assert 0 < longest <= 12
    assert any(action.get("attack") and action.get("forward") for action in done)


def test_explore_goes_far_and_never_digs() -> None:
    done, history = play("explore", 0, 300)
    assert SUITE.tasks["explore"].judge(history)[0]
    assert not any(action.get("attack") for action in done)


def test_all_hands_hold_the_same() -> None:
    assert len({tuple(sorted(BEHAVIOURS[name].inventory.items())) for name in MINI}) == 1


@pytest.mark.parametrize("name", ["build_floor", "build_wall"])
def test_builders_build_on_level_ground(name: str) -> None:
    for seed in range(3):
        done, history = play(name, seed, 320)
        assert SUITE.tasks[name].judge(history)[0]
        assert max(sum(a.get("use", 0) for a in done[n : n + 6]) for n in range(len(done))) <= 5, "until it stands"


def test_the_screen_opens_is_pointed_at_and_closes() -> None:
    _done, history = play("open_inventory", 0, 300)
    assert SUITE.tasks["open_inventory"].judge(history)[0]
    assert not history.menu[-120:].all(), "it is closed again"
    view = history.view[history.menu]
    assert len(np.unique(view[:20], axis=0)) == 1, "the view stays while the pointer moves"


def test_planks_are_made_by_clicks_on_logs_grid_and_result() -> None:
    clicks: list[tuple[float, ...]] = []
    world, player = Plain(), make_player("craft_planks", 3)
    player.reset(*world.look())
    for _ in range(150):
        action = player.act(*world.look())
        if action.get("attack") and len(clicks) < 3:
            clicks.append(tuple(world.pointer))
        world.step(action)
    (slot_x, slot_y), (grid_x, grid_y), (out_x, out_y) = clicks  # centres as in the game's picture of 640x360
    assert max(abs(slot_x - 229), abs(slot_y - 205)) < 6
    assert max(min(abs(grid_x - x) for x in (274, 300, 326)), min(abs(grid_y - y) for y in (91, 116, 140))) < 6
    assert max(abs(out_x - 378), abs(out_y - 116)) < 6


def test_crafting_begins_again_with_the_logs_that_are_left() -> None:
    world, player = Plain(), make_player("craft_planks", 3)
    player.reset(*world.look())
    opened, crafted, said = 0, 0, set()
    for _ in range(300):
        obs, info = world.look()
        action = player.act(obs, {**info, "crafted": {"planks": crafted}})
        opened += action.get("inventory", 0) and not world.screen
        crafted += 4 * bool(
            action.get("attack") and abs(world.pointer[0] - 378) < 6 and abs(world.pointer[1] - 116) < 6
        )
        if action.get("inventory") and world.screen:
            said.add(player.who)
        world.step(action)
    assert (opened, crafted) == (4, 16)
    assert said == {DISTURBANCE}, "closing the screen is not to be learned"


def test_the_switch_is_put_beside_the_lamp() -> None:
    _, history = play("light_lamp", 0, 100)
    first = history.blocks[history.blocks[:, 5] == 1][0]
    assert abs(int(first[1])) + abs(int(first[3]) - 3) == 1
    assert first[2] == 9


def test_the_switch_is_not_put_where_a_step_hides_the_place() -> None:
    world, player = Plain(), LightLamp(0)
    obs, info = world.look()
    info["near"]["ground"] = [[x, 8 if z < 2 else 7, z] for x in range(-4, 5) for z in range(-4, 5)]
    info["scene"] = [[0, 8, 3, "lamp"]]
    player.reset(obs, info)
    below = (0, 8, 2)
    assert player.distance(below) < 3.7
    assert not player.sees(below)
    assert player.beside((0, 8, 3)) == (1, 8, 3), "farther, but in sight"
    player.position[2] = 1.4
    assert player.sees(below)


def test_unknown_behaviours_name_the_nearest() -> None:
    with pytest.raises(UserError, match="Unknown behaviour") as fault:
        make_player("dig_dirtt")
    assert "dig_dirt" in str(fault.value)


def test_a_babbling_player_presses_everything_and_turns_by_every_bin() -> None:
    done = [action for seed in range(8) for action in play("babble_meadow", seed, 600)[0][IDLE_TICKS:]]
    assert set(BABBLING) == {"babble_meadow", "babble_forest", "babble_shore", "babble_steep"}
    for name in ("forward", "back", "left", "right", "jump", "sneak", "sprint", "attack", "use"):
        assert np.mean([bool(action.get(name)) for action in done]) > 0.03, name
    bins = actions.to_bins(np.array([action["camera"] for action in done]))
    assert min(np.bincount(bins[:, axis], minlength=11).min() for axis in (0, 1)) > 40
    assert 0.4 < (bins == 5).all(axis=1).mean() < 0.65
    assert play("babble_meadow", 3)[0] == play("babble_meadow", 3)[0]
    assert play("babble_meadow", 3)[0] != play("babble_meadow", 4)[0]


def test_a_steep_babbling_player_turns_while_it_looks_far_down_or_up() -> None:
    pitch, yaw = [], []
    for seed in range(8):
        now = 0.0
        for action in play("babble_steep", seed, 600)[0]:
            pitch.append(now)
            yaw.append(action["camera"][1])
            now = min(max(now + action["camera"][0], -89.5), 89.5)
    down, up = np.array(pitch) > 40, np.array(pitch) < -40
    assert np.mean(down | up) > 0.75
    assert np.mean(down) > 2 * np.mean(up) > 0.2
    assert np.mean((down | up) & (np.array(yaw) != 0)) > 0.3
