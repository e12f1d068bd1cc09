"""Command: check every part of every episode, and on request write sound copies of broken ones.

Output: all faults by episode, file and frame; exit code 0 if all is sound, 1 if something is broken, 2 if nothing could be
checked.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from steve1.core.errors import UserError
from steve1.core.files import atomic_file, check_writable
from steve1.core.messages import message, padded, progress, say_next, translated
from steve1.core.options import Option
from steve1.core.paths import display, output_path, quoted
from steve1.data.episodes.cut import copy_episode
from steve1.data.episodes.listing import Dataset, find_datasets
from steve1.data.episodes.origin import copied_otherwise, made_from
from steve1.data.quality.each import each_episode
from steve1.data.quality.integrity import EpisodeReport, Finding
from steve1.data.quality.repair import repair_episode
from steve1.data.quality.validate import check_episode, check_together

#: findings of one kind that are printed for each episode
_SHOWN = 3


@dataclass(frozen=True)
class Args:
    """Flags of `tools/validate_dataset.py`."""

    paths: Annotated[tuple[str, ...], Option(positional=True, aliases=("--dataset_dir",))] = ()
    """Dataset folders or single episodes."""
    repair: str = ""
    """Write repaired copies of damaged episodes into this folder; the originals are not changed."""
    with_sound: bool = False
    """With --repair: also copy intact episodes, so that the folder is a complete dataset."""
    report: str = ""
    """Also write all findings to this .jsonl file."""
    workers: int = 1
    """Parallel processes."""


def main(args: Args) -> int:
    """Check, print, repair; 1 if something is broken."""
    if args.with_sound and not args.repair:
        raise UserError("--with_sound needs --repair.", todo="add --repair OUT_DIR")
    check_writable(*(output_path(path) for path in (args.repair, args.report) if path))
    checked = [
        (
            dataset,
            each_episode(check_episode, dataset, args.workers, translated(f"checking {dataset.path.name}"), _note),
        )
        for dataset in find_datasets(args.paths)
    ]
    findings: list[Finding] = []
    for dataset, reports in checked:
        loose = check_together(dataset, reports)
        findings += [finding for report in reports for finding in report.findings] + loose
        _print(dataset, reports, loose)
    if args.report:
        target = output_path(args.report)
        with atomic_file(target, "w") as handle:
            handle.writelines(json.dumps(asdict(finding), ensure_ascii=False) + "\n" for finding in findings)
        print(translated(f"report: {display(target)}"))
    broken = sum(not report.sound for _, reports in checked for report in reports)
    if args.repair:
        _repair(checked, output_path(args.repair), args.with_sound)
    elif broken:
        say_next(translated("the same command with --repair OUT_DIR writes sound copies of what can be repaired"))
    return 1 if broken else 0


def _note(reports: list[EpisodeReport]) -> str:
    return translated(f"{sum(r.frames for r in reports):,} frames, {sum(not r.sound for r in reports)} broken")


def _print(dataset: Dataset, reports: list[EpisodeReport], loose: list[Finding]) -> None:
    broken = [report for report in reports if not report.sound]
    warned = Counter(f.what for report in reports for f in report.findings if f.warning)
    frames = sum(report.frames for report in reports)
    dims = sorted({report.embed_dim for report in reports if report.embed_dim})
    print(
        translated(f"{dataset.name}: {len(reports)} episodes, {frames:,} frames ({frames / 72000:.2f} h)")
        + (translated(f", embeddings of {', '.join(map(str, dims))}") if dims else translated(", no embeddings"))
        + translated(f": {len(reports) - len(broken)} sound, {len(broken)} broken")
    )
    for report in broken:
        print(translated(f"  broken   {display(report.path)}"))
        shown: Counter[tuple[str, str]] = Counter()
        for finding in report.findings:
            kind = (finding.file, finding.what.split(":")[0])
            shown[kind] += not finding.warning
            if not finding.warning and shown[kind] <= _SHOWN:
                print(f"           {finding}")
        for (file, what), count in shown.items():
            if count > _SHOWN:
                print(translated(f"           {file}: {what}: {count - _SHOWN} more"))
    for what, count in warned.items():
        print(translated(f"  note     {count} episodes: {what}"))
    for finding in loose:
        print(translated(f"  note     {finding.episode}: {finding.what}"))


def _copy(source: Path, copy: Path) -> None:
    """Copy a sound episode, unless its copy is there."""
    try:
        if not copy.exists():
            copy_episode(source, copy, made_from(source))
        else:
            copied_otherwise(copy, source)
    except UserError as fault:
        print(f"  {padded(message('note'), 8)} {fault.one_line}")


def _repair(checked: list[tuple[Dataset, list[EpisodeReport]]], target: Path, with_sound: bool) -> None:
    reports = [report for _, found in checked for report in found]
    if any(target.resolve() == dataset.path or target.resolve() in dataset.episodes for dataset, _ in checked):
        raise UserError("--repair cannot write into the dataset itself.", where=target, todo="name another folder")
    names = Counter(report.path.name for report in reports)
    repairs = []
    for report in progress(reports, desc=message("bar repairing"), unit="episode"):
        name = report.path.name if names[report.path.name] == 1 else f"{report.path.parent.name}_{report.path.name}"
        if not report.sound:
            foreign = any("than most of the dataset" in f.what and not f.warning for f in report.findings)
            repairs.append(repair_episode(report.path, target / name, drop_goals=foreign))
        elif with_sound:
            _copy(report.path, target / name)
    for repair in repairs:
        print(f"  {repair}")
    good = sum(repair.target is not None for repair in repairs)
    print(
        translated(
            f"{good} of {len(repairs)} broken episodes repaired in {display(target)}; the originals are unchanged"
        )
    )
    if good and not with_sound:
        print(translated("--with_sound copies the sound ones there as well"))
    if good:
        say_next(f"python tools/generate_mineclip_embeds.py --dataset_dir {quoted(target)}")
