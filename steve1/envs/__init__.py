"""Games behind one interface: MineRL actions in, pictures, inventory and position out. A game is needed only when `make_env` is called."""

from __future__ import annotations

from steve1.envs.interface import FPS, Env, GameDied
from steve1.envs.registry import ENVIRONMENTS, MINECRAFTS, game_for, made_for, make_env, missing_mods
from steve1.envs.starts import BIOMES, SPLITS, start_states

__all__ = [
    "BIOMES",
    "ENVIRONMENTS",
    "FPS",
    "MINECRAFTS",
    "SPLITS",
    "Env",
    "GameDied",
    "game_for",
    "made_for",
    "make_env",
    "missing_mods",
    "start_states",
]
