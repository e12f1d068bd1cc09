"""Walks a folder of recordings; what is a recording in it is decided by the layouts (`layouts.py`)."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

_SUFFIXES = (".mp4", ".jsonl")
#: what other recorders write; readable, but which file is the recording must be unambiguous
_OTHER_VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".flv", ".m4v", ".wmv")


@dataclass
class Tree:
    """Everything below a folder, without hidden files.

    Attributes:
        root: the folder.
        files: videos and ticks.
        folders: the root and all folders below, linked ones too.
        odd: what can be neither, with the reason.
    """

    root: Path
    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    odd: list[tuple[Path, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        seen: set[Path] = set()
        waiting = [self.root]
        while waiting:
            folder = waiting.pop()
            # Links are followed, but no folder is searched twice: one may lead back to its parent.
            if folder.resolve() in seen:
                self.odd.append((folder, "a link to a folder that is searched already"))
                continue
            seen.add(folder.resolve())
            self.folders.append(folder)
            try:
                names = sorted(entry.name for entry in os.scandir(folder))
            except OSError as fault:
                self.odd.append((folder, f"a folder that cannot be read: {fault.strerror}"))
                continue
            for path in (folder / name for name in names if not name.startswith(".")):
                if self._add(path):
                    waiting.append(path)

    def _add(self, path: Path) -> bool:
        """Note a file or folder; returns whether it is a folder to be searched."""
        kind, ours = _kind(path), path.suffix in _SUFFIXES
        if kind == "folder":
            if ours:
                self.odd.append((path, "a folder that is named like a file of a recording"))
            # An episode's own frames folder holds no recordings, and may hold thousands of files.
            return path.name != "frames"
        if kind == "file" and ours:
            self.files.append(path)
        elif kind == "file" and path.suffix.lower() in _OTHER_VIDEOS:
            self.odd.append((path, _renamed(path)))
        elif kind != "file" and ours:
            self.odd.append((path, kind))
        return False

    def name_of(self, path: Path) -> str:
        """The name of the episode that a recording at this path becomes."""
        return "_".join(path.relative_to(self.root).parts) or self.root.name


def _renamed(path: Path) -> str:
    """What to do about a video whose name does not end in .mp4."""
    target = path.with_suffix(".mp4").name
    how = f"rename it to {target}" if path.suffix.lower() == ".mp4" else f"ffmpeg -i {path.name} -c copy {target}"
    return f"a video in another container than mp4; {how}, with its actions beside it as {path.stem}.jsonl"


def _kind(path: Path) -> str:
    """ "file", "folder", or why it is neither."""
    try:
        mode = os.stat(path).st_mode
    except OSError as fault:
        return f"it cannot be opened: {fault.strerror}"
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "it is neither a file nor a folder"
