"""Sampling lists: which episodes a training run sees, and how often.

In: dataset folders with shares, or lists that people wrote. Out: `<name>_train.txt`, `<name>_val.txt` and
`<name>_metadata.json`, disjoint and repeatable; and lists read back as entries.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import steve1
from steve1.core.errors import UserError, nearest
from steve1.core.files import atomic_file, read_json, sha256_file, write_json
from steve1.core.paths import display, resolve
from steve1.core.seeds import generator
from steve1.data.episodes.episode import Episode, find_episodes

SAMPLINGS = "data/samplings"
_WEIGHT = re.compile(r"^#\s*weight\s*[::]\s*(.*)$", re.IGNORECASE)
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*[%%]")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ListEntry:
    """One line of a list.

    Attributes:
        path: the episode's folder.
        weight: share of its section, None where the list has no `# weight:` lines.
        line: line number, from 1.
        section: which `# weight:` line it stands below; 0 where there is none.
        source: the list's path, for messages.
    """

    path: Path
    weight: float | None = None
    line: int = 0
    section: int = 0
    source: str = ""

    @property
    def where(self) -> str:
        """`list:line`, or the folder where the entry comes from no list."""
        return f"{self.source}:{self.line}" if self.source else str(self.path)


@dataclass(frozen=True)
class Source:
    """A dataset folder and its share of the training windows (None: by its size)."""

    folder: Path
    weight: float | None = None


def list_path(name: str, part: str, folder: str | os.PathLike[str] = SAMPLINGS) -> Path:
    """`data/samplings/<name>_<part>.txt`, part being train or val.

    Raises:
        UserError: there is no such list; names the ones there are.
    """
    path = Path(folder) / f"{name}_{part}.txt"
    if not path.is_file():
        known = sorted({p.name.rsplit("_", 1)[0] for p in Path(folder).glob("*_train.txt")})
        hint = nearest(name, known) if known else "there are none yet"
        raise UserError(
            f"There is no sampling named {name!r}.", where=path, got=hint, todo=f"bash 2_create_sampling.sh {name}"
        )
    return path


def read_list(path: str | os.PathLike[str]) -> list[ListEntry]:
    """Read a sampling list; blank lines and comments are skipped, `# weight: 0.7` starts a section with that share.

    Raises:
        UserError: the list is missing or empty, a line points nowhere (with its number), a weight is no positive
            number, an episode stands in two sections, or lines stand above the first weight.
    """
    source = resolve(path)
    if not source.is_file():
        raise UserError("This sampling list does not exist.", where=source, todo="bash 2_create_sampling.sh")
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as fault:
        raise UserError("This sampling list is not UTF-8 text.", where=source, got=str(fault)) from None
    weighted = any(_WEIGHT.match(line.strip()) for line in lines)
    entries: list[ListEntry] = []
    weight: float | None = None
    section, percent = 0, None
    for number, text in enumerate(lines, 1):
        line = text.strip()
        if not line:
            continue
        if line.startswith("#"):
            match = _WEIGHT.match(line)
            if match:
                weight, section = _weight(match[1], f"{source}:{number}"), section + 1
            elif found := _PERCENT.search(line):
                percent = (float(found[1]), number)
            continue
        if weighted and weight is None:
            raise UserError(
                "This line stands above the first weight, so it has no share.",
                where=f"{source}:{number}",
                todo="put a line `# weight: …` above it",
            )
        if percent:
            _warn_unhonoured(source, *percent, weight)
            percent = None
        folder = resolve(line)
        if not folder.is_dir():
            raise UserError(
                "This line of the sampling list points nowhere.",
                where=f"{source}:{number}",
                expected="an episode folder, relative to the project's root",
                got=line,
                todo="bash 2_create_sampling.sh makes a list of what there is",
            )
        entries.append(ListEntry(folder, weight, number, section, display(source)))
    if not entries:
        raise UserError("This sampling list names no episode.", where=source, todo="bash 2_create_sampling.sh")
    return entries


def _weight(text: str, where: str) -> float:
    try:
        value = float(text.strip())
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UserError(
            "This weight is not a positive number.", where=where, expected="such as `# weight: 0.7`", got=text.strip()
        )
    return value


def _warn_unhonoured(source: Path, percent: float, line: int, weight: float | None) -> None:
    if weight is None or not math.isclose(percent / 100, weight, abs_tol=0.005):
        _log.warning(
            "%s:%d: the comment says %g %%, which nothing honours; write `# weight: %g` on the line below it to get that share",
            display(source), line, percent, percent / 100,
        )  # fmt: skip


def create_sampling(
    name: str,
    sources: Sequence[Source],
    *,
    val_fraction: float = 0.1,
    train_frames: int = 0,
    val_frames: int = 0,
    val_list: str | os.PathLike[str] | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] = SAMPLINGS,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the two lists and `<name>_metadata.json`; returns the metadata.

    An episode's place in the order in which a source is split is a function of (seed, its name): new episodes leave that
    of the others alone. The first ones are for validation, those after them for training. Without a budget for it,
    validation takes about `val_fraction` of each source's episodes and at least one, but no more than a fifth of all
    episodes: of many small sources only the larger ones give one.

    Args:
        name: of the sampling.
        sources: dataset folders; with weights for all of them, or for none.
        val_fraction: 0 < share < 1 of the episodes.
        train_frames: take whole episodes until there are this many frames, of each source its share; 0: all there are.
        val_frames: the same for validation, in place of val_fraction.
        val_list: a list of episodes, such as an earlier sampling's, that are validated on as they are; none of them is trained on.
        seed: of the split.
        folder: where lists live.
        overwrite: replace lists that were edited by hand.

    Raises:
        UserError: no episodes, fewer than two in a source, weights for some only, or lists edited by hand.
    """
    _check_request(sources, val_fraction, train_frames, val_frames, val_list)
    target = Path(folder)
    _refuse_hand_edited(name, target, overwrite)
    found = [_Found(source, find_episodes(source.folder), seed) for source in sources]
    _check_disjoint([path for part in found for path in part.order])
    fixed = [entry.path for entry in read_list(val_list)] if val_list is not None else None
    if fixed is not None:
        _hold_out(found, fixed)
    else:
        _split(found, val_fraction, val_frames)
    _cut_to_budget(found, train_frames)
    texts = {part: _list_text(name, part, found, fixed) for part in ("train", "val")}
    for part, text in texts.items():
        with atomic_file(target / f"{name}_{part}.txt", "w") as handle:
            handle.write(text)
    request = {
        "val_fraction": None if val_frames or fixed is not None else val_fraction,
        "budget": {"train_frames": train_frames or None, "val_frames": val_frames or None},
        "val_list": {"path": display(resolve(val_list)), "sha256": sha256_file(resolve(val_list))}
        if val_list
        else None,
    }
    metadata = _metadata(name, found, fixed, texts, seed, request)
    write_json(target / f"{name}_metadata.json", metadata)
    return metadata


