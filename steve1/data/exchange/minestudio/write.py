"""Writes MineStudio's trajectory store: image, action and meta_info for each frame, and an event index where events are known."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import rename
from steve1.core.paths import quoted
from steve1.data.episodes.parts import events_of, pickled
from steve1.data.exchange.minestudio.lmdbs import BUTTONS, CHUNK, SIDE, lmdb
from steve1.data.exchange.store import Shown, StoreWriter
from steve1.data.media.stored import encode_video

#: episodes in a part
PART = 256
_MODALITIES = ("image", "action", "meta_info")
_FIRST_SPACE = 1 << 26
_LEAST_FREE = 1 << 24  # bytes, below which a fault of writing is that of a full disk


class MineStudioWriter(StoreWriter):
    """One LMDB a modality for every 256 episodes; the last frames of an episode that fill no chunk of 32 are left out."""

    extra = "minestudio"

    def __init__(self, folder: Path, part: int = PART) -> None:
        super().__init__(folder)
        lmdb()
        self._part, self._episodes, self._dropped = part, 0, 0
        self._infos: list[dict[str, Any]] = []
        self._events: dict[str, list[tuple[str, int]]] = {}
        self._names: set[str] = set()
        self._stores: dict[str, _Store] = {}

    def check(self, episode: Shown) -> None:
        if len(episode) < CHUNK:
            what = "This episode is shorter than MineStudio's smallest piece."
            raise UserError(what, where=episode.episode.path, expected=f"at least {CHUNK} frames", got=len(episode))
        if episode.name in self._names:
            raise UserError("Two episodes have the same name.", where=episode.episode.path)
        count = sum(1 for _ in episode.episode.source_frames())
        if count != len(episode):
            todo = f"python tools/validate_dataset.py {quoted(episode.episode.path)} --repair OUT_DIR"
            raise UserError("The frames do not fit the actions.", where=episode.episode.path, expected=len(episode), got=count, todo=todo)  # fmt: skip

    def add(self, episode: Shown) -> None:
        if not self._stores:
            self._stores = {name: _Store(self.folder / name / ".part") for name in _MODALITIES}
        length, number = len(episode) // CHUNK * CHUNK, len(self._infos)
        pictures, events = _chunks(episode.episode.source_frames()), _events(episode)
        for start in range(0, length, CHUNK):
            key, actions = str((number, start)), episode.actions[start : start + CHUNK]
            self._stores["image"].put(key, encode_video(map(_square, next(pictures)), SIDE, SIDE))
            self._stores["action"].put(key, pickled(_action_chunk(actions)))
            happened = [events.get(frame, []) for frame in range(start, start + CHUNK)]
            self._stores["meta_info"].put(key, pickled([{"events": dict.fromkeys(each, 1)} for each in happened]))
            for frame, each in enumerate(happened, start):
                for event in each:
                    self._events.setdefault(event, []).append((episode.name, frame))
        self._names.add(episode.name)
        self._infos.append({"episode": episode.name, "episode_idx": number, "num_frames": length})
        self._dropped += len(episode) - length
        self._episodes += 1
        if len(self._infos) == self._part:
            self._close_part()

    def _close_part(self) -> None:
        facts = {
            "__chunk_size__": CHUNK,
            "__chunk_infos__": self._infos,
            "__num_episodes__": len(self._infos),
            "__num_total_frames__": sum(info["num_frames"] for info in self._infos),
        }
        for name, store in self._stores.items():
            for key, value in facts.items():
                store.put(key, pickled(value))
            store.close(self.folder / name / f"part-{self._episodes}")
        self._stores, self._infos = {}, []

    def finish(self) -> Sequence[str]:
        if self._infos:
            self._close_part()
        if self._events:
            self._write_events()
        return [f"{self._dropped:,} frames at the ends of episodes left out: they fill no piece of {CHUNK}"] * bool(
            self._dropped
        )

    def _write_events(self) -> None:
        store = _Store(self.folder / ".event")
        names = sorted(self._names)
        codes = {name: str(number) for number, name in enumerate(names)}
        info = {}
        for event, items in self._events.items():
            info[event] = {"__num_items__": len(items), "__num_episodes__": len({name for name, _ in items})}
            for number, (name, frame) in enumerate(items):
                store.put(str((event, number)), pickled((codes[name], frame, 1)))
        store.put("__codebook__", pickled(codes))
        store.put("__event_info__", pickled(info))
        store.put("__num__events__", pickled(len(info)))
        store.close(self.folder / "event")

    def __exit__(self, kind: Any, fault: Any, trace: Any) -> bool | None:
        for store in self._stores.values():
            store.abandon()
        return super().__exit__(kind, fault, trace)


class _Store:
    """An LMDB that grows as it is written. (MineStudio's own writer reserves a terabyte, which some file systems refuse.)"""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True)
        self.path = path
        with _faults_of_disk(path):
            self._environment = lmdb().open(str(path), map_size=_FIRST_SPACE, sync=False, metasync=False)

    def put(self, key: str, value: bytes) -> None:
        while True:
            try:
                with _faults_of_disk(self.path), self._environment.begin(write=True) as transaction:
                    transaction.put(key.encode(), value)
                return
            except lmdb().MapFullError:
                self._environment.set_mapsize(self._environment.info()["map_size"] * 2)

    def abandon(self) -> None:
        self._environment.close()

    def close(self, path: Path) -> None:
        with _faults_of_disk(self.path):
            self._environment.sync(True)
            self._environment.close()
        rename(self.path, path)


@contextlib.contextmanager
def _faults_of_disk(path: Path) -> Iterator[None]:
    """LMDB's own faults as OSErrors, which commands turn into messages; of a full disk it says that its output failed."""
    try:
        yield
    except lmdb().MapFullError:
        raise
    except lmdb().Error as fault:
        full = shutil.disk_usage(path).free < _LEAST_FREE or os.strerror(errno.ENOSPC) in str(fault)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(fault), str(path)) from fault


def _chunks(frames: Iterator[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.uint8]]]:
    while chunk := list(itertools.islice(frames, CHUNK)):
        yield chunk


def _square(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _action_chunk(actions: Sequence[act.EnvAction]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {
        name: np.array([action[name] for action in actions], np.int64) for name in BUTTONS
    }
    found["camera"] = np.array([action["camera"] for action in actions], np.float64)
    return found


def _events(episode: Shown) -> dict[int, list[str]]:
    """Frame → its events by MineStudio's names, from "events" in the metadata."""
    found: dict[int, list[str]] = {}
    for frame, event in events_of(episode.episode.metadata):
        kind, _, what = event.partition(":")
        found.setdefault(frame, []).append(f"minecraft.{kind}:minecraft.{what}")
    return found
