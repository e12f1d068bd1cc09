"""Command: videos without actions → labelled episodes.

Input: videos and an inverse dynamics model. Output: episodes and a report of how far the labels can be trusted; exit code 0, 1 if some
videos were rejected, 2 if nothing could be done.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import ClassVar

from steve1.core.errors import UserError
from steve1.core.files import check_writable
from steve1.core.messages import message, padded, say_next, translated
from steve1.core.paths import display, output_path, quoted
from steve1.data.recordings.shards import parse_shard
from steve1.envs import MINECRAFTS
from steve1.idm.labelling.folder import PAGE, LabelSummary, Machine, label_folder
from steve1.idm.labelling.settings import PUBLISHED_GAME, LabelSettings, game_of_weights


@dataclass(frozen=True, kw_only=True)
class Args(LabelSettings):
    """Flags of `tools/label_videos.py`."""

    videos_dir: str
    """Folder of videos, at any depth (mp4, mkv, webm, mov), or one video."""
    output_dir: str
    """Dataset folder; what is labelled already is kept."""
    device: str = "auto"
    """Device of the model: auto, cpu, cuda or mps."""
    workers: int = 1
    """Parallel processes; each loads the model."""
    shard: str = ""
    """Process only part i of n (i/n), to split the work over machines that share a disk."""
    ray: bool = False
    """Label on a Ray cluster (RAY_ADDRESS, or one on this machine), with one GPU per task if there are any."""
    overwrite: bool = False
    """Label again what was labelled with other settings; its earlier episodes are removed."""

    GROUPS: ClassVar = {"options": "videos_dir output_dir overwrite", "machine": "device workers shard ray"}


def main(args: Args) -> int:
    """Label, print the summary, return the exit code."""
    output = output_path(args.output_dir)
    check_writable(output)
    machine = Machine(args.device, workers(args.workers), parse_shard(args.shard), args.ray)
    game_of(args.idm_weights, args.env)
    summary = label_folder(args.videos_dir, output, args, machine, overwrite=args.overwrite)
    show(summary)
    if summary.idle:
        return 0
    if args.form == "recordings":
        say_next(f"python tools/convert_recordings.py --input_dir {quoted(output)} --output_dir …")
    else:
        say_next(f"python tools/generate_mineclip_embeds.py --dataset_dir {quoted(output)}")
    return 1 if summary.rejected or summary.left_out or summary.lost else 0


def game_of(weights: str, videos: str) -> str:
    """The game that a model was trained on; "minecraft" for each of them.

    Args:
        weights: the model's.
        videos: the game of the videos; "": that of the model.

    Raises:
        UserError: the weights are missing, or the videos are of another game.
    """
    known = game_of_weights(weights)
    of_model, of_videos = (PUBLISHED_GAME if name in MINECRAFTS else name for name in (known, videos))
    if of_videos and of_videos != of_model:
        raise UserError(
            "This inverse dynamics model was trained on another game than the videos'.",
            where=weights,
            expected=videos,
            got=known,
            todo=f"name one of that game (IDM_MODEL, IDM_WEIGHTS), or train it: bash 3_train_idm.sh --env {shlex.quote(videos)}",
        )
    return of_model


def workers(count: int) -> int:
    """The number of processes, checked."""
    if count < 1:
        raise UserError("--workers must be at least 1.", got=count, expected=f"1 to {os.cpu_count()}")
    return count


def show(summary: LabelSummary) -> None:
    """Print what was labelled, each rejection by name, and where the report is.

    Raises:
        UserError: nothing is kept.
    """
    if summary.idle:
        print(message("no part for this shard"))
        return
    counts = {"labelled": summary.labelled, "done": summary.there, "episodes": len(summary.episodes)}
    minutes, folder = f"{summary.frames / 1200:.1f}", display(summary.output_dir)
    print(message("labelled", **counts, frames=f"{summary.frames:,}", minutes=minutes, folder=folder))
    rejected = [*summary.rejected, *((display(path), reason) for path, reason in summary.left_out)]
    for name, reason in [*rejected, *summary.lost.items()]:
        print(f"  {padded(message('status refused'), 8)} {name}: {translated(reason)}")
    for name in summary.changed:
        print(f"  {padded(message('note'), 8)} {message('labelled before', name=name)}")
    print(message("report", path=display(summary.output_dir / PAGE)))
    if not summary.episodes:
        raise UserError(
            "No labels could be kept.",
            where=summary.output_dir,
            got=rejected[0][1] if rejected else next(iter(summary.lost.values()), ""),
            todo="read the report; --keep_rejected keeps what the quality checks reject",
        )
