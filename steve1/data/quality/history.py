"""What happened in an episode, from its recording's ticks: inventory, blocks mined and position at each frame.

The recording (mp4 + jsonl) must still exist. Null frames that conversion dropped are skipped, and cuts are applied.
Episodes from MineStudio's stores have events in their metadata instead: what was mined, picked up and crafted, but no positions.
"""

from __future__ import annotations

import glob
import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.core.paths import resolve
from steve1.data.episodes.episode import Episode
from steve1.data.recordings.contractor import ContractorRecording, parsed_ticks
from steve1.data.recordings.recording import actions_of
from steve1.data.recordings.resample import read_noted_ticks

_MINED = "minecraft.mine_block:"
_GAINED = ("pickup", "craft_item")


@dataclass(frozen=True)
class History:
    """N frames of an episode.

    Attributes:
        items: count of each item by exact name, i64 (N,).
        mined: blocks of each kind mined since the recording began, i64 (N,).
        position: f64 (N, 3) x, y, z in blocks; NaN where the recorder did not write it.
        has_inventory: whether the recorder wrote inventories.
    """

    items: dict[str, NDArray[np.int64]]
    mined: dict[str, NDArray[np.int64]]
    position: NDArray[np.float64]
    has_inventory: bool


def read_history(path: Path, recordings: Path | None = None) -> History:
    """The history of one episode.

    Args:
        path: the episode's folder.
        recordings: folder to search for the recording if it is no longer where the metadata says.

    Raises:
        UserError: the episode is not from a recording, the recording is gone or has changed, or its ticks do not fit the
            episode's frames.
    """
    episode = Episode(path)
    if "events" in episode.metadata or episode.metadata.get("source_kind") == "minestudio":
        return _from_events(episode)
    recording = _recording(path, episode.metadata, recordings)
    return _read(recording.actions_path, _kept_ticks(episode, recording))


def _from_events(episode: Episode) -> History:
    count, events = len(episode), episode.metadata.get("events") or []
    items: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(count, np.int64))
    mined: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(count, np.int64))
    for entry in events:
        try:
            frame, (kind, _, item) = int(entry[0]), str(entry[1]).partition(":")
        except (TypeError, ValueError, IndexError, KeyError):
            expected = '[frame, "mine_block:dirt"]'
            raise UserError(
                "An event in the metadata has another form.", where=episode.path, expected=expected, got=str(entry)[:80]
            ) from None
        if kind == "mine_block" or kind in _GAINED:
            (mined if kind == "mine_block" else items)[item][max(0, frame) :] += 1
    return History(dict(items), dict(mined), np.full((count, 3), np.nan), True)


def _recording(path: Path, metadata: dict[str, Any], recordings: Path | None) -> ContractorRecording:
    source = metadata.get("source")
    if not isinstance(source, str) or Path(source).suffix.lower() != ".mp4":
        raise UserError(
            "This episode does not come from a recording, so what happened in it is not known.",
            where=path,
            expected='"source" in its metadata: the mp4 with ticks (jsonl) beside it',
            got=str(source),
        )
    hashes, found = metadata.get("sha256") or {}, None
    for video in _places(resolve(source), recordings):
        ticks = actions_of(video)
        if not ticks.is_file():
            continue
        wanted, found = hashes.get(ticks.name), found or ticks
        if not wanted or sha256_file(ticks) == wanted:
            return ContractorRecording(path.name, video, str(metadata.get("recorder_version") or ""))
    if found is None:
        raise UserError(
            "The recording of this episode is gone, and only its ticks tell what happened.",
            where=path,
            expected=actions_of(resolve(source)),
            todo="name the folder of recordings with --recordings, or download them again with KEEP_RECORDINGS=1",
        )
    raise UserError(
        "The recording is not the one that this episode was made from.",
        where=found,
        expected=f"sha256 {hashes[found.name][:12]}…",
        todo="convert it again, or name the folder of the right recordings with --recordings",
    )


def _places(video: Path, recordings: Path | None) -> Iterator[Path]:
    """Where a recording may lie: where it was, then anywhere below `recordings`, where several folders may have one of its name."""
    yield video
    if recordings is not None:
        yield from sorted(recordings.rglob(glob.escape(video.name)))


def _kept_ticks(episode: Episode, recording: ContractorRecording) -> NDArray[np.int64]:
    """The recorded tick of each frame, i64 (N,), chosen as conversion did."""
    metadata = episode.metadata
    ticks = read_noted_ticks(recording, metadata)
    used = min(int(metadata.get("source_frames") or len(ticks.keep)), len(ticks.keep))
    keep = np.ones_like(ticks.keep) if metadata.get("keep_nulls") else ticks.keep
    rows = np.flatnonzero(keep[:used])
    cut = metadata.get("cut") or {"start": 0, "stop": len(rows), "frames": len(rows)}
    if cut["frames"] != len(rows) or cut["stop"] - cut["start"] != len(episode) or cut["stop"] > len(rows):
        raise UserError(
            "The recording's ticks do not fit the episode's frames.",
            where=episode.path,
            expected=f"{len(episode)} of {cut['frames']} frames",
            got=f"{len(rows)} ticks that conversion keeps",
            todo="convert the recording again",
        )
    chosen = rows[cut["start"] : cut["stop"]]
    # The actions must be equal: an edited or differently converted recording would have another history.
    buttons, camera = episode.tokens()
    again = act.to_joint([ticks.actions[row] for row in chosen])
    differs = np.flatnonzero((again[0] != buttons) | (again[1] != camera))
    if len(differs):
        where = f"{episode.path}, frame {int(differs[0])}"
        raise UserError("The recording's actions are not those of the episode.", where=where)
    return ticks.rows[chosen]


def _read(path: Path, rows: NDArray[np.int64]) -> History:
    count = int(rows.max()) + 1
    items: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(count, np.int64))
    mined: dict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(count, np.int64))
    position = np.full((count, 3), np.nan)
    has_inventory = False
    for row, tick in enumerate(itertools.islice(parsed_ticks(path, []), count)):
        try:
            if "inventory" in tick:
                has_inventory = True
                for slot in tick["inventory"]:
                    items[_plain(str(slot["type"]))][row] += int(slot["quantity"])
            for name, value in (tick.get("stats") or {}).items():
                if name.startswith(_MINED):
                    mined[_plain(name[len(_MINED) :])][row] += int(value)
            if "xpos" in tick:
                position[row] = float(tick["xpos"]), float(tick["ypos"]), float(tick["zpos"])
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            raise UserError(
                "This tick's inventory, statistics or position cannot be read.",
                where=f"{path}:{row + 1}",
                got=f"{type(fault).__name__}: {fault}",
            ) from None
    held, broken = ({name: counts[rows] for name, counts in table.items()} for table in (items, mined))
    return History(held, broken, position[rows], has_inventory)


def _plain(name: str) -> str:
    return name.removeprefix("minecraft:").removeprefix("minecraft.")
