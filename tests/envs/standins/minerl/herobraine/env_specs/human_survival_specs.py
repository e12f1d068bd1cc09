"""HumanSurvival: its arguments, its hooks, and the environment that it makes."""

from __future__ import annotations

from typing import Any

import numpy as np
from standin_world import LostConnectionError, World

from minerl.herobraine.hero import handlers
from minerl.spaces import PUBLISHED, Space

EMPTY = Space(PUBLISHED["observation_space"]).no_op()


class HumanSurvival:
    def __init__(
        self, *, name: str = "MineRLHumanSurvival-v0", resolution: Any = (640, 360), guiscale_range: Any = (1, 1), gamma_range: Any = (2.0, 2.0),
        fov_range: Any = (70.0, 70.0), cursor_size_range: Any = (16, 16), frameskip: int = 1,
    ) -> None:  # fmt: skip
        self.resolution, self.frameskip = resolution, frameskip
        self.ranges = {"gui": guiscale_range, "gamma": gamma_range, "fov": fov_range, "cursor": cursor_size_range}
        self.reset()

    def reset(self) -> None:
        """As the real one: all handlers are made anew for each mission."""
        self.agent_start = self.create_agent_start()
        self.initial = self.create_server_initial_conditions()

    def create_agent_start(self) -> list[handlers.Handler]:
        value = {name: np.random.uniform(*chosen) for name, chosen in self.ranges.items()}
        return [
            handlers.LowLevelInputsAgentStart(), handlers.GuiScale(value["gui"]), handlers.GammaSetting(value["gamma"]),
            handlers.FOVSetting(value["fov"]), handlers.FakeCursorSize(int(value["cursor"])),
        ]  # fmt: skip

    def create_server_initial_conditions(self) -> list[handlers.Handler]:
        return [
            handlers.TimeInitialCondition(allow_passage_of_time=True),
            handlers.SpawningInitialCondition(allow_spawning=True),
        ]

    def make(self) -> _SingleAgentEnv:
        return _SingleAgentEnv(self)


class _SingleAgentEnv:
    action_space, observation_space = Space(PUBLISHED["action_space"]), Space(PUBLISHED["observation_space"])

    def __init__(self, task: HumanSurvival) -> None:
        self.task, self._seed = task, None
        self._world = World(*task.resolution)
        self._resets, self._late, self._done = 0, None, True

    def seed(self, seed: int | None = None) -> None:
        assert isinstance(seed, int) or seed is None, "Seed must be an int!"
        self._seed = seed

    def reset(self) -> dict[str, Any]:
        self.task.reset()
        self._world.launch()
        facts = {
            name: value
            for handler in [*self.task.agent_start, *self.task.initial]
            for name, value in handler.facts.items()
        }
        seed, self._resets = self._seed, self._resets + 1
        if self._resets == 1:
            seed = int(np.random.default_rng().integers(1 << 30))  # the first of all is not heeded
        if self._world.faults.fault == "late_seed":
            seed, self._late = self._late, seed
        items: dict[str, int] = {}
        for name, quantity in facts.get("inventory", []):
            items[name] = items.get(name, 0) + quantity
        self._world.begin(seed, items)
        if "place" in facts:
            self._world.x, self._world.y, self._world.z, self._world.yaw, self._world.pitch = facts["place"]
        self._look = (
            round(facts["fov"]),
            round(facts["gamma"]),
            round(facts["gui"]),
            round(facts["cursor"]),
            (facts["start_time"] or 0) // 100,
        )
        self._biome, self._done = facts.get("biome", ""), False
        return self._observe()

    def _observe(self) -> dict[str, Any]:
        world, obs = self._world, dict(EMPTY)
        pov = world.picture()
        pov[0, 0], pov[0, 1] = self._look[:3], (*self._look[3:], len(self._biome))
        whole = {
            "inventory": (world.inventory, np.int32),
            "mine_block": (world.mined, np.int64),
            "use_item": (world.used, np.int64),
        }
        for name, (counts, kind) in whole.items():
            obs[name] = {**EMPTY[name], **{item: np.array(count, dtype=kind) for item, count in counts.items()}}
        place = {
            "xpos": world.x,
            "ypos": world.y,
            "zpos": world.z,
            "pitch": world.pitch,
            "yaw": (world.yaw + 180) % 360 - 180,
        }
        obs["location_stats"] = {**EMPTY["location_stats"], **{name: np.array(value) for name, value in place.items()}}
        obs["life_stats"] = {**EMPTY["life_stats"], "life": np.array(world.life), "is_alive": np.array(world.life > 0)}
        obs["pov"] = pov
        return obs

    def step(self, action: dict[str, Any]) -> tuple[dict[str, Any], float, bool, dict[str, Any]]:
        if self._done:
            raise RuntimeError("Attempted to step an environment server with done=True")
        assert self.action_space.contains(action), sorted(action)
        assert not action["ESC"], "the menu stops the world"
        try:
            self._done = self._world.tick(action)
        except LostConnectionError:
            self._done = True
            return self.observation_space.sample(), 0, True, {"error": "Connection timed out!"}
        return self._observe(), 0.0, self._done, {"isGuiOpen": np.array(self._world.gui)}

    def close(self) -> None:
        self._world.end()
