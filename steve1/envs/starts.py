"""Kept places where an episode can begin.

In: a game, biome and a split. Out: start states (map position, yaw), the same list every time. The lists were
searched by `python -m steve1 find_starts` and lie beside this file; "demo" and "eval" places are never near
each other, so evaluation is at places that no demonstration has seen.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import read_json

MAP_SEED = 42
BIOMES = ("meadow", "forest", "shore")
SPLITS = ("demo", "eval")
WITHOUT_LISTS = ("mcio", "minerl", "minedojo", "minestudio")
FILE = Path(__file__).with_name("luanti_starts.json")


@functools.cache
def _kept() -> dict[str, Any]:
    return read_json(FILE)


def start_states(name: str = "luanti", biome: str = "meadow", split: str = "eval") -> list[dict[str, Any]]:
    """Start states: {"id", "x", "y", "z" (nodes), "yaw" (degrees), "biome", "split"}.

    Raises:
        UserError: an unknown game, biome or split.
    """
    if name in WITHOUT_LISTS:
        # Their worlds are made from the episode's seed; MineDojo's "biome" are its tasks.
        own = {"task": biome} if name == "minedojo" else {}
        return [{"id": f"{name}-{biome}", "biome": biome, "split": split, **own}]
    for what, value, choices in (
        ("game", name, ("luanti", *WITHOUT_LISTS)), ("biome", biome, BIOMES), ("split", split, SPLITS),
    ):  # fmt: skip
        if value not in choices:
            raise UserError(f"Unknown {what}.", got=value, expected=", ".join(choices))
    states = [dict(s) for s in _kept()["starts"] if s["biome"] == biome and s["split"] == split]
    if not states:
        raise UserError("There is no start state of this kind.", where=FILE, got=f"{biome}, {split}")
    return states
