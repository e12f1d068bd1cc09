"""Downloads: streamed, resumed, retried, verified.

Input: a URL (http, https, file) or a plain path, and where the file goes. Output: the complete file under its name. What has
arrived of an interrupted download stays in `<name>.part`, and the next try continues there if `<name>.part.json` names the same
address and version.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

from steve1.core.errors import UserError
from steve1.core.files import lock_file, remove, rename

_PIECE = 1 << 20
_PART = re.compile(r".+\.part(\.json)?", re.DOTALL)
_TIMEOUT_S = 30.0  # without an answer
# Answers that another try may change; every other 4xx is final.
_PASSING = {408, 425, 429, 500, 502, 503, 504}

OnBytes = Callable[[int, int], None]


class Missing(UserError):
    """The server says that this file is not there (404, 410) or a local file does not exist: no retry helps."""


class Refused(UserError):
    """The server answers, but not with the file: a login, quota or error page, or 401/403."""


class Busy(UserError):
    """Another process is downloading this file."""


class _Passing(Exception):
    """A fault worth another try."""

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait


def download(
    url: str,
    path: str | os.PathLike[str],
    *,
    md5: str = "",
    sha256: str = "",
    token: str = "",
    attempts: int = 6,
    backoff: float = 1.0,
    on_bytes: OnBytes | None = None,
) -> Path:
    """Fetch `url` to `path`.

    Args:
        url: http(s)://, file:// or a plain path.
        path: the final name; an existing file is kept as it is.
        md5, sha256: the expected checksums, compared before the file gets its name.
        token: sent to the address's own server as a bearer token, not to those that it redirects to.
        attempts: tries in a row without a single new byte before giving up.
        backoff: seconds before the second try; doubled each time, at most 30.
        on_bytes: called with (bytes on disk so far, total or 0).

    Raises:
        Missing, Refused, UserError: see there; UserError for a server that keeps failing, a wrong checksum, or what is no address.
    """
    target = Path(path)
    if target.exists():
        return target
    address = url if _is_local(url) else _encoded(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with _locked(part) as handle:
        if target.exists():  # another process finished it while this one waited for the lock
            return target
        try:
            _Transfer(address, handle, part, on_bytes, token).run(attempts, backoff)
        except UserError as fault:
            # Nothing to continue from. What another address has brought is continued there: a mirror may lack the file.
            of_this = _read_note(part).get("url", address) == address
            if (of_this and isinstance(fault, Missing)) or handle.seek(0, os.SEEK_END) == 0:
                give_up(target)
            raise
        handle.flush()
        os.fsync(handle.fileno())
        for name, wanted in (("md5", md5), ("sha256", sha256)):
            if not wanted:
                continue
            handle.seek(0)
            found = _digest(handle, name)
            if found != wanted.lower():
                give_up(target)
                raise UserError(
                    f"The {name} of this download is wrong; it was thrown away.",
                    where=url,
                    expected=wanted,
                    got=found,
                    todo="run the same command again",
                )
        rename(part, target)
    remove(_note(part), ours=_PART)
    return target


def _is_local(url: str) -> bool:
    return "://" not in url or url.startswith("file://")


def _encoded(url: str) -> str:
    """An address as servers take it: blanks, and letters that are not ASCII, as percent codes.

    Raises:
        UserError: it is none; no other try would help.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError
        place, name = parts.netloc, host.encode("idna").decode()  # which refuses an empty part, as connecting would
        if not place.isascii():
            user, at, _ = place.rpartition("@")
            place = f"{user}{at}{name}" + (f":{port}" if port else "")
    except ValueError:  # a UnicodeError is one
        expected = "http://…, https://…, file:///… or a path"
        raise UserError("This is not an address of a file.", expected=expected, got=url) from None
    path, query = (urllib.parse.quote(part, safe="/?:@!$&'()*+,;=~%") for part in (parts.path, parts.query))
    return urllib.parse.urlunsplit((parts.scheme, place, path, query, ""))


