"""What can be demonstrated: where each behaviour begins, what its player sees and holds.

Its captions are in steve1/data/episodes/captions.yaml, and the task of the same name in steve1/evaluation/tasks/ decides whether an episode did it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from steve1.core.errors import UserError, nearest
from steve1.rollout.players.babble import Babble, BabbleSteep
from steve1.rollout.players.builders import BuildFloor, BuildWall, LightLamp
from steve1.rollout.players.player import Player
from steve1.rollout.players.screens import CraftPlanks, OpenInventory
from steve1.rollout.players.scripts import BuildPillar, DigDeep, DigDirt, Explore, LookAtSky
from steve1.rollout.players.seekers import ChopTree, CollectGrass, CollectLeaves, Dive, PickFlower, Swim

_GRASS = [f"default:grass_{n}" for n in range(1, 6)]
_TRUNKS = ["default:tree", "default:aspen_tree", "default:pine_tree", "default:acacia_tree", "default:jungletree"]
_WATER = ["default:water_source", "default:water_flowing", "default:river_water_source"]
_GROUND = {"nodes": ["group:soil", "group:sand", "group:stone"], "r": 4, "low": -3, "high": 1}
_PLANTS = {"nodes": ["group:flora"], "r": 4, "low": -2, "high": 2}


@dataclass(frozen=True)
class Behaviour:
    """Attributes:
    player: plays it.
    biome: kind of start state.
    inventory: given at the start.
    watch: nodes that the player is shown.
    yaw_spread: degrees; how far from the start state's own view a demonstration may begin.
    scene: nodes put in front of the player.
    steps: enough for the behaviour.
    """

    name: str
    player: type[Player]
    biome: str
    # The same in every hand: were blocks given to the pillar's builder alone, the sight of them would say what to do, not the goal.
    inventory: dict[str, int] = field(default_factory=lambda: {"dirt": 64})
    watch: dict[str, dict[str, Any]] = field(default_factory=dict)
    yaw_spread: float = 180.0
    scene: tuple[dict[str, Any], ...] = ()
    steps: int = 300

    def reset_options(self) -> dict[str, Any]:
        """What the environment's reset needs beside the start state and the view."""
        options: dict[str, Any] = {"inventory": dict(self.inventory), "watch": dict(self.watch)}
        return {**options, "scene": [dict(node) for node in self.scene]} if self.scene else options


_ALL = (
    Behaviour("dig_dirt", DigDirt, "meadow"),
    Behaviour("look_at_sky", LookAtSky, "meadow"),
    Behaviour("explore", Explore, "meadow"),
    Behaviour("chop_tree", ChopTree, "forest", watch={"trunk": {"nodes": _TRUNKS, "r": 9, "low": 0, "high": 3}}, yaw_spread=60.0),
    Behaviour("swim", Swim, "shore", watch={"water": {"nodes": _WATER, "r": 11, "low": -2, "high": 0}}, yaw_spread=60.0),
    Behaviour("collect_grass", CollectGrass, "meadow", watch={"grass": {"nodes": _GRASS, "r": 9, "low": -2, "high": 2}}),
    Behaviour("build_pillar", BuildPillar, "meadow"),
    Behaviour("dive", Dive, "shore", watch={"water": {"nodes": _WATER, "r": 11, "low": -2, "high": 0}}, yaw_spread=60.0),
    Behaviour("collect_leaves", CollectLeaves, "forest", watch={"leaves": {"nodes": ["group:leaves"], "r": 7, "low": 0, "high": 5}}, yaw_spread=60.0),
    Behaviour("open_inventory", OpenInventory, "meadow"),
    Behaviour("pick_flower", PickFlower, "meadow", watch={"flower": {"nodes": ["group:flower"], "r": 14, "low": -3, "high": 3}}),
    Behaviour("dig_deep", DigDeep, "meadow", inventory={"steel_pickaxe": 1, "dirt": 64}),
    Behaviour("craft_planks", CraftPlanks, "meadow", inventory={"log": 4}),
    Behaviour("build_floor", BuildFloor, "meadow", watch={"ground": _GROUND, "plant": _PLANTS}, steps=600),
    Behaviour("build_wall", BuildWall, "meadow", watch={"ground": _GROUND, "plant": _PLANTS}, steps=600),
    Behaviour(
        "light_lamp", LightLamp, "meadow", inventory={"switch": 1}, watch={"ground": _GROUND, "plant": _PLANTS}, yaw_spread=0.0,
        scene=({"node": "lamp", "ahead": 3, "param2": 1},),
    ),
)  # fmt: skip

BEHAVIOURS: dict[str, Behaviour] = {behaviour.name: behaviour for behaviour in _ALL}
# Recorded for inverse dynamics models: no task, no captions, every recording is kept.
BABBLING: dict[str, Behaviour] = {
    f"babble_{biome}": Behaviour(f"babble_{biome}", Babble, biome) for biome in ("meadow", "forest", "shore")
} | {"babble_steep": Behaviour("babble_steep", BabbleSteep, "meadow")}
# What the mini models were trained on, including the new skill of the quickstart.
MINI = ("dig_dirt", "look_at_sky", "explore", "chop_tree", "swim", "collect_grass", "build_pillar")


def behaviour(name: str) -> Behaviour:
    """The behaviour of this name.

    Raises:
        UserError: unknown; names the nearest.
    """
    known = BEHAVIOURS | BABBLING
    if name not in known:
        raise UserError("Unknown behaviour.", got=name, expected=nearest(name, list(known)))
    return known[name]


def make_player(name: str, seed: int = 0) -> Player:
    """The player of a behaviour; the same seed plays the same way at the same place."""
    return behaviour(name).player(seed)
