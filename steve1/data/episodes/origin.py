"""What a copy of an episode was made from and how, so that a copy that is there already is not taken for another one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.messages import translated
from steve1.core.paths import display
from steve1.data.episodes.parts import METADATA, fingerprint, mineclip_of

#: the key of a copy's metadata
MADE_FROM = "made_from"


def made_from(source: Path, **settings: Any) -> dict[str, Any]:
    """The entry for the metadata of a copy: its source, what is in that now, and the settings that the copy is made with."""
    entry = {"episode": display(source), "content": fingerprint(source), "settings": settings}
    return {MADE_FROM: json.loads(json.dumps(entry))}


def differences(copy: Path, source: Path, **settings: Any) -> list[str] | None:
    """The settings that differ from those that an existing copy was made with, with both values; None if it does not say.

    Raises:
        UserError: it was made from another episode, or the episode has changed since.
    """
    metadata = read_json(copy / METADATA) if (copy / METADATA).is_file() else {}
    known = metadata.get(MADE_FROM) if isinstance(metadata, dict) else None
    if not isinstance(known, dict):
        return None
    now = made_from(source, **settings)[MADE_FROM]
    if known.get("content") != now["content"]:
        same = known.get("episode") == now["episode"]
        raise UserError(
            "The episode has changed since this copy of it was made."
            if same
            else "This name is taken by a copy of another episode.",
            where=copy,
            expected=f"a copy of {now['episode']} (content {now['content'][:12]}…)",
            got=f"one of {known.get('episode')} (content {str(known.get('content'))[:12]}…)",
            todo="name another output folder, or remove the copy" if same else "name another output folder",
        )
    then = known.get("settings") or {}
    return [
        f"{name} {then[name]} (now {value})"
        for name, value in now["settings"].items()
        if then.get(name, value) != value
    ]


def copied_otherwise(copy: Path, source: Path, mark: str = "", **settings: Any) -> list[str]:
    """As `differences`, of something that is a copy only if it says so.

    A copy that an earlier version made does not name its source: it has `mark` in its metadata, or what its source has.

    Raises:
        UserError: it is no copy of this episode, or as `differences`.
    """
    found = differences(copy, source, **settings)
    if found is None:
        metadata = read_json(copy / METADATA) if mark and (copy / METADATA).is_file() else {}
        if mark not in metadata and not (copy.is_dir() and fingerprint(copy) == fingerprint(source)):
            what = "This name is taken by something that is no copy of this episode."
            raise UserError(what, where=copy, todo="name another output folder")
    return found or []


def still_shows(cut: dict[str, Any], source: dict[str, Any], content: str) -> bool:
    """Whether a cut of an episode shows what is in the episode now.

    Args:
        cut, source: metadata of both.
        content: `fingerprint` of the episode.

    Returns:
        True also where the cut does not say, unless both say that another MineCLIP made their goals. Those of earlier versions
        do not say: they may have the entry of their episode.
    """
    known = cut.get(MADE_FROM)
    if isinstance(known, dict) and known != source.get(MADE_FROM):
        return known.get("content") == content
    return len({mineclip_of(cut), mineclip_of(source)} - {""}) < 2


def stays(copy: Path, changed: list[str]) -> str:
    """What to tell of an existing copy that was made with other settings."""
    return translated(
        f"{display(copy)} was made with {', '.join(map(translated, changed))}; it stays as it is: "
        "name another output folder to have it made with the new settings"
    )
