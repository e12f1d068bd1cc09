"""Finds datasets and their episodes, broken ones too, for the commands that check and repair them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from steve1.core.errors import UserError
from steve1.core.files import check_writable
from steve1.core.paths import display, output_path, quoted, resolve
from steve1.data.episodes.formats.registry import has_parts
from steve1.data.episodes.formats.replay import refuse_pack
from steve1.data.episodes.parts import PACK


@dataclass
class Dataset:
    """Episodes that belong together.

    Attributes:
        path: the folder as it was named; for a single episode its parent.
        episodes: sorted by name; broken ones too.
        strange: folders in it without any part of an episode, and half-written ones of a run that was killed.
    """

    path: Path
    episodes: list[Path] = field(default_factory=list)
    strange: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As shown in tables."""
        return display(self.path)


def sampling_arguments(dataset: Path) -> str:
    """The arguments of `2_create_sampling.sh` for the episodes of this folder."""
    if dataset == output_path("data/dataset_finetune"):
        return ""
    name = dataset.name.removeprefix("dataset_")
    if dataset.parent == output_path("data") and dataset.name != name:
        return shlex.quote(name)
    return f"{shlex.quote(name)} --dataset_dir {quoted(dataset)}"


def find_datasets(paths: Sequence[str]) -> list[Dataset]:
    """The datasets at these paths; single episodes of one folder form one dataset.

    Raises:
        UserError: a path does not exist, is a replay pack or holds no episode.
    """
    if not paths:
        raise UserError("Name at least one dataset folder or episode.", todo="such as data/dataset_buildhouse")
    found: dict[Path, Dataset] = {}
    for given in paths:
        path = resolve(given)
        refuse_pack(path)
        if not path.is_dir():
            raise UserError("This folder does not exist.", where=path)
        path = path.resolve()
        if has_parts(path):
            dataset = found.setdefault(path.parent, Dataset(path.parent))
            dataset.episodes += [path] if path not in dataset.episodes else []
            continue
        dataset = found.setdefault(path, Dataset(path))
        folders = sorted(p for p in path.iterdir() if p.is_dir())
        visible = [p for p in folders if not p.name.startswith(".")]
        dataset.episodes = [p for p in visible if has_parts(p)]
        dataset.strange = [p for p in visible if not has_parts(p)]
        dataset.strange += [p for p in folders if p.name.startswith(".") and p.name.endswith(".tmp")]
        if not dataset.episodes:
            raise UserError(
                "There is no episode in this folder.",
                where=path,
                expected=f"an episode, or a folder of episodes (each with {PACK}, frames/ or frames.mp4)",
                got=", ".join(p.name for p in folders[:6]) or "no folders",
            )
    return list(found.values())


def find_outside(paths: Sequence[str], output_dir: str) -> tuple[list[Path], Path]:
    """The episodes at these paths, and the folder that copies of them go to.

    Raises:
        UserError: as `find_datasets`; or the folder is the episodes' own.
    """
    target = output_path(output_dir)
    episodes = [path for dataset in find_datasets(paths) for path in dataset.episodes]
    if any(path.parent == target.resolve() for path in episodes):
        raise UserError("--output_dir holds the episodes themselves.", where=target, todo="name another folder")
    check_writable(target)
    return episodes, target
