"""Episodes of a LeRobot dataset as recordings."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.data.episodes.parts import events_of, game_of
from steve1.data.exchange.lerobot import schema
from steve1.data.exchange.lerobot.read import Entry, LeRobotSet, open_set
from steve1.data.media.video import recorder_size
from steve1.data.recordings.recording import Found, Pictures, Recording, Ticks, Timing, Tree, picked, whole_degrees

_NAME = "episode_{:06d}"


@dataclass(frozen=True)
class LeRobotEpisode(Recording):
    """One episode; `video` is the dataset's folder with "episode_000012" below it, which is no file."""

    kind = "lerobot"

    @classmethod
    def find(cls, tree: Tree) -> Found:
        found: list[Recording] = []
        lonely: list[tuple[Path, str]] = []
        for root in [folder for folder in tree.folders if (folder / schema.INFO).is_file()]:
            tree.claim(root)
            try:
                dataset = open_set(root)
                found += [
                    cls(_name(tree, dataset, entry), root / _NAME.format(entry.number)) for entry in dataset.entries
                ]
            except UserError as fault:
                lonely.append((root, fault.one_line))
        return found, lonely

    @property
    def dataset(self) -> LeRobotSet:
        """The dataset that it is in."""
        return open_set(self.video.parent)

    @property
    def entry(self) -> Entry:
        """What the dataset's list says of it."""
        return self.dataset.by_number[int(self.video.name.rpartition("_")[2])]

    def read_ticks(self, camera_rounding: str = "float", *, esc_as_inventory: bool = False) -> Ticks:
        actions = self.dataset.actions(self.entry)
        if camera_rounding == "legacy_int":
            whole_degrees(actions)
        missing = self.dataset.columns.missing
        notes = [f"the dataset has no {', '.join(missing)}: never pressed"] if missing else []
        ticks = Ticks.of(actions, notes)
        if schema.INTERVENTION in self.dataset.features:
            taken_over = self.dataset.rows(self.entry, [schema.INTERVENTION])[schema.INTERVENTION][:, 0].astype(bool)
            # What a policy did before somebody took over is context.
            ticks.imitated = taken_over if taken_over.any() or _row(self.dataset, self.entry).get("masked") else None
        ticks.events = events_of(_origin(self.dataset, self.entry))
        return ticks

    @property
    def timing(self) -> Timing:
        return Timing.even(self.dataset.fps, self.entry.length)

    @property
    def expected_frames(self) -> int:
        return self.entry.length

    def frames(self, numbers: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        return map(recorder_size, picked(self.dataset.pictures(self.entry), numbers))

    @property
    def warnings(self) -> list[str]:
        return Pictures(*self.dataset.picture_size).notes

    @property
    def game(self) -> str:
        with contextlib.suppress(UserError):  # conversion names what is damaged
            return game_of(_origin(self.dataset, self.entry))
        return ""

    def digests(self) -> Iterator[tuple[str, str]]:
        rows = self.dataset.rows(self.entry, self.dataset.columns.features)
        digest = hashlib.sha256()
        for name in sorted(rows):
            digest.update(np.ascontiguousarray(rows[name]).tobytes())
        yield f"{self.video.name}.actions", digest.hexdigest()

    def facts(self) -> dict[str, Any]:
        dataset, entry = self.dataset, self.entry
        prompts = dataset.prompts(entry)
        captions = [text for text in dict.fromkeys(text for _, text in prompts) if text]
        found: dict[str, Any] = {
            "source_size": list(dataset.picture_size),
            "source_fps": dataset.fps,
            "lerobot": {"version": dataset.version, "episode_index": entry.number},
        }
        if len(prompts) > 1:
            found["lerobot"]["prompts"] = [list(prompt) for prompt in prompts]
        if origin := _origin(dataset, entry):
            found["origin"] = origin
            # Its other captions hold as long as nobody has given it another task.
            known = [text for text in origin.get("captions") or () if isinstance(text, str)]
            if captions and captions[0] in known:
                captions = [*known, *(text for text in captions if text not in known)]
            found |= {"behaviour": origin["behaviour"]} if origin.get("behaviour") else {}
        return found | ({"captions": captions} if captions else {})


def _origin(dataset: LeRobotSet, entry: Entry) -> dict[str, Any]:
    """The metadata of the episode that was exported; {} where the dataset was changed since, or is of others."""
    metadata = _row(dataset, entry).get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _row(dataset: LeRobotSet, entry: Entry) -> dict[str, Any]:
    """What was noted at the export of an episode; {} where the dataset was changed since, or is of others."""
    row = dataset.own.get(entry.number, {})
    return row if row.get("length") == entry.length else {}


def _name(tree: Tree, dataset: LeRobotSet, entry: Entry) -> str:
    """The name of the episode that was exported, else the dataset's and its number."""
    name = _row(dataset, entry).get("name")
    if isinstance(name, str) and Path(name).name == name:
        return name
    number = _NAME.format(entry.number)
    return number if dataset.root == tree.root else f"{tree.name_of(dataset.root)}_{number}"
