"""The recording layouts. A new one is one file beside this one and one entry here."""

from __future__ import annotations

import os

from steve1.core.errors import UserError
from steve1.core.paths import resolve
from steve1.data.episodes.parts import name_fault
from steve1.data.recordings.contractor import ContractorRecording
from steve1.data.recordings.episode_folder import EpisodeFolder
from steve1.data.recordings.recording import Found, Recording, Tree
from steve1.data.recordings.stores.lerobot import LeRobotEpisode
from steve1.data.recordings.stores.minestudio import MineStudioEpisode
from steve1.data.recordings.stores.owamcap import OwaRecording

#: the first layout that recognizes a file gets it; stores come first, since they hold videos of other layouts' names
LAYOUTS: tuple[type[Recording], ...] = (
    LeRobotEpisode,
    MineStudioEpisode,
    OwaRecording,
    EpisodeFolder,
    ContractorRecording,
)


def find_recordings(folder: str | os.PathLike[str]) -> Found:
    """Recordings anywhere below `folder` (linked folders too), and what cannot be one, with the reason; both sorted.

    Raises:
        UserError: no such folder, or nothing recorded in it.
    """
    root = resolve(folder)
    if not root.is_dir():
        raise UserError("This folder of recordings does not exist.", where=root)
    tree = Tree(root)
    first: dict[str, Recording] = {}
    lonely = list(tree.odd)
    for layout in LAYOUTS:
        found, incomplete = layout.find(tree)
        lonely += incomplete
        for recording in found:
            if fault := name_fault(recording.name):
                lonely.append((recording.video, fault))
                continue
            other = first.setdefault(recording.name, recording)
            if other is not recording:
                why = f"it would become the same episode as {other.video}: rename one of them"
                if not recording.video.exists():  # an episode of a dataset is no file
                    why = f"it would become the same episode as {other.video}: convert each dataset into an output folder of its own"
                lonely.append((recording.video, why))
    if not first and not lonely:
        expected = "recordings (name.mp4 with name.jsonl, or name.mcap with its video), folders with frames/ and actions.jsonl, a LeRobot dataset (meta/info.json) or a MineStudio store (image/ and action/)"
        raise UserError("There is nothing to convert.", where=root, expected=expected)
    return list(first.values()), sorted(lonely)
