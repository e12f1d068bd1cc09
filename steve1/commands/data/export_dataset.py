"""Command: episodes → the formats of other programs. Exit code 1 if some could not be exported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from steve1.core.errors import UserError
from steve1.core.messages import progress
from steve1.core.options import Option
from steve1.core.paths import display
from steve1.data.episodes.export import export_episode
from steve1.data.episodes.formats.registry import EXPORT_FORMATS
from steve1.data.episodes.listing import find_outside


@dataclass(frozen=True)
class Args:
    """Flags of `tools/export_dataset.py`."""

    paths: Annotated[tuple[str, ...], Option(positional=True, aliases=("--dataset_dir",))] = ()
    """Dataset folders or single episodes."""
    to: Annotated[str, Option(choices=tuple(EXPORT_FORMATS))] = "guide"
    """guide: frames/*.png, actions.jsonl, embeds_attn.pkl. steve1: frames.mp4, actions.pkl, embeds_attn.pkl, len.txt."""
    output_dir: str = ""
    """Output folder, one folder per episode; existing ones are kept."""
    lossless: bool = True
    """With --to steve1: lossless video (about 6 times as large) instead of ordinary H.264."""


def main(args: Args) -> int:
    """Export one by one; 1 if an episode could not be."""
    if not args.output_dir:
        raise UserError("--output_dir is missing.", todo="add --output_dir data/exported_x")
    episodes, target = find_outside(args.paths, args.output_dir)
    name, count = Counter(path.name for path in episodes).most_common(1)[0]
    if count > 1:
        raise UserError("Two episodes have the same name.", got=name, todo="export their datasets into two folders")
    frames, there, failed = 0, 0, 0
    for path in progress(episodes, desc="exporting", unit="episode"):
        if (target / path.name).exists():
            there += 1
            continue
        try:
            frames += export_episode(path, target / path.name, args.to, lossless=args.lossless)
        except UserError as fault:
            failed += 1
            print(f"  refused  {display(path)}: {fault.one_line}")
    done = len(episodes) - there - failed
    print(
        f"{done} episodes ({frames:,} frames) exported to {display(target)}, {there} skipped (already there), {failed} rejected"
    )
    return 1 if failed else 0
