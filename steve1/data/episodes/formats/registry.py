"""The episode formats. A new one is one file beside this one and one entry here."""

from __future__ import annotations

from pathlib import Path

from steve1.core.errors import UserError
from steve1.data.episodes.formats.base import EpisodeFormat
from steve1.data.episodes.formats.guide import GuideFormat
from steve1.data.episodes.formats.native import NativeFormat
from steve1.data.episodes.formats.replay import ReplayFormat
from steve1.data.episodes.formats.steve1 import Steve1Format
from steve1.data.episodes.parts import METADATA

#: by name; an episode is opened in the first format whose marker it has
FORMATS: dict[str, type[EpisodeFormat]] = {
    kind.name: kind for kind in (NativeFormat, Steve1Format, GuideFormat, ReplayFormat)
}
EXPORT_FORMATS = tuple(name for name, kind in FORMATS.items() if kind.writable)


def format_of(path: Path) -> type[EpisodeFormat] | None:
    """The format of an episode's path; None if it is not an episode."""
    kinds = [kind for kind in FORMATS.values() if kind.recognizes(path)]
    return next((kind for kind in kinds if (path / kind.actions_file).exists()), kinds[0] if kinds else None)


def has_parts(path: Path) -> bool:
    """Whether a folder holds any file that episodes are made of."""
    return any((path / name).exists() for kind in FORMATS.values() for name in kind.files if name != METADATA)


def open_format(path: Path) -> EpisodeFormat:
    """Open an episode in its format.

    Raises:
        UserError: no such folder, no episode in it, or parts that do not fit one another.
    """
    kind = format_of(path)
    if kind is None and not path.is_dir():
        raise UserError("This episode folder does not exist.", where=path)
    if kind is None:
        raise UserError(
            "This folder is not an episode.",
            where=path,
            expected="; ".join(f"{', '.join(kind.files[:2])} ({name})" for name, kind in FORMATS.items() if kind.files),
            got=", ".join(sorted(p.name for p in path.iterdir())[:8]) or "an empty folder",
            todo="python tools/convert_recordings.py --input_dir … --output_dir …",
        )
    return kind(path)
