"""MineStudio's trajectory store: one LMDB for each modality and part, 32 frames in a value, read with the restricted pickle reader.

Input: a folder with action/ and image/ (or video/) below it, and perhaps meta_info/ and event/.
"""

from __future__ import annotations

import ast
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError, optional_package
from steve1.core.reading.pickles import load_restricted
from steve1.data.media.stored import read_frames_of

#: frames of a value
CHUNK = 32
SIDE = 224  #: of MineStudio's pictures
#: the buttons that its actions have
BUTTONS = tuple(name for name in act.ENV_BUTTONS if name not in ("ESC", "pickItem", "swapHands"))
_FOLDERS = {
    "image": ("image", "video"),
    "action": ("action",),
    "meta_info": ("meta_info", "contractor_info"),
    "event": ("event",),
}


def lmdb() -> Any:
    """The lmdb package; UserError without it."""
    return optional_package("lmdb", "minestudio", "MineStudio's format")


def is_store(root: Path) -> bool:
    """Whether a folder is such a store."""
    return all(_parts(root, modality) for modality in ("image", "action"))


def _parts(root: Path, modality: str) -> list[Path]:
    """The LMDBs of a modality, in order; the event index is one on its own."""
    for name in _FOLDERS[modality]:
        folder = root / name
        if (folder / "data.mdb").is_file():
            return [folder]
        if found := sorted(path.parent for path in folder.glob("*/data.mdb")):
            return found
    return []


@lru_cache(maxsize=64)
def _environment(path: Path) -> Any:
    # LMDB refuses to open one twice in a process.
    try:
        return lmdb().open(str(path), readonly=True, lock=False, max_spare_txns=1)
    except lmdb().Error as fault:
        raise UserError("This LMDB does not open.", where=path, got=str(fault), todo="download it again") from None


def _value(path: Path, key: str, *, plain: bool = True) -> Any:
    """A value of an LMDB, unpickled unless it is a video; None where it has none."""
    try:
        with _environment(path).begin(buffers=False) as transaction:
            data = transaction.get(key.encode())
    except lmdb().Error as fault:
        raise UserError("This LMDB is damaged.", where=f"{path}, key {key}", got=str(fault)) from None
    if data is None or not plain:
        return data
    try:
        return load_restricted(data)
    except UserError as fault:
        fault.where = f"{path}, key {key}"
        raise


@dataclass(frozen=True)
class Trajectory:
    """One episode of a store: its name and length, and where each modality has it (LMDB, number in it)."""

    name: str
    length: int
    places: dict[str, tuple[Path, int]]


