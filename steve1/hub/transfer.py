"""Pushes and pulls: only what is missing or different is sent, every file is compared by its checksum, nothing is replaced unasked."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from steve1.core.download import Missing
from steve1.core.errors import UserError
from steve1.core.files import atomic_file, remove, rename, sha256_file
from steve1.hub.manifest import MANIFEST, Manifest, check_path, parse_manifest
from steve1.hub.places import FolderPlace, Place, batches, matches

CARD = "README.md"
_CARDS = 20  # earlier ones that a list of files names
_PULLED = re.compile(r"\..+\.pulled", re.DOTALL)
OnFile = Callable[[str, int], object]


@dataclass(frozen=True)
class Bundle:
    """What is pushed together.

    Attributes:
        kind: as in `Manifest`.
        files: path in the place → file here.
        card: Markdown, written as README.md.
        tag: "" or the name that readers look for.
    """

    kind: str
    files: dict[str, Path]
    card: str
    tag: str = ""

    @property
    def repository_kind(self) -> str:
        """Of the hub."""
        return "model" if self.kind in ("weights", "adapter", "goal") else "dataset"


@dataclass
class Moved:
    """What became of the files."""

    sent: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)  #: unchanged, from an earlier run
    kept: list[str] = field(default_factory=list)  #: here with other contents, and not replaced


def push(bundle: Bundle, place: Place, *, overwrite: bool = False, on_file: OnFile = lambda path, size: None) -> Moved:
    """Write a bundle to a place; the same call continues an interrupted push.

    Args:
        overwrite: replace the files of an earlier push: those that differ, and those that are no longer among these are removed.
        on_file: called with each file's path and size when it is done.

    Raises:
        UserError: something else is there, the hub refuses, or the connection was interrupted.
    """
    place.begin()
    digests = {path: sha256_file(file) for path, file in bundle.files.items()}
    sizes = {path: file.stat().st_size for path, file in bundle.files.items()}
    there = place.listing()
    known = read_manifest(place) if MANIFEST in there else None
    same = [path for path in bundle.files if path in there and _is(bundle.files[path], digests[path], there[path])]
    changed = sorted(set(there) & set(digests) - set(same))
    foreign = sorted(set(there) - {CARD, MANIFEST, ".gitattributes"}) if known is None else []
    # A LeRobot dataset is read with every file that lies in it, and a list of files has one kind: weights, or a goal.
    gone = sorted((set(known.files) & set(there)) - set(digests)) if known else []
    if CARD in there and not overwrite and not _is_ours(place, known.cards if known else (), bundle.card):
        changed.append(CARD)
    if not overwrite and (changed or foreign or gone):
        what = "Other files are there already." if known is None else "An earlier push has other contents."
        raise UserError(
            what if foreign or changed else "An earlier push has files that are not among these.",
            where=place.name,
            got=", ".join((foreign or changed or gone)[:5]),
            todo="choose another name, or replace them with --overwrite",
        )
    card = hashlib.sha256(bundle.card.encode()).hexdigest()
    cards = [each for each in (known.cards if known else ()) if each != card]
    final, moved = Manifest(bundle.kind, digests, sizes, cards=(*cards[-_CARDS:], card)), Moved(there=same)
    begun = replace(final, complete=False)
    if gone or (len(same) < len(digests) and known != begun):
        place.put({MANIFEST: begun.text()}, "Begin to add files", gone)
    for path in same:
        on_file(path, sizes[path])
    for group in batches({path: file for path, file in bundle.files.items() if path not in set(same)}, sizes):
        place.put(group, f"Add {len(group)} files")
        moved.sent += group
        for path in group:
            on_file(path, sizes[path])
    place.put({CARD: bundle.card, MANIFEST: final.text()}, "Add the card and the list of files")
    if bundle.tag:
        place.tag(bundle.tag)
    return moved


def read_manifest(place: Place) -> Manifest | None:
    """The list of files of a place; None where nothing of ours is there."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / MANIFEST
        try:
            place.fetch(MANIFEST, target)
        except Missing:
            return None
        return parse_manifest(target.read_text(encoding="utf-8"), f"{place.name}/{MANIFEST}")


