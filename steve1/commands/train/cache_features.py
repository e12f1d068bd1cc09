"""Command: compute a frozen CNN's features of all frames of episodes ahead of training (`python -m steve1 cache_features`).

Stopped or killed, the same command goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from steve1.core.device import choose_device, choose_precision
from steve1.core.errors import UserError
from steve1.core.files import check_writable
from steve1.core.messages import plural, translated
from steve1.core.paths import display, output_path, resolve
from steve1.data.episodes.episode import find_episodes
from steve1.data.loading.lists import read_list, sampling_command
from steve1.policy import load_policy
from steve1.training.cache import FeatureCache, fill_loudly
from steve1.training.config import TrainSettings


@dataclass(frozen=True)
class Args:
    """Compute a frozen CNN's features; all options but the folders as in training, so that training finds the cache."""

    dataset_dir: list[Path] = field(default_factory=list)
    """Folders of episodes; default: the two lists of --sampling_name."""
    sampling_name: str = TrainSettings.sampling_name
    """Sampling: <sampling_dir>/<name>_train.txt and _val.txt."""
    sampling_dir: str = TrainSettings.sampling_dir
    """Folder of the sampling lists."""
    in_model: str = TrainSettings.in_model
    """The network's .model file."""
    in_weights: str = TrainSettings.in_weights
    """Weights whose CNN computes the features."""
    cache_dtype: Literal["float16", "float32"] = TrainSettings.cache_dtype
    """Precision of the features: float16 (512 bytes per frame) or float32 (exact, 1,024 bytes)."""
    cache_dir: str = TrainSettings.cache_dir
    """Folder of the caches."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Precision that training will use; each has its own cache."""
    device: str = TrainSettings.device
    """Device: auto, cpu, cuda, cuda:N or mps."""
    dry_run: bool = False
    """Print what would be computed and how much disk it takes, and stop."""


def main(args: Args) -> None:
    """Compute what is missing, and print the cache's folder."""
    check_writable(output_path(args.cache_dir))
    device = choose_device(args.device)
    precision = choose_precision(args.precision, device)
    policy = load_policy(resolve(args.in_model), resolve(args.in_weights), device=device).requires_grad_(False)
    cache = FeatureCache(output_path(args.cache_dir), policy, precision=precision, dtype=args.cache_dtype)
    lists = [resolve(Path(args.sampling_dir) / f"{args.sampling_name}_{kind}.txt") for kind in ("train", "val")]
    if args.dataset_dir:
        episodes = [path for folder in args.dataset_dir for path in find_episodes(resolve(folder))]
    elif lists[0].is_file():
        episodes = [entry.path for path in lists if path.is_file() for entry in read_list(path)]
    else:
        todo = f"{sampling_command(args.sampling_name)}, or give --dataset_dir"
        raise UserError("There is no such sampling.", where=display(lists[0]), todo=todo)
    if args.dry_run:
        need = cache.need(episodes)
        print(
            translated(
                f"{len(need.episodes)} of {plural(len(episodes), 'episode')} without features: {plural(need.frames, 'frame')}, {need.bytes / 1e9:.3g} GB"
            )
        )
        return
    need = fill_loudly(cache, episodes)
    made = f"{plural(need.frames, 'frame')} computed" if need.episodes else "nothing was missing"
    kind = str(precision).removeprefix("torch.")
    print(
        translated(
            f"{made}; {plural(len(episodes), 'episode')} in {display(cache.folder)} ({cache.dtype}, computed in {kind})"
        )
    )
