"""The public tables of `minedojo.tasks`, and the classes that they name."""

from __future__ import annotations

import copy
import os
from collections import OrderedDict
from typing import Any

import numpy as np
import yaml
from standin_world import LostConnectionError, World

from minedojo.sim import InventoryItem

with open(os.path.join(os.path.dirname(__file__), "description_files", "programmatic_tasks.yaml")) as handle:
    P_TASKS_PROMPTS_GUIDANCE = yaml.safe_load(handle)
ALL_PROGRAMMATIC_TASK_INSTRUCTIONS = {
    name: (facts["prompt"], facts["guidance"]) for name, facts in P_TASKS_PROMPTS_GUIDANCE.items()
}
_COMMON = {"use_voxel": True, "voxel_size": {"xmin": -1, "xmax": 1}, "use_lidar": False}
ALL_TASKS_SPECS: dict[str, dict[str, Any]] = {
    "harvest_milk": {"__cls__": "harvest", "prompt": "-", "target_names": "milk_bucket", "target_quantities": 3, **_COMMON},
    "harvest_milk_with_empty_bucket": {
        "__cls__": "harvest", "prompt": "-", "target_names": "milk_bucket", "target_quantities": 3,
        "initial_inventory": {"mainhand": {"name": "bucket"}, "5": {"name": "dirt", "quantity": 7}}, **_COMMON,
    },
    "harvest_1_log": {"__cls__": "harvest", "prompt": "-", "target_names": "log", "target_quantities": 1000, **_COMMON},
    "combat_spider_plains_iron_armors_iron_sword_shield": {"__cls__": "combat", "prompt": "-", "target_names": "spider", "target_quantities": 3, **_COMMON},
    "techtree_from_wood_to_stone_sword": {"__cls__": "techtree", "prompt": "-", "target_names": "stone_sword", "target_quantities": 3, **_COMMON},
    "survival": {"__cls__": "survival", "prompt": "-", "target_days": 100, **_COMMON},
}  # fmt: skip
KEYS = (
    "forward",
    "back",
    "left",
    "right",
    "jump",
    "sneak",
    "sprint",
    "use",
    "attack",
    "drop",
    "pickItem",
    *(f"hotbar.{n}" for n in range(1, 10)),
)


class _Native:
    """The action space below `minedojo.make`: keyboard and mouse."""

    def no_op(self) -> OrderedDict[str, Any]:
        return OrderedDict(
            camera=np.zeros(2), smelt="none", craft="none", craft_with_table="none", **dict.fromkeys(KEYS, 0),
            swap_slot=OrderedDict(source_slot=0, target_slot=0),
        )  # fmt: skip


class HarvestMeta:
    """A task: done when `use` has been pressed as often as asked. Arguments are keyword-only, as in the real classes."""

    def __init__(
        self, *, target_names: Any = "", target_quantities: int = 0, target_days: int = 0, initial_inventory: list[InventoryItem] | None = None,
        seed: int | None = None, world_seed: str | None = None, fast_reset: bool = True, image_size: tuple[int, int], use_voxel: bool = False,
        voxel_size: Any = None, use_lidar: bool = False, event_level_control: bool = True,
    ) -> None:  # fmt: skip
        assert not event_level_control, "the stand-in knows keyboard and mouse alone"
        assert all(isinstance(item, InventoryItem) for item in initial_inventory or [])
        self._need, self._name = target_quantities or target_days, target_names
        self._items = {item.name: item.quantity or 1 for item in initial_inventory or []}
        self._seed, self._fast, self._resets = int(world_seed or 0), fast_reset, 0
        self._world = World(image_size[1], image_size[0])
        self.action_space, self._obs, self._info, self._over = _Native(), None, None, True
        self.is_successful = False

    @property
    def prev_obs(self) -> Any:
        return self._obs

    @property
    def prev_info(self) -> Any:
        return self._info

    def reset(self) -> dict[str, Any]:
        self._world.launch()
        late = self._world.faults.fault == "late_seed" and self._resets == 0
        self._world.begin(None if late else self._seed + (1000 * self._resets if self._fast else 0), self._items)
        self._resets, self._used, self._over, self.is_successful = self._resets + 1, 0, False, False
        obs, info = self._observe()
        self._obs, self._info = copy.deepcopy(obs), copy.deepcopy(info)
        return obs

    def step(self, action: dict[str, Any]) -> tuple[dict[str, Any], float, bool, dict[str, Any]]:
        if self._over:
            raise RuntimeError("Attempted to step an environment server with done=True")
        missing = set(self.action_space.no_op()) - set(action)
        assert not missing, missing
        assert not set(action) - set(self.action_space.no_op()), sorted(action)
        try:
            self._over = self._world.tick(action)
        except LostConnectionError:
            self._over = True
            return self._obs, 0, True, self._info
        self._used += int(action["use"])
        self.is_successful = self._used >= self._need
        obs, info = self._observe()
        self._obs, self._info = copy.deepcopy(obs), copy.deepcopy(info)
        return obs, float(action["use"]), self._over or self.is_successful, info

    def _observe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        world = self._world
        stacks = [(name, count) for name, count in world.inventory.items() if count] + [("air", 0)] * 36
        names, quantities = zip(*stacks[:36])
        inventory = {
            "name": np.array([name.replace("_", " ") for name in names]),
            "quantity": np.array(quantities, dtype=np.float32),
        }
        place = {
            "pos": np.array([world.x, world.y, world.z], np.float32),
            "pitch": np.array([world.pitch], np.float32),
            "yaw": np.array([world.yaw], np.float32),
        }
        life = {"life": np.array([world.life], np.float32)}
        obs = {
            "rgb": world.picture().transpose(2, 0, 1),
            "inventory": inventory,
            "location_stats": place,
            "life_stats": life,
        }
        stat = {
            "mine_block": {"minecraft": dict(world.mined)},
            "use_item": {"minecraft": dict(world.used)},
            "kill_entity": {},
        }
        return obs, {"stat": stat, "inventory": [], "xpos": world.x}

    def close(self) -> None:
        self._world.end()


class CombatMeta(HarvestMeta):
    pass


class TechTreeMeta(HarvestMeta):
    pass


class SurvivalMeta(HarvestMeta):
    pass


MetaTaskName2Class = {"harvest": HarvestMeta, "combat": CombatMeta, "techtree": TechTreeMeta, "survival": SurvivalMeta}
