"""What happened in one episode, as arrays over time, saved as `<path>.npz` with readable facts in `<path>.json`.

State 0 is before the first action, state n after the n-th. Success rules and tables are made from traces, never from a running game.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions
from steve1.core.errors import UserError
from steve1.core.files import atomic_file, read_json, write_json

FORMAT = 1
COUNTERS = ("inventory", "dug", "placed", "crafted")
GONE = -1
_ARRAYS = ("tokens", "positions", "view", "in_water", "health")
_STATES = ("positions", "view", "in_water", "health", "under_water", "menu")
_LATER_ARRAYS = ("under_water", "menu", "blocks", "env_reward")  # absent in the oldest traces


@dataclasses.dataclass
class Trace:
    """One episode of N steps.

    Attributes:
        tokens: i64 (N, 2), joint button and camera class of each action taken.
        positions: f64 (N+1, 3), x, y, z in nodes (y is up).
        view: f64 (N+1, 2), pitch (negative looks up) and yaw in degrees.
        in_water: bool (N+1,).
        health: f64 (N+1,).
        counts: {"inventory" | "dug" | "placed" | "crafted": {name: i64 (N+1,)}}; all but the inventory count from 0.
        metadata: seed, start, biome, prompt, steps asked for, why it ended, seconds.
        under_water: bool (N+1,), the eyes are in water.
        menu: bool (N+1,), a menu is open.
        blocks: i64 (M, 6), what stands where the player or the scene put something, as changes: state, x, y, z, index into
            block_names (GONE: nothing any more), 1 if the player put it.
        block_names: as the environment names them.
        env_reward: f64 (N,), what the environment itself paid for each step.
    """

    tokens: NDArray[np.int64]
    positions: NDArray[np.float64]
    view: NDArray[np.float64]
    in_water: NDArray[np.bool_]
    health: NDArray[np.float64]
    counts: dict[str, dict[str, NDArray[np.int64]]]
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    under_water: NDArray[np.bool_] = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    menu: NDArray[np.bool_] = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    blocks: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros((0, 6), dtype=np.int64))
    block_names: list[str] = dataclasses.field(default_factory=list)
    env_reward: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if not len(self.env_reward):
            self.env_reward = np.zeros(len(self.tokens))
        for name in ("under_water", "menu"):  # all False where they were not recorded
            if not len(getattr(self, name)):
                setattr(self, name, np.zeros(len(self.positions), dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.tokens)

    def count(self, kind: str, names: Sequence[str]) -> NDArray[np.int64]:
        """Sum over exactly these names, i64 (N+1,); names that never occurred count 0."""
        total = np.zeros(len(self.positions), dtype=np.int64)
        for name in names:
            total = total + self.counts[kind].get(name, 0)
        return total

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write `<path>.npz` and `<path>.json` (any suffix of `path` is kept as part of the name)."""
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in (*_ARRAYS, *_LATER_ARRAYS)}
        arrays["block_names"] = np.array(self.block_names, dtype=np.str_)
        for kind, columns in self.counts.items():
            arrays.update({f"{kind}/{name}": column for name, column in columns.items()})
        archive = Path(f"{os.fspath(path)}.npz")
        with atomic_file(archive) as handle:
            np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]
        write_json(archive.with_suffix(".json"), {"format": FORMAT, "steps": len(self), **self.metadata})
        return archive

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read what `save` wrote; `path` without `.npz`, as it was given to `save`."""
        archive = Path(f"{os.fspath(path)}.npz")
        if not archive.exists():
            raise UserError("This trace does not exist.", where=archive)
        counts: dict[str, dict[str, NDArray[np.int64]]] = {kind: {} for kind in COUNTERS}
        try:
            with np.load(archive, allow_pickle=False) as arrays:
                named = {name: arrays[name] for name in arrays.files}
            base: dict[str, Any] = {name: named.pop(name) for name in _ARRAYS}
            base.update({name: named.pop(name) for name in _LATER_ARRAYS if name in named})
            base["block_names"] = named.pop("block_names", np.zeros(0, dtype=np.str_)).tolist()
        except (OSError, ValueError, KeyError) as fault:
            raise UserError("This trace cannot be read.", where=archive, got=str(fault)) from fault
        for name, column in named.items():
            kind, _, item = name.partition("/")
            counts.setdefault(kind, {})[item] = column
        return cls(**base, counts=counts, metadata=read_json(archive.with_suffix(".json")))


class TraceRecorder:
    """Collects an episode step by step; `trace()` turns it into arrays."""

    def __init__(self, obs: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        self._actions: list[dict[str, Any]] = []
        self._rewards: list[float] = []
        self._states: list[tuple[float, ...]] = []
        self._counts: list[dict[str, dict[str, int]]] = []
        self._blocks: list[tuple[int, ...]] = []
        self._block_names: dict[str, int] = {}
        self._standing: dict[tuple[int, int, int, int], str] = {}
        self._state(obs, info)

    def _state(self, obs: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        place = obs["location_stats"]
        self._states.append(
            (
                *(float(place[name]) for name in ("xpos", "ypos", "zpos", "pitch", "yaw")),
                float(bool(info.get("in_water", False))),
                float(info.get("health", np.nan)),
                float(bool(info.get("under_water", False))),
                float(bool(obs.get("is_gui_open", False))),
            )
        )
        self._note_blocks(info)
        snapshot = {kind: dict(info.get(kind) or {}) for kind in COUNTERS if kind != "inventory"}
        snapshot["inventory"] = dict(obs["inventory"])
        self._counts.append(snapshot)

    def _note_blocks(self, info: Mapping[str, Any]) -> None:
        now = {
            (int(x), int(y), int(z), int(kind == "built")): str(name)
            for kind in ("built", "scene")
            for x, y, z, name in info.get(kind) or ()
        }
        state = len(self._states) - 1
        for place in sorted(set(self._standing) | set(now)):
            name = now.get(place)
            if name != self._standing.get(place):
                index = GONE if name is None else self._block_names.setdefault(name, len(self._block_names))
                self._blocks.append((state, *place[:3], index, place[3]))
        self._standing = now

    def add(self, action: dict[str, Any], obs: Mapping[str, Any], info: Mapping[str, Any], reward: float = 0.0) -> None:
        """One step: the action taken, the state after it, and what the environment paid."""
        self._actions.append(action)
        self._rewards.append(float(reward))
        self._state(obs, info)

    def _columns(self, kind: str) -> dict[str, NDArray[np.int64]]:
        names = sorted({name for snapshot in self._counts for name in snapshot[kind]})
        return {
            name: np.array([int(snapshot[kind].get(name, 0)) for snapshot in self._counts], dtype=np.int64)
            for name in names
        }

    def trace(self, metadata: Mapping[str, Any]) -> Trace:
        """The episode so far."""
        buttons, camera = actions.to_joint(self._actions)
        states = np.array(self._states, dtype=np.float64)
        return Trace(
            tokens=np.stack([buttons, camera], axis=1).astype(np.int64).reshape(-1, 2),
            positions=states[:, 0:3],
            view=states[:, 3:5],
            in_water=states[:, 5] > 0.5,
            health=states[:, 6],
            counts={kind: self._columns(kind) for kind in COUNTERS},
            metadata=dict(metadata),
            under_water=states[:, 7] > 0.5,
            menu=states[:, 8] > 0.5,
            blocks=np.array(self._blocks, dtype=np.int64).reshape(-1, 6),
            block_names=list(self._block_names),
            env_reward=np.array(self._rewards, dtype=np.float64),
        )