def _check_request(
    sources: Sequence[Source], val_fraction: float, train_frames: int, val_frames: int, val_list: object
) -> None:
    if not 0 < val_fraction < 1:
        raise UserError("val_fraction is a share between 0 and 1.", got=str(val_fraction))
    if min(train_frames, val_frames) < 0:
        raise UserError("A frame budget is a positive number, or 0 for all.", got=f"{train_frames}, {val_frames}")
    if val_frames and val_list is not None:
        raise UserError("A fixed list is validated on as it is; leave out --val_frames or --val_list.")
    if not sources:
        raise UserError("A sampling needs at least one dataset folder.")
    if len({source.weight is None for source in sources}) == 2:
        raise UserError(
            "Some sources have a weight and some have none.", expected="a weight for each, such as A=0.7 B=0.3"
        )


class _Found:
    """A source's episodes in the order of the split, and what became of them."""

    def __init__(self, source: Source, episodes: Sequence[Path], seed: int) -> None:
        self.source = source
        self.order = sorted(episodes, key=lambda path: (generator(seed, "split", path.name).random(), path.name))
        self.train: list[Path] = list(self.order)
        self.val: list[Path] = []
        self.frames: dict[Path, int] = {}
        self.without_goals: list[str] = []
        for path in sorted(episodes):
            episode = Episode(path)
            self.frames[path] = len(episode)
            self.without_goals += [] if episode.has_goals else [path.name]

    def hold(self, count: int) -> None:
        """Validate on the first `count` episodes and train on the others."""
        self.val, self.train = self.order[:count], self.order[count:]

    def total(self, part: str) -> int:
        """Frames of "train" or "val"."""
        return sum(self.frames[path] for path in getattr(self, part))


def _split(found: list[_Found], val_fraction: float, val_frames: int) -> None:
    for part in found:
        if len(part.order) < 2:
            raise UserError(
                "A sampling needs at least two episodes, one of them for validation.",
                where=part.source.folder,
                got=f"{len(part.order)} episode(s)",
                todo="record or convert more: bash 1_generate_dataset.sh; or validate on a list of your own: --val_list FILE",
            )
    if val_frames:
        for part, budget in zip(found, _budgets(found, val_frames)):
            part.hold(min(_needed([part.frames[path] for path in part.order], budget), len(part.order) - 1))
        return
    for part in found:
        part.hold(min(max(1, round(val_fraction * len(part.order))), len(part.order) - 1))
    limit = max(1, int(max(0.2, val_fraction) * sum(len(part.order) for part in found)))
    for part in sorted(found, key=lambda part: len(part.order)):
        if sum(len(other.val) for other in found) > limit:
            part.hold(0)


