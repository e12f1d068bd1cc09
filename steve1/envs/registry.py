"""The games by name. A new game is a folder and an entry here (docs/technical/GAME_PROTOCOL.md)."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from steve1.core.errors import UserError
from steve1.envs.interface import Env


class Game(Protocol):
    """What a game's module offers under the name `GAME`."""

    def make(self, *, biome: str, width: int, height: int, instance: int, **more: Any) -> Env:
        """Start it. `more` depends on the game. Raises UserError and GameDied as `make_env` does."""

    def playable(self) -> bool:
        """Whether everything that it needs is installed."""

    def missing_mods(self, wanted: Sequence[str]) -> dict[str, str]:
        """{mod: how to get it} for those of `wanted` that this machine's game does not have."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A game of the registry.

    Attributes:
        module: has `GAME`; imported when the game is wanted, because games need packages that others do not.
        minecraft: whether weights that were made for Minecraft play in it.
        starts: where episodes begin: at kept start states of its fixed map, or in a world made from the seed or by a "task".
        hotbar: how many slots the hotbar has.
        episode_s: seconds that an episode may take at the least, where each may start the game: its start, its reset and some minutes of play.
    """

    module: str
    minecraft: bool
    starts: Literal["kept", "seed", "task"] = "seed"
    hotbar: int = 9
    episode_s: float = 0.0


GAMES: dict[str, Entry] = {
    "luanti": Entry("steve1.envs.luanti.backend", minecraft=False, starts="kept", hotbar=8),
    "mcio": Entry("steve1.envs.minecraft.mcio.backend", minecraft=True),
    "minerl": Entry("steve1.envs.minecraft.minerl.backend", minecraft=True, episode_s=1800.0),
    "minedojo": Entry("steve1.envs.minecraft.minedojo.backend", minecraft=True, starts="task", episode_s=3600.0),
    "minestudio": Entry("steve1.envs.minecraft.minestudio.backend", minecraft=True, episode_s=3000.0),
}
ENVIRONMENTS = tuple(GAMES)
MINECRAFTS = tuple(name for name, entry in GAMES.items() if entry.minecraft)


def find_game(name: str) -> Game:
    """The game of this name.

    Raises:
        UserError: there is none.
    """
    if name not in GAMES:
        raise UserError("Unknown environment.", got=name, expected=", ".join(ENVIRONMENTS))
    game: Game = importlib.import_module(GAMES[name].module).GAME
    return game


def make_env(
    name: str = "luanti",
    *,
    biome: str = "meadow",
    width: int = 640,
    height: int = 360,
    instance: int = 0,
    **more: Any,
) -> Env:
    """Start a game.

    Args:
        name: one of ENVIRONMENTS.
        biome: where episodes begin unless a reset says otherwise: "meadow", "forest", "shore".
        width, height: pixels of the picture.
        instance: a label in messages; instances never share displays, ports or folders.
        more: passed to the game (see its `backend.py`).

    Raises:
        UserError: unknown name, or a program is missing (with the command that installs it).
        GameDied: the game did not start in time.
    """
    return find_game(name).make(biome=biome, width=width, height=height, instance=instance, **more)


def made_for(name: str, env: str) -> bool:
    """Whether weights that were made for the game `name` know the game `env`: all Minecrafts are one."""
    return name == env or (env in MINECRAFTS and name in ("minecraft", *MINECRAFTS))


def game_for(name: str) -> str:
    """`name`; instead of "minecraft", which weights without metadata are made for, the first Minecraft that can be played here, else Luanti.

    MineDojo is not chosen: it plays tasks of its own alone, which have to be named.
    """
    return name if name != "minecraft" else _minecraft_here()


@functools.cache
def _minecraft_here() -> str:
    worlds = (name for name in MINECRAFTS if GAMES[name].starts != "task")
    return next((name for name in worlds if find_game(name).playable()), "luanti")


def missing_mods(name: str, wanted: Sequence[str]) -> dict[str, str]:
    """{mod: how to get it} for those of `wanted` that the game of this machine does not have."""
    if wanted and name in GAMES:
        return find_game(name).missing_mods(wanted)
    return dict.fromkeys(wanted, f"{name} has no such mod")
