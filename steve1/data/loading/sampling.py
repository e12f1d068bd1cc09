"""Makes sampling lists: which episodes a training run reads, which validate it, and their shares.

Input: dataset folders with shares. Output: `<name>_train.txt`, `<name>_val.txt` and `<name>_metadata.json`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import steve1
from steve1.core.errors import UserError
from steve1.core.files import atomic_file, read_json, sha256_file, write_json
from steve1.core.messages import plural
from steve1.core.paths import display, resolve
from steve1.core.seeds import generator
from steve1.data.episodes.cut import cut_episode, cut_metadata
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.data.episodes.formats.replay import is_pack
from steve1.data.episodes.origin import MADE_FROM, made_from, still_shows
from steve1.data.episodes.parts import options_of, origins
from steve1.data.loading.lists import list_line, read_list

SAMPLINGS = "data/samplings"
GAP_FRAMES = 200  # between the parts of an episode that is split by time: no goal of training comes from validation
_SHORTEST = 32
_MOST_LABELS = 0.5  # of the training windows, where labels of videos lie beside true actions and nothing else is said
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A dataset folder and its share of the training windows (None: by its size).

    Attributes:
        labelled: only its episodes whose actions are labels of videos, or only the others; None: all.
    """

    folder: Path
    weight: float | None = None
    labelled: bool | None = None


@dataclass(frozen=True)
class SamplingSettings:
    """How episodes are split and chosen."""

    val_fraction: float = 0.1
    """Share of each folder's episodes for validation: at least one episode, at most a fifth of all."""
    val_list: str = ""
    """Fixed list of validation episodes, such as data/samplings/fixed_val.txt; they are excluded from training."""
    train_frames: int = 0
    """Stop adding training episodes once they have this many frames; 0: use all."""
    val_frames: int = 0
    """Choose validation episodes until they have this many frames, instead of by --val_fraction."""
    by_time: bool = False
    """Split each episode by time, for a few long recordings: its end is for validation, and the ten seconds before that are left out. The parts go into <dataset>_by_time, beside the dataset."""
    seed: int = 0
    """Seed for the split between training and validation."""
    overwrite: bool = False
    """Replace lists that were written or edited by hand."""

    def __post_init__(self) -> None:
        if not 0 < self.val_fraction < 1:
            raise UserError("val_fraction must be between 0 and 1.", got=self.val_fraction)
        if min(self.train_frames, self.val_frames) < 0:
            got = f"{self.train_frames}, {self.val_frames}"
            raise UserError("train_frames and val_frames must be positive, or 0 for all.", got=got)
        if self.val_frames and self.val_list:
            raise UserError("--val_frames and --val_list cannot be used together.")
        if self.by_time and (self.val_list or self.val_frames or self.train_frames):
            what = "--by_time cannot be used with --val_list, --val_frames or --train_frames."
            raise UserError(what, expected="--by_time --val_fraction 0.1")


