"""Judgements of a dataset's episodes: good or bad, cut to a stretch, with another caption or weight; and what is made of them.

Output: `<dataset>.judgements.json` beside the dataset; when asked, a sampling list, and cut copies in `<dataset>_judged/`. The
episodes themselves are only read.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import atomic_file, read_json, write_json
from steve1.core.paths import display
from steve1.data.episodes.cut import cut_episode
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.origin import MADE_FROM, made_from, still_shows
from steve1.data.episodes.parts import FIRST_GOAL
from steve1.data.loading.lists import list_line

#: fields of a judgement that a cut copy shows; the others stand in the list alone
_COPIED = ("start", "stop", "caption")


@dataclasses.dataclass(frozen=True)
class Judgement:
    """Of one episode. `stop` 0: to its end; `weight`: how many times it counts, 0: not at all; None: once, like the others."""

    mark: str = ""
    start: int = 0
    stop: int = 0
    caption: str = ""
    weight: float | None = None


class ListExists(UserError):
    """There is a list of this name, and nobody has agreed to replace it."""


class Judgements:
    """Those of one dataset folder, kept in a file beside it after each change.

    Raises:
        UserError: the file is not one of judgements.
    """

    def __init__(self, dataset: Path) -> None:
        self.dataset = dataset
        self.path = dataset.with_name(dataset.name + ".judgements.json")
        self._known = self._read()

    def of(self, name: str) -> Judgement:
        """An episode's; an empty one where nobody has judged it."""
        return self._known.get(name, Judgement())

    def set(self, name: str, judgement: Judgement) -> None:
        """Note one, and write the file."""
        known = {**self._read(), name: judgement}  # another server of this dataset may have written too
        write_json(
            self.path, {name: dataclasses.asdict(row) for name, row in sorted(known.items()) if row != Judgement()}
        )
        self._known = known  # after the file: the page shows what is kept

    def _read(self) -> dict[str, Judgement]:
        found: dict[str, Any] = read_json(self.path) if self.path.exists() else {}
        try:
            known = {name: Judgement(**row) for name, row in found.items()}
        except TypeError as fault:
            raise UserError("Not a file of judgements.", where=self.path, got=str(fault)[:120]) from None
        for name, judgement in known.items():  # somebody may have edited it
            texts = (judgement.mark, judgement.caption)
            weight = 0 if judgement.weight is None else judgement.weight
            good = all(type(text) is str for text in texts) and type(weight) in (int, float) and 0 <= weight < math.inf
            if not good or not all(type(at) is int and at >= 0 for at in (judgement.start, judgement.stop)):
                where = f"{self.path}, {name}"
                raise UserError("Not a file of judgements.", where=where, got=json.dumps(found[name])[:120])
        return known


def checked(judgement: Judgement, frames: int) -> Judgement:
    """The judgement, if its stretch lies in an episode of that many frames and is long enough for a goal.

    A whole episode may be shorter: it can still be marked bad.

    Raises:
        UserError: it does not, or is too short.
    """
    stop = judgement.stop or frames
    is_cut = (judgement.start, stop) != (0, frames)
    if is_cut and (not 0 <= judgement.start < stop <= frames or stop - judgement.start <= FIRST_GOAL):
        expected = f"at least {FIRST_GOAL + 1} of {frames} frames"
        raise UserError(
            "This stretch is too short, or not in the episode.", expected=expected, got=f"{judgement.start}..{stop}"
        )
    return dataclasses.replace(judgement, stop=0 if stop == frames else stop)


def write_judged(
    episodes: Sequence[Path], judgements: dict[Path, Judgements], listed: Path, overwrite: bool = False
) -> dict[str, Any]:
    """Write a training list of what is neither bad nor of weight 0, after cutting what is to be cut.

    Args:
        judgements: of each dataset folder.
        listed: the list's path, `<name>_train.txt`.
        overwrite: replace a list that is there.

    Raises:
        ListExists: the list is there.
        UserError: nothing is left, or a folder's name cannot stand in a list.
    """
    if listed.exists() and not overwrite:
        raise ListExists(
            "This list exists already.", where=display(listed), todo="another name, or agree to replace it"
        )
    sections: dict[float | None, list[str]] = {}
    frames: Counter[float | None] = Counter()
    cut = 0
    for path in episodes:
        judgement = judgements[path.parent].of(path.name)
        if judgement.mark == "bad" or judgement.weight == 0:
            continue
        if judgement.start or judgement.stop or judgement.caption:
            path, cut = _copy(path, judgement), cut + 1
        sections.setdefault(judgement.weight, []).append(list_line(path))
        frames[judgement.weight] += len(Episode(path))
    kept = sum(map(len, sections.values()))
    if not kept:
        raise UserError("Every episode is marked bad or has weight 0: the list would be empty.")
    lines = []
    for weight, section in sections.items():
        # A section's weight is that of all its frames, each of which counts so many times; without a weight, once.
        if set(sections) != {None}:
            lines.append(f"# weight: {(1.0 if weight is None else weight) * frames[weight] / frames.total():.6g}")
        lines += section
    listed.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(listed, "w") as handle:
        handle.write("\n".join(lines) + "\n")
    return {"list": display(listed), "kept": kept, "left_out": len(episodes) - kept, "cut": cut}


def _copy(path: Path, judgement: Judgement) -> Path:
    """The stretch as an episode of its own; one that shows the same frames, goals and caption is left as it is."""
    folder = path.parent.with_name(path.parent.name + "_judged")
    stop = judgement.stop or len(Episode(path))
    name = f"{path.name}_{judgement.start}-{stop}"  # the whole name: episodes of one video begin alike
    note: dict[str, Any] = {"judged": dataclasses.asdict(judgement), **made_from(path)}
    source, content = Episode(path).metadata, note[MADE_FROM]["content"]
    target, number = folder / name, 1
    while target.exists():
        known = Episode(target).metadata
        judged = known.get("judged")
        alike = isinstance(judged, dict) and all(judged.get(field) == note["judged"][field] for field in _COPIED)
        if alike and still_shows(known, source, content):
            return target
        number += 1  # of another caption or other goals, and perhaps on another list
        target = folder / f"{name}_{number}"
    folder.mkdir(exist_ok=True)
    captions = {"captions": [judgement.caption]} if judgement.caption else {}
    cut_episode(path, target, judgement.start, stop, {**note, **captions})
    return target
