"""Finds start states: flat meadows with tall grass, forest floor with a trunk in reach, shores with deep water in front.

Input: what the mod tells of each column of a piece of the map (height and kind).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from steve1.envs.luanti.env import LuantiEnv

GREEN_BIOMES = ("grassland", "deciduous_forest", "grassland_ocean", "deciduous_forest_shore", "deciduous_forest_ocean")
GROUND = {"meadow": ("d", "g"), "forest": ("d", "g"), "shore": ("d", "g", ".")}  # a beach of sand is a shore too
_APART = 14  # nodes between two start states of one region
Field = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # x, z, height, kind of columns


def green_points(env: LuantiEnv, step: int, reach: int) -> list[tuple[int, int, int]]:
    """Places (x, y, z) on a grid of `step` nodes within ±`reach` whose biome has grass, without generating them."""
    line = range(-reach, reach + 1, step)
    points = [[x, z] for x in line for z in line]
    found: list[list[Any]] = []
    for first in range(0, len(points), 200):
        found += env.command("biomes", points=points[first : first + 200]).get("found") or []
    return [(int(x), int(y), int(z)) for x, y, z, name in found if name in GREEN_BIOMES]


def read_field(env: LuantiEnv, x: int, y: int, z: int, radius: int = 48) -> Field:
    """Heights and kinds of all columns within `radius` of (x, z), which are generated for it."""
    rows = env.command("survey", x=x, y=y, z=z, r=radius)["found"][0].split()
    side = 2 * radius + 1
    heights = np.array([int(row[1:]) for row in rows]).reshape(side, side)
    kinds = np.array([row[0] for row in rows]).reshape(side, side)
    zs, xs = np.meshgrid(np.arange(z - radius, z + radius + 1), np.arange(x - radius, x + radius + 1), indexing="ij")
    return xs, zs, heights, kinds


def judge(biome: str, row: int, column: int, field: Field) -> float | None:
    """Yaw to begin with (degrees) if this column is good for `biome`, else None."""
    xs, zs, heights, kinds = field
    part = (slice(row - 14, row + 15), slice(column - 14, column + 15))
    dx, dz = xs[part] - xs[row, column], zs[part] - zs[row, column]
    distance = np.hypot(dx, dz)
    rise, kind = heights[part] - heights[row, column], kinds[part]
    ground = np.isin(kind, GROUND[biome])
    if not ground[distance <= 1.5].all() or np.abs(rise[distance <= 2.5]).max() > 1 or "?" in kind:
        return None
    if biome == "meadow":
        near = distance <= 12
        good = (
            np.abs(rise[distance <= 5]).max() <= 1 and np.abs(rise[near]).max() <= 4
            and not np.isin(kind[distance <= 9], ("T", "w", "W", "#")).any() and (kind[distance <= 8] == "g").sum() >= 8
        )  # fmt: skip
        grass = (kind == "g") & (distance <= 10)
        return _toward(dx[grass], dz[grass]) if good else None
    if biome == "forest":
        trunks = (kind == "T") & (np.abs(rise) <= 1) & (distance >= 2.9) & (distance <= 6.5)
        if not trunks.any() or (kind == "T").sum() < 3 or np.abs(rise[distance <= 5]).max() > 2:
            return None
        nearest = np.argmin(np.where(trunks, distance, np.inf))
        return _toward(dx.flat[nearest], dz.flat[nearest])
    deep = (kind == "W") & (distance <= 11)
    low_enough = deep.any() and rise[deep].max() >= -3
    if not low_enough or deep.sum() < 60 or not ((kind == "W") & (distance <= 7)).any():
        return None
    return _toward(dx[deep], dz[deep])


def _toward(dx: np.ndarray, dz: np.ndarray) -> float:
    return round(float(np.degrees(np.arctan2(np.mean(dx), np.mean(dz)))), 1)


def find_starts(field: Field, biome: str, most: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Up to `most` start states of a region, at least 14 nodes from one another, tried in a random order."""
    xs, zs, heights, kinds = field
    candidates = np.argwhere(np.isin(kinds[15:-15, 15:-15], GROUND[biome])) + 15
    rng.shuffle(candidates)
    kept: list[dict[str, Any]] = []
    for row, column in candidates[:1500]:
        x, y, z = int(xs[row, column]), int(heights[row, column]), int(zs[row, column])
        if any(np.hypot(x - k["x"], z - k["z"]) < _APART for k in kept):
            continue
        yaw = judge(biome, row, column, field)
        if yaw is not None:
            kept.append({"x": x, "y": y + 0.5, "z": z, "yaw": yaw, "biome": biome})
            if len(kept) == most:
                break
    return kept
