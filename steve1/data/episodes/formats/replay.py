"""Replay packs: old episodes in one memory-mapped file, with a frozen CNN's features in place of pictures.

A pack is a safetensors file, so that it is read without unpickling: features f16 (N, D), goals float (N, E) with NaN in the first 15 rows
of each episode, buttons i16 (N,), camera u8 (N,), imitated bool (N,), which the first packs do not have: all of theirs is imitated. Its
header names the episodes, their lengths and the hash of the CNN. An episode of it is named `<pack>/<dataset>/<episode>`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.checkpoint_metadata import REPLAY_SUFFIX
from steve1.core.errors import UserError
from steve1.core.files import atomic_path
from steve1.data.episodes.formats.base import EpisodeFormat

KIND = "steve1 replay pack 1"
_DTYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "I16": np.dtype(np.int16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
# Of each array: dimensions of a frame's entry, and types that it may have.
_ARRAYS = {
    "features": (1, ("F16",)),
    "goals": (1, ("F16", "F32")),
    "buttons": (0, ("I16",)),
    "camera": (0, ("U8",)),
    "imitated": (0, ("BOOL",)),
}


@dataclasses.dataclass(frozen=True)
class ReplayPack:
    """An opened pack.

    Attributes:
        path: the file.
        features, goals, buttons, camera, imitated: memory-mapped, one row per frame of all episodes; imitated None: every frame is.
        episodes: name → (first row, one past the last row).
        behaviours: name → what the episode shows, where that is known.
        facts: what else the header says: cnn_sha256, precision, weights, mineclip, and mineclip_sha256 where the episodes name it.
    """

    path: Path
    features: NDArray[np.float16]
    goals: NDArray[np.floating[Any]]
    buttons: NDArray[np.int16]
    camera: NDArray[np.uint8]
    imitated: NDArray[np.bool_] | None
    episodes: dict[str, tuple[int, int]]
    behaviours: dict[str, str]
    facts: dict[str, str]

    @property
    def cnn_hash(self) -> str:
        """Hex sha256 of the CNN that made the features."""
        return self.facts["cnn_sha256"]

    def paths(self) -> list[Path]:
        """The episodes as sampling lists name them."""
        return [self.path / name for name in self.episodes]


def is_pack(path: Path) -> bool:
    """Whether the path is a replay pack."""
    return path.name.endswith(REPLAY_SUFFIX) and path.is_file()


def refuse_pack(path: Path) -> None:
    """Raise UserError where pictures are needed and `path` is a replay pack."""
    if is_pack(path):
        raise UserError("A replay pack holds features, not pictures.", where=path, expected="a folder of episodes")


def pack_of(episode: Path) -> Path | None:
    """The pack that an episode's path leads into; None for an episode that is a folder."""
    return next((parent for parent in list(episode.parents)[:2] if is_pack(parent)), None)


