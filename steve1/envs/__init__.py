"""Games behind one interface.

In: MineRL actions. Out: pictures, inventory, position. The only room that knows a game; needs one only when
`make_env` is called.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Sequence
from typing import Any

from steve1.core.errors import UserError
from steve1.envs.errors import GameDied
from steve1.envs.interface import FPS, Env
from steve1.envs.starts import BIOMES, SPLITS, start_states

_log = logging.getLogger(__name__)
MINECRAFTS = ("mcio", "minerl", "minedojo", "minestudio")
ENVIRONMENTS = ("luanti", *MINECRAFTS)

__all__ = [
    "BIOMES",
    "ENVIRONMENTS",
    "FPS",
    "MINECRAFTS",
    "SPLITS",
    "Env",
    "GameDied",
    "game_for",
    "make_env",
    "missing_mods",
    "start_states",
]


def make_env(
    name: str = "luanti", *, biome: str = "meadow", width: int = 640, height: int = 360, instance: int = 0,
    **more: Any,
) -> Env:  # fmt: skip
    """Start a game.

    Args:
        name: one of ENVIRONMENTS.
        biome: where episodes begin unless a reset says otherwise: "meadow", "forest", "shore".
        width, height: pixels of the picture.
        instance: a label in messages; instances never share displays, ports or folders.
        more: passed to the game (Luanti: split, timeout_s, settings, backend; worker=False keeps it in this process, with nobody to watch
            it; a Minecraft: see its `make`).

    Raises:
        UserError: unknown name, or a program is missing (with the command that installs it).
        GameDied: the game did not start in time.
    """
    if name not in ENVIRONMENTS:
        raise UserError("Unknown environment.", got=name, expected=", ".join(ENVIRONMENTS))
    if name in MINECRAFTS:
        game: Env = importlib.import_module(f"steve1.envs.minecraft.{name}").make(
            biome=biome, width=width, height=height, instance=instance, **more
        )
        return game
    if biome not in BIOMES:
        raise UserError("Unknown biome.", got=biome, expected=", ".join(BIOMES))
    if more.pop("worker", True):
        from steve1.envs.worker.luanti import make

        return make(biome=biome, width=width, height=height, instance=instance, **more)
    from steve1.envs.luanti import LuantiEnv

    return LuantiEnv(biome=biome, width=width, height=height, instance=instance, **more)


def game_for(name: str) -> str:
    """`name`; in the place of "minecraft", which weights without a metadata file are made for, the first Minecraft that can be
    played here, and Luanti where none can."""
    return name if name != "minecraft" else _minecraft_here()


@functools.cache
def _minecraft_here() -> str:
    found = next((each for each in MINECRAFTS if _can_play(each)), "luanti")
    if found == "luanti":
        _log.warning(
            "these weights are made for Minecraft, and none can be played here (bash tools/install_minecraft.sh mcio): they play in luanti"
        )
    return found


def _can_play(name: str) -> bool:
    """Whether a Minecraft is installed with what it cannot do without: for MCio the game itself, for the others their Java."""
    from steve1.envs.minecraft.backends import installed_version, java_for

    if not installed_version(name):
        return False
    if name == "mcio":
        from steve1.envs.minecraft.mcio import has_minecraft

        return has_minecraft()
    try:
        return java_for(name) is not None
    except UserError:
        return False


def missing_mods(name: str, wanted: Sequence[str]) -> dict[str, str]:
    """{mod: how to get it} for those of `wanted` that the game of this machine does not have."""
    if not wanted:
        return {}
    if name != "luanti":
        return dict.fromkeys(wanted, f"{name} has no such mod")
    from steve1.envs.luanti.mods import missing
    from steve1.envs.luanti.shim import APT

    return {mod: f"{APT} {package}" if package else "an unknown mod" for mod, package in missing(wanted).items()}
