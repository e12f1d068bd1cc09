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

from steve1.core.errors import UserError, nearest
from steve1.core.files import atomic_file, read_json, write_json
from steve1.core.paths import ROOT, display, resolve
from steve1.core.seeds import generator

from .episode import Episode, find_episodes

SAMPLINGS = ROOT / "data" / "samplings"
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
    seed: int = 0,
    folder: str | os.PathLike[str] = SAMPLINGS,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the two lists and `<name>_metadata.json`; returns the metadata.

    Each source is split for itself: about `val_fraction` of its episodes, at least one, are kept for validation.
    An episode's place in the split's order is a function of (seed, its name): new episodes leave that of the others alone.

    Args:
        name: of the sampling.
        sources: dataset folders; with weights for all of them, or for none.
        val_fraction: 0 < share < 1 of the episodes.
        seed: of the split.
        folder: where lists live.
        overwrite: replace lists that were edited by hand.

    Raises:
        UserError: no episodes, fewer than two in a source, weights for some only, or lists edited by hand.
    """
    if not 0 < val_fraction < 1:
        raise UserError("val_fraction is a share between 0 and 1.", got=str(val_fraction))
    if not sources:
        raise UserError("A sampling needs at least one dataset folder.")
    if len({source.weight is None for source in sources}) == 2:
        raise UserError(
            "Some sources have a weight and some have none.", expected="a weight for each, such as A=0.7 B=0.3"
        )
    target = Path(folder)
    _refuse_hand_edited(name, target, overwrite)
    parts = [_split(source, val_fraction, seed) for source in sources]
    _check_disjoint([p for part in parts for p in part["train"] + part["val"]])
    texts = {part: _list_text(name, part, sources, parts) for part in ("train", "val")}
    for part, text in texts.items():
        with atomic_file(target / f"{name}_{part}.txt", "w") as handle:
            handle.write(text)
    metadata = _metadata(name, sources, parts, texts, val_fraction, seed)
    write_json(target / f"{name}_metadata.json", metadata)
    return metadata


def _split(source: Source, val_fraction: float, seed: int) -> dict[str, Any]:
    episodes = find_episodes(source.folder)
    if len(episodes) < 2:
        raise UserError(
            "A sampling needs at least two episodes, one of them for validation.",
            where=source.folder,
            got=f"{len(episodes)} episode(s)",
            todo="record or convert more: bash 1_generate_dataset.sh",
        )
    order = sorted(episodes, key=lambda path: (generator(seed, "split", path.name).random(), path.name))
    n_val = min(max(1, round(val_fraction * len(episodes))), len(episodes) - 1)
    frames = {path: len(Episode(path)) for path in episodes}
    val, train = sorted(order[:n_val]), sorted(order[n_val:])
    return {
        "train": train,
        "val": val,
        "frames": frames,
        "without_goals": [p.name for p in episodes if not Episode(p).has_goals],
    }


def _check_disjoint(paths: list[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise UserError(
                "An episode would stand in two lists or twice in one.", where=path, todo="name each dataset folder once"
            )
        seen.add(path.resolve())


def _list_text(name: str, part: str, sources: Sequence[Source], parts: list[dict[str, Any]]) -> str:
    lines = [f"# {name}: episodes for {'training' if part == 'train' else 'validation'}, one folder a line"]
    for source, found in zip(sources, parts):
        lines.append("")
        if source.weight is not None:
            lines += [f"# {display(source.folder)}", f"# weight: {source.weight:g}"]
        lines += [display(path) for path in found[part]]
    return "\n".join(lines) + "\n"


def _metadata(
    name: str,
    sources: Sequence[Source],
    parts: list[dict[str, Any]],
    texts: dict[str, str],
    val_fraction: float,
    seed: int,
) -> dict[str, Any]:
    rows = []
    for source, part in zip(sources, parts):
        row: dict[str, Any] = {"folder": display(source.folder), "weight": source.weight}
        for key in ("train", "val"):
            row |= {f"{key}_episodes": len(part[key]), f"{key}_frames": sum(part["frames"][p] for p in part[key])}
        rows.append(row | {"without_goals": part["without_goals"]})
    return {
        "name": name,
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": seed,
        "val_fraction": val_fraction,
        "sources": rows,
        "train_frames": sum(row["train_frames"] for row in rows),
        "val_frames": sum(row["val_frames"] for row in rows),
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
