"""Goal embeddings for a whole dataset folder, resumable.

In: episode folders. Out: `embeds_attn.npy` in each, and in its metadata which weights made it. An episode that has both
is whole and is skipped; one that cannot be read is named and left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import read_json, write_json
from steve1.data.episode import Episode, find_episodes, write_goals
from steve1.mineclip.model import MineCLIP

PROVENANCE = "mineclip"  # the key of an episode's metadata that says which weights made its goals
_log = logging.getLogger(__name__)


@dataclass
class EmbedReport:
    """What happened to each episode of a run."""

    embedded: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[Path, UserError] = field(default_factory=dict)
    frames: int = 0


@dataclass(frozen=True)
class _Plan:
    work: list[Episode]
    skipped: list[Path]
    failed: dict[Path, UserError]


def plan(dataset: Path, weights_hash: str, overwrite: bool) -> _Plan:
    """Which episodes need work, before anything long starts.

    Raises:
        UserError: no episodes at all, or goals of other weights are there and `overwrite` was not asked for.
    """
    paths = find_episodes(dataset)
    if not paths:
        raise UserError(
            "no episodes in this folder",
            where=dataset,
            todo="python tools/convert_recordings.py --input_dir <recordings> --output_dir " + str(dataset),
        )
    work: list[Episode] = []
    skipped: list[Path] = []
    foreign: list[Path] = []
    failed: dict[Path, UserError] = {}
    for path in paths:
        try:
            episode = Episode(path)
            state = "none" if overwrite else _state(episode, weights_hash)
        except UserError as error:
            failed[path] = error
            continue
        if state == "none":
            work.append(episode)
        else:
            (skipped if state == "whole" else foreign).append(path)
    if foreign:
        raise UserError(
            "episodes here have goals of other MineCLIP weights; a dataset must be of one kind",
            where=f"{foreign[0]} and {len(foreign) - 1} more" if len(foreign) > 1 else foreign[0],
            expected=f"sha256 {weights_hash[:12]}…",
            got=f"sha256 {str(_provenance(foreign[0]).get('sha256', 'unknown'))[:12]}…",
            todo="name those weights with --weights, or embed anew with --overwrite",
        )
    return _Plan(work, skipped, failed)


def _provenance(path: Path) -> dict[str, Any]:
    file = path / "metadata.json"
    found = read_json(file).get(PROVENANCE) if file.is_file() else None
    return found if isinstance(found, dict) else {}


def _state(episode: Episode, weights_hash: str) -> str:
    """ "none" (to be embedded), "whole" (these weights, or goals that came with the episode), or "foreign"."""
    if not episode.has_goals:
        return "none"
    _ = episode.goals  # raises when they do not fit the frames
    made_with = _provenance(episode.path).get("sha256")
    # The note is written before the goals, so goals without one came with the episode and are its own.
    return "whole" if made_with in (None, weights_hash) else "foreign"


def embed_dataset(
    todo: _Plan,
    model: MineCLIP,
    provenance: dict[str, Any],
    *,
    batch: int = 32,
    half: bool = False,
    on_frames: Callable[[Path, int], None] = lambda _path, _n: None,
) -> EmbedReport:
    """Embed the planned episodes one by one.

    Args:
        todo: what `plan` found.
        model: on its device, in evaluation mode.
        provenance: what the metadata will say of the weights; must hold "sha256".
        batch: frames in the vision tower at a time; memory follows it, not the episode's length.
        half: store float16 instead of float32.
        on_frames: called with the episode and the number of frames just embedded.

    Returns:
        What was done; a failing episode is in `failed` and does not stop the others.
    """
    report = EmbedReport(skipped=list(todo.skipped), failed=dict(todo.failed))
    for episode in todo.work:
        try:
            embeds = np.concatenate(list(_counted(episode, model, batch, on_frames)))
            _replace_goals(episode, embeds.astype(np.float16) if half else embeds, provenance)
        except UserError as error:
            report.failed[episode.path] = error
            continue
        report.embedded.append(episode.path)
        report.frames += len(episode)
    return report


def _counted(
    episode: Episode, model: MineCLIP, batch: int, on_frames: Callable[[Path, int], None]
) -> Iterator[NDArray[np.float32]]:
    """The embeddings of an episode piece by piece, each announced."""
    for piece in model.embed_stream(episode.mineclip_frames(), batch):
        on_frames(episode.path, len(piece))
        yield piece


def _replace_goals(episode: Episode, embeds: NDArray[np.floating[Any]], provenance: dict[str, Any]) -> None:
    """Write goals and, in the metadata, which weights made them from which frames.

    Old goals go first, then the note, then the new goals: wherever it is cut off, goals and note never contradict.
    """
    (episode.path / "embeds_attn.npy").unlink(missing_ok=True)
    source = "frames_mineclip" if episode.keeps_mineclip_frames else "enlarged 128x128 frames"
    file = episode.path / "metadata.json"
    metadata = read_json(file) if file.is_file() else {}
    write_json(file, {**metadata, PROVENANCE: {**provenance, "dtype": str(embeds.dtype), "frames": source}})
    write_goals(episode.path, embeds)
