"""Command: recordings → episodes.

Input: recordings (name.mp4 + name.jsonl) or episode folders below `--input_dir`.
Output: native episodes and a report; exit code 0, 1 if some recordings were refused, 2 if nothing could be done.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from steve1.core.errors import UserError
from steve1.core.messages import say_next
from steve1.core.paths import output_path, quoted
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.data.recordings.shards import parse_shard


@dataclass(frozen=True)
class Args:
    """Flags of `tools/convert_recordings.py`."""

    input_dir: str
    """Folder of recordings, at any depth: name.mp4 with name.jsonl beside it (contractor format), or folders with frames/ and actions.jsonl."""
    output_dir: str
    """Dataset folder, one episode folder per recording; existing episodes are kept."""
    settings: ConvertSettings = field(default_factory=ConvertSettings)
    workers: int = os.cpu_count() or 1
    """Parallel processes; each uses one core and about 300 MB."""
    shard: str = ""
    """Process only part i of n (i/n), to split the work over machines that share a disk."""
    ray: bool = False
    """Convert on a Ray cluster (RAY_ADDRESS, or one on this machine) instead of in --workers processes."""


def main(args: Args) -> int:
    """Convert, print the summary, return the exit code."""
    if args.workers < 1:
        raise UserError("--workers must be at least 1.", got=args.workers)
    shard, target = parse_shard(args.shard), output_path(args.output_dir)
    summary = convert_folder(args.input_dir, target, args.settings, workers=args.workers, shard=shard, ray=args.ray)
    print(summary.text)
    summary.check_finished()
    if summary.results and summary.count("refused") == len(summary.results):
        todo = "see the reasons above and in the report"
        raise UserError("Nothing could be converted.", where=args.input_dir, todo=todo)
    say_next(f"python tools/generate_mineclip_embeds.py --dataset_dir {quoted(target)}")
    return 1 if summary.count("refused") + summary.count("failed") else 0
