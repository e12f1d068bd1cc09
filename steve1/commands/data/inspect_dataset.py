"""Command: a table of datasets, and one HTML page that shows their episodes and which of them look suspicious."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from steve1.core.errors import UserError
from steve1.core.files import atomic_file, check_writable
from steve1.core.options import Option
from steve1.core.paths import display, output_path
from steve1.data.quality.page import Inspected, inspect, overview, page


@dataclass(frozen=True)
class Args:
    """Flags of `tools/inspect_dataset.py`."""

    paths: Annotated[tuple[str, ...], Option(positional=True, aliases=("--dataset_dir",))] = ()
    """Dataset folders or single episodes."""
    output: str = "runs/inspect/report.html"
    """HTML file to write, with all pictures inside."""
    sheets: int = 24
    """Contact sheets per dataset, about 60 KB each: suspicious episodes first, then a sample of the rest."""
    workers: int = 1
    """Parallel processes."""


def main(args: Args) -> None:
    """Measure, judge, print, write the page."""
    if args.sheets < 0:
        raise UserError("--sheets must be at least 0.", got=args.sheets)
    target = output_path(args.output)
    check_writable(target)
    inspected = inspect(args.paths, workers=args.workers)
    _print(inspected)
    made = f"python tools/inspect_dataset.py {' '.join(args.paths)}, {time.strftime('%Y-%m-%d %H:%M')}"
    with atomic_file(target, "w") as handle:
        handle.write(page(inspected, sheets=args.sheets, made=made))
    print(f"report: {display(target)} ({target.stat().st_size / 1e6:.1f} MB)")


def _print(inspected: list[Inspected]) -> None:
    print(overview(inspected).console())
    for dataset in inspected:
        ranked = dataset.ranked()
        for number in ranked[:10]:
            worst = dataset.reasons[number][0]
            print(f"  {worst.kind:<10} {display(dataset.episodes[number].path)}: {worst.text}")
        if len(ranked) > 10:
            kinds = Counter(dataset.reasons[number][0].kind for number in ranked[10:])
            more = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
            print(f"  and {len(ranked) - 10} more in {dataset.name}: {more}")
