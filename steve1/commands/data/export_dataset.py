"""Command: episodes → the formats of other programs. Exit code 1 if some could not be exported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from steve1.core.errors import UserError
from steve1.core.files import remove_half_written
from steve1.core.messages import message, padded, progress, translated
from steve1.core.options import Option
from steve1.core.paths import display
from steve1.data.episodes.export import export_episode
from steve1.data.episodes.formats.registry import EXPORT_FORMATS
from steve1.data.episodes.listing import find_outside
from steve1.data.episodes.origin import copied_otherwise, stays
from steve1.data.exchange.export import export_store
from steve1.data.exchange.registry import STORES
from steve1.data.recordings.shards import alone_in


@dataclass(frozen=True)
class Args:
    """Flags of `tools/export_dataset.py`."""

    paths: Annotated[tuple[str, ...], Option(positional=True, aliases=("--dataset_dir",))] = ()
    """Dataset folders or single episodes."""
    to: Annotated[str, Option(choices=(*EXPORT_FORMATS, *STORES), aliases=("--format",))] = "guide"
    """guide: frames/*.png, actions.jsonl, embeds_attn.pkl. steve1: frames.mp4, actions.pkl, embeds_attn.pkl, len.txt. lerobot-v3, lerobot-v2.1: one LeRobot dataset. minestudio: one MineStudio trajectory store."""
    output_dir: str = ""
    """Output folder: of guide and steve1 one folder per episode, existing ones are kept; otherwise the new dataset."""
    lossless: bool = True
    """With --to steve1: lossless video (about 6 times as large) instead of ordinary H.264."""
    task: str = ""
    """With --to lerobot-…: caption of episodes that have none."""


def main(args: Args) -> int:
    """Export; 1 if an episode could not be."""
    if not args.output_dir:
        raise UserError("--output_dir is missing.", todo="add --output_dir data/exported_x")
    episodes, target = find_outside(args.paths, args.output_dir)
    name, count = Counter(path.name for path in episodes).most_common(1)[0]
    if count > 1:
        raise UserError("Two episodes have the same name.", got=name, todo="export their datasets into two folders")
    return _one_store(args, episodes, target) if args.to in STORES else _folders(args, episodes, target)


def _folders(args: Args, episodes: Sequence[Path], target: Path) -> int:
    frames, there, failed = 0, 0, 0
    target.mkdir(parents=True, exist_ok=True)
    with alone_in(target, work="export"):
        remove_half_written(target)
        for path in progress(episodes, desc=message("bar exporting"), unit="episode"):
            copy = target / path.name
            try:
                if copy.exists():
                    lossless = args.to == "guide" or args.lossless
                    if changed := copied_otherwise(copy, path, "exported", to=args.to, lossless=lossless):
                        print(f"  {padded(message('note'), 8)} {stays(copy, changed)}")
                    there += 1
                else:
                    frames += export_episode(path, copy, args.to, lossless=args.lossless)
            except UserError as fault:
                failed += 1
                print(f"  {padded(message('status refused'), 8)} {display(path)}: {fault.one_line}")
    done = len(episodes) - there - failed
    print(
        translated(
            f"{done} episodes ({frames:,} frames) exported to {display(target)}, {there} skipped (already there), {failed} rejected"
        )
    )
    return 1 if failed else 0


def _one_store(args: Args, episodes: Sequence[Path], target: Path) -> int:
    with progress(total=len(episodes), desc=message("bar exporting"), unit="episode") as bar:
        written = export_store(episodes, target, args.to, task=args.task, on_episode=bar.update)
    for name, reason in written.refused:
        print(translated(f"  refused  {name}: {reason}"))
    for note in written.notes:
        print(translated(f"  note     {note}"))
    if written.without_task and args.to.startswith("lerobot"):
        print(translated(f"  note     {written.without_task} episodes have no caption: --task TEXT gives them one"))
    print(
        translated(
            f"{written.episodes} episodes ({written.frames:,} frames) exported to {display(target)}, {len(written.refused)} rejected"
        )
    )
    return 1 if written.refused else 0