def open_pack(path: str | os.PathLike[str]) -> ReplayPack:
    """Open a pack without reading its rows.

    Raises:
        UserError: no such file, not a pack, or cut short.
    """
    file = Path(path)
    try:
        stat = file.stat()
    except OSError as fault:
        raise UserError("This replay pack cannot be opened.", where=file, got=fault.strerror or str(fault)) from None
    return _opened(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _opened(path: Path, size: int, changed: int) -> ReplayPack:
    # By size and date, so that a pack that was made anew is opened anew; each process maps it once.
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length < min(size, 100_000_000) else {}
        facts = header.pop("__metadata__")
        episodes, row = {}, 0
        for name, frames in json.loads(facts.pop("episodes")):
            if type(frames) is not int or frames < 1:
                raise ValueError(f"an episode of {frames!r} frames")
            episodes[str(name)] = (row, row + frames)
            row += frames
        if facts.pop("kind") != KIND or type(facts["cnn_sha256"]) is not str:
            raise KeyError("kind")
        behaviours = dict(json.loads(facts.pop("behaviours", "{}")))
        arrays: dict[str, Any] = {"imitated": None}
        for name in [name for name in _ARRAYS if name in header or name != "imitated"]:
            start, stop = header[name]["data_offsets"]
            rows, *numbers = header[name]["shape"]
            shape, dtype = (rows, *numbers), _DTYPES[header[name]["dtype"]]
            if rows != row or start < 0 or stop - start != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{name} has {rows} rows for {row} frames")
            if len(numbers) != _ARRAYS[name][0] or _CODES[dtype] not in _ARRAYS[name][1]:
                raise ValueError(f"{name} of form {_CODES[dtype]} {shape}")
            if 8 + length + stop > size:
                raise UserError(
                    "This replay pack is cut short.",
                    where=path,
                    expected=f"{8 + length + stop} bytes",
                    got=f"{size} bytes",
                    todo="copy or download it again, or make it anew: python -m steve1 make_replay",
                )
            arrays[name] = np.memmap(path, dtype, "r", 8 + length + start, shape)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise UserError(
            "This file is not a replay pack.",
            where=path,
            expected=f"{KIND!r} in a safetensors header",
            got=f"{type(fault).__name__}: {fault}",
            todo="python -m steve1 make_replay makes one from a sampling",
        ) from None
    return ReplayPack(path, episodes=episodes, behaviours=behaviours, facts=facts, **arrays)


def write_pack(
    path: str | os.PathLike[str],
    names: Sequence[tuple[str, int]],
    rows: Iterator[tuple[Any, ...]],
    facts: dict[str, str],
) -> None:
    """Write a pack, which appears only when it is whole.

    Args:
        names: (dataset/episode, frames) of each episode.
        rows: for each episode in this order: features (n, D), goals (n, E) of one type, buttons (n,), camera (n,), imitated (n,).
        facts: for the header: cnn_sha256, behaviours as JSON, and what else is known.
    """
    count = sum(frames for _, frames in names)
    with atomic_path(path) as part:
        arrays: list[NDArray[Any]] = []
        row = 0
        for found in rows:
            if not arrays:
                arrays = _empty_pack(part, count, found, {"kind": KIND, "episodes": json.dumps(list(names)), **facts})
            for array, values in zip(arrays, found):
                array[row : row + len(values)] = values
            row += len(found[0])
        for array in arrays:
            array.flush()  # type: ignore[attr-defined]


def _empty_pack(part: Path, count: int, first: tuple[Any, ...], facts: dict[str, str]) -> list[NDArray[Any]]:
    """The file with its header and its full size, and its arrays mapped for writing."""
    goals = _DTYPES["F16" if first[1].dtype == np.float16 else "F32"]
    layout: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
        "goals": ((count, first[1].shape[1]), goals),
        "features": ((count, first[0].shape[1]), _DTYPES["F16"]),
        "buttons": ((count,), _DTYPES["I16"]),
        "camera": ((count,), _DTYPES["U8"]),
        "imitated": ((count,), _DTYPES["BOOL"]),
    }
    header: dict[str, Any] = {"__metadata__": facts}
    at = 0
    for name, (shape, dtype) in layout.items():
        size = int(np.prod(shape)) * dtype.itemsize
        header[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # rows begin at multiples of 8 bytes
    with open(part, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return [
        np.memmap(part, layout[name][1], "r+", 8 + len(text) + header[name]["data_offsets"][0], layout[name][0])
        for name in _ARRAYS
    ]


class ReplayFormat(EpisodeFormat):
    """One episode of a replay pack: features, goals and joint actions, but no pictures."""

    name: ClassVar[str] = "replay"
    marker: ClassVar[str] = ""
    files: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        pack = pack_of(path)
        if pack is None:
            raise UserError("This episode is in no replay pack.", where=path)
        self.pack = open_pack(pack)
        name = path.relative_to(pack).as_posix()
        if name not in self.pack.episodes:
            known = f"one of {len(self.pack.episodes)} episodes, such as {next(iter(self.pack.episodes), 'none')}"
            raise UserError("This replay pack has no such episode.", where=pack, expected=known, got=name)
        self._rows = slice(*self.pack.episodes[name])
        self.n_frames = self._rows.stop - self._rows.start
        self.metadata = {**self.pack.facts, "behaviour": self.pack.behaviours.get(name, "")}
        if made_by := self.metadata.pop("mineclip_sha256", ""):
            self.metadata["mineclip"] = {"sha256": made_by}

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        return pack_of(path) is not None

    def read(self, start: int, stop: int, out: NDArray[np.uint8]) -> None:
        raise UserError(
            "A replay pack has no pictures, only the features of a frozen CNN.",
            where=self.path,
            todo="train with --feature_cache and a fine-tuning mode that keeps the CNN (FINETUNE_MODE=frozen_cnn or lora)",
        )

    def actions(self) -> list[act.EnvAction]:
        return act.to_env(*self.tokens.T)

    @cached_property
    def tokens(self) -> NDArray[np.integer[Any]]:
        pack, rows = self.pack, self._rows
        found = np.stack([pack.buttons[rows].astype(np.int64), pack.camera[rows].astype(np.int64)], axis=1)
        if found.min() < 0 or (found.max(axis=0) >= (act.N_BUTTONS, act.N_CAMERA)).any():
            raise UserError(
                "This replay pack has actions that do not exist.",
                where=self.path,
                expected=f"classes of buttons below {act.N_BUTTONS}, of the camera below {act.N_CAMERA}",
                got=f"up to {found[:, 0].max()} and {found[:, 1].max()}, from {found.min()} on",
                todo="copy or download it again, or make it anew: python -m steve1 make_replay",
            )
        return found

    @property
    def has_goals(self) -> bool:
        return True

    @cached_property
    def goals(self) -> NDArray[np.floating[Any]]:
        return self.pack.goals[self._rows]

    @cached_property
    def imitated(self) -> NDArray[np.bool_] | None:
        mask = None if self.pack.imitated is None else self.pack.imitated[self._rows]
        return None if mask is None or mask.all() else mask

    @property
    def features(self) -> NDArray[np.float16]:
        """The CNN's features (N, D) of the episode's frames."""
        return self.pack.features[self._rows]
