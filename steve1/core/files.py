"""Files that are complete or not there.

A file or folder gets its name only after every byte is on disk; on any error (a full disk, a kill) what was there before is
untouched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from steve1.core.errors import UserError, nearest
from steve1.core.paths import display, resolve


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")


def _sync_folder(folder: Path) -> None:
    # The rename itself is durable only once the folder's own entry is on disk.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _renamed(part: Path, target: Path) -> Iterator[Path]:
    """`part`, which gets the name `target` at the end and is removed on any error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        os.replace(part, target)
        _sync_folder(target.parent)
    except BaseException:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
        raise


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
            handle.flush()
            os.fsync(handle.fileno())


def atomic_path(path: str | os.PathLike[str]) -> contextlib.AbstractContextManager[Path]:
    """Like `atomic_file` for writers that want a file name: a temporary sibling with the same suffix."""
    target = Path(path)
    return _renamed(_beside(target).with_suffix(target.suffix or ".tmp"), target)


@contextlib.contextmanager
def atomic_dir(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a temporary sibling folder and rename it to `path` at the end.

    Raises:
        UserError: `path` exists already. Nothing of the user's is ever replaced.
    """
    target = Path(path)
    if target.exists():
        raise UserError(
            "This folder exists already and would be replaced.", where=target, todo="choose another name or remove it"
        )
    with _renamed(_beside(target), target) as part:
        part.mkdir()
        yield part


def existing_file(path: str | os.PathLike[str], what: str, todo: str = "") -> Path:
    """`path` resolved; `what` names such files in the plural ("These weights").

    Raises:
        UserError: there is no such file; names files of the same kind nearby.
    """
    found = resolve(path)
    if found.is_file():
        return found
    # The nearest of what lies in the same folder, or in the usual places, where the folder is missing as well.
    folder = found.parent if found.parent.is_dir() else resolve("data")
    suffixes = {found.suffix, ".weights", ".safetensors"}
    near = [display(file) for file in sorted(folder.rglob("*"))[:5000] if file.suffix in suffixes]
    hint = nearest(display(found), near) if near else ""
    raise UserError(f"{what} were not found.", where=display(found), expected=hint, todo=todo)


def file_digest(path: str | os.PathLike[str], algorithm: str = "sha256") -> str:
    """A file's checksum as hex digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hex sha256 of a file."""
    return file_digest(path)


def read_json(path: str | os.PathLike[str]) -> Any:
    """Parse a JSON file.

    Raises:
        UserError: the file is missing or not JSON; names file and line.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("This file does not exist.", where=path) from None
    except json.JSONDecodeError as fault:
        raise UserError("This file is not valid JSON.", where=f"{path}:{fault.lineno}", got=fault.msg) from None
    except UnicodeDecodeError as fault:
        raise UserError("This file is not UTF-8 text.", where=path, got=str(fault)) from None


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as readable JSON, atomically."""
    with atomic_file(path, "w") as handle:
        json.dump(value, handle, indent=2, ensure_ascii=False, sort_keys=False)
        handle.write("\n")
