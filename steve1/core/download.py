"""Downloads: streamed, resumed, retried, verified.

Input: a URL (http, https, file) or a plain path, and where the file goes. Output: the complete file under its name. What has
arrived of an interrupted download stays in `<name>.part`, and the next try continues there.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from steve1.core.errors import UserError

_PIECE = 1 << 20
# Answers that another try may change; every other 4xx is final.
_PASSING = {408, 425, 429, 500, 502, 503, 504}

OnBytes = Callable[[int, int], None]


class Missing(UserError):
    """The server says that this file is not there (404, 410) or a local file does not exist: no retry helps."""


class Refused(UserError):
    """The server answers, but not with the file: a login, quota or error page, or 401/403."""


class _Passing(Exception):
    """A fault worth another try."""

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait


def download(
    url: str,
    path: str | os.PathLike[str],
    *,
    sha256: str = "",
    md5: str = "",
    attempts: int = 6,
    backoff: float = 1.0,
    timeout: float = 30.0,
    on_bytes: OnBytes | None = None,
) -> Path:
    """Fetch `url` to `path`.

    Args:
        url: http(s)://, file:// or a plain path.
        path: the final name; an existing file is kept as it is.
        sha256, md5: expected hex digests, checked before the file gets its name.
        attempts: tries in a row without a single new byte before giving up.
        backoff: seconds before the second try; doubled each time, at most 30.
        timeout: seconds without an answer that end a try.
        on_bytes: called with (bytes on disk so far, total or 0).

    Raises:
        Missing, Refused, UserError: see there; UserError for a server that keeps failing or a wrong checksum.
    """
    target = Path(path)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with _locked(part) as handle:
        if target.exists():  # another process finished it while this one waited for the lock
            return target
        try:
            _fetch(url, handle, part, attempts, backoff, timeout, on_bytes)
        except UserError as fault:
            # Nothing to continue from.
            if isinstance(fault, Missing) or handle.seek(0, os.SEEK_END) == 0:
                part.unlink(missing_ok=True)
                _note(part).unlink(missing_ok=True)
            raise
        handle.flush()
        os.fsync(handle.fileno())
        try:
            _verify(handle, url, sha256, md5)
        except UserError:
            part.unlink(missing_ok=True)
            raise
        os.replace(part, target)
    _note(part).unlink(missing_ok=True)
    return target


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


@contextmanager
def _locked(part: Path) -> Iterator[IO[bytes]]:
    with open(part, "a+b") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                "Another process is downloading this file.", where=part, todo="wait for it, or stop it"
            ) from None
        yield handle


def _fetch(
    url: str, handle: IO[bytes], part: Path, attempts: int, backoff: float, timeout: float, on_bytes: OnBytes | None
) -> None:
    failures = 0
    while True:
        before = handle.seek(0, os.SEEK_END)
        try:
            if "://" not in url or url.startswith("file://"):
                _copy_local(url, handle, on_bytes)
            else:
                _copy_http(url, handle, part, timeout, on_bytes)
            return
        except _Passing as fault:
            grown = handle.seek(0, os.SEEK_END) > before
            failures = 1 if grown else failures + 1
            if failures >= attempts:
                raise UserError(
                    "This download keeps failing.",
                    where=url,
                    got=str(fault),
                    todo=f"run the same command again later; what has arrived is kept in {part.name}",
                ) from None
            time.sleep(min(30.0, max(fault.wait, backoff * 2 ** (failures - 1))))


def _copy_local(url: str, handle: IO[bytes], on_bytes: OnBytes | None) -> None:
    source = Path(
        urllib.parse.unquote(urllib.parse.urlsplit(url).path) if url.startswith("file://") else url
    ).expanduser()
    if not source.is_file():
        raise Missing("This file does not exist.", where=source)
    total = source.stat().st_size
    done = handle.seek(0, os.SEEK_END)
    if done > total:
        handle.truncate(0)
        done = 0
    with open(source, "rb") as reader:
        reader.seek(done)
        for piece in iter(lambda: reader.read(_PIECE), b""):
            handle.write(piece)
            done += len(piece)
            if on_bytes:
                on_bytes(done, total)


def _copy_http(url: str, handle: IO[bytes], part: Path, timeout: float, on_bytes: OnBytes | None) -> None:
    have = handle.seek(0, os.SEEK_END)
    validator = _read_note(part)
    headers = {"User-Agent": "steve1-finetune", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
            _take(url, answer, handle, part, have, on_bytes)
    except urllib.error.HTTPError as fault:
        with fault:
            _explain(url, fault, handle, part, have)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as fault:
        raise _Passing(f"{type(fault).__name__}: {fault}") from None


def _take(url: str, answer: Any, handle: IO[bytes], part: Path, have: int, on_bytes: OnBytes | None) -> None:
    if "text/html" in (answer.headers.get("Content-Type") or ""):
        raise Refused("The server sent a web page instead of the file (a quota or a login, usually).", where=url)
    if have and answer.status != 206:  # the file changed, or the server knows no ranges: from the start
        handle.truncate(0)
        have = 0
    length = answer.headers.get("Content-Length")
    total = have + int(length) if length is not None and length.isdigit() else 0
    validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    if validator and not validator.startswith("W/"):
        _note(part).write_text(json.dumps({"validator": validator, "url": url}))
    done = have
    while True:
        piece = answer.read(_PIECE)
        if not piece:
            break
        handle.write(piece)
        done += len(piece)
        if on_bytes:
            on_bytes(done, total)
    if total and done < total:
        raise _Passing(f"the connection ended after {done:,} of {total:,} bytes")


def _explain(url: str, fault: urllib.error.HTTPError, handle: IO[bytes], part: Path, have: int) -> None:
    if fault.code == 416 and have:
        # What we have is not the beginning of what the server has now (or is all of it): download again, once, from zero.
        known = (fault.headers.get("Content-Range") or "").rpartition("/")[2]
        if known.isdigit() and int(known) == have:
            return
        handle.truncate(0)
        _note(part).unlink(missing_ok=True)
        raise _Passing("the server holds another version of this file")
    if fault.code in (404, 410):
        raise Missing("The server does not have this file.", where=url, got=f"{fault.code} {fault.reason}") from None
    if fault.code in _PASSING:
        wait = fault.headers.get("Retry-After") or "0"
        raise _Passing(f"{fault.code} {fault.reason}", float(wait) if wait.isdigit() else 0.0) from None
    raise Refused("The server refuses this file.", where=url, got=f"{fault.code} {fault.reason}") from None


def _read_note(part: Path) -> str:
    try:
        return str(json.loads(_note(part).read_text()).get("validator", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _verify(handle: IO[bytes], url: str, sha256: str, md5: str) -> None:
    for name, wanted in (("sha256", sha256), ("md5", md5)):
        if not wanted:
            continue
        digest = hashlib.new(name)
        handle.seek(0)
        for piece in iter(lambda: handle.read(_PIECE), b""):
            digest.update(piece)
        if digest.hexdigest() != wanted.lower():
            raise UserError(
                f"The {name} of this download is wrong; it was thrown away.",
                where=url,
                expected=wanted,
                got=digest.hexdigest(),
                todo="run the same command again",
            )