def _hold_out(found: list[_Found], fixed: Sequence[Path]) -> None:
    held = {path.resolve() for path in fixed}
    for part in found:
        part.train = [path for path in part.order if path.resolve() not in held]
    if not any(part.train for part in found):
        raise UserError(
            "The list for validation holds every episode, so that none is left to train on.",
            todo="name fewer episodes in it, or record more",
        )


def _cut_to_budget(found: list[_Found], train_frames: int) -> None:
    if not train_frames:
        return
    for part, budget in zip(found, _budgets(found, train_frames)):
        part.train = part.train[: _needed([part.frames[path] for path in part.train], budget)]


def _budgets(found: list[_Found], frames: int) -> list[float]:
    """Each source's part of a budget: its weight's share, or where there are none its share of all frames."""
    sizes = [part.source.weight if part.source.weight is not None else sum(part.frames.values()) for part in found]
    return [frames * size / sum(sizes) for size in sizes]


def _needed(lengths: Sequence[int], budget: float) -> int:
    """How many episodes it takes to reach a budget; at least one, all of them where they do not suffice."""
    reached = 0
    for count, length in enumerate(lengths, 1):
        reached += length
        if reached >= budget:
            return count
    return len(lengths)


def _check_disjoint(paths: list[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise UserError(
                "An episode would stand in two lists or twice in one.", where=path, todo="name each dataset folder once"
            )
        seen.add(path.resolve())


def _list_text(name: str, part: str, found: Sequence[_Found], fixed: Sequence[Path] | None) -> str:
    lines = [f"# {name}: episodes for {'training' if part == 'train' else 'validation'}, one folder a line"]
    if part == "val" and fixed is not None:
        return "\n".join([*lines, "", *map(display, fixed)]) + "\n"
    for each in found:
        chosen = sorted(getattr(each, part))
        lines.append("")
        if each.source.weight is not None and chosen:
            lines += [f"# {display(each.source.folder)}", f"# weight: {each.source.weight:g}"]
        lines += [display(path) for path in chosen]
    return "\n".join(lines) + "\n"


def _metadata(
    name: str,
    found: Sequence[_Found],
    fixed: Sequence[Path] | None,
    texts: dict[str, str],
    seed: int,
    request: dict[str, Any],
) -> dict[str, Any]:
    weights = [each.source.weight for each in found if each.train]
    sizes = [each.total("train") if each.source.weight is None else each.source.weight for each in found if each.train]
    shares = iter([size / sum(sizes) for size in sizes])
    rows = []
    for each in found:
        row: dict[str, Any] = {"folder": display(each.source.folder), "weight": each.source.weight}
        row["train_share"] = round(next(shares), 6) if each.train else 0.0
        for key in ("train", "val"):
            row |= {f"{key}_episodes": len(getattr(each, key)), f"{key}_frames": each.total(key)}
        row |= {"episodes": len(each.order), "frames": sum(each.frames.values())}
        rows.append(row | {"without_goals": each.without_goals})
    val_frames = sum(row["val_frames"] for row in rows) if fixed is None else sum(len(Episode(path)) for path in fixed)
    return {
        "name": name,
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "tool_version": steve1.__version__,
        "seed": seed,
        **request,
        "shares_by": "weight" if weights and weights[0] is not None else "frames",
        "sources": rows,
        "train_episodes": sum(row["train_episodes"] for row in rows),
        "val_episodes": sum(row["val_episodes"] for row in rows) if fixed is None else len(fixed),
        "train_frames": sum(row["train_frames"] for row in rows),
        "val_frames": val_frames,
        "sha256": {part: _digest(text) for part, text in texts.items()},
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_hand_edited(name: str, folder: Path, overwrite: bool) -> None:
    """Lists are replaced freely as long as they are what this program wrote."""
    record = folder / f"{name}_metadata.json"
    known = read_json(record).get("sha256", {}) if record.exists() else {}
    for part in ("train", "val"):
        path = folder / f"{name}_{part}.txt"
        if path.exists() and not overwrite and _digest(path.read_text(encoding="utf-8")) != known.get(part):
            raise UserError(
                "This sampling list was written or edited by hand and would be replaced.",
                where=path,
                todo=f"choose another name, or add --overwrite to replace {path.name}",
            )
