"""Files that are complete or not there.

A file or folder gets its name only after every byte is on disk; on any error (a full disk, a kill) what was there before is
untouched. What is removed was made by this very run: `remove` is the only way to delete, `rename` the only one to replace.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

from steve1.core.errors import UserError, closest
from steve1.core.paths import display, download_advice, resolve
from steve1.core.processes import gone
from steve1.core.reading.contents import read_text

# What is not finished: .<name>.<process id>.<8 hex digits>.<suffix>
HALF_WRITTEN = re.compile(r"\.(.+)\.(\d+)\.[0-9a-f]{8}\.\w+", re.DOTALL)
_MANY_FILES = 100
_log = logging.getLogger(__name__)
_made: set[Path] = set()


# ---- removing and renaming ----


def made(path: Path) -> Path:
    """Note that this process makes `path`, which lets `remove` delete it; what exists already is not noted."""
    if not os.path.lexists(path):
        _made.add(path.absolute())
    return path


def remove(path: Path, *, ours: re.Pattern[str] = HALF_WRITTEN, asked: bool = False) -> None:
    """Remove a file, a link or a folder, if there is one, that this program made. A link's target is left alone.

    Args:
        path: what to remove: `made` by this process, or
        ours: with a name that only this program gives, in a folder of its own or one that is locked, or
        asked: the user asked for it (--overwrite).
    """
    if not (asked or path.absolute() in _made or ours.fullmatch(path.name)):
        raise AssertionError(f"{path} was not made by this run")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    _made.discard(path.absolute())


def remove_empty(folder: Path) -> None:
    """Remove a folder unless something is in it."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def remove_half_written(folder: Path, names: Collection[str] | None = None, *, below: bool = False) -> list[Path]:
    """Remove what processes that are gone left half-written in `folder`; returns what was removed.

    Args:
        folder: it is locked, or each of its writers is a process of this machine.
        names: only the remains of these; None: all.
        below: in its subfolders as well.
    """
    removed = []
    for path in sorted(folder.rglob(".*") if below else folder.glob(".*")):
        match = HALF_WRITTEN.fullmatch(path.name)
        if match is None or (names is not None and match[1] not in names):
            continue
        # In a container each run may have the same process id.
        dead = gone(int(match[2])) or (int(match[2]) == os.getpid() and path.absolute() not in _made)
        if dead and path.exists():
            remove(path)
            removed.append(path)
    return removed


def rename(part: Path, target: Path) -> None:
    """Give a finished file or folder its name; a file that this program wrote under that name before is replaced."""
    made(target)
    os.replace(part, target)
    _made.discard(part.absolute())
    _sync(target.parent)


def _sync(path: Path) -> None:
    # Of a folder: the rename itself is durable only once the folder's own entry is on disk.
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync_all(part: Path) -> None:
    """Bring a file, or a folder with everything in it, to the disk."""
    inside = list(part.rglob("*")) if part.is_dir() else []
    if len(inside) > _MANY_FILES:
        os.sync()
        return
    for path in [*inside, part]:
        _sync(path)


# ---- writing ----


def check_writable(*paths: Path) -> None:
    """Try the folders of files, or folders, that will be written, before long work begins.

    Raises:
        OSError: a folder, or the nearest one above it that exists, may not be written; commands turn it into a message.
    """
    for path in paths:
        folder = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
        try:
            with tempfile.TemporaryFile(dir=folder) as handle:
                handle.write(b"x")
        except OSError as fault:
            raise OSError(fault.errno, fault.strerror, str(folder)) from None


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")


@contextlib.contextmanager
def _removed_after(part: Path) -> Iterator[Path]:
    """`part`, of which nothing is left at the end, unless it was renamed."""
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield made(part)
    finally:
        with contextlib.suppress(OSError):
            remove(part)


