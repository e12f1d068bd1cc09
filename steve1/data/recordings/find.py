"""Walks a folder of recordings; what is a recording in it is decided by the layouts (`layouts.py`)."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

_SUFFIXES = (".mp4", ".jsonl")
#: other containers: readable, but a recording's video must be found by name
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
        ours, mode, odd = path.suffix in _SUFFIXES, 0, "it is neither a file nor a folder"
        try:
            mode = os.stat(path).st_mode
        except OSError as fault:
            odd = f"it cannot be opened: {fault.strerror}"
        if stat.S_ISDIR(mode):
            if ours:
                self.odd.append((path, "a folder that is named like a file of a recording"))
            # An episode's own frames folder holds no recordings, and may hold thousands of files.
            return path.name != "frames"
        if ours and stat.S_ISREG(mode):
            self.files.append(path)
        elif ours:
            self.odd.append((path, odd))
        elif path.suffix.lower() in _OTHER_VIDEOS and stat.S_ISREG(mode):
            target = path.with_suffix(".mp4").name
            is_mp4 = path.suffix.lower() == ".mp4"
            how = f"rename it to {target}" if is_mp4 else f"ffmpeg -i {path.name} -c copy {target}"
            why = f"a video in another container than mp4; {how}, with its actions beside it as {path.stem}.jsonl"
            self.odd.append((path, why))
        return False

    def name_of(self, path: Path) -> str:
        """The name of the episode that a recording at this path becomes."""
        return "_".join(path.relative_to(self.root).parts) or self.root.name