def pull(
    place: Place,
    folder: Path,
    *,
    manifest: Manifest | None = None,
    overwrite: bool = False,
    on_file: OnFile = lambda path, size: None,
) -> tuple[str, Moved]:
    """Bring everything of a place into a folder; the same call continues an interrupted pull. Returns the kind, "" if unknown.

    Args:
        manifest: the place's, where it was read already.
        overwrite: replace files in the folder that differ.

    Raises:
        UserError: nothing is there, a push to it was not finished, a checksum is wrong, a file here would be replaced, or the place is the folder.
    """
    if isinstance(place, FolderPlace) and place.path.resolve() == folder.resolve():
        what = "This folder would be pulled into itself."
        raise UserError(what, where=folder, todo="name another folder with --output_dir; a repository whose name is also a folder's here is pulled from another folder")  # fmt: skip
    manifest, moved = manifest or read_manifest(place), Moved()
    if manifest is not None and not manifest.complete:
        what = "The push to this place was not finished, so some files are missing."
        raise UserError(what, where=place.name, todo="run the same push again; it continues")
    marks = {path: f"sha256:{digest}" for path, digest in manifest.files.items()} if manifest else place.listing()
    if not marks:
        raise UserError("There is nothing to pull.", where=place.name)
    for path in marks:
        check_path(path, place.name)
    same = {path for path, mark in marks.items() if (folder / path).is_file() and matches(folder / path, mark)}
    changed = sorted(path for path in marks if (folder / path).exists() and path not in same)
    if changed and not overwrite:
        raise UserError(
            "Files here have the same names and other contents.",
            where=folder,
            got=", ".join(changed[:5]),
            todo="name another folder with --output_dir, or replace them with --overwrite",
        )
    for path, mark in sorted(marks.items()):
        if path in same:
            moved.there.append(path)
        else:
            _bring(place, path, folder / path, mark)
            moved.sent.append(path)
        on_file(path, (folder / path).stat().st_size)
    if manifest:
        _bring_card(place, folder / CARD, manifest.cards, overwrite, moved)
    return manifest.kind if manifest else "", moved


def _is_ours(place: Place, cards: Sequence[str], card: str) -> bool:
    """Whether the card there is one that was pushed, or the one that is to be: any other was written by hand."""
    with tempfile.TemporaryDirectory() as folder:
        place.fetch(CARD, Path(folder) / CARD)
        there = (Path(folder) / CARD).read_bytes()
    return there == card.encode() or hashlib.sha256(there).hexdigest() in cards


def _is(file: Path, digest: str, mark: str) -> bool:
    """As `matches`, for a file whose SHA-256 is known."""
    return digest == mark.removeprefix("sha256:") if mark.startswith("sha256:") else matches(file, mark)


def _bring_card(place: Place, target: Path, cards: Sequence[str], overwrite: bool, moved: Moved) -> None:
    """Bring the card where there is none here, or an older one of this place; a README.md that somebody wrote or changed stays."""
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / CARD
        try:
            place.fetch(CARD, new)
        except Missing:
            return
        text = new.read_bytes()
    if target.exists():
        here = target.read_bytes()
        if here == text:
            return
        if not overwrite and hashlib.sha256(here).hexdigest() not in cards:
            moved.kept.append(CARD)
            return
    with atomic_file(target, "wb") as handle:
        handle.write(text)


def _bring(place: Place, path: str, target: Path, mark: str) -> None:
    # What arrives has another name until its checksum is right; a part of it is continued by the next run.
    part = target.with_name(f".{target.name}.pulled")
    compared = (
        mark.startswith("sha256:") and not part.exists()
    )  # by the download, once; what an earlier run left is not
    place.fetch(path, part, mark.removeprefix("sha256:") if mark.startswith("sha256:") else "")
    if not compared and not matches(part, mark):
        remove(part, ours=_PULLED)
        raise UserError("A file arrived with other contents.", where=f"{place.name}/{path}", expected=mark, todo="run the same command again")  # fmt: skip
    rename(part, target)