def create_sampling(name: str, sources: Sequence[Source], settings: SamplingSettings, folder: Path) -> dict[str, Any]:
    """Write the two lists and `<name>_metadata.json`; returns the metadata.

    Each source's episodes are ordered by a function of (seed, episode name), so new episodes do not move the others. The
    first ones are for validation, those after them for training. Without a budget, validation takes about `val_fraction`
    of each source's episodes and at least one, but at most a fifth of all episodes: of many small sources, only the larger
    ones give one.

    Raises:
        UserError: no episodes, fewer than two in a source, weights for some only, or lists edited by hand.
    """
    if not sources:
        raise UserError("A sampling needs at least one dataset folder.")
    if len({source.weight is None for source in sources}) == 2:
        expected = "a weight for each, such as A=0.7 B=0.3"
        raise UserError("Some folders have a share and others have none.", expected=expected)
    cut: list[tuple[list[Path], list[Path]]]
    opened = _Opened()
    if settings.by_time:
        cut = [_cut_by_time(source, settings.val_fraction) for source in sources]
        sources = [Source(_beside(source), source.weight) for source in sources]
    else:
        sources = _labels_apart(sources, opened)
        cut = [([], [])] * len(sources)
    splits = [_Split(source, settings.seed, opened, *parts) for source, parts in zip(sources, cut)]
    seen = Counter(path.resolve() for split in splits for path in split.order)
    if twice := [path for path, count in seen.items() if count > 1]:
        what = "An episode would be in two lists, or twice in one."
        raise UserError(what, where=twice[0], todo="name each dataset folder once")
    fixed = [entry.path for entry in read_list(settings.val_list)] if settings.val_list else None
    if not settings.by_time:
        _choose_validation(splits, settings, fixed)
    if settings.train_frames:
        for split, budget in zip(splits, _budgets(splits, settings.train_frames)):
            split.train = split.train[: split.needed(split.train, budget)]
    texts = {part: _list_text(name, part, splits, fixed) for part in ("train", "val")}
    _refuse_hand_edited(name, folder, texts, settings.overwrite)
    for part, text in texts.items():
        with atomic_file(folder / f"{name}_{part}.txt", "w") as handle:
            handle.write(text)
    metadata = _metadata(name, splits, fixed, texts, settings)
    write_json(folder / f"{name}_metadata.json", metadata)
    return metadata


def _labels_apart(sources: Sequence[Source], opened: _Opened) -> list[Source]:
    """Sources without shares that hold both true actions and labels of videos, divided by that: labels get half of the windows at most."""
    if any(source.weight is not None for source in sources):
        return list(sources)
    frames: dict[tuple[Path, bool], int] = {}
    counts: Counter[tuple[Path, bool]] = Counter()
    for source in sources:
        for path in find_episodes(source.folder):
            key = source.folder, opened[path].labelled
            counts[key] += 1
            frames[key] = frames.get(key, 0) + opened[path].frames
    total = {kind: sum(count for (_, labelled), count in frames.items() if labelled == kind) for kind in (False, True)}
    if not all(total.values()) or min(counts.values()) < 2:
        return list(sources)
    labels = min(_MOST_LABELS, total[True] / sum(total.values()))
    share = {True: labels, False: 1 - labels}
    return [
        Source(folder, round(share[labelled] * count / total[labelled], 6), labelled)
        for (folder, labelled), count in frames.items()
    ]


def is_labelled(episode: Episode) -> bool:
    """Whether its actions are labels of a video, not what was pressed; also where it went through another program's format, or a recording."""
    return any(
        "video" in (known.get("source_kind"), options_of(known).get("source_kind"))
        for known in origins(episode.metadata)
    )


@dataclass(frozen=True)
class _Facts:
    """What a sampling needs to know of an episode."""

    frames: int
    labelled: bool
    has_goals: bool


class _Opened(dict[Path, _Facts]):
    """Episodes by their folders; each is opened once."""

    def __missing__(self, path: Path) -> _Facts:
        episode = Episode(path)
        self[path] = _Facts(len(episode), is_labelled(episode), episode.has_goals)
        return self[path]


class _Split:
    """A source's episodes in the order of the split, and the part that each is in."""

    def __init__(
        self, source: Source, seed: int, opened: _Opened, train: Sequence[Path] = (), val: Sequence[Path] = ()
    ) -> None:
        self.source = source
        known = {path: opened[path] for path in [*train, *val] or find_episodes(source.folder)}
        if source.labelled is not None:
            known = {path: each for path, each in known.items() if each.labelled == source.labelled}
        for path in known:
            list_line(path)
        self._lengths = {path: each.frames for path, each in known.items()}
        self.without_goals = [path.name for path, each in known.items() if not each.has_goals]
        self.order = sorted(known, key=lambda path: (generator(seed, "split", path.name).random(), path.name))
        self.train, self.val = list(train) or self.order, list(val)

    def hold(self, count: int) -> None:
        """Validate on the first `count` episodes and train on the others."""
        self.val, self.train = self.order[:count], self.order[count:]

    def frames(self, paths: Sequence[Path]) -> int:
        """Frames of these episodes."""
        return sum(self._lengths[path] for path in paths)

    @property
    def size(self) -> float:
        """What shares are proportional to: the weight, or else the frames."""
        return self.source.weight if self.source.weight is not None else self.frames(self.order)

    def needed(self, paths: Sequence[Path], budget: float) -> int:
        """How many episodes reach a budget of frames; at least one, all of them if they do not suffice."""
        reached = np.cumsum([self._lengths[path] for path in paths])
        return min(int(np.searchsorted(reached, budget)) + 1, len(paths))


