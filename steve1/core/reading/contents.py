"""What a file holds by its first bytes, and texts that people write: refused with one message each where another thing lies there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError

_HEAD = 512
_AGAIN = "remove it and get the file again (weights: bash 0_download_weights.sh)"
# What lies in a large file's place whatever its ending: (name, pattern, sentence, what to do).
_PLACEHOLDERS = (
    ("pointer", rb"\s*version https://git-lfs", "This is a Git LFS pointer, not the file itself.", "git lfs pull"),
    (
        "page",
        rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head)\b",
        "A web page was saved in place of this file (a login or a quota, usually).",
        _AGAIN,
    ),
    (
        "answer",
        rb"\s*<\?xml[^>]*>\s*<(error|html|!doctype\s+html)\b",
        "A server's answer was saved in place of this file.",
        _AGAIN,
    ),
)
# The first that matches names the content.
_KINDS = (
    ("a gzip archive", rb"\x1f\x8b"),
    ("a 7-Zip archive", rb"7z\xbc\xaf\x27\x1c"),
    ("a RAR archive", rb"Rar!\x1a\x07"),
    ("an XZ archive", rb"\xfd7zXZ\x00"),
    ("a zip archive", rb"PK(\x03\x04|\x05\x06)"),
    ("a safetensors file", rb"[\s\S]{3}\x00{5}\{\s*\""),
    ("a NumPy array", rb"\x93NUMPY"),
    ("a pickle", rb"\x80[\x00-\x05]"),
    ("a Matroska or WebM video", rb"\x1aE\xdf\xa3"),
    ("an MP4 or QuickTime video", rb"[\s\S]{4}(ftyp|moov|mdat|wide|free|skip)"),
    ("an AVI video", rb"RIFF[\s\S]{4}AVI "),
    ("a picture", rb"\xff\xd8\xff|\x89PNG\r\n"),
    ("a PDF document", rb"%PDF-"),
    ("JSON text", rb"(\xef\xbb\xbf)?\s*[{\[]"),
)
_TORCH = {"a zip archive", "a pickle"}
# What may lie under an ending; content that is none of the above is for the file's reader to judge.
_ACCEPTED = {
    ".model": {"a pickle"}, ".pkl": {"a pickle"}, ".weights": _TORCH, ".pth": _TORCH, ".pt": _TORCH, ".ckpt": _TORCH,
    ".safetensors": {"a safetensors file"}, ".npz": {"a zip archive"}, ".npy": {"a NumPy array"},
    ".mp4": {"an MP4 or QuickTime video", "a Matroska or WebM video", "an AVI video"},
    ".json": {"JSON text"}, ".jsonl": {"JSON text"}, ".txt": {"JSON text"}, ".csv": {"JSON text"}, ".yaml": {"JSON text"}, ".yml": {"JSON text"},
}  # fmt: skip
_RENAMED = {"a safetensors file": ".safetensors", "JSON text": ".json", "a NumPy array": ".npy"}
_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def refuse_other_content(path: str | os.PathLike[str], *, empty: bool = False) -> None:
    """Refuse a file whose first bytes are not those of its ending: a Git LFS pointer, a web page, an archive, an empty file.

    Args:
        path: a file that exists.
        empty: whether it may be empty.

    Raises:
        UserError: says what it is, and how to get the file itself.
    """
    file = Path(path)
    with open(file, "rb") as handle:
        head = handle.read(_HEAD)
    if not head and not empty:
        raise UserError("This file is empty (0 bytes).", where=file, todo=_AGAIN)
    for _, pattern, what, todo in _PLACEHOLDERS:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            raise UserError(what, where=file, todo=todo)
    accepted = _ACCEPTED.get(file.suffix.lower())
    kind = next((name for name, pattern in _KINDS if re.match(pattern, head)), "")
    if kind and accepted is not None and kind not in accepted:
        if kind in _TORCH and file.suffix == ".safetensors":
            todo = "rename it so that it ends in .weights, if it is a torch file"
        elif "archive" in kind:
            todo = "unpack it, and name what was in it"
        elif ending := _RENAMED.get(kind):
            todo = f"rename it so that it ends in {ending}, or get the right file"
        else:
            todo = _AGAIN
        raise UserError(f"This file is {kind}, but its name ends in {file.suffix}.", where=file, todo=todo)


def read_text(path: str | os.PathLike[str], what: str = "file") -> str:
    """A text file in UTF-8, with or without a byte-order mark.

    Args:
        path: the file.
        what: names its kind in messages ("sampling list").

    Raises:
        UserError: it is missing, of another encoding (with the line), or no text at all.
    """
    file = Path(path)
    if not file.exists():
        raise UserError(f"This {what} does not exist.", where=file)
    if not file.is_file():
        raise UserError(f"This {what} is not a file.", where=file)
    refuse_other_content(file, empty=True)
    return decode(file.read_bytes(), file, what)


def decode(data: bytes, where: object, what: str = "file") -> str:
    """The text of bytes in UTF-8; UserError names the line of another encoding."""
    if name := _ENCODINGS.get(data[:2]):
        raise _not_utf8(what, where, f"{name} text", "UTF-16")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raw = data.split(b"\n")[line - 1].strip()[:80]
        try:
            got, encoding = f"in GBK it reads {raw.decode('gb18030')}", "GB18030"
        except UnicodeDecodeError:
            got, encoding = f"byte 0x{data[fault.start]:02x}", "ITS_ENCODING"
        raise _not_utf8(what, f"{where}:{line}", got, encoding) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"This {what} is not text.", where=f"{where}:{line}", got="a zero byte")
    return text


def _not_utf8(what: str, where: object, got: str, encoding: str) -> UserError:
    todo = f"save it as UTF-8 in your editor, or: iconv -f {encoding} -t UTF-8 FILE > NEW"
    return UserError(f"This {what} is not UTF-8 text.", where=where, got=got, todo=todo)


def read_yaml(path: str | os.PathLike[str], what: str = "file") -> dict[str, Any]:
    """Parse a YAML file that holds a mapping.

    Raises:
        UserError: the file is missing, not UTF-8, not YAML, or holds something else.
    """
    import yaml  # the doctor reads JSON with this module before any package is installed

    try:
        content = yaml.safe_load(read_text(path, what))
    except (yaml.YAMLError, ValueError, RecursionError) as fault:  # ValueError: a date such as 2026-99-99
        mark = getattr(fault, "problem_mark", None)
        got = "nested too deep" if isinstance(fault, RecursionError) else getattr(fault, "problem", None) or str(fault)
        where = path if mark is None else f"{path}:{mark.line + 1}"
        raise UserError(f"This {what} is not YAML.", where=where, got=" ".join(got.split())[:200]) from None
    if not isinstance(content, dict):
        got = type(content).__name__
        raise UserError(f"This {what} has the wrong form.", where=path, expected="names with values", got=got)
    return content
