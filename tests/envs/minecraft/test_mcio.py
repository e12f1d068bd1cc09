"""MCio: the real mcio-ctrl, in its own Python, launches and plays the stand-in of Minecraft, through every fault."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.envs import make_env
from steve1.envs.interface import GameDied
from steve1.rollout.play import DoNothing, play
from steve1.rollout.supervise import SupervisedEnv
from tests.envs.leftovers import watch
from tests.envs.minecraft.mcio_home import make_home, python

NO_WAIT = {"settle": 2, "headless": False}


class StandIn:
    """An MCio folder, and the plan of the stand-in that lives there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, make_home(folder / "mcio")
        self.plan()

    def plan(self, **faults: Any) -> None:
        (self.folder / "plan.json").write_text(json.dumps({"log": str(self.folder / "log.jsonl"), **faults}))

    def open(self, **more: Any) -> Any:
        return make_env("mcio", mcio_dir=str(self.home), **{**NO_WAIT, **more})

    def log(self, role: str = "client") -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]
        return [line for line in lines if line["role"] == role]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("MCIO_STAND_IN", str(tmp_path / "plan.json"))
    monkeypatch.setenv("STEVE1_WORKER_BEAT_S", "0.3")
    return StandIn(tmp_path)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    return watch(monkeypatch)


def test_actions_pictures_and_worlds(stand_in: StandIn, left: Callable[[], list[str]]) -> None:
    with stand_in.open(width=640, height=360) as env:
        assert env.facts["package"].startswith("1.5")
        options = {"inventory": {"dirt": 100, "oak_log": 3}, "yaw": -30.0, "pitch": 10.0, "time_of_day": 0.25}
        obs, info = env.reset(seed=11, options=options)
        assert obs["pov"].shape == (360, 640, 3)
        assert obs["inventory"] == {"dirt": 100, "oak_log": 3}
        assert (obs["location_stats"]["yaw"], obs["location_stats"]["pitch"]) == pytest.approx((-30.0, 10.0))
        assert info["start"] == {"world": 11, "biome": "meadow"}
        (client,) = stand_in.log()
        assert (client["seed"], client["mode"], client["cheats"]) == (11, "SYNC", 1)
        assert "fov:0.0\nguiScale:1\n" in client["options"]
        assert client["heap"] == "-Xmx4096M", "every Java is told, the worlds' server as well"
        assert (obs["pov"][0, 0] == (120, 160, 255 ^ 30)).all(), "rows from the top, RGB"

        obs, *_ = env.step({"camera": np.array([1.6095, -3.2154])})
        assert (obs["location_stats"]["pitch"], obs["location_stats"]["yaw"]) == pytest.approx((11.6095, -33.2154))
        for _ in range(10):
            obs, _, terminated, _, info = env.step({"attack": 1, "hotbar.3": 1})
        assert info["dug"] == {"dirt": 2}, "what the world's statistics held before does not count"
        assert (obs["inventory"]["dirt"], obs["hotbar"], terminated) == (102, 2, False)
        obs, *_ = env.step({"inventory": 1, "camera": [5.0, 5.0]})
        assert obs["is_gui_open"]
        before = env.step({})[4]["pointer"]
        obs, *_, info = env.step({"camera": [0.0, 30.0]})
        assert info["pointer"][0] - before[0] == pytest.approx(100, abs=1), (
            "a menu's pointer moves as for those who recorded"
        )
        env.draw_pointer = False
        assert (env.step({})[0]["pov"] != obs["pov"]).any(), "the arrow is drawn where it is wanted"

        env.reset(seed=11)
        env.reset(seed=12, options={"biome": "forest"})
        seeds = [line["seed"] for line in stand_in.log()]
        assert seeds == [11, 11, 12]
        assert not any(line["touched"] for line in stand_in.log()), "every episode begins in a pristine copy"
        servers = stand_in.log("server")
        assert [line["seed"] for line in servers] == [11, 12], "a world is made once"
        assert [line["type"] for line in servers] == ["minecraft:single_biome_surface", "minecraft:normal"]
        with pytest.raises(UserError, match="does not give"):
            env.reset(seed=12, options={"inventory": {"no_such_item": 1}})
    assert left() == []
    assert list((stand_in.home / "instances" / "steve1" / "saves").iterdir()) == []


def test_places_far_apart_share_a_running_minecraft(stand_in: StandIn) -> None:
    with stand_in.open() as env:
        for x in (0.0, 2000.0, -2000.0):
            obs, _ = env.reset(seed=1, options={"start": {"world": 5, "x": x, "z": 40.0, "yaw": 15.0}})
            assert (obs["location_stats"]["xpos"], obs["location_stats"]["yaw"]) == pytest.approx((x, 15.0))
        assert len(stand_in.log()) == 1
        env.reset(seed=1, options={"start": {"world": 5, "x": 2000.0, "z": 40.0}})
        assert len(stand_in.log()) == 2, "a place that was played on is played on again in a fresh copy"


FAULTS: dict[str, tuple[str, dict[str, float]]] = {
    "hang_start": ("no answer to reset", {"reset_s": 20}),
    "hang_reset": ("no answer to reset", {"reset_s": 20}),
    "hang_step": ("no answer to step", {"step_s": 3}),
    "dead": ("game's process", {}),
    "small": ("320x180", {}),
    "torn": ("torn packet", {}),
    "version": ("torn packet", {}),
    "old": ("observation", {}),
    "grows": ("of memory", {"memory_mb": 700}),
}


@pytest.mark.e2e
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_costs_one_restart(
    fault: str, stand_in: StandIn, tmp_path: Path, left: Callable[[], list[str]]
) -> None:
    said, limits = FAULTS[fault]
    stand_in.plan(fault=fault, at=9 if fault == "hang_step" else 3, once=str(tmp_path / "struck"))
    died: list[str] = []
    steps = 25 if fault == "grows" else 6

    def episode(env: Any) -> Any:
        try:
            return play(DoNothing(), env, steps, seed=4, options={"inventory": {"dirt": 5}})
        except GameDied as death:
            died.append(death.got)
            raise

    with SupervisedEnv(lambda: stand_in.open(limits_more=limits)) as game:
        trace = game.episode(episode)
    assert len(trace) == steps
    assert any(said in why for why in died)
    assert trace.count("inventory", ["dirt"]).tolist() == [5] * (steps + 1)
    assert {line["seed"] for line in stand_in.log()} == {4}, "the episode is repeated with its seed"
    assert left() == []


@pytest.mark.e2e
def test_death_ends_the_episode_and_a_late_seed_makes_the_world_again(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.plan(fault="early", at=3)
    with stand_in.open() as env:
        trace = play(DoNothing(), env, 10, seed=4)
        assert (len(trace) < 10, trace.metadata["ended"]) == (True, "terminated")
        stand_in.plan(fault="late_seed", once=str(tmp_path / "struck"))
        assert env.reset(seed=9)[1]["world"] == 9
    assert [line["seed"] for line in stand_in.log("server")] == [4, 10, 9]
    assert stand_in.log()[-1]["seed"] == 9


def test_without_minecraft_it_says_how_to_install_it(stand_in: StandIn, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="not installed") as told:
        make_env("mcio", mcio_dir=str(tmp_path / "empty"), headless=False)
    program, *words = told.value.todo.partition("  (")[0].split()
    assert words[-3:] == ["steve1", "--mcio-dir", str(tmp_path / "empty")]
    # The real program knows what it is told to do; nothing is downloaded.
    asked = subprocess.run(
        [Path(python()).with_name(Path(program).name), *words[:-3], "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    assert "--mcio-dir" in asked.stdout
