"""The published action and observation spaces (spaces.json), with what MineRL's spaces offer: no_op, contains, sample."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

with open(os.path.join(os.path.dirname(__file__), "spaces.json")) as handle:
    PUBLISHED = json.load(handle)


def _is_leaf(facts: dict[str, Any]) -> bool:
    return isinstance(facts.get("type"), str) or isinstance(
        facts.get("n"), int
    )  # "type" can be the name of a part, too


def _leaf(facts: dict[str, Any]) -> Any:
    if facts.get("type") == "Enum":
        return "air"
    if facts.get("type") == "Box":
        return np.zeros(tuple(facts["shape"]), dtype=facts["dtype"])
    return np.zeros((), dtype=np.int64)


def empty(facts: dict[str, Any]) -> Any:
    """The value of a space in which everything is nothing."""
    if "dict_of" in facts:
        return {name: _leaf(facts["dict_of"][0]) for name in PUBLISHED["names"][facts["names"]]}
    if _is_leaf(facts):
        return _leaf(facts)
    return {name: empty(inner) for name, inner in facts.items()}


def problems(value: Any, facts: dict[str, Any], where: str = "") -> list[str]:
    """How a value does not fit a space."""
    if "dict_of" in facts:
        facts = dict.fromkeys(PUBLISHED["names"][facts["names"]], facts["dict_of"][0])
    if not _is_leaf(facts):
        if set(value) != set(facts):
            return [f"{where}: keys {sorted(set(value) ^ set(facts))[:5]}"]
        return [found for name in facts for found in problems(value[name], facts[name], f"{where}.{name}")]
    if facts.get("type") == "Enum":
        return [] if isinstance(value, str) else [f"{where}: {value!r} is no name"]
    if facts.get("type") == "Box":
        array = np.asarray(value)
        fits = array.shape == tuple(facts["shape"]) and array.dtype == facts["dtype"]
        return (
            []
            if fits and (array >= facts["low"]).all() and (array <= facts["high"]).all()
            else [f"{where}: {array.dtype} {array.shape}"]
        )
    return [] if int(value) in range(facts["n"]) else [f"{where}: {value!r}"]


class Space:
    """A dictionary space."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    def no_op(self) -> dict[str, Any]:
        return empty(self.facts)

    def contains(self, value: Any) -> bool:
        return not problems(value, self.facts)

    def sample(self) -> dict[str, Any]:
        """Something random, as MineRL hands out when it has lost its game."""
        value = empty(self.facts)
        if "pov" in value:
            value["pov"] = np.random.randint(0, 255, value["pov"].shape, dtype=np.uint8)
        return value

    def seed(self, seed: int | None) -> None:
        """Accepted; nothing is drawn."""
