"""Scripted players that demonstrate, with human-like timing and detours."""

from __future__ import annotations

from steve1.rollout.players.behaviours import BEHAVIOURS, MINI, Behaviour, behaviour
from steve1.rollout.players.builders import BuildFloor, BuildWall, LightLamp
from steve1.rollout.players.player import Player
from steve1.rollout.players.screens import CraftPlanks, OpenInventory
from steve1.rollout.players.scripts import BuildPillar, DigDeep, DigDirt, Explore, LookAtSky
from steve1.rollout.players.seekers import ChopTree, CollectGrass, CollectLeaves, Dive, PickFlower, Swim

_PLAYERS: dict[str, type[Player]] = {
    "dig_dirt": DigDirt,
    "look_at_sky": LookAtSky,
    "explore": Explore,
    "chop_tree": ChopTree,
    "swim": Swim,
    "collect_grass": CollectGrass,
    "build_pillar": BuildPillar,
    "dive": Dive,
    "collect_leaves": CollectLeaves,
    "open_inventory": OpenInventory,
    "pick_flower": PickFlower,
    "dig_deep": DigDeep,
    "craft_planks": CraftPlanks,
    "build_floor": BuildFloor,
    "build_wall": BuildWall,
    "light_lamp": LightLamp,
}

__all__ = ["BEHAVIOURS", "MINI", "Behaviour", "Player", "behaviour", "make_player"]


def make_player(name: str, seed: int = 0) -> Player:
    """The player of a behaviour; the same seed plays the same way at the same place.

    Raises:
        UserError: an unknown behaviour.
    """
    return _PLAYERS[behaviour(name).name](seed)
