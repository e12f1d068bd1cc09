"""The list of files in a pushed folder or repository, with their sizes and checksums: `steve1_files.json`.

It is written first, as incomplete, and last, as complete: an interrupted push is recognised, and the same command continues it.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import PurePosixPath
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import parse_json

MANIFEST = "steve1_files.json"
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What was pushed.

    Attributes:
        kind: weights, adapter, goal, replay, episodes, lerobot or minestudio.
        files: path → SHA-256 as hex digits.
        sizes: path → bytes.
        cards: SHA-256 of the latest cards that were pushed, the newest last: a README.md with one of these was not written by hand.
        complete: False while a push is under way.
    """

    kind: str
    files: dict[str, str]
    sizes: dict[str, int]
    complete: bool = True
    cards: tuple[str, ...] = ()

    def text(self) -> str:
        """As it is stored."""
        rows = {path: {"size": self.sizes[path], "sha256": digest} for path, digest in sorted(self.files.items())}
        content = {"format": _FORMAT, "kind": self.kind, "complete": self.complete, "cards": self.cards, "files": rows}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def parse_manifest(text: str, where: object) -> Manifest:
    """Read a manifest.

    Raises:
        UserError: it has another form, or names a file outside its folder.
    """
    content: dict[str, Any] = parse_json(text, where)
    try:
        files = {str(path): str(row["sha256"]) for path, row in content["files"].items()}
        sizes = {str(path): int(row["size"]) for path, row in content["files"].items()}
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}")
        cards = tuple(map(str, content.get("cards", ())))
        found = Manifest(str(content["kind"]), files, sizes, bool(content["complete"]), cards)
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        got = f"{type(fault).__name__}: {fault}"
        raise UserError(
            "This list of files has another form.", where=where, expected=f"format {_FORMAT}", got=got
        ) from None
    for path in files:
        check_path(path, where)
    return found


def check_path(path: str, where: object) -> None:
    """UserError for a path that would lead out of the folder that it is written to."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or any(part in ("..", "") or ":" in part for part in parts):
        raise UserError("A file of this list lies outside its folder.", where=where, got=path)
