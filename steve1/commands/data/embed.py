"""Goal embeddings for a dataset folder: `python tools/generate_mineclip_embeds.py --dataset_dir data/dataset_x/`.

Input: episodes and MineCLIP weights. Output: `embeds_attn.npy` in every episode. The same command again continues a stopped run.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steve1.core.files import remove_half_written
from steve1.core.messages import message, progress, say_next, some, translated
from steve1.core.paths import display, resolve
from steve1.data.episodes.episode import find_episodes
from steve1.data.episodes.formats.replay import refuse_pack
from steve1.data.episodes.listing import sampling_arguments
from steve1.data.recordings.shards import alone_in, parse_shard
from steve1.mineclip.embed import EmbedReport, EmbedSettings, embed_group, embed_on_ray, sweep


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(EmbedSettings):
    """Make MineCLIP goal embeddings for every episode of a folder."""

    dataset_dir: str
    """Folder of episodes, such as data/dataset_buildhouse/."""
    shard: str = ""
    """Process only part i of n (i/n), to split the work over machines or GPUs."""
    ray: bool = False
    """Embed on a Ray cluster (RAY_ADDRESS, or one on this machine), with one GPU per task if there are any."""


def main(args: Args, names: Sequence[str] | None = None, *, hint: bool = True) -> int:
    """Plan, embed, report; 1 when an episode failed.

    Args:
        args: the command line.
        names: exactly these episodes, whatever `args.shard` says; None: the folder's, or the shard's of them.
        hint: print the command to run next.
    """
    shard = parse_shard(args.shard)
    dataset = resolve(args.dataset_dir)
    refuse_pack(dataset)
    names = shard.of([path.name for path in find_episodes(dataset)]) if names is None else names
    start = time.perf_counter()
    with alone_in(dataset, shard, "embed"):
        for name in names:
            remove_half_written(dataset / name)
        if args.ray:
            report = EmbedReport()
            with progress(total=len(names), desc=message("bar embedding"), unit="episode") as bar:
                for part in embed_on_ray(dataset, names, args):
                    report.add(part)
                    bar.update(len(part.embedded) + len(part.skipped) + len(part.failed))
        else:
            report = _here(dataset, names, args)
        if shard.whole and not report.failed:
            sweep(dataset)
    if report.enlarged:
        small = f"{len(report.enlarged)} episodes keep no frames for MineCLIP"
        print(translated(f"warning: {small}; their 128x128 frames were enlarged (see their metadata)"))
    for how, episodes in report.differing.items():
        print(translated(f"  note     {some(episodes)}: embedded with {how}; to embed them anew: --overwrite"))
    for path, error in sorted(report.failed.items()):
        print(translated(f"skipped {display(path)}: {error}"))
    rate = translated(f", {report.frames / (time.perf_counter() - start):.0f} frames/s") if report.frames else ""
    counts = {"episodes": len(report.embedded), "done": len(report.skipped), "failed": len(report.failed)}
    print(message("embedded", **counts, frames=f"{report.frames:,}", rate=rate))
    if hint and (report.embedded or report.skipped):
        say_next(f"bash 2_create_sampling.sh {sampling_arguments(dataset)}".rstrip())
    return 1 if report.failed else 0


def _here(dataset: Path, names: Sequence[str], settings: EmbedSettings) -> EmbedReport:
    """On this machine, with a bar."""
    bar: Any = None

    def begin(todo: Any, model: Any) -> None:
        nonlocal bar
        total = sum(len(episode) for episode in todo.work)
        counts = {"episodes": len(todo.work), "frames": f"{total:,}", "done": len(todo.skipped)}
        precision = "bf16" if model.autocast else "fp32"
        print(message("embedding", **counts, device=model.device, precision=precision, size=model.embed_dim))
        bar = progress(total=total, desc=message("bar embedding"), unit="frame")

    def count(path: Path, frames: int) -> None:
        bar.set_postfix_str(path.name, refresh=False)
        bar.update(frames)

    try:
        return embed_group(dataset, names, settings, begin, count)
    finally:
        if bar is not None:
            bar.close()
