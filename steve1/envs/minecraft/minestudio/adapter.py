"""MineStudio's simulator behind the worker protocol.

Runs in MineStudio's own Python. Uses MinecraftSim and, where that class has no way, the environment and the task settings that it keeps
in its attributes `env` and `env.task`.
"""

from __future__ import annotations

import os
from typing import Any, Mapping

from steve1.envs.minecraft.malmo.game import BUTTONS, MalmoGame, stacks, start_place, start_ticks, without_effect
from steve1.envs.worker.serve import Action, BadInput, GameFault, Info, Observation, Step, report

ABSENT = ("drop", "pickItem", "swapHands")  # from MinecraftSim's space of "env" actions
PRESENT = tuple(name for name in BUTTONS if name not in ABSENT)


class MineStudioGame(MalmoGame):
    """One Minecraft 1.16.5 under MineStudio. Additional setting: `engine_folder`."""

    package, version, manager = "minestudio", "1.16.5", "minestudio.simulator.minerl.env.malmo"

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        size = (self.width, self.height)
        self.sim = self.simulator(action_type="env", obs_size=size, render_size=size, seed=0, callbacks=[])

    def prepare(self, settings: Mapping[str, Any]) -> None:
        """Find the class MinecraftSim, and download its engine.

        Raises:
            BadInput: the engine is not there and cannot be had.
        """
        if settings.get("engine_folder"):
            os.environ.setdefault("MINESTUDIO_DIR", str(settings["engine_folder"]))
        from minestudio.simulator import entry  # reads the variable

        report("looking for MineStudio's engine; it is downloaded once")
        try:
            # Without the confirmation, which a worker cannot give.
            entry.check_engine(skip_confirmation=True)
        except (Exception, SystemExit) as fault:
            raise BadInput(
                "MineStudio's engine is not there and could not be downloaded.",
                where=os.environ.get("MINESTUDIO_DIR", ""),
                got=f"{type(fault).__name__}: {str(fault)[:200]}",
                todo="try again with the network, or unpack engine.zip of CraftJarvis/SimulatorEngine there by hand",
            ) from None
        self.simulator = entry.MinecraftSim

    def reset(self, seed: int, options: dict[str, Any]) -> tuple[Observation, Info]:
        task = self.sim.env.task
        task.preferred_spawn_biome = self.spawn_biome(options)
        items = stacks(options.get("inventory") or {})
        task.inventory = {slot: {"type": name, "quantity": count} for slot, (name, count) in enumerate(items)} or None

        def reset() -> Any:
            self.sim.env.seed(int(seed))
            return self.sim.reset()[1]

        info = self.reset_package(seed, reset)
        commands = self._commands(options)
        for command in commands:
            self._checked(self.sim.env.execute_cmd(command)[3])
        if commands:
            _, _, _, _, info = self.sim.step(self.given({"camera": [0.0, 0.0]}, PRESENT))
        self._checked(info)
        self._tally.begin(info)
        return self._seen(info)

    @staticmethod
    def _commands(options: Mapping[str, Any]) -> list[str]:
        found, ticks, place = [], start_ticks(options), start_place(options)
        if ticks is not None:
            found.append(f"/time set {ticks}")
        if place is not None:
            found.append("/tp @s {x:g} {y:g} {z:g} {yaw:g} {pitch:g}".format(**place))
        return found

    @staticmethod
    def _checked(info: Mapping[str, Any]) -> None:
        if "error" in info:
            # The simulator goes on with a random observation, as if the episode had ended.
            raise GameFault("MineStudio lost its Minecraft: {}".format(info["error"]))

    def step(self, action: Action) -> Step:
        _, reward, terminated, truncated, info = self.sim.step(self.given(action, PRESENT))
        self._checked(info)
        seen, facts = self._seen(info)
        facts.update(without_effect(action, ABSENT))
        dead = facts["health"] <= 0
        return seen, float(reward), dead, bool(terminated or truncated) and not dead, facts

    def _seen(self, info: Mapping[str, Any]) -> tuple[Observation, Info]:
        held: dict[str, int] = {}
        for stack in (info.get("inventory") or {}).values():
            held[stack["type"]] = held.get(stack["type"], 0) + int(stack["quantity"])
        place = dict(info.get("location_stats") or {})
        for short, name in (("x", "xpos"), ("y", "ypos"), ("z", "zpos"), ("pitch", "pitch"), ("yaw", "yaw")):
            if short in info.get("player_pos", {}):
                place[name] = info["player_pos"][short]
        seen, facts = self.observed(info["pov"], held, place, info.get("is_gui_open", False), info)
        facts["health"] = float(info.get("health", 20.0))
        return seen, facts

    def close(self) -> None:
        self.sim.close()


make_env = MineStudioGame