def _digest(handle: BufferedRandom, name: str) -> str:
    """The checksum of an open file's rest, by the algorithm's name."""
    return hashlib.file_digest(handle, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()


def give_up(path: Path) -> None:
    """Remove what has arrived of a download that nobody continues."""
    part = path.with_name(path.name + ".part")
    for file in (part, _note(part)):
        remove(file, ours=_PART)


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


@contextmanager
def _locked(part: Path) -> Iterator[BufferedRandom]:
    with open(part, "a+b") as handle:
        if not lock_file(handle):
            raise Busy("Another process is downloading this file.", where=part, todo="wait for it, or stop it")
        yield handle


@dataclass(frozen=True)
class _Transfer:
    """One download under way: what has arrived stands in `handle`, the open `.part` file."""

    url: str
    handle: BufferedRandom
    part: Path
    on_bytes: OnBytes | None
    token: str = ""

    def size(self) -> int:
        """Bytes that have arrived from this address; the file stands at its end."""
        size = self.handle.seek(0, os.SEEK_END)
        return size if size and _read_note(self.part).get("url") == self.url else 0

    def run(self, attempts: int, backoff: float) -> None:
        """Try until all has arrived, or `attempts` tries in a row brought nothing."""
        failures = 0
        while True:
            before = self.size()
            try:
                if _is_local(self.url):
                    self._copy_local()
                else:
                    self._copy_http()
                return
            except _Passing as fault:
                failures = 1 if self.size() > before else failures + 1
                if failures >= attempts:
                    raise UserError(
                        "This download failed.",
                        where=self.url,
                        got=str(fault),
                        todo=f"run the same command again later; what has arrived is kept in {self.part.name}",
                    ) from None
                self._pause(min(30.0, max(fault.wait, backoff * 2 ** (failures - 1))))

    def _pause(self, seconds: float) -> None:
        """Sleep in short pieces, between which `on_bytes` may raise."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.on_bytes:
                self.on_bytes(self.size(), 0)
            time.sleep(min(0.5, left))

    def _append(self, read: Callable[[int], bytes], done: int, total: int) -> int:
        """Copy what `read` still gives; returns the bytes that are there then."""
        while piece := read(_PIECE):
            self.handle.write(piece)
            done += len(piece)
            if self.on_bytes:
                self.on_bytes(done, total)
        return done

    def _write_note(self, validator: str, total: int) -> None:
        """Note where the bytes come from, and of which version and length they are, before any of them arrives."""
        note = {"validator": validator, "url": self.url} | ({"total": str(total)} if total else {})
        _note(self.part).write_text(json.dumps(note))

    def _copy_local(self) -> None:
        path = self.url
        if path.startswith("file://"):
            path = urllib.parse.unquote(urllib.parse.urlsplit(path).path)
        source = Path(path).expanduser()
        if not source.is_file():
            raise Missing("This file does not exist.", where=source)
        about = source.stat()
        total, done, version = about.st_size, self.size(), f"{about.st_size} bytes, {about.st_mtime_ns}"
        if not done or _read_note(self.part).get("validator") != version:
            self.handle.truncate(0)
            done = 0
        self._write_note(version, total)
        with open(source, "rb") as reader:
            reader.seek(done)
            self._append(reader.read, done, total)

    def _copy_http(self) -> None:
        have = self.size()
        headers = {"User-Agent": "steve1-finetune", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator := _read_note(self.part).get("validator"):
                headers["If-Range"] = validator
        request = urllib.request.Request(self.url, headers=headers)
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            with _of_network():
                answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as fault:
            with fault:
                self._explain(fault, have)
            return
        with answer:
            self._take(answer, have)

    def _take(self, answer: http.client.HTTPResponse, have: int) -> None:
        if "text/html" in (answer.headers.get("Content-Type") or ""):
            what = "The server sent a web page instead of the file (a quota or a login, usually)."
            raise Refused(what, where=self.url)
        if not have or answer.status != 206:  # the file changed, or the server knows no ranges: from the start
            self.handle.truncate(0)
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None and length.isdigit() else 0
        if answer.status == 206:
            self._check_range(answer.headers.get("Content-Range") or "", have)
        strong = answer.headers.get("ETag") or "W/"
        self._write_note(answer.headers.get("Last-Modified") or "" if strong.startswith("W/") else strong, total)

        def read(count: int) -> bytes:
            with _of_network():
                return answer.read(count)

        done = self._append(read, have, total)
        if total and done < total:
            raise _Passing(f"the connection ended after {done:,} of {total:,} bytes")

    def _check_range(self, said: str, have: int) -> None:
        """Begin anew where a server sends another part than was asked for, or one of a file of another length."""
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", said.strip())
        known = _read_note(self.part).get("total")
        if found and (int(found[1]) != have or (have and known and found[2] not in ("*", known))):
            self._begin_anew()

    def _begin_anew(self) -> None:
        """What we have is not the beginning of what the server has now: again, from zero."""
        self.handle.truncate(0)
        remove(_note(self.part), ours=_PART)
        raise _Passing("the server holds another version of this file")

    def _explain(self, fault: urllib.error.HTTPError, have: int) -> None:
        got = f"{fault.code} {fault.reason}"
        if fault.code == 416 and have:
            known = (fault.headers.get("Content-Range") or "").rpartition("/")[2]
            if known.isdigit() and int(known) == have:  # it is all of it
                return
            self._begin_anew()
        if fault.code in (404, 410):
            raise Missing("The server does not have this file.", where=self.url, got=got) from None
        if fault.code in _PASSING:
            wait = fault.headers.get("Retry-After") or "0"
            raise _Passing(got, float(wait) if wait.isdigit() else 0.0) from None
        raise Refused("The server refuses this file.", where=self.url, got=got) from None


@contextmanager
def _of_network() -> Iterator[None]:
    """Faults of the connection are worth another try, of whatever kind; those of the disk, which another try does not fix, arise elsewhere."""
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as fault:
        raise _Passing(f"{type(fault).__name__}: {fault}") from None


def _read_note(part: Path) -> dict[str, str]:
    """What is noted of a `.part` file: `url`, `validator`, "" without one, and `total` if known; nothing where there is no note."""
    try:
        return {str(name): str(value) for name, value in json.loads(_note(part).read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}
