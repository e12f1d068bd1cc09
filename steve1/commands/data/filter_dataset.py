"""Command: keep the episodes, or the stretches of episodes, in which given conditions are met.

Input: a dataset whose recordings still exist (their ticks have inventories and positions), or whose episodes know events; it is only read.
Output: a table; with `--output_dir` a dataset of copies.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from steve1.core.errors import UserError, nearest
from steve1.core.files import atomic_file, read_json
from steve1.core.messages import heading, message, padded, progress, some, translated
from steve1.core.options import Option
from steve1.core.paths import display, resolve
from steve1.data.episodes.cut import copy_episode, cut_episode
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.listing import find_datasets, find_outside
from steve1.data.episodes.origin import MADE_FROM, copied_otherwise, made_from, stays
from steve1.data.episodes.parts import METADATA
from steve1.data.quality.history import read_history
from steve1.data.quality.success import Condition, find_stretches, parse_conditions, reached

REPORT = "filter_report.jsonl"


@dataclass(frozen=True)
class Args:
    """Flags of `tools/filter_dataset.py`."""

    paths: Annotated[tuple[str, ...], Option(positional=True, aliases=("--dataset_dir",))] = ()
    """Dataset folders or single episodes."""
    gained: tuple[str, ...] = ()
    """Items gained, by exact name: --gained dirt=3 log (log alone means one)."""
    mined: tuple[str, ...] = ()
    """Blocks mined according to the game's statistics, by exact name: --mined oak_log=2."""
    travelled: float = 0.0
    """Minimum horizontal distance travelled from the start, in blocks."""
    output_dir: str = ""
    """Copy what is kept into this folder; without it, only print the table."""
    segments: bool = False
    """Keep only the parts in which the conditions are met, cut out of their episodes."""
    before: float = 10.0
    """With --segments: seconds to keep before the last gain; everything must happen within them."""
    after: float = 2.0
    """With --segments: seconds to keep after the last gain."""
    caption: str = ""
    """Caption of what is kept, such as "mine diorite"."""
    recordings: str = ""
    """Folder of the recordings, if they have moved since conversion."""


@dataclass
class Verdict:
    """One line of the report: the most of each condition, and the stretches kept (without --segments, the whole episode)."""

    episode: str
    kept: bool
    reached: dict[str, float]
    stretches: list[tuple[int, int]]
    reason: str = ""


def main(args: Args) -> int:
    """Judge, print, copy; 1 if an episode could not be judged."""
    conditions = parse_conditions(args.gained, args.mined, args.travelled)
    if args.segments and not (args.before > 0 and args.after >= 0):
        raise UserError("--before must be above 0 seconds, and --after at least 0.", got=f"{args.before}, {args.after}")
    if args.output_dir:
        episodes, target = find_outside(args.paths, args.output_dir)
    else:
        episodes, target = [path for dataset in find_datasets(args.paths) for path in dataset.episodes], None
    known: dict[str, set[str]] = {"gained": set(), "mined": set()}
    bar = progress(episodes, desc=message("bar reading ticks"), unit="episode")
    verdicts = [_judge(path, conditions, args, known) for path in bar]
    _check_items(conditions, known, verdicts)
    frames, refused = _write(episodes, verdicts, conditions, args, target) if target else (0, 0)
    _print(episodes, verdicts, conditions)
    kept = [verdict for verdict in verdicts if verdict.kept]
    unknown = sum(bool(verdict.reason) for verdict in verdicts)
    pieces = sum(len(verdict.stretches) for verdict in kept)
    what = f" in {pieces} segments" if args.segments else ""
    asked = message("all").join(condition.shown(f"{condition.amount:g}") for condition in conditions)
    print(translated(f"{len(kept)} of {len(verdicts)} episodes kept{what}, {unknown} could not be judged: {asked}"))
    if target:
        print(translated(f"{frames:,} frames in {display(target)}; report: {display(target / REPORT)}"))
    else:
        print(translated("nothing was written; add --output_dir data/dataset_x to keep copies"))
    return 1 if unknown or refused else 0


