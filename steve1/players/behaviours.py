"""What can be demonstrated: where each behaviour begins, what its player sees and holds, its captions and success rule.

In: a name. Out: a `Behaviour`. The success of an episode is judged from a `History` that any rollout can fill.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from steve1.core.errors import UserError, nearest

_GRASS = [f"default:grass_{n}" for n in range(1, 6)]
_TRUNKS = ["default:tree", "default:aspen_tree", "default:pine_tree", "default:acacia_tree", "default:jungletree"]
_WATER = ["default:water_source", "default:water_flowing", "default:river_water_source"]


@dataclass
class History:
    """What success is judged by, one entry per step and one for the start.

    positions: (x, y, z) nodes. pitches: degrees, down positive. inventories: counts. placed: blocks placed so far.
    in_water: bool. below: the game's name of the node that the player stands on.
    """

    positions: list[tuple[float, float, float]] = field(default_factory=list)
    pitches: list[float] = field(default_factory=list)
    inventories: list[dict[str, int]] = field(default_factory=list)
    placed: list[int] = field(default_factory=list)
    in_water: list[bool] = field(default_factory=list)
    below: list[str] = field(default_factory=list)

    def add(self, obs: dict[str, Any], info: dict[str, Any]) -> None:
        """Append an observation and its info as the environment gives them."""
        place = obs["location_stats"]
        self.positions.append((place["xpos"], place["ypos"], place["zpos"]))
        self.pitches.append(place["pitch"])
        self.inventories.append(dict(obs["inventory"]))
        self.placed.append(sum(info.get("placed", {}).values()))
        self.in_water.append(bool(info.get("in_water", False)))
        self.below.append(str(info.get("below", "")))


def _gained(history: History, *names: str) -> float:
    counts = [sum(items.get(name, 0) for name in names) for items in history.inventories]
    return float(max(counts) - counts[0])


def _mean_pitch_up(history: History) -> float:
    return -float(np.mean(history.pitches[-max(1, len(history.pitches) // 3) :]))


def _displacement(history: History) -> float:
    path = np.asarray(history.positions)[:, [0, 2]]
    return float(np.linalg.norm(path - path[0], axis=1).max())


def _swum(history: History) -> float:
    path = np.asarray(history.positions)[:, [0, 2]]
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    wet = np.asarray(history.in_water)
    return float(steps[wet[1:] & wet[:-1]].sum())


def _height(history: History) -> float:
    start = history.positions[0][1]
    rises = [
        position[1] - start
        for position, placed, below in zip(history.positions, history.placed, history.below)
        if placed >= 3 and below == "default:dirt"
    ]
    return float(max(rises, default=0.0))


@dataclass(frozen=True)
class Behaviour:
    """surroundings: kind of start. inventory: given at the start. watch: nodes that the player is shown.
    measure(history) gives a number in `unit`; the episode succeeds from `threshold` on."""

    name: str
    surroundings: str
    captions: tuple[str, ...]
    measure: Callable[[History], float]
    threshold: float
    unit: str
    # The same in every hand: were blocks given to the pillar's builder alone, the sight of them would say what to do, not the goal.
    inventory: dict[str, int] = field(default_factory=lambda: {"dirt": 64})
    watch: dict[str, dict[str, Any]] = field(default_factory=dict)
    yaw_spread: float = 180.0

    def success(self, history: History) -> bool:
        """Whether an episode with this history did the thing."""
        return self.measure(history) >= self.threshold


_ALL = (
    Behaviour(
        "dig_dirt", "meadow",
        ("dig dirt", "dig a hole in the ground", "collect dirt", "get dirt", "dig down into the dirt", "break dirt blocks"),
        lambda h: _gained(h, "dirt"), 4, "dirt gained",
    ),
    Behaviour(
        "look_at_sky", "meadow",
        ("look at the sky", "look up", "look up at the sky", "watch the clouds", "stare at the sky", "look at the clouds"),
        _mean_pitch_up, 50, "mean degrees upwards in the last third",
    ),
    Behaviour(
        "explore", "meadow",
        ("explore", "travel far", "walk far away", "run across the plain", "go explore the world", "walk forward"),
        _displacement, 25, "nodes from the start",
    ),
    Behaviour(
        "chop_tree", "forest",
        ("chop a tree", "get wood", "chop down the tree", "collect wood from a tree", "break the tree trunk", "get logs"),
        lambda h: _gained(h, "log"), 1, "logs gained",
        watch={"trunk": {"nodes": _TRUNKS, "r": 9, "low": 0, "high": 3}}, yaw_spread=60.0,
    ),
    Behaviour(
        "swim", "shore",
        ("swim", "swim in the water", "go swimming", "swim across the lake", "go into the water and swim", "swim far"),
        _swum, 10, "nodes travelled in water",
        watch={"water": {"nodes": _WATER, "r": 11, "low": -2, "high": 0}}, yaw_spread=60.0,
    ),
    Behaviour(
        "collect_grass", "meadow",
        ("collect grass", "collect seeds", "break tall grass", "gather grass and seeds", "pick grass", "get wheat seeds"),
        lambda h: _gained(h, "tall_grass", "wheat_seeds"), 3, "grass and seeds gained",
        watch={"grass": {"nodes": _GRASS, "r": 9, "low": -2, "high": 2}},
    ),
    Behaviour(
        "build_pillar", "meadow",
        ("build a pillar", "build a tower", "pillar up", "stack blocks and climb up", "build a dirt tower", "go up high"),
        _height, 3, "nodes risen on placed blocks",
    ),
)  # fmt: skip

BEHAVIOURS: dict[str, Behaviour] = {behaviour.name: behaviour for behaviour in _ALL}


def behaviour(name: str) -> Behaviour:
    """The behaviour of this name.

    Raises:
        UserError: unknown; names the nearest.
    """
    if name not in BEHAVIOURS:
        raise UserError("Unknown behaviour.", got=name, expected=nearest(name, list(BEHAVIOURS)))
    return BEHAVIOURS[name]
