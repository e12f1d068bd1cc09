"""Command: episodes → the formats of other programs. Exit code 1 if some could not be exported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from steve1.core.errors import UserError
from steve1.core.files import remove_half_written
from steve1.core.messages import message, progress
from steve1.core.options import Option
from steve1.core.paths import display
from steve1.data.episodes.export import export_episode
from steve1.data.episodes.formats.registry import EXPORT_FORMATS
from steve1.data.episodes.listing import find_outside
from steve1.data.episodes.origin import differences, stays


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
    remove_half_written(target)
    frames, there, failed = 0, 0, 0
    for path in progress(episodes, desc="exporting", unit="episode"):
        copy = target / path.name
        try:
            if copy.exists():
                changed = differences(copy, path, to=args.to, lossless=args.to == "guide" or args.lossless)
                if changed:
                    print(f"  {message('note'):<8} {stays(copy, changed)}")
                there += 1
            else:
                frames += export_episode(path, copy, args.to, lossless=args.lossless)
        except UserError as fault:
            failed += 1
            print(f"  {message('status refused'):<8} {display(path)}: {fault.one_line}")
    done = len(episodes) - there - failed
    print(
        f"{done} episodes ({frames:,} frames) exported to {display(target)}, {there} skipped (already there), {failed} rejected"
    )
    return 1 if failed else 0
