"""Replay: old episodes mixed into training, so that old skills are kept (the settings keep, replay, replay_share).

Input: a sampling, or a replay pack (steve1/data/episodes/formats/replay.py). Output: entries for training, and for retention validation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from steve1.core.checkpoint_metadata import REPLAY_SUFFIX
from steve1.core.paths import display, resolve
from steve1.core.seeds import generator
from steve1.data.episodes.formats.replay import open_pack
from steve1.data.loading.lists import ListEntry, read_list


def replay_entries(source: str, sampling_dir: str) -> tuple[list[ListEntry], list[ListEntry]]:
    """Old episodes to train on, and others for retention validation; both empty where `source` is "".

    A sampling has its two lists. Of a pack every tenth episode is kept for validation, whatever the seed.
    """
    if not source:
        return [], []
    if not source.endswith(REPLAY_SUFFIX):
        lists = [resolve(Path(sampling_dir) / f"{source}_{part}.txt") for part in ("train", "val")]
        found = [read_list(lists[0]), read_list(lists[1]) if lists[1].is_file() else []]
    else:
        order = sorted(open_pack(resolve(source)).paths(), key=lambda path: generator(0, "replay", path.name).random())
        kept = len(order) // 10
        found = [[ListEntry(path, source=display(source)) for path in part] for part in (order[kept:], order[:kept])]
    return [dataclasses.replace(entry, replay=True) for entry in found[0]], found[1]


def with_replay(entries: Sequence[ListEntry], old: Sequence[ListEntry], share: float) -> list[ListEntry]:
    """One list in which the old episodes have this share of the windows, and the others the rest in their own proportions."""
    if not old:
        return list(entries)
    scaled: list[ListEntry] = []
    first = 0
    for part, whole in ((entries, 1 - share), (old, share)):
        weights = {entry.section: 1.0 if entry.weight is None else entry.weight for entry in part}
        total = sum(weights.values())
        for entry in part:
            weight = whole * weights[entry.section] / total
            scaled.append(dataclasses.replace(entry, weight=weight, section=first + entry.section))
        first += max(weights) + 1
    return scaled
