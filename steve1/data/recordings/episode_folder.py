"""Episode folders of other programs (the guide's or STEVE-1's format) as recordings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.formats.registry import format_of
from steve1.data.episodes.parts import ACTIONS, ACTIONS_PICKLE, METADATA, PACK, events_of, game_of, unknown_buttons
from steve1.data.media.video import FPS
from steve1.data.recordings.recording import (
    Found,
    Pictures,
    Recording,
    Ticks,
    Timing,
    Tree,
    actions_of,
    file_digests,
    picked,
    whole_degrees,
)

#: what its metadata says and holds for the episode that it becomes too; where its goals come from is dropped with them
_KEPT = {"behaviour": str, "captions": list, "mineclip": dict}


@dataclass(frozen=True)
class EpisodeFolder(Recording):
    """A folder of frames and actions."""

    kind = "episode"

    @classmethod
    def find(cls, tree: Tree) -> Found:
        folders = set(tree.folders)
        found: list[Recording] = []
        lonely: list[tuple[Path, str]] = []
        own: set[Path] = set()
        for path in sorted(folders):
            kind = format_of(path)
            if kind is None:
                continue
            marker = path / kind.marker
            if (path / PACK).exists() or (path / kind.actions_file).exists() or not marker.exists():
                own |= {path / name for name in kind.files}
                # Native episodes need no conversion; an output folder may lie inside the input folder.
                found += [] if (path / PACK).exists() else [cls(tree.name_of(path), path)]
            elif marker.is_dir() or not actions_of(marker).exists():  # else it is a recording called "frames"
                own.add(marker)
                lonely.append((path, f"it has {kind.marker} without {kind.actions_file}, so it is not an episode"))
        tree.files = [path for path in tree.files if path not in own]
        return found, lonely

    @property
    def episode(self) -> Episode:
        return Episode(self.video)

    def read_ticks(self, camera_rounding: str = "float", *, esc_as_inventory: bool = False) -> Ticks:
        episode = self.episode
        tokens = episode.tokens()  # raises unless there is one action per frame
        actions = episode.actions()
        if camera_rounding == "legacy_int":
            whole_degrees(actions)
            tokens = act.to_joint(actions)
        keep = ~act.is_null(*tokens)
        notes = [note] if (note := unknown_buttons(actions)) else []
        pointer, rows = np.full((len(actions), 2), np.nan), np.arange(len(actions))
        events = events_of(episode.metadata)
        return Ticks(actions, keep, pointer, notes, rows, imitated=episode.imitated, events=events)

    @property
    def timing(self) -> Timing:
        return Timing.even(float(FPS), len(self.episode))

    def frames(self, numbers: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        return map(np.copy, picked(self.episode.source_frames(), numbers))

    @property
    def warnings(self) -> list[str]:
        return Pictures(*self.episode.format.picture_size).notes

    @property
    def expected_frames(self) -> int:
        return len(self.episode)

    @property
    def game(self) -> str:
        file = self.video / METADATA
        with contextlib.suppress(UserError):  # conversion names what is damaged
            return game_of(read_json(file)) if file.exists() else ""
        return ""

    def digests(self) -> Iterator[tuple[str, str]]:
        return file_digests(self.video / name for name in (ACTIONS, ACTIONS_PICKLE))

    def facts(self) -> dict[str, Any]:
        known = self.episode.metadata
        kept = {key: known[key] for key, kind in _KEPT.items() if isinstance(known.get(key), kind)}
        return kept | ({"origin": known} if known else {})
