"""Command: what is in these datasets, and what in them deserves a look?

In: dataset folders or episodes. Out: a table on the console and one HTML file that shows everything.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import tyro

from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.messages import progress
from steve1.core.paths import display, output_path
from steve1.data.episodes.listing import Dataset, find_datasets
from steve1.data.quality.duplicates import find_duplicates
from steve1.data.quality.measures import Measures, measure
from steve1.data.quality.page import Inspected, overview, page
from steve1.data.quality.suspects import judge


@dataclass(frozen=True)
class Args:
    """Flags of `tools/inspect_dataset.py`."""

    paths: tyro.conf.Positional[tuple[str, ...]] = ()
    """Dataset folders or single episodes."""
    output: str = "runs/inspect/report.html"
    """The HTML file to write; it holds its pictures itself."""
    sheets: int = 24
    """Contact sheets for each dataset, about 60 KB each: suspicious episodes first, then evenly from the rest."""
    workers: int = 1
    """Processes."""


def main(args: Args) -> None:
    """Measure, judge, print, write the page."""
    if args.workers < 1 or args.sheets < 0:
        raise UserError("--workers is at least 1 and --sheets at least 0.", got=f"{args.workers}, {args.sheets}")
    datasets = find_datasets(args.paths)
    measured = [_measure(dataset, args.workers) for dataset in datasets]
    inspected = _judged(datasets, measured)
    _show(inspected)
    made = f"python tools/inspect_dataset.py {' '.join(args.paths)}, {time.strftime('%Y-%m-%d %H:%M')}"
    target = output_path(args.output)
    with atomic_file(target, "w") as handle:
        handle.write(page(inspected, sheets=args.sheets, made=made))
    print(f"report: {display(target)} ({target.stat().st_size / 1e6:.1f} MB)")


def _measure(dataset: Dataset, workers: int) -> list[Measures]:
    found: list[Measures] = []
    with progress(total=len(dataset.episodes), desc=f"looking at {dataset.path.name}", unit="episode") as bar:
        for one in _each(dataset.episodes, workers):
            found.append(one)
            bar.set_postfix_str(f"{sum(m.frames for m in found):,} frames")
            bar.update(1)
    return sorted(found, key=lambda one: one.path)


def _each(episodes: list[Path], workers: int) -> Iterator[Measures]:
    if workers == 1 or len(episodes) == 1:
        yield from map(measure, episodes)
        return
    with ProcessPoolExecutor(min(workers, len(episodes)), mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(measure, path) for path in episodes]):
            yield future.result()


def _judged(datasets: list[Dataset], measured: list[list[Measures]]) -> list[Inspected]:
    """Duplicates are sought across all the datasets; each pair is listed where its first episode lies."""
    everything = [one for found in measured for one in found]
    pairs = find_duplicates(everything)
    reasons = judge(everything, pairs)
    inspected, begin = [], 0
    for dataset, found in zip(datasets, measured):
        end = begin + len(found)
        own = [pair for pair in pairs if begin <= pair.one < end]
        inspected.append(Inspected(dataset.name, found, reasons[begin:end], own))
        begin = end
    return inspected


def _show(inspected: list[Inspected]) -> None:
    print(overview(inspected).console())
    for dataset in inspected:
        ranked = dataset.ranked()
        for number in ranked[:10]:
            worst = dataset.reasons[number][0]
            print(f"  {worst.kind:<10} {display(dataset.episodes[number].path)}: {worst.text}")
        if len(ranked) > 10:
            kinds = Counter(dataset.reasons[number][0].kind for number in ranked[10:])
            print(
                f"  and {len(ranked) - 10} more in {dataset.name}: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}"
            )
