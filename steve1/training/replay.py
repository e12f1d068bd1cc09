"""Replay: old episodes mixed into training, so that old skills are kept (the settings keep, replay, replay_share).

Input: a sampling, or a replay pack (steve1/data/episodes/formats/replay.py). Output: entries for training, and for retention validation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from steve1.core.checkpoint_metadata import REPLAY_SUFFIX
from steve1.core.errors import UserError
from steve1.core.paths import display, resolve
from steve1.core.seeds import generator
from steve1.data.episodes.formats.replay import open_pack, pack_of
from steve1.data.loading.sampling import ListEntry, read_list
from steve1.training.config import TrainSettings
from steve1.training.finetune_modes import modes_that


def replay_entries(settings: TrainSettings) -> tuple[list[ListEntry], list[ListEntry]]:
    """Old episodes to train on, and others for retention validation; both empty without replay.

    A sampling has its two lists. Of a pack every tenth episode is kept for validation, whatever the seed.
    """
    source = settings.replay_source
    if not source:
        return [], []
    if not source.endswith(REPLAY_SUFFIX):
        lists = [resolve(Path(settings.sampling_dir) / f"{source}_{part}.txt") for part in ("train", "val")]
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


def refuse_packs(settings: TrainSettings, paths: Sequence[Path]) -> None:
    """UserError where episodes of a replay pack would be trained on without their features."""
    packs = [pack for pack in map(pack_of, paths) if pack is not None]
    if not packs:
        return
    if settings.mode.trains_cnn:
        raise UserError(
            "A replay pack holds features of a frozen CNN, and this fine-tuning mode trains the CNN.",
            where=display(packs[0]),
            got=f"finetune_mode {settings.finetune_mode}",
            todo=f"FINETUNE_MODE={modes_that('keep_cnn')} with --feature_cache; or REPLAY=<a sampling of episodes with pictures>",
        )
    if not settings.feature_cache:
        raise UserError(
            "A replay pack holds features and no pictures, so the other episodes have to be read as features too.",
            where=display(packs[0]),
            todo="add --feature_cache",
        )
