"""Scripted players on a plain without a game: quiet first frames, camera moves on the policy's bins, repeatable, judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from steve1 import actions
from steve1.core.errors import UserError
from steve1.players import BEHAVIOURS, History, behaviour, make_player
from steve1.players.player import DEGREES_PER_PIXEL, IDLE_TICKS, PIXELS, SIZES


class Plain:
    """Turns and walks as told; a tuft, a trunk and a lake stand ahead."""

    def __init__(self, pitch: float = 20.0) -> None:
        self.place, self.pitch, self.yaw = np.array([0.5, 8.5, 0.5]), pitch, 0.0
        self.jumps = 0

    def look(self) -> tuple[dict[str, Any], dict[str, Any]]:
        x, y, z = self.place
        where = {"xpos": x, "ypos": y, "zpos": z, "pitch": self.pitch, "yaw": self.yaw}
        near = {"grass": [[0, 9, 4], [3, 9, 2]], "trunk": [[1, 9, 5], [1, 10, 5]], "water": [[0, 8, n] for n in range(6, 16)]}
        obs = {"pov": np.zeros((36, 64, 3), np.uint8), "inventory": {}, "location_stats": where, "is_gui_open": False}
        info = {"dug": {}, "placed": {"dirt": self.jumps // 10}, "in_water": False, "near": near, "velocity": [0, 0, 0]}
        return obs, {**info, "below": "default:dirt_with_grass"}

    def step(self, action: dict[str, Any]) -> None:
        self.pitch = float(np.clip(self.pitch + action["camera"][0], -89.5, 89.5))
        self.yaw += action["camera"][1]
        self.jumps += action.get("jump", 0) and action.get("use", 0)
        if action.get("forward"):
            self.place += 0.2 * np.array([np.sin(np.radians(self.yaw)), 0, np.cos(np.radians(self.yaw))])


def play(name: str, seed: int, steps: int = 200, pitch: float = 20.0) -> tuple[list[dict[str, Any]], History]:
    world, player, history = Plain(pitch), make_player(name, seed), History()
    player.reset(*world.look())
    history.add(*world.look())
    done = []
    for _ in range(steps):
        done.append(player.act(*world.look()))
        world.step(done[-1])
        history.add(*world.look())
    return done, history


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
    assert play(name, 3)[0] == play(name, 3)[0]
    assert play(name, 3)[0] != play(name, 4)[0]


def test_the_sky_is_found_from_any_pitch_and_found_again() -> None:
    for pitch in (-70.0, 0.0, 70.0):
        done, history = play("look_at_sky", 2, 300, pitch)
        assert behaviour("look_at_sky").success(history)
        assert sum(abs(a["camera"][0]) > 5 for a in done[60:]) > 5  # distracted, and back


def test_the_pillar_looks_down_before_it_jumps() -> None:
    done, history = play("build_pillar", 0, 120)
    first = next(n for n, action in enumerate(done) if action.get("jump") and action.get("use"))
    assert history.pitches[first] > 83
    assert first > IDLE_TICKS


def test_digging_looks_down_and_holds_attack() -> None:
    done, history = play("dig_dirt", 0, 150)
    attacks = [n for n, action in enumerate(done) if action.get("attack")]
    assert len(attacks) > 60
    assert min(history.pitches[n] for n in attacks) > 25


def test_grass_is_never_attacked_for_as_long_as_dirt_takes() -> None:
    done, _ = play("collect_grass", 0, 250)
    held = longest = 0
    for action in done:
        held = held + 1 if action.get("attack") else 0
        longest = max(longest, held)
    assert 0 < longest <= 12


def test_explore_goes_far_and_never_digs() -> None:
    done, history = play("explore", 0, 300)
    assert behaviour("explore").success(history)
    assert not any(action.get("attack") for action in done)


def history(**rows: list[Any]) -> History:
    n = len(next(iter(rows.values())))
    full = {
        "positions": [(0.0, 0.0, 0.0)] * n, "pitches": [0.0] * n, "inventories": [{}] * n, "placed": [0] * n,
        "in_water": [False] * n, "below": [""] * n,
    }  # fmt: skip
    return History(**{**full, **rows})


def test_rules_ask_for_the_thing_itself() -> None:
    dirt = behaviour("dig_dirt")
    assert dirt.success(history(inventories=[{"dirt": 64}, {"dirt": 68}]))
    assert not dirt.success(history(inventories=[{"dirt": 64}, {"dirt": 67}]))
    swim, line = behaviour("swim"), [(float(n), 0.0, 0.0) for n in range(12)]
    assert swim.success(history(positions=line, in_water=[True] * 12))
    assert not swim.success(history(positions=line, in_water=[False] * 12))
    pillar, up = behaviour("build_pillar"), [(0.0, float(n), 0.0) for n in range(5)]
    assert pillar.success(history(positions=up, placed=[0, 1, 2, 3, 4], below=["default:dirt"] * 5))
    assert not pillar.success(history(positions=up, placed=[0] * 5, below=["default:dirt"] * 5))
    assert not pillar.success(history(positions=up, placed=[0, 1, 2, 3, 4], below=["default:stone"] * 5))
    sky = behaviour("look_at_sky")
    assert sky.success(history(pitches=[0.0] * 20 + [-60.0] * 10))
    assert not sky.success(history(pitches=[-60.0] * 20 + [0.0] * 10))


def test_all_hands_hold_the_same() -> None:
    assert len({tuple(sorted(b.inventory.items())) for b in BEHAVIOURS.values()}) == 1


def test_unknown_behaviours_name_the_nearest() -> None:
    with pytest.raises(UserError, match="Unknown behaviour") as fault:
        make_player("dig_dirtt")
    assert "dig_dirt" in str(fault.value)
