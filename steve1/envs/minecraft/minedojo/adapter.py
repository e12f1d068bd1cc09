"""MineDojo's programmatic tasks behind the worker protocol.

Runs in MineDojo's own Python.
`minedojo.make` gives an action space with 15-degree turns and one button at a time; the tasks' classes, made here from the package's public
tables, take the keyboard and the mouse (`event_level_control=False`), which lose nothing of what the policy does but the menu.
"""

from __future__ import annotations

import copy
import difflib
from typing import Any, Mapping

import numpy as np

from steve1.envs.minecraft.malmo.game import BUTTONS, MalmoGame, number, without_effect
from steve1.envs.worker.serve import Action, BadInput, GameFault, Info, Observation, Step, report

ABSENT = ("inventory", "swapHands")
PRESENT = tuple(name for name in BUTTONS if name not in ABSENT)
SUCCESS = "minedojo:success"
MODES = ("fresh", "fast")


def _plain(value: Any) -> Any:
    """Settings as plain containers (the package keeps some as OmegaConf's)."""
    if hasattr(value, "items"):
        return {str(key): _plain(value[key]) for key in value}
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        return [_plain(each) for each in value]
    return value


def task_parts(task: str) -> tuple[Any, dict[str, Any], str]:
    """(class, its arguments, prompt) of a programmatic task. The package's tables are copied: its own `make` empties them.

    Raises:
        BadInput: no task has this id; names the nearest.
    """
    from minedojo import tasks
    from minedojo.sim import InventoryItem

    prompts = tasks.ALL_PROGRAMMATIC_TASK_INSTRUCTIONS
    if task not in tasks.ALL_TASKS_SPECS or task not in prompts:
        near = difflib.get_close_matches(task, list(prompts), n=3, cutoff=0.3)
        raise BadInput(
            "MineDojo has no programmatic task of this id.",
            got=task,
            expected="did you mean {}?".format(" or ".join(near)) if near else "",
        )
    settings = _plain(copy.deepcopy(tasks.ALL_TASKS_SPECS[task]))
    settings.pop("prompt", None)
    kind = str(settings.pop("__cls__")).lower()
    if settings.get("initial_inventory"):
        settings["initial_inventory"] = [
            InventoryItem(slot=_slot(slot), **item) for slot, item in settings["initial_inventory"].items()
        ]
    return tasks.MetaTaskName2Class[kind], settings, str(prompts[task][0])


def _slot(name: str) -> Any:
    return int(name) if name.isdigit() else name


class MineDojoGame(MalmoGame):
    """One MineDojo task at a time.

    Additional settings: `task`, the id played when a reset names none; `mode`: "fresh" makes a new Minecraft and world for each new seed,
    so that the seed decides the world; "fast" keeps one world and moves the player elsewhere in it, as MineDojo does by default.
    """

    package, version, manager = "minedojo", "1.11.2", "minedojo.sim.bridge.mc_instance"

    def __init__(self, settings: dict[str, Any]) -> None:
        self.task, self.mode = str(settings.get("task", "")), str(settings.get("mode", "fresh"))
        if self.mode not in MODES:
            raise BadInput("Unknown mode of MineDojo's resets.", got=self.mode, expected=", ".join(MODES))
        super().__init__(settings)
        if self.task:
            task_parts(self.task)
        self.env: Any = None
        self.made_of: tuple[str, int | None] = ("", None)

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """`prompt` of a task; `port` that the next Java would be given."""
        if name == "prompt":
            return task_parts(arguments["task"])[2]
        if name == "port":
            return int(self.instances()._get_valid_port())
        return super().call(name, arguments)

    def _make(self, task: str, seed: int) -> None:
        wanted = (task, seed if self.mode == "fresh" else None)
        if self.env is not None and self.made_of == wanted and self.mode == "fast":
            return
        kind, settings, _ = task_parts(task)
        if self.env is not None:
            report("ending the last episode's Minecraft")
            self.env.close()
        report("starting Minecraft 1.11.2 (MineDojo); the first start of all compiles it, for minutes")
        self.env = kind(
            image_size=(self.height, self.width), seed=seed, world_seed=str(seed), event_level_control=False, fast_reset=self.mode == "fast",
            **settings,
        )  # fmt: skip
        self.made_of = wanted

    def reset(self, seed: int, options: dict[str, Any]) -> tuple[Observation, Info]:
        start = options.get("start") or {}
        task = str(start.get("task") or self.task)
        if not task:
            raise BadInput("No MineDojo task was named.", expected="a task's id, as in --task harvest_milk")
        unknown = [name for name in ("inventory", "time_of_day") if options.get(name)]
        if unknown:
            raise BadInput(
                "MineDojo's tasks bring their own {}.".format(unknown[0].replace("_", " ")),
                where=task,
                got=options[unknown[0]],
            )
        self._javas = []
        self._make(task, int(seed))
        self._seed = None  # each Minecraft is new to its seed
        obs = self.reset_package(seed, self.env.reset)
        self._tally.begin(self._statistics(self.env.prev_info))
        seen, info = self._seen(obs, self.env.prev_info)
        info.update(task=task, success=False, seed=seed)
        return seen, info

    def step(self, action: Action) -> Step:
        given = {**self.env.action_space.no_op(), **self.given(action, PRESENT)}
        obs, reward, done, info = self.env.step(given)
        if obs is self.env.prev_obs:
            # A step that worked hands out a new observation; after a lost connection it is the last one once more.
            raise GameFault("MineDojo lost its Minecraft (the observation is the last step's)")
        seen, facts = self._seen(obs, info)
        success = bool(self.env.is_successful)
        facts.update(task=self.made_of[0], success=success, task_reward=float(reward))
        if success:
            # Kept like a crafted item, so that every trace and rule can see it.
            facts["crafted"] = dict(facts.get("crafted") or {}, **{SUCCESS: 1})
        facts.update(without_effect(action, ABSENT))
        dead = facts["health"] <= 0
        return seen, float(reward), dead and not success, bool(done) and (success or not dead), facts

    def _statistics(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """The game's tables over the world's whole life, under the names that `Tally` knows."""
        stats = info.get("stat") or {}
        tables = {key: stats.get(key) or {} for key in ("mine_block", "use_item", "craft_item", "kill_entity")}
        return {key: table.get("minecraft", table) for key, table in tables.items()}

    def _seen(self, obs: Mapping[str, Any], info: Mapping[str, Any]) -> tuple[Observation, Info]:
        held: dict[str, int] = {}
        for name, quantity in zip(obs["inventory"]["name"], obs["inventory"]["quantity"]):
            item = str(name).replace(" ", "_")
            held[item] = held.get(item, 0) + int(quantity)
        where = obs["location_stats"]
        place = dict(zip(("xpos", "ypos", "zpos"), where["pos"]), pitch=where["pitch"], yaw=where["yaw"])
        seen, facts = self.observed(
            np.asarray(obs["rgb"]).transpose(1, 2, 0), held, place, False, self._statistics(info)
        )
        facts["health"] = number(obs["life_stats"]["life"])
        return seen, facts

    def close(self) -> None:
        if self.env is not None:
            self.env.close()


make_env = MineDojoGame
