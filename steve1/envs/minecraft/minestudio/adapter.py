"""MineStudio's simulator behind the worker protocol.

In: MineRL actions. Out: MineRL-like observations. Runs in MineStudio's own Python. Uses MinecraftSim and, where that class has no way,
the environment and the task settings that it keeps in its attributes `env` and `env.task`.
"""

from __future__ import annotations

import os
from typing import Any, Mapping

import numpy as np

from steve1.envs.minecraft.malmo import common
from steve1.envs.worker.serve import BadInput, Game, GameFault, Info, Observation, Step, report

# MinecraftSim's space for "env" actions; the other keys of MineRL do nothing in it.
KEYS = tuple(name for name in common.BUTTONS if name not in ("drop", "pickItem", "swapHands"))


def _simulator(settings: Mapping[str, Any]) -> Any:
    """The class MinecraftSim, its engine downloaded.

    Raises:
        BadInput: the engine is not there and cannot be had.
    """
    if settings.get("engine_folder"):
        os.environ.setdefault("MINESTUDIO_DIR", str(settings["engine_folder"]))
    from minestudio.simulator import entry

    report("looking for MineStudio's engine; it is downloaded once")
    try:
        # With the question answered: a worker has nobody to ask.
        entry.check_engine(skip_confirmation=True)
    except (Exception, SystemExit) as fault:
        raise BadInput(
            "MineStudio's engine is not there and could not be downloaded.",
            where=os.environ.get("MINESTUDIO_DIR", ""),
            got=f"{type(fault).__name__}: {str(fault)[:200]}",
            todo="try again with the network, or unpack engine.zip of CraftJarvis/SimulatorEngine there by hand",
        ) from None
    return entry.MinecraftSim


def _manager() -> Any:
    """What starts the simulator's Javas."""
    from minestudio.simulator.minerl.env.malmo import InstanceManager

    return InstanceManager


class MineStudioGame(Game):
    """One Minecraft 1.16.5 under MineStudio. Settings: `biome`, `engine_folder`, `resets_per_seed` (as for MineRL)."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.width, self.height = int(settings["width"]), int(settings["height"])
        self.biome = settings.get("biome", "meadow")
        common.use_java(settings)
        simulator = _simulator(settings)
        report("making MineStudio's simulator")
        common.use_ports(_manager(), settings)
        size = (self.width, self.height)
        self.sim = simulator(action_type="env", obs_size=size, render_size=size, seed=0, callbacks=[])
        self.resets_per_seed = int(settings.get("resets_per_seed", 1))
        self._seed: int | None = None
        self._javas: list[int] = []
        self._tally, self._hotbar = common.Tally(), common.Hotbar()
        self.facts = {"game": "1.16.5", "package": "minestudio " + common.version("minestudio")}

    def pids(self) -> list[int]:
        return self._javas

    def reset(self, seed: int, options: dict[str, Any]) -> tuple[Observation, Info]:
        task = self.sim.env.task
        task.preferred_spawn_biome = common.BIOMES.get(options.get("biome") or self.biome)
        items = common.stacks(options.get("inventory") or {})
        task.inventory = {slot: {"type": name, "quantity": count} for slot, (name, count) in enumerate(items)} or None
        self._javas = []
        for _ in range(self.resets_per_seed if seed != self._seed else 1):
            self.sim.env.seed(int(seed))
            _, info = self.sim.reset()
        self._seed = seed
        self._javas = common.java_pids()
        commands = self._commands(options)
        for command in commands:
            self._checked(self.sim.env.execute_cmd(command)[3])
        if commands:
            _, _, _, _, info = self.sim.step(self._idle())
        self._checked(info)
        self._hotbar = common.Hotbar()
        self._tally.begin(info)
        return self._seen(info)

    @staticmethod
    def _commands(options: Mapping[str, Any]) -> list[str]:
        found, ticks, place = [], common.start_ticks(options), common.start_place(options)
        if ticks is not None:
            found.append(f"/time set {ticks}")
        if place is not None:
            found.append("/tp @s {x:g} {y:g} {z:g} {yaw:g} {pitch:g}".format(**place))
        return found

    def _idle(self) -> dict[str, Any]:
        idle: dict[str, Any] = dict.fromkeys(KEYS, 0)
        idle["camera"] = np.zeros(2, dtype=np.float32)
        return idle

    @staticmethod
    def _checked(info: Mapping[str, Any]) -> None:
        if "error" in info:
            # The simulator goes on with a random observation, as if the episode had ended.
            raise GameFault("MineStudio lost its Minecraft: {}".format(info["error"]))

    def step(self, action: dict[str, Any]) -> Step:
        given = self._idle()
        given.update({name: int(action.get(name, 0)) for name in KEYS})
        given["camera"] = np.asarray(action["camera"], dtype=np.float32)
        self._hotbar.follow(action)
        _, reward, terminated, truncated, info = self.sim.step(given)
        self._checked(info)
        seen, facts = self._seen(info)
        lost = [name for name in ("drop", "pickItem", "swapHands") if action.get(name)]
        if lost:
            facts["without_effect"] = lost
        dead = facts["health"] <= 0
        return seen, float(reward), dead, bool(terminated or truncated) and not dead, facts

    def _seen(self, info: Mapping[str, Any]) -> tuple[Observation, Info]:
        slots = info.get("inventory") or {}
        held: dict[str, int] = {}
        for stack in slots.values():
            held[stack["type"]] = held.get(stack["type"], 0) + int(stack["quantity"])
        place = dict(info.get("location_stats") or {})
        for short, name in (("x", "xpos"), ("y", "ypos"), ("z", "zpos"), ("pitch", "pitch"), ("yaw", "yaw")):
            if short in info.get("player_pos", {}):
                place[name] = info["player_pos"][short]
        seen = {
            "pov": common.picture(info["pov"], self.width, self.height), "inventory": common.counts(held),
            "location_stats": common.location(place), "is_gui_open": bool(info.get("is_gui_open", False)), "hotbar": self._hotbar.slot,
        }  # fmt: skip
        facts: dict[str, Any] = dict(self._tally.added(info))
        facts["health"] = float(info.get("health", 20.0))
        return seen, facts

    def close(self) -> None:
        self.sim.close()


def make_env(settings: dict[str, Any]) -> MineStudioGame:
    """The worker's entry."""
    return MineStudioGame(settings)
