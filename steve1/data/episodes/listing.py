"""Where episodes lie, told for people who look after them: whole and broken ones alike.

In: paths as typed, each a dataset folder or one episode. Out: episode folders, and what in a dataset folder is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from steve1.core.errors import UserError
from steve1.core.paths import ROOT, display, resolve
from steve1.data.episodes.layouts import ACTIONS, GOALS, GOALS_PICKLE, INDEX, MINECLIP_VIDEO, PACK, TOKENS

_PARTS = (PACK, INDEX, TOKENS, ACTIONS, MINECLIP_VIDEO, GOALS, GOALS_PICKLE, "frames", "frames.mp4", "actions.pkl", "len.txt")  # fmt: skip


@dataclass
class Dataset:
    """Episodes that belong together.

    Attributes:
        path: the folder as it was named; of a single episode the folder that it lies in.
        episodes: sorted by name; broken ones too.
        strange: folders in it that hold no part of an episode, and half-written ones of a run that was killed.
    """

    path: Path
    episodes: list[Path] = field(default_factory=list)
    strange: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As shown in tables."""
        return display(self.path)


def sampling_arguments(dataset: Path) -> str:
    """What `2_create_sampling.sh` wants to be told for the episodes of this folder."""
    if dataset == ROOT / "data" / "dataset_finetune":
        return ""
    if dataset.parent == ROOT / "data" and dataset.name.startswith("dataset_"):
        return dataset.name.removeprefix("dataset_")
    return f"{dataset.name.removeprefix('dataset_')} --dataset_dir {display(dataset)}"


def has_parts(path: Path) -> bool:
    """Whether a folder holds any file that episodes are made of."""
    return any((path / name).exists() for name in _PARTS)


def find_datasets(paths: Sequence[str]) -> list[Dataset]:
    """The datasets behind these paths; single episodes of one folder come together as one dataset.

    Raises:
        UserError: a path does not exist or holds no episode.
    """
    if not paths:
        raise UserError("Name at least one dataset folder or episode.", todo="such as data/dataset_buildhouse")
    found: dict[Path, Dataset] = {}
    for given in paths:
        path = resolve(given)
        if not path.is_dir():
            raise UserError("This folder does not exist.", where=path)
        path = path.resolve()
        if has_parts(path):
            dataset = found.setdefault(path.parent, Dataset(path.parent))
            dataset.episodes += [path] if path not in dataset.episodes else []
            continue
        dataset = found.setdefault(path, Dataset(path))
        folders = sorted(p for p in path.iterdir() if p.is_dir())
        dataset.episodes = [p for p in folders if has_parts(p) and not p.name.startswith(".")]
        dataset.strange = [p for p in folders if not p.name.startswith(".") and not has_parts(p)]
        dataset.strange += [p for p in folders if p.name.startswith(".") and p.name.endswith(".tmp")]
        if not dataset.episodes:
            raise UserError(
                "There is no episode in this folder.",
                where=path,
                expected=f"an episode, or a folder of episodes (each with {PACK}, frames/ or frames.mp4)",
                got=", ".join(p.name for p in folders[:6]) or "no folders",
            )
    return list(found.values())