@contextlib.contextmanager
def _renamed(part: Path, target: Path) -> Iterator[Path]:
    """`part`, which gets the name `target` at the end and is removed on any error."""
    with _removed_after(part):
        yield part
        _sync_all(part)
        rename(part, target)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Write `path` beside itself and rename it at the end.

    Args:
        path: the final name; its folder is made.
        mode: "wb" or "w" (text is UTF-8).
    """
    target = Path(path)
    with _renamed(_beside(target), target) as part:
        with open(part, mode, encoding=None if "b" in mode else "utf-8") as handle:
            yield handle


def atomic_path(path: str | os.PathLike[str]) -> contextlib.AbstractContextManager[Path]:
    """Like `atomic_file` for writers that want a file name: a temporary sibling with the same suffix, if that is one word."""
    target = Path(path)
    suffix = target.suffix if re.fullmatch(r"\.\w+", target.suffix) else ".tmp"
    return _renamed(_beside(target).with_suffix(suffix), target)


@contextlib.contextmanager
def atomic_dir(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a temporary sibling folder and rename it to `path` at the end.

    Raises:
        UserError: `path` exists already, or at the end, because another process made it. Nothing of the user's is ever replaced.
    """
    target = Path(path)
    if target.exists():
        raise UserError(
            "This folder exists already and would be replaced.", where=target, todo="choose another name or remove it"
        )
    with _removed_after(_beside(target)) as part:
        part.mkdir()
        yield part
        _sync_all(part)
        try:
            rename(part, target)
        except OSError as fault:
            if fault.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            what, todo = "Another process has made this folder meanwhile.", "run the same command again"
            raise UserError(what, where=target, todo=todo) from None


@contextlib.contextmanager
def scratch_dir(beside: Path) -> Iterator[Path]:
    """A hidden folder beside `beside`, removed at the end; what is finished in it is renamed out of it."""
    with _removed_after(_beside(beside)) as folder:
        folder.mkdir()
        yield folder


def lock_file(handle: IO[Any], *, shared: bool = False) -> bool:
    """Lock an open file for as long as it is open; False where another process holds it.

    Some systems and network disks have no locks: the disk's lack is said, and the work goes on.

    Args:
        shared: others may hold it as well, if they share it too.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as fault:
        folder, why = display(Path(handle.name).parent), fault.strerror
        _log.warning("%s cannot be locked (%s): make sure that nothing else writes there", folder, why)
    return True


def existing_file(path: str | os.PathLike[str], what: str, todo: str = "") -> Path:
    """`path` resolved; `what` names such files in the plural ("These weights").

    Raises:
        UserError: there is no such file; names files of the same kind nearby.
    """
    found = resolve(path)
    if found.is_file():
        return found
    advice = download_advice(found)
    # The nearest of what lies in the same folder; where that is missing as well, in the usual places, unless it is a file to be downloaded.
    beside = found.parent.is_dir() and any(found.parent.glob("*" + found.suffix))
    folder = found.parent if beside or advice else resolve("data")
    near = [display(file) for file in sorted(folder.rglob("*"))[:5000] if file.suffix == found.suffix]
    todo = " or ".join(filter(None, [advice, todo]))
    raise UserError(f"{what} were not found.", where=display(found), expected=closest(display(found), near), todo=todo)


def file_digest(path: str | os.PathLike[str], algorithm: str = "sha256") -> str:
    """A file's checksum as hex digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hex sha256 of a file."""
    return file_digest(path)


def read_json(path: str | os.PathLike[str], form: type = dict) -> Any:
    """Parse a JSON file that holds an object, or a value of another form.

    Raises:
        UserError: the file is missing, not UTF-8, not JSON, or holds something else; names file and line.
    """
    return parse_json(read_text(path), path, form)


def parse_json(text: str, where: object, form: type = dict) -> Any:
    """The value of a JSON text.

    Raises:
        UserError: it is not JSON, or of another form; names the line.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as fault:
        raise UserError("This file is not valid JSON.", where=f"{where}:{fault.lineno}", got=fault.msg) from None
    except (ValueError, RecursionError) as fault:  # a number of thousands of digits; thousands of brackets
        raise UserError("This file is not valid JSON.", where=where, got=str(fault)[:120]) from None
    if not isinstance(value, form):
        expected = "an object, {…}" if form is dict else f"a {form.__name__}"
        got = type(value).__name__
        raise UserError("This JSON file has the wrong form.", where=where, expected=expected, got=got)
    return value


def json_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, Any, str]]:
    """(line number, value, "") for each line of a JSONL file that is not empty, or (line number, None, why it is not JSON)."""
    with open(path, "rb") as lines:
        for number, raw in enumerate(lines, 1):
            if not raw.strip():
                continue
            try:
                yield number, json.loads(raw), ""
            except (ValueError, RecursionError) as fault:
                yield number, None, getattr(fault, "msg", str(fault)[:80])


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as readable JSON, atomically."""
    with atomic_file(path, "w") as handle:
        json.dump(value, handle, indent=2, ensure_ascii=False, sort_keys=False)
        handle.write("\n")
