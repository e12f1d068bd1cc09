"""Goal embeddings for a whole dataset folder, resumable.

Input: episode folders. Output: `embeds_attn.npy` in each, and in its metadata which weights made it. An episode that has both
is complete and is skipped; one that cannot be read is named and left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from steve1.core.device import choose_device, choose_precision
from steve1.core.errors import UserError
from steve1.core.files import existing_file, read_json, remove, sha256_file, write_json
from steve1.core.paths import display, quoted, resolve
from steve1.core.tuning import spread
from steve1.data.episodes.episode import Episode, find_episodes, write_goals
from steve1.data.episodes.parts import GOALS, GOALS_PICKLE
from steve1.data.recordings.shards import cluster_resources, ray_results
from steve1.mineclip.model import MineCLIP
from steve1.mineclip.pipeline import PARTS, embed_episodes
from steve1.mineclip.weights import load_mineclip

# The key of an episode's metadata that says which weights made its goals.
PROVENANCE = "mineclip"
# Episodes of one Ray task: enough to make up for loading the weights, few enough to spread.
_GROUP = 8
PLAIN_BATCH = 32


@dataclass(frozen=True)
class EmbedSettings:
    """How a dataset is embedded; travels to other machines."""

    weights: str = "data/weights/mineclip/attn.pth"
    """MineCLIP weights: attn.pth, or one of this project's .safetensors (mini: data/mini/mini_mineclip.safetensors)."""
    config: str = "attn"
    """The network's sizes: "attn" (published) or a JSON file; this project's .safetensors contain them."""
    batch: int | Literal["auto"] = "auto"
    """Frames per batch; 256 suits a large GPU. auto: 32, on a CPU chosen by measuring, with the number of threads."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:N or mps."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """fp32, or bf16: faster, embeddings differ by about 1 %. auto: bf16 on CUDA cards that have it."""
    half: bool = False
    """Store float16 instead of float32."""
    overwrite: bool = False
    """Replace existing embeddings."""

    def __post_init__(self) -> None:
        if self.batch != "auto" and self.batch < 1:
            raise UserError("--batch must be at least 1", got=self.batch)

    def weights_file(self) -> Path:
        """Where the weights are; UserError where they are missing."""
        return existing_file(
            self.weights,
            "The MineCLIP weights",
            "name others with --weights (mini: data/mini/mini_mineclip.safetensors)",
        )


@dataclass
class EmbedReport:
    """What happened to each episode of a run; `frames` were embedded in it, `enlarged` episodes had only small ones."""

    embedded: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[Path, UserError] = field(default_factory=dict)
    frames: int = 0
    enlarged: list[Path] = field(default_factory=list)
    differing: dict[str, list[str]] = field(
        default_factory=dict
    )  #: how earlier goals were made otherwise → their episodes

    def add(self, other: EmbedReport) -> None:
        """Take in what another machine did."""
        self.embedded += other.embedded
        self.skipped += other.skipped
        self.failed |= other.failed
        self.frames += other.frames
        self.enlarged += other.enlarged
        for how, names in other.differing.items():
            self.differing.setdefault(how, []).extend(names)


@dataclass(frozen=True)
class _Plan:
    work: list[Episode]
    skipped: list[Path]
    failed: dict[Path, UserError]


def plan(dataset: Path, sha256: str, overwrite: bool, names: Collection[str] | None = None) -> _Plan:
    """Which episodes need work, before anything long starts; of those in `names` only, where given.

    Raises:
        UserError: no episodes at all, or goals of other weights are there and `overwrite` was not asked for.
    """
    paths = find_episodes(dataset)
    if not paths:
        raise UserError(
            "There are no episodes in this folder.",
            where=dataset,
            todo=f"python tools/convert_recordings.py --input_dir <recordings> --output_dir {quoted(dataset)}",
        )
    found = _Plan([], [], {})
    for path in paths:
        if names is not None and path.name not in names:
            continue
        try:
            episode = Episode(path)
            if overwrite or not episode.has_goals:
                found.work.append(episode)
                continue
            _ = episode.goals  # raises when they do not fit the frames
        except UserError as error:
            found.failed[path] = error
            continue
        # Provenance is written before the goals, so goals without it came with the episode and are its own.
        made_by = (episode.metadata.get(PROVENANCE) or {}).get("sha256", sha256)
        if made_by != sha256:
            raise UserError(
                "This episode has goals of other MineCLIP weights; a dataset must be of one kind.",
                where=path,
                expected=f"sha256 {sha256[:12]}…",
                got=f"sha256 {str(made_by)[:12]}…",
                todo="name those weights with --weights, or embed anew with --overwrite",
            )
        found.skipped.append(path)
    return found


@lru_cache(maxsize=1)
def _loaded(weights: Path, config: str, device: str, precision: str, _changed: int) -> tuple[MineCLIP, str]:
    """The model on its device, and the hash of its weights; kept for the next group of episodes."""
    model = load_mineclip(weights, config if config == "attn" else resolve(config), device=choose_device(device))
    model.autocast = choose_precision(precision, model.device, bf16_on_cpu=False) == torch.bfloat16
    return model, sha256_file(weights)


def embed_group(
    dataset: Path,
    names: Sequence[str],
    settings: EmbedSettings,
    on_start: Callable[[_Plan, MineCLIP], None] = lambda _plan, _model: None,
    on_frames: Callable[[Path, int], None] = lambda _path, _n: None,
) -> EmbedReport:
    """Embed some episodes of a dataset: the work of one machine.

    Args:
        dataset: the folder.
        names: of its episodes.
        settings: how.
        on_start: called with what there is to do, before it begins.
        on_frames: called with the episode and the number of frames just embedded.

    Returns:
        What was done; a failing episode is in `failed` and does not stop the others.
    """
    weights = settings.weights_file()
    changed = weights.stat().st_mtime_ns
    model, digest = _loaded(weights, settings.config, settings.device, settings.precision, changed)
    todo = plan(dataset, digest, settings.overwrite, set(names))
    on_start(todo, model)
    provenance = {
        "weights": display(weights), "sha256": digest, "embed_dim": model.embed_dim, "bf16": model.autocast,
    }  # fmt: skip
    report = EmbedReport(skipped=list(todo.skipped), failed=dict(todo.failed))
    report.enlarged = [episode.path for episode in todo.work if not episode.keeps_mineclip_frames]
    wanted = {"bf16": model.autocast, "dtype": "float16" if settings.half else "float32"}
    for path in todo.skipped:
        known = Episode(path).metadata.get(PROVENANCE) or {}
        how = ", ".join(
            f"{name} {known[name]} (now {now})" for name, now in wanted.items() if known.get(name, now) != now
        )
        if how:
            report.differing.setdefault(how, []).append(path.name)
    like = {"sha256": digest, "bf16": model.autocast}
    total = sum(len(episode) for episode in todo.work)
    with _batch(settings, model, total) as batch:
        for part in embed_episodes(todo.work, model, batch=batch, like=like, on_frames=on_frames):
            path = part.episode.path
            if part.fault is not None:
                report.failed[path] = part.fault
                continue
            _replace_goals(part.episode, part.rows.astype(np.float16) if settings.half else part.rows, provenance)
            report.embedded.append(path)
            report.frames += part.embedded
    return report


def _batch(settings: EmbedSettings, model: MineCLIP, total: int) -> AbstractContextManager[int]:
    """Frames per batch, and with "auto" on a CPU the threads, for as many frames as there are to embed."""
    if settings.batch != "auto":
        return nullcontext(settings.batch)
    frames = np.zeros((2 * PLAIN_BATCH, *model.config.resolution, 3), np.uint8)

    def piece(batch: int) -> float:
        model.embed_successive([frames[:batch]], [torch.zeros(0, model.embed_dim)])
        return batch

    sizes = (
        f"{model.config.vision_layers} layers of {model.config.vision_width}, {model.config.tokens_per_frame} tokens"
    )
    about = {"work": "embedding", "bf16": model.autocast, "network": sizes}
    return spread(about, model.device, PLAIN_BATCH, 2 * PLAIN_BATCH, total, piece)


def embed_on_ray(dataset: Path, names: Sequence[str], settings: EmbedSettings) -> Iterator[EmbedReport]:
    """The same as tasks of a Ray cluster, a few episodes each; reports as they come."""
    plan(
        dataset, sha256_file(settings.weights_file()), settings.overwrite, set(names)
    )  # refuses what all tasks would refuse
    groups = [list(names[start : start + _GROUP]) for start in range(0, len(names), _GROUP)]
    calls = [(dataset.absolute(), group, settings) for group in groups]
    on_gpu = settings.device.startswith("cuda") or (settings.device == "auto" and cluster_resources().get("GPU", 0) > 0)
    for number, result in ray_results(embed_group, calls, gpus=1.0 if on_gpu else 0.0):
        if isinstance(result, Exception):
            fault = result if isinstance(result, UserError) else UserError("Its task failed.", got=result)
            yield EmbedReport(failed={dataset / name: fault for name in groups[number]})
        else:
            yield result


def sweep(dataset: Path) -> None:
    """Remove what is left of cut-off runs, once every episode is whole."""
    remove(dataset / PARTS, ours=re.compile(re.escape(PARTS)))


def _replace_goals(episode: Episode, embeds: NDArray[np.floating[Any]], provenance: dict[str, Any]) -> None:
    """Write goals and, in the metadata, which weights made them from which frames.

    Old goals go first, then the note, then the new goals: wherever it is cut off, goals and note never contradict.
    """
    for name in (GOALS, GOALS_PICKLE):
        remove(episode.path / name, asked=True)  # only --overwrite comes here where there are any
    source = "frames_mineclip" if episode.keeps_mineclip_frames else "enlarged 128x128 frames"
    file = episode.path / "metadata.json"
    metadata = read_json(file) if file.is_file() else {}
    write_json(file, {**metadata, PROVENANCE: {**provenance, "dtype": str(embeds.dtype), "frames": source}})
    write_goals(episode.path, embeds)