def _beside(source: Source) -> Path:
    """Where the parts of a dataset's episodes go."""
    return source.folder.with_name(f"{source.folder.name}_by_time")


def _cut_by_time(source: Source, val_fraction: float) -> tuple[list[Path], list[Path]]:
    """The beginnings and the ends of a source's episodes, cut out where they are not there yet.

    Raises:
        UserError: an episode is too short, or another one was cut under its name before, or with other goals.
    """
    if is_pack(source.folder):
        raise UserError("A replay pack has no pictures, so it is not split by time.", where=source.folder)
    target = _beside(source)
    parts: tuple[list[Path], list[Path]] = ([], [])
    for path in find_episodes(source.folder):
        episode = Episode(path)
        end = round(len(episode) * (1 - val_fraction))
        pieces = ((0, end - GAP_FRAMES), (end, len(episode)))
        if min(stop - start for start, stop in pieces) < _SHORTEST:
            expected = f"{_SHORTEST} frames and more for training and for validation, and {GAP_FRAMES} between them"
            raise UserError(
                "This episode is too short to be split by time.", where=path, expected=expected, got=len(episode)
            )
        made = made_from(path)
        for found, (start, stop) in zip(parts, pieces):
            cut = target / f"{path.name}_{start:06d}_{stop:06d}"
            wanted = cut_metadata(episode.metadata, path.name, start, stop, len(episode))
            if not cut.exists():
                cut_episode(path, cut, start, stop, made)
            known = Episode(cut)
            same = all(known.metadata.get(key) == wanted.get(key) for key in ("cut", "sha256", "source"))
            same = same and still_shows(known.metadata, episode.metadata, made[MADE_FROM]["content"])
            note = known.metadata.get(MADE_FROM)
            current = isinstance(note, dict) and note.get("content") == made[MADE_FROM]["content"]
            # The parts alone may have been embedded, as this command advises where there are no goals yet.
            goals_fit = known.has_goals == episode.has_goals or (known.has_goals and current)
            if not same or not goals_fit:
                what = "This part was cut from another episode, or before its goals were made."
                raise UserError(what, where=cut, todo=f"remove {display(cut)}: the same command cuts it again")
            found.append(cut)
    return parts


def _choose_validation(splits: list[_Split], settings: SamplingSettings, fixed: Sequence[Path] | None) -> None:
    if fixed is not None:
        held = {path.resolve() for path in fixed}
        for split in splits:
            split.train = [path for path in split.order if path.resolve() not in held]
        if not any(split.train for split in splits):
            what = "The validation list contains every episode, so there is none left to train on."
            raise UserError(what, todo="name fewer episodes in it, or record more")
        return
    for split in splits:
        if len(split.order) < 2:
            raise UserError(
                "A sampling needs at least two episodes, one of them for validation.",
                where=split.source.folder,
                got=plural(len(split.order), "episode"),
                todo="record or convert more: bash 1_generate_dataset.sh; split a long one by time: --by_time; or validate on a list of your own: --val_list FILE",
            )
    if settings.val_frames:
        for split, budget in zip(splits, _budgets(splits, settings.val_frames)):
            split.hold(min(split.needed(split.order, budget), len(split.order) - 1))
        return
    for split in splits:
        split.hold(min(max(1, round(settings.val_fraction * len(split.order))), len(split.order) - 1))
    limit = max(1, int(max(0.2, settings.val_fraction) * sum(len(split.order) for split in splits)))
    for split in sorted(splits, key=lambda split: len(split.order)):
        if sum(len(other.val) for other in splits) > limit:
            split.hold(0)


