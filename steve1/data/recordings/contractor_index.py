"""Indexes of published recordings: an index JSON (`{basedir, relpaths[]}`) by name, URL or path, filtered."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from steve1.core.download import Busy, download
from steve1.core.errors import UserError
from steve1.core.files import atomic_file, read_json
from steve1.core.messages import some
from steve1.core.paths import display, resolve
from steve1.core.reading.contents import read_text
from steve1.data.recordings.contractor import version_in

_SHOWN = 20  # names in a message
_log = logging.getLogger(__name__)
_SNAPSHOTS = "https://openaipublic.blob.core.windows.net/minecraft-rl/snapshots/"
#: The published indexes; what the players were asked to do.
INDEXES: dict[str, str] = {
    "6.x": _SNAPSHOTS + "all_6xx_Jun_29.json",
    "7.x": _SNAPSHOTS + "all_7xx_Apr_6.json",
    "8.x": _SNAPSHOTS + "all_8xx_Jun_29.json",
    "9.x": _SNAPSHOTS + "all_9xx_Jun_29.json",
    "10.x": _SNAPSHOTS + "all_10xx_Jun_29.json",
    # The demonstrations of the BASALT 2022 competition: the same files with fewer fields in each tick.
    "find-cave": _SNAPSHOTS + "find-cave-Jul-28.json",
    "waterfall": _SNAPSHOTS + "waterfall-Jul-28.json",
    "pen-animals": _SNAPSHOTS + "pen-animals-Jul-28.json",
    "build-house": _SNAPSHOTS + "build-house-Jul-28.json",
}


@dataclass(frozen=True)
class Entry:
    """One recording of an index."""

    name: str  #: of the episode that it becomes
    url: str  #: of the mp4: http, https, file:// or a plain path
    relpath: str  #: as in the index
    version: str  #: the recorder's, "" if the path does not contain it

    def beside(self, ending: str) -> str:
        """URL of another file of the recording: ".mp4", ".jsonl" or "-options.json"."""
        return self.url[: -len(".mp4")] + ending


def read_index(index: str, cache_dir: str | os.PathLike[str], pattern: str = "") -> list[Entry]:
    """Entries of an index that match a filter.

    Args:
        index: 6.x … 10.x, find-cave, waterfall, pen-animals, build-house, a URL, file:// or a path.
        cache_dir: where a downloaded index is kept; one of another address has another name there.
        pattern: a regular expression searched in each relpath, or the path of a file with one relpath or name per line.

    Raises:
        UserError: no such index, not an index, or nothing matches.
    """
    address = INDEXES.get(index, index)
    if address.startswith(("http://", "https://")):
        path = _fetched(address, Path(cache_dir))
    else:
        local = urllib.parse.unquote(urllib.parse.urlsplit(address).path) if address.startswith("file://") else ""
        path = Path(local) if local else resolve(address)
        if not path.is_file():
            expected = f"a path, a URL, or one of {', '.join(INDEXES)}"
            raise UserError("This index does not exist.", where=path, expected=expected)
    content = read_json(path)
    if not isinstance(content.get("relpaths"), list):
        raise UserError(
            "This file is not an index of recordings.", where=path, expected='{"basedir": …, "relpaths": […]}'
        )
    base = str(content.get("basedir", "")) or str(path.parent)
    if "://" not in base and not os.path.isabs(base):
        base = str(path.parent / base)
    names = _names_in(pattern)
    wanted = _matcher(pattern) if names is None else lambda relpath: _stem(relpath) in names
    entries: dict[str, Entry] = {}
    doubles: list[str] = []
    for relpath in filter(wanted, map(str, content["relpaths"])):
        file = relpath.lstrip("/").removesuffix(".mp4") + ".mp4"
        name, folders = PurePosixPath(file).stem, PurePosixPath(file).parts[:-1]
        place = file.replace("#", "%23").replace("?", "%3F") if "://" in base else file
        entry = Entry(name, f"{base.rstrip('/')}/{place}", relpath, version_in(folders))
        if entries.setdefault(name, entry).url != entry.url:
            doubles.append(relpath)
    if not entries:
        expected = f"one of {len(content['relpaths'])} paths"
        raise UserError("The filter matches nothing in this index.", where=path, expected=expected, got=pattern)
    if missing := sorted((names or set()) - {_stem(entry.relpath) for entry in entries.values()}):
        what = "%s: %d of %d names are not in this index: %s"
        _log.warning(what, pattern, len(missing), len(names or ()), some(missing, _SHOWN))
    if doubles:
        what = "%s: left out %d recordings that have the name of one before them in another folder: %s"
        _log.warning(what, display(path), len(doubles), some(doubles, _SHOWN))
    return list(entries.values())


def _fetched(address: str, folder: Path) -> Path:
    """A downloaded index. The published ones never change; another is fetched anew, and its copy is used where that fails."""
    name = PurePosixPath(urllib.parse.urlsplit(address).path)
    if address in INDEXES.values():
        return _once(address, folder / name.name)
    kept = folder / f"{name.stem[:80] or 'index'}-{hashlib.sha256(address.encode()).hexdigest()[:12]}.json"
    if not kept.exists():
        return _once(address, kept)
    try:
        with tempfile.TemporaryDirectory() as fresh:
            content = download(address, Path(fresh) / "index.json", attempts=2).read_bytes()
        with atomic_file(kept) as handle:
            handle.write(content)
    except UserError as fault:
        _log.warning("%s: %s The copy of an earlier run is used: %s", address, fault.one_line, display(kept))
    return kept


def _once(address: str, path: Path) -> Path:
    """The index at `path`, downloaded by this process, or by another shard that began before."""
    while True:
        try:
            return download(address, path)
        except Busy:
            time.sleep(0.5)


def _names_in(pattern: str) -> set[str] | None:
    """The names of a filter file, one a line; None where the filter is no file."""
    try:
        file = resolve(pattern) if pattern else None
    except UserError:  # a regular expression that is longer than a path
        return None
    if file is None or not file.is_file():
        return None
    lines = [line.strip() for line in read_text(file, "filter").split("\n")]
    return {_stem(line) for line in lines if line and not line.startswith("#")}


def _stem(relpath: str) -> str:
    return PurePosixPath(relpath.removesuffix(".mp4")).name


def _matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a relpath is wanted, by a regular expression."""
    try:
        expression = re.compile(pattern)
    except re.error as fault:
        got = f"{pattern!r}: {fault}"
        raise UserError("This filter is neither a file nor a regular expression.", got=got) from None
    return lambda relpath: expression.search(relpath) is not None
