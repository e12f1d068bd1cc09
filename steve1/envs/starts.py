"""Kept start states: places of Luanti's map where an episode can begin.

`python -m research.find_starts` searched them. Start states of the splits "demo" and "eval" are never near each other,
so evaluation begins where no demonstration did.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.envs.registry import ENVIRONMENTS, GAMES

MAP_SEED = 42
BIOMES = ("meadow", "forest", "shore")
SPLITS = ("demo", "eval")
FILE = Path(__file__).with_name("luanti_starts.json")


@functools.cache
def _kept() -> list[dict[str, Any]]:
    starts: list[dict[str, Any]] = read_json(FILE)["starts"]
    return starts


def start_states(name: str = "luanti", biome: str = "meadow", split: str = "eval") -> list[dict[str, Any]]:
    """Start states: {"id", "x", "y", "z" (nodes), "yaw" (degrees), "biome", "split"}; the same list every time.

    Raises:
        UserError: an unknown game, biome or split.
    """
    check("game", name, ENVIRONMENTS)
    if GAMES[name].starts != "kept":
        # These worlds are made from the episode's seed. Where tasks make them, the "biome" is the task.
        task = {"task": biome} if GAMES[name].starts == "task" else {}
        return [{"id": f"{name}-{biome}", "biome": biome, "split": split, **task}]
    check("biome", biome, BIOMES)
    check("split", split, SPLITS)
    states = [dict(state) for state in _kept() if state["biome"] == biome and state["split"] == split]
    if not states:
        raise UserError("There is no start state of this kind.", where=FILE, got=f"{biome}, {split}")
    return states


def check(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UserError unless `value` is one of `choices`."""
    if value not in choices:
        raise UserError(f"Unknown {what}.", got=value, expected=", ".join(choices))