def _budgets(splits: list[_Split], frames: int) -> list[float]:
    """Each source's part of a budget of frames."""
    return [frames * split.size / sum(other.size for other in splits) for split in splits]


def _list_text(name: str, part: str, splits: Sequence[_Split], fixed: Sequence[Path] | None) -> str:
    lines = [f"# {name}: episodes for {'training' if part == 'train' else 'validation'}, one folder per line"]
    if part == "val" and fixed is not None:
        return "\n".join([*lines, "", *map(list_line, fixed)]) + "\n"
    for split in splits:
        chosen, source = sorted(getattr(split, part)), split.source
        lines.append("")
        if source.weight is not None and chosen:
            kind = ", labels of videos" if source.labelled else ""
            lines += [f"# {display(source.folder)}{kind}", f"# weight: {source.weight:g}"]
        lines += map(list_line, chosen)
    return "\n".join(lines) + "\n"


def _metadata(
    name: str, splits: Sequence[_Split], fixed: Sequence[Path] | None, texts: dict[str, str], settings: SamplingSettings
) -> dict[str, Any]:
    weighted = splits[0].source.weight is not None
    trained = [(split.size if weighted else split.frames(split.train)) if split.train else 0.0 for split in splits]
    rows: list[dict[str, Any]] = [
        {
            "folder": display(split.source.folder),
            "weight": split.source.weight,
            "train_share": round(amount / sum(trained), 6),
            "train_episodes": len(split.train),
            "train_frames": split.frames(split.train),
            "val_episodes": len(split.val),
            "val_frames": split.frames(split.val),
            "episodes": len(split.order),
            "frames": split.frames(split.order),
            "longest_episode": max((split.frames([path]) for path in split.train), default=0),
            "without_goals": split.without_goals,
        }
        for split, amount in zip(splits, trained)
    ]
    counts = ("train_episodes", "val_episodes", "train_frames", "val_frames")
    total = {key: sum(row[key] for row in rows) for key in counts}
    if fixed is not None:
        total |= {"val_episodes": len(fixed), "val_frames": sum(len(Episode(path)) for path in fixed)}
    listed = resolve(settings.val_list) if settings.val_list else None
    return {
        "name": name,
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "tool_version": steve1.__version__,
        "seed": settings.seed,
        "val_fraction": None if settings.val_frames or listed else settings.val_fraction,
        "budget": {"train_frames": settings.train_frames or None, "val_frames": settings.val_frames or None},
        "val_list": {"path": display(listed), "sha256": sha256_file(listed)} if listed else None,
        "shares_by": "weight" if weighted else "frames",
        "sources": rows,
        **total,
        "sha256": {part: _digest(text) for part, text in texts.items()},
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_hand_edited(name: str, folder: Path, texts: dict[str, str], overwrite: bool) -> None:
    """Lists are replaced without asking only if this program wrote them: those that a run was killed over have these texts already."""
    if overwrite:
        return
    record = folder / f"{name}_metadata.json"
    known = read_json(record).get("sha256", {}) if record.exists() else {}
    for part in ("train", "val"):
        path = folder / f"{name}_{part}.txt"
        ours = (known.get(part), _digest(texts[part])) if isinstance(known, dict) else ()
        if path.exists() and sha256_file(path) not in ours:
            raise UserError(
                "This sampling list was written or edited by hand and would be replaced.",
                where=path,
                todo=f"choose another name, or add --overwrite to replace {path.name}",
            )
