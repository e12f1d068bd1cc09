"""Scripted players that demonstrate.

In: observations of an environment. Out: MineRL actions with human-like timing and detours.
"""

from __future__ import annotations

from .behaviours import BEHAVIOURS, Behaviour, History, behaviour
from .player import Player
from .scripts import BuildPillar, DigDirt, Explore, LookAtSky
from .seekers import ChopTree, CollectGrass, Swim

_PLAYERS: dict[str, type[Player]] = {
    "dig_dirt": DigDirt,
    "look_at_sky": LookAtSky,
    "explore": Explore,
    "chop_tree": ChopTree,
    "swim": Swim,
    "collect_grass": CollectGrass,
    "build_pillar": BuildPillar,
}

__all__ = ["BEHAVIOURS", "Behaviour", "History", "Player", "behaviour", "make_player"]


def make_player(name: str, seed: int = 0) -> Player:
    """The player of a behaviour; the same seed plays the same way at the same place.

    Raises:
        UserError: an unknown behaviour.
    """
    return _PLAYERS[behaviour(name).name](seed)
