"""Finds videos without actions below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from steve1.core.errors import UserError
from steve1.core.paths import resolve
from steve1.data.episodes.formats.registry import format_of
from steve1.data.episodes.parts import name_fault

ENDINGS = (".mp4", ".mkv", ".webm", ".mov", ".m4v", ".avi", ".flv")
#: bytes of a name; a file system takes 255, and files that are made of a video have numbers and endings behind its name
LONGEST_NAME = 210


@dataclass(frozen=True)
class FoundVideos:
    """Videos sorted by path, those of linked folders last, with the names of their episodes, and those left out, with the reason."""

    videos: dict[str, Path] = field(default_factory=dict)  #: by name
    left_out: list[tuple[Path, str]] = field(default_factory=list)


def find_videos(folder: str | os.PathLike[str]) -> FoundVideos:
    """Every video below `folder` (linked folders too), or the one video that it is; hidden files and the videos of episodes are not looked at.

    A video's name is its path below the folder without the ending, or with it where two videos differ in nothing else. Of two that
    would have the same name even so (a/b.mp4 and a_b.mp4) the second is left out, and so is one whose name no episode can have.

    Raises:
        UserError: the folder does not exist, or holds no video.
    """
    root = resolve(folder)
    if root.is_file():
        fault = _name_fault(root.stem)
        return FoundVideos({}, [(root, fault)]) if fault else FoundVideos({root.stem: root})
    if not root.is_dir():
        todo = "SOURCE=videos VIDEOS_DIR=… bash 1_generate_dataset.sh"
        raise UserError("The folder of videos does not exist.", where=root, todo=todo)
    found: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    for path in _files(root):
        if path.suffix.lower() not in ENDINGS:
            continue
        if not path.is_file():
            left_out.append((path, "it cannot be opened, or is no ordinary file"))
        elif path.with_suffix(".jsonl").exists() or path.with_suffix(".jsonl.gz").exists():
            left_out.append((path, "its actions lie beside it: convert it with tools/convert_recordings.py"))
        else:
            found.append(path)
    if not found and not left_out:
        raise UserError("There is no video in this folder.", where=root, expected=", ".join(ENDINGS))
    short = ["_".join(path.relative_to(root).with_suffix("").parts) for path in found]
    long = ["_".join(path.relative_to(root).parts) for path in found]
    videos: dict[str, Path] = {}
    for name, full, path in zip(short, long, found):
        name = full if short.count(name) > 1 else name
        if fault := _name_fault(name):
            left_out.append((path, fault))
        elif videos.setdefault(name, path) != path:
            left_out.append((path, f"its episodes would have the names of those of {videos[name].name}: rename it"))
    return FoundVideos(videos, left_out)


def _files(root: Path) -> Iterator[Path]:
    """All files but hidden ones and those of episodes, of each folder once: a folder that lies here and is linked too keeps its own name."""
    seen: set[Path] = set()
    links = [root]
    for link in links:
        for place, folders, names in os.walk(link):
            own = Path(place).resolve()
            # A link may lead back. An episode's pictures have actions; the output folder may lie inside the input folder.
            if own in seen or _is_episode(Path(place)):
                folders.clear()
                continue
            seen.add(own)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            links += [path for path in (Path(place, name) for name in folders) if path.is_symlink()]
            yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _is_episode(folder: Path) -> bool:
    kind = format_of(folder)
    return kind is not None and (folder / kind.actions_file).exists()


def _name_fault(name: str) -> str:
    """Why nothing can be made of a video of this name, "" if something can."""
    if fault := name_fault(f"{name}_000000"):  # as its first episode is named
        return fault
    size = len(name.encode())
    if size > LONGEST_NAME:
        return f"its name has {size} bytes, and at most {LONGEST_NAME} leave space for the endings of its episodes: rename it"
    return ""
