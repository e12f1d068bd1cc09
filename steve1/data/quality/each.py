"""Calls a function on every episode of a dataset, in several processes and with a progress bar."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from steve1.core.errors import UserError
from steve1.core.executor.pool import process_pool
from steve1.core.messages import progress
from steve1.data.episodes.listing import Dataset

T = TypeVar("T")


def each_episode(
    function: Callable[[Path], T], dataset: Dataset, workers: int, label: str, note: Callable[[list[T]], str]
) -> list[T]:
    """The results for all episodes, sorted by path.

    Args:
        function: importable by name.
        workers: processes; 1 works in this one.
        note: a text beside the bar, from the results so far.
    """
    if workers < 1:
        raise UserError("--workers must be at least 1.", got=workers)
    episodes = sorted(dataset.episodes)
    found: list[T] = []
    with contextlib.ExitStack() as stack:
        results: Iterable[T] = map(function, episodes)
        if min(workers, len(episodes)) > 1:
            pool = stack.enter_context(process_pool(min(workers, len(episodes))))
            futures = [pool.submit(function, episode) for episode in episodes]
            results = (future.result() for future in futures)
        with progress(results, total=len(episodes), desc=label, unit="episode") as bar:
            for result in bar:
                found.append(result)
                bar.set_postfix_str(note(found), refresh=False)
    return found
