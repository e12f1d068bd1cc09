"""Command: write a replay pack, old episodes in one small file that training mixes in (`python -m steve1 make_replay`).

Stopped or killed, the same command goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from steve1.core.checkpoint_metadata import REPLAY_SUFFIX, read_checkpoint_metadata
from steve1.core.device import choose_device, choose_precision
from steve1.core.errors import UserError
from steve1.core.files import check_writable
from steve1.core.messages import message, progress, say_next, translated
from steve1.core.paths import display, output_path, quoted, resolve
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.data.episodes.formats.replay import write_pack
from steve1.data.episodes.parts import check_goal_size
from steve1.data.loading.lists import read_list
from steve1.policy import load_policy
from steve1.training.cache import FeatureCache, fill_loudly
from steve1.training.config import TrainSettings


@dataclass(frozen=True)
class Args:
    """Write a replay pack: a frozen CNN's features, actions and goals of old episodes, about 0.6 KB a frame for the mini weights and 1.5 KB for STEVE-1's."""

    output: str
    """Path of the pack; must end in .replay.safetensors."""
    dataset_dir: list[Path] = field(default_factory=list)
    """Folders of embedded episodes; default: the training list of --sampling_name."""
    sampling_name: str = TrainSettings.sampling_name
    """Sampling: <sampling_dir>/<name>_train.txt."""
    sampling_dir: str = TrainSettings.sampling_dir
    """Folder of the sampling lists."""
    in_model: str = TrainSettings.in_model
    """The network's .model file."""
    in_weights: str = TrainSettings.in_weights
    """Weights whose CNN computes the features; the pack fits every fine-tuning run that starts from this CNN and freezes it."""
    cache_dir: str = TrainSettings.cache_dir
    """Folder of the feature caches; existing features are reused."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Precision of the convolutions."""
    device: str = TrainSettings.device
    """Device: auto, cpu, cuda, cuda:N or mps."""
    overwrite: bool = False
    """Replace an existing pack."""


def main(args: Args) -> None:
    """Compute the features that are missing, and write the pack."""
    output = output_path(args.output)
    if not output.name.endswith(REPLAY_SUFFIX):
        raise UserError(
            "This name does not have a replay pack's ending.", expected=f"…{REPLAY_SUFFIX}", got=output.name
        )
    if output.exists() and not args.overwrite:
        raise UserError(
            "This replay pack exists already.", where=display(output), todo="another --output, or --overwrite"
        )
    check_writable(output)
    listed = resolve(Path(args.sampling_dir) / f"{args.sampling_name}_train.txt")
    folders = [resolve(folder) for folder in args.dataset_dir]
    found = [path for folder in folders for path in find_episodes(folder)]
    episodes = found if folders else [entry.path for entry in read_list(listed)]
    if not episodes:
        raise UserError(
            "These folders contain no episodes.", where=display(folders[0]), todo="bash 1_generate_dataset.sh"
        )
    contents = contents_of(episodes)  # before features are computed, which takes long
    device = choose_device(args.device)
    precision = choose_precision(args.precision, device)
    weights = resolve(args.in_weights)
    policy = load_policy(resolve(args.in_model), weights, device=device).requires_grad_(False)
    cache = FeatureCache(output_path(args.cache_dir), policy, precision=precision)
    fill_loudly(cache, episodes)
    facts = {
        "cnn_sha256": cache.weights_hash,
        "precision": str(precision).removeprefix("torch."),
        "weights": weights.name,
        "mineclip": read_checkpoint_metadata(weights).mineclip,
        **({"mineclip_sha256": contents.mineclip_sha256} if contents.mineclip_sha256 else {}),
    }
    with progress(desc=message("bar replay pack"), unit="frame") as bar:
        frames = make_pack(output, contents, cache, facts, bar.update)
    size = output.stat().st_size
    print(
        translated(
            f"{display(output)}: {len(episodes)} episodes, {frames:,} frames, {size / 1e6:.1f} MB ({size / frames:.0f} bytes a frame)"
        )
    )
    start = {"IN_MODEL": (args.in_model, Args.in_model), "IN_WEIGHTS": (args.in_weights, Args.in_weights)}
    others = [f"{name}={quoted(resolve(file))}" for name, (file, default) in start.items() if file != default]
    variables = ["FINETUNE_MODE=frozen_cnn", f"REPLAY={quoted(output)}", *others]
    say_next(f"{' '.join(variables)} bash 3_train_finetune_template.sh --feature_cache")


@dataclass(frozen=True)
class Contents:
    """What is known of a pack before its features are computed."""

    episodes: Sequence[Path]
    names: Sequence[tuple[str, int]]
    """(dataset/episode, frames) of each episode."""
    behaviours: Mapping[str, str]
    """What each name shows, "" where the episode does not say."""
    goals: np.dtype[Any]
    """The type that holds all goals: float16 where all are that, else float32."""
    mineclip_sha256: str = ""
    """SHA-256 of the MineCLIP that made the goals; "" where no episode names one."""


def contents_of(episodes: Sequence[Path]) -> Contents:
    """Look at the episodes, one at a time: each keeps files open.

    Raises:
        UserError: two of one name, one without goals, or goals of another size or another MineCLIP than those before.
    """
    names: list[tuple[str, int]] = []
    behaviours: dict[str, str] = {}
    size = 0
    goals: np.dtype[Any] = np.dtype(np.float16)
    made_by = ""
    for episode in map(Episode, episodes):
        found = episode.goals
        check_goal_size(size, found.shape[1], episode.path)
        size = found.shape[1]
        if made_by and episode.mineclip_sha256 not in ("", made_by):
            raise UserError(
                "Episodes of one pack have goals of different MineCLIPs.",
                where=episode.path,
                expected=f"sha256 {made_by[:12]}…, as in the ones before",
                got=f"{episode.mineclip_sha256[:12]}…",
                todo="embed all of them with one MineCLIP",
            )
        made_by = made_by or episode.mineclip_sha256
        if found.dtype != goals:
            goals = np.dtype(np.float32)
        name = f"{episode.path.parent.name}/{episode.path.name}"
        if name in behaviours:
            raise UserError(
                "Two episodes would have the same name in the pack.", got=name, todo="rename a dataset folder"
            )
        names.append((name, len(episode)))
        behaviours[name] = str(episode.metadata.get("behaviour") or "")
    return Contents(episodes, names, behaviours, goals, made_by)


def make_pack(
    path: Path, contents: Contents, cache: FeatureCache, facts: dict[str, str], on_frames: Callable[[int], Any]
) -> int:
    """Write the episodes, whose features are in the cache, to a pack; returns its frames.

    Raises:
        UserError: a goal that is not finite, or features that are too large for float16.
    """

    def rows() -> Iterator[tuple[Any, ...]]:
        for episode in map(Episode, contents.episodes):
            episode.check_goals()
            features = np.asarray(cache.rows_of(episode.path), dtype=np.float32)
            if not np.abs(features).max(initial=0) <= np.finfo(np.float16).max:  # too large, or no numbers
                raise UserError(
                    "These features are too large for a replay pack.", where=episode.path, expected="float16"
                )
            buttons, camera = episode.tokens()
            imitated = np.ones(len(episode), np.bool_) if episode.imitated is None else episode.imitated
            yield (
                features.astype(np.float16),
                episode.goals.astype(contents.goals),
                buttons.astype(np.int16),
                camera.astype(np.uint8),
                imitated,
            )
            on_frames(len(episode))

    write_pack(path, contents.names, rows(), {**facts, "behaviours": json.dumps(contents.behaviours)})
    return sum(frames for _, frames in contents.names)
