"""Command: episodes → the layouts of other programs.

In: a dataset folder or an episode. Out: a folder of episodes in the guide's or STEVE-1's layout. Exit code 1 where some could
not be exported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tyro

from steve1.core.errors import UserError
from steve1.core.messages import progress
from steve1.core.paths import display, output_path
from steve1.data.episodes.export import export_episode
from steve1.data.episodes.listing import find_datasets


@dataclass(frozen=True)
class Args:
    """Flags of `tools/export_dataset.py`."""

    paths: tyro.conf.Positional[tuple[str, ...]] = ()
    """Dataset folders or single episodes."""
    to: Literal["guide", "steve1"] = "guide"
    """guide: frames/*.png, actions.jsonl, embeds_attn.pkl. steve1: frames.mp4, actions.pkl, embeds_attn.pkl, len.txt."""
    output_dir: str = ""
    """Folder to fill, one episode folder each; what is there already is left alone."""
    lossless: bool = True
    """With --to steve1: keep every pixel (about 6 times as large). Without: ordinary H.264."""


def main(args: Args) -> int:
    """Export one by one; 1 where an episode could not be."""
    if not args.output_dir:
        raise UserError("Where to?", todo="add --output_dir data/exported_x")
    target = output_path(args.output_dir)
    episodes = [path for dataset in find_datasets(args.paths) for path in dataset.episodes]
    if any(path.parent == target.resolve() for path in episodes):
        raise UserError("--output_dir holds the episodes themselves.", where=target, todo="name another folder")
    names = [path.name for path in episodes]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise UserError("Two episodes have one name.", got=twice, todo="export their datasets into two folders")
    frames, there, failed = 0, 0, []
    for path in progress(episodes, desc="exporting", unit="episode"):
        if (target / path.name).exists():
            there += 1
            continue
        try:
            frames += export_episode(path, target / path.name, args.to, lossless=args.lossless)
        except UserError as fault:
            failed.append(path)
            print(f"  refused  {display(path)}: {fault.one_line}")
    done = len(episodes) - there - len(failed)
    print(
        f"{done} episodes ({frames:,} frames) exported to {display(target)}, {there} there already, {len(failed)} refused"
    )
    return 1 if failed else 0
