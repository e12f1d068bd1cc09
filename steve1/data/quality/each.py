"""Calls a function on every episode of a dataset, in several processes and with a progress bar."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Protocol, TypeVar

from steve1.core.errors import UserError
from steve1.core.messages import progress
from steve1.data.episodes.listing import Dataset


class _OfEpisode(Protocol):
    path: Path


T = TypeVar("T", bound=_OfEpisode)


def each_episode(
    function: Callable[[Path], T], dataset: Dataset, workers: int, label: str, note: Callable[[list[T]], str]
) -> list[T]:
    """The results for all episodes, sorted by path.

    Args:
        function: importable by name.
        dataset: its episodes.
        workers: processes; 1 works in this one.
        label: of the progress bar.
        note: a text beside the bar, from the results so far.
    """
    if workers < 1:
        raise UserError("--workers is at least 1.", got=workers)
    found: list[T] = []

    def gather(results: Iterable[T]) -> None:
        with progress(results, total=len(dataset.episodes), desc=label, unit="episode") as bar:
            for result in bar:
                found.append(result)
                bar.set_postfix_str(note(found))

    if workers == 1 or len(dataset.episodes) == 1:
        gather(map(function, dataset.episodes))
    else:
        count = min(workers, len(dataset.episodes))
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
            futures = [pool.submit(function, path) for path in dataset.episodes]
            gather(future.result() for future in as_completed(futures))
    return sorted(found, key=lambda result: result.path)