class TrajectoryStore:
    """A store on disk.

    Raises:
        UserError: an LMDB is damaged, or holds something else.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: dict[str, str] = {}  #: episodes that cannot be used, with the reason

    @cached_property
    def trajectories(self) -> list[Trajectory]:
        """The episodes that have actions and pictures of the same length."""
        found: dict[str, dict[str, tuple[Path, int, int]]] = {}
        for modality in ("image", "action", "meta_info"):
            for path in _parts(self.root, modality):
                for name, number, length in _infos(path):
                    found.setdefault(name, {})[modality] = (path, number, length)
        whole = []
        for name, places in found.items():
            lengths = {modality: place[2] for modality, place in places.items()}
            if "image" not in places or "action" not in places:
                self.notes[name] = (
                    "the store has no pictures of this episode (a part was not downloaded?)"
                    if "image" not in places
                    else "the store has no actions of this episode (a part was not downloaded?)"
                )
            elif lengths["image"] != lengths["action"]:
                self.notes[name] = f"it has {lengths['image']} frames of pictures and {lengths['action']} of actions"
            else:
                length = lengths["image"]
                kept = {modality: place[:2] for modality, place in places.items() if place[2] == length}
                whole.append(Trajectory(name, length, kept))
        return whole

    @cached_property
    def by_name(self) -> dict[str, Trajectory]:
        """The episodes by their names."""
        return {trajectory.name: trajectory for trajectory in self.trajectories}

    def _chunks(self, trajectory: Trajectory, modality: str, *, plain: bool) -> Iterator[tuple[int, Any, str]]:
        path, number = trajectory.places[modality]
        for start in range(0, trajectory.length, CHUNK):
            key = str((number, start))
            value = _value(path, key, plain=plain)
            if value is None:
                raise UserError(
                    "A part of this episode is missing.", where=f"{path}, key {key}", todo="download it again"
                )
            yield start, value, f"{path}, key {key}"

    def actions(self, trajectory: Trajectory) -> list[act.EnvAction]:
        """MineRL actions of all frames.

        Raises:
            UserError: a chunk is missing or has another form (names it).
        """
        found: list[act.EnvAction] = []
        for start, chunk, where in self._chunks(trajectory, "action", plain=True):
            length = min(CHUNK, trajectory.length - start)
            try:
                camera = np.asarray(chunk["camera"], np.float64)[:length].reshape(length, 2)
                pressed = {
                    name: (np.asarray(chunk[name])[:length].reshape(length) > 0).astype(int).tolist()
                    for name in act.ENV_BUTTONS
                    if name in chunk
                }
                if not pressed or not np.isfinite(camera).all():
                    raise ValueError("no buttons, or a camera movement that is not finite")
            except (KeyError, TypeError, ValueError) as fault:
                expected = f"{', '.join(BUTTONS[:4])} … ({CHUNK},) and camera ({CHUNK}, 2)"
                raise UserError(
                    "These actions have another form.", where=where, expected=expected, got=str(fault)
                ) from None
            for row in range(length):
                buttons = {name: values[row] for name, values in pressed.items()}
                found.append({**act.null_action(), **buttons, "camera": camera[row].tolist()})
        return found

    def pictures(self, trajectory: Trajectory) -> Iterator[NDArray[np.uint8]]:
        """All frames, (H, W, 3) uint8 RGB.

        Raises:
            UserError: a chunk is missing, does not decode, or has fewer frames.
        """
        for start, chunk, where in self._chunks(trajectory, "image", plain=False):
            wanted, number = min(CHUNK, trajectory.length - start), 0
            for number, frame in enumerate(read_frames_of(io.BytesIO(chunk), where), 1):
                if number <= wanted:
                    yield frame
            if number < wanted:
                raise UserError(
                    "A video of this store is too short.", where=where, expected=f"{wanted} frames", got=number
                )

    def events(self, trajectory: Trajectory) -> list[tuple[int, str]]:
        """(frame, event) in order, such as (60, "mine_block:dirt"): from meta_info where it has "events", else from the event index."""
        found: list[tuple[int, str]] = []
        if "meta_info" in trajectory.places:
            for start, chunk, _ in self._chunks(trajectory, "meta_info", plain=True):
                rows = chunk if isinstance(chunk, list) else []
                for row, facts in enumerate(rows[: trajectory.length - start]):
                    happened = facts.get("events") if isinstance(facts, dict) else None
                    found += [(start + row, _plain(str(name))) for name in happened or {}]
        return found or _event_index(self.root).get(trajectory.name, [])


def _infos(path: Path) -> Iterator[tuple[str, int, int]]:
    """(name, number, frames) of the episodes of an LMDB."""
    size, infos = _value(path, "__chunk_size__"), _value(path, "__chunk_infos__")
    if size != CHUNK or not isinstance(infos, list):
        raise UserError(
            "This LMDB is not of MineStudio's trajectory store.",
            where=path,
            expected=f"__chunk_size__ {CHUNK} and __chunk_infos__ (version 1.1, on the hub …-v110)",
            got=f"__chunk_size__ {size!r}, __chunk_infos__ {type(infos).__name__}",
        )
    for info in infos:
        try:
            yield str(info["episode"]), int(info["episode_idx"]), int(info["num_frames"])
        except (KeyError, TypeError, ValueError) as fault:
            raise UserError(
                "An episode of this LMDB is not described.", where=path, got=f"{type(fault).__name__}: {fault}"
            ) from None


@lru_cache(maxsize=2)
def _event_index(root: Path) -> dict[str, list[tuple[int, str]]]:
    """The event index by episode; {} without one."""
    found: dict[str, list[tuple[int, str]]] = {}
    for path in _parts(root, "event"):
        codes = _value(path, "__codebook__") or {}
        names = {str(code): str(name) for name, code in codes.items()} if isinstance(codes, dict) else {}
        with _environment(path).begin() as transaction:
            for key, data in transaction.cursor():
                if key.startswith(b"__"):
                    continue
                try:
                    event, _ = ast.literal_eval(key.decode())
                    episode, frame, *_ = load_restricted(data)
                    name = names.get(str(episode), str(episode))
                    found.setdefault(name, []).append((int(frame), _plain(str(event))))
                except (ValueError, SyntaxError, TypeError) as fault:
                    raise UserError("An entry of the event index has another form.", where=f"{path}, key {key[:80]!r}", got=str(fault)[:100]) from None  # fmt: skip
    return {name: sorted(events) for name, events in found.items()}


def _plain(event: str) -> str:
    """An event without Minecraft's prefixes: minecraft.mine_block:minecraft.dirt → mine_block:dirt."""
    return event.replace("minecraft.", "").replace("minecraft:", "")


@lru_cache(maxsize=4)
def open_store(root: Path) -> TrajectoryStore:
    """The store at this folder; opened once in a process."""
    return TrajectoryStore(root)