def _judge(path: Path, conditions: Sequence[Condition], args: Args, known: dict[str, set[str]]) -> Verdict:
    try:
        history = read_history(path, resolve(args.recordings) if args.recordings else None)
        known["gained"] |= history.items.keys()
        known["mined"] |= history.mined.keys()
        values = {str(condition): float(reached(condition, history).max()) for condition in conditions}
        if args.segments:
            before, after = round(args.before * 20), round(args.after * 20)
            stretches = find_stretches(conditions, history, before=before, after=after)
        else:
            met = all(values[str(condition)] >= condition.amount for condition in conditions)
            stretches = [(0, len(history.position))] if met else []
    except UserError as fault:
        return Verdict(display(path), False, {}, [], fault.one_line)
    return Verdict(display(path), bool(stretches), values, stretches)


def _check_items(conditions: Sequence[Condition], known: dict[str, set[str]], verdicts: list[Verdict]) -> None:
    """An item that no recording ever has is a misspelling."""
    if all(verdict.reason for verdict in verdicts):
        raise UserError("No episode could be judged.", got=verdicts[0].reason)
    for condition in conditions:
        names = known.get(condition.kind, set())
        if condition.item and condition.item not in names:
            raise UserError(
                f"No recording here contains an item named {condition.item!r}.",
                expected=nearest(condition.item, sorted(names)) if names else "recordings with an inventory",
            )


def _write(
    episodes: list[Path], verdicts: list[Verdict], conditions: Sequence[Condition], args: Args, target: Path
) -> tuple[int, int]:
    """Copy what is kept, except what exists already; returns the frames of all that is kept, and how many copies were refused."""
    target.mkdir(parents=True, exist_ok=True)
    wanted = [str(condition) for condition in conditions]
    settings: dict[str, Any] = {"conditions": wanted, "segments": args.segments}
    if args.segments:
        settings |= {"before": args.before, "after": args.after}
    if args.caption:
        settings["caption"] = args.caption
    frames, refused = 0, 0
    kept: set[str] = set()
    for path, verdict in zip(progress(episodes, desc=message("bar copying"), unit="episode"), verdicts):
        note: dict[str, Any] = {"filtered": {"for": wanted, "reached": verdict.reached}}
        note |= {"captions": [args.caption]} if args.caption else {}
        for start, stop in verdict.stretches:
            whole = start == 0 and len(verdict.stretches) == 1 and stop == len(Episode(path))
            copy = target / (path.name if whole else f"{path.name}_{start:06d}_{stop:06d}")
            kept.add(copy.name)
            try:
                if copy.exists():
                    if changed := copied_otherwise(copy, path, "filtered", **settings):
                        print(f"  {padded(message('note'), 8)} {stays(copy, changed)}")
                elif whole:
                    copy_episode(path, copy, note | made_from(path, **settings))
                else:
                    cut_episode(path, copy, start, stop, note | made_from(path, **settings))
                frames += stop - start
            except UserError as fault:
                refused += 1
                print(f"  {padded(message('status refused'), 8)} {fault.one_line}")
    if left := _left_behind(episodes, kept, target):
        names, place = some(left), display(target)
        print(
            translated(
                f"  note     {names}: kept by an earlier filter, not by this one; they stay in {place}: name another output folder, or remove them"
            )
        )
    with atomic_file(target / REPORT, "w") as handle:
        handle.writelines(json.dumps(asdict(verdict), ensure_ascii=False) + "\n" for verdict in verdicts)
    return frames, refused


def _left_behind(episodes: Sequence[Path], kept: Collection[str], target: Path) -> list[str]:
    """The copies of these episodes that an earlier run made and this one would not: the folder is more than what is kept now."""
    sources, found = {display(path) for path in episodes}, []
    for copy in sorted(path for path in target.iterdir() if path.name not in kept and (path / METADATA).is_file()):
        with contextlib.suppress(UserError):
            metadata = read_json(copy / METADATA)
            made = metadata.get(MADE_FROM)
            if "filtered" in metadata and isinstance(made, dict) and made.get("episode") in sources:
                found.append(copy.name)
    return found


def _print(episodes: list[Path], verdicts: list[Verdict], conditions: Sequence[Condition]) -> None:
    for path, verdict in zip(episodes, verdicts):
        if verdict.reason:
            print(translated(f"  unknown  {display(path)}: {verdict.reason}"))
            continue
        values = ", ".join(c.shown(f"{verdict.reached[str(c)]:.4g}") for c in conditions)
        places = ", ".join(f"{start}..{stop - 1}" for start, stop in verdict.stretches[:6])
        print(
            f"  {padded(heading('kept' if verdict.kept else 'dropped'), 8)} {display(path)}: {values}"
            + (translated(f" (frames {places})") if places else "")
        )
