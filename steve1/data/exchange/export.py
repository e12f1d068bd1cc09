"""Exports episodes into one store, whole or not at all, with one episode in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from steve1.core.errors import UserError
from steve1.core.files import atomic_dir, remove_half_written
from steve1.core.paths import display
from steve1.data.episodes.captions import read_captions, task_of
from steve1.data.episodes.episode import Episode
from steve1.data.exchange.registry import STORES
from steve1.data.exchange.store import Written, shown


def export_store(
    episodes: Sequence[Path],
    target: Path,
    kind: str,
    *,
    task: str = "",
    on_episode: Callable[[], object] = lambda: None,
) -> Written:
    """Write episodes to the new folder `target` as one store.

    Args:
        kind: one of `STORES`.
        task: the caption of episodes that have none.
        on_episode: called after each.

    Raises:
        UserError: `target` exists, a package is missing, or no episode could be written; a broken episode is left out by name.
    """
    table, written = read_captions(), Written()
    remove_half_written(target.parent, {target.name})
    with atomic_dir(target) as folder, STORES[kind](folder) as store:
        for path in episodes:
            try:
                episode = shown(path, task_of(Episode(path).metadata, table) or task)
                store.check(episode)
            except UserError as fault:
                written.refused.append((display(path), fault.one_line))
                on_episode()
                continue
            store.add(episode)
            written.episodes += 1
            written.frames += len(episode)
            written.without_task += not episode.task
            on_episode()
        if not written.episodes:
            name, reason = written.refused[0] if written.refused else ("", "")
            raise UserError("No episode could be exported.", where=name, got=reason)
        written.notes += store.finish()
    return written
