"""MinecraftSim: its arguments, its five values, and the faults of the environment inside."""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np
from standin_world import LostConnectionError, World

KEYS = {
    "attack", "back", "forward", "jump", "left", "right", "sneak", "sprint", "use", "inventory", "camera", *(f"hotbar.{n}" for n in range(1, 10)),
}  # fmt: skip


def check_engine(skip_confirmation: bool = False) -> None:
    """The real one asks a question, which in a worker nobody answers."""
    if os.environ.get("STANDIN_NO_ENGINE"):
        if not skip_confirmation:
            input("Detecting missing simulator engine, do you want to download it from huggingface (Y/N)?\n")
        raise ConnectionError("no route to the hub")


class _Task:
    def __init__(self) -> None:
        self.preferred_spawn_biome: str | None = None
        self.inventory: dict[int, dict[str, Any]] | None = None


class _SingleAgentEnv:
    def __init__(self, width: int, height: int) -> None:
        self.task, self._world, self._seed, self._late = _Task(), World(width, height), None, None

    def seed(self, seed: int | None = None) -> None:
        assert isinstance(seed, int) or seed is None
        self._seed = seed

    def reset(self) -> dict[str, Any]:
        self._world.launch()
        held: dict[str, int] = {}
        for item in (self.task.inventory or {}).values():
            held[item["type"]] = held.get(item["type"], 0) + item["quantity"]
        seed = self._seed
        if self._world.faults.fault == "late_seed":
            seed, self._late = self._late, seed
        self._world.begin(seed, held)
        self._commands: list[str] = []
        return self._observe()

    def _observe(self) -> dict[str, Any]:
        world = self._world
        stacks = [(name, count) for name, count in world.inventory.items() if count]
        slots = {
            n: {"type": stacks[n][0], "quantity": stacks[n][1]} if n < len(stacks) else {"type": "air", "quantity": 0}
            for n in range(36)
        }
        place = {"x": world.x, "y": world.y, "z": world.z, "pitch": world.pitch, "yaw": world.yaw}
        return {
            "pov": world.picture(),
            "inventory": slots,
            "mine_block": dict(world.mined),
            "use_item": dict(world.used),
            "player_pos": place,
            "is_gui_open": world.gui,
        }

    def step(self, action: dict[str, Any]) -> tuple[dict[str, Any], float, bool, dict[str, Any]]:
        assert set(action) <= {*KEYS, "chat"}, sorted(action)
        try:
            done = self._world.tick(action)
        except LostConnectionError:
            return (
                {"pov": np.zeros((self._world.height, self._world.width, 3), np.uint8)},
                0.0,
                True,
                {"error": "Connection timed out!"},
            )
        return self._observe(), 0.0, done, {"health": self._world.life}

    def execute_cmd(self, command: str) -> tuple[dict[str, Any], float, bool, dict[str, Any]]:
        words = command.split()
        if words[0] == "/tp":
            self._world.x, self._world.y, self._world.z, self._world.yaw, self._world.pitch = (
                float(word) for word in words[2:]
            )
        self._commands.append(command)
        idle = {name: 0 for name in KEYS if name != "camera"}
        return self.step({**idle, "camera": np.zeros(2), "chat": command})

    def close(self) -> None:
        self._world.end()


class MinecraftSim:
    def __init__(
        self, action_type: str = "agent", obs_size: tuple[int, int] = (224, 224), render_size: tuple[int, int] = (640, 360), seed: int = 0,
        inventory: Any = None, preferred_spawn_biome: str | None = None, num_empty_frames: int = 20, callbacks: Any = (), **more: Any,
    ) -> None:  # fmt: skip
        assert action_type == "env"
        check_engine()
        self.obs_size, self.num_empty_frames = obs_size, num_empty_frames
        self.env = _SingleAgentEnv(*render_size)
        self.env.seed(seed)

    def reset(self) -> tuple[dict[str, Any], dict[str, Any]]:
        self.env.reset()
        idle = {**{name: 0 for name in KEYS if name != "camera"}, "camera": np.zeros(2)}
        for _ in range(min(self.num_empty_frames, 2)):
            obs, _, _, info = self.env.step(idle)
        self.env._world.steps = 0
        return self._wrapped(obs, info)

    def step(self, action: dict[str, Any]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        obs, reward, done, info = self.env.step(action.copy())
        obs, info = self._wrapped(obs, info)
        return obs, reward, done, done, info

    def _wrapped(self, obs: dict[str, Any], info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if getattr(self, "info", None) is None:
            self.info: dict[str, Any] = {}
        self.info.update({**info, **obs})
        return {"image": cv2.resize(obs["pov"], dsize=self.obs_size, interpolation=cv2.INTER_LINEAR)}, self.info.copy()

    def close(self) -> None:
        self.env.close()
