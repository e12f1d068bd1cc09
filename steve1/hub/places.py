"""Where things are pushed to and pulled from: a folder, or a repository on the Hugging Face hub."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.core.download import Missing, Refused, download
from steve1.core.errors import UserError, optional_package
from steve1.core.files import atomic_file, atomic_path, check_writable, remove, sha256_file
from steve1.core.paths import output_path, resolve
from steve1.hub.manifest import check_path

Content = Path | str
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TIMEOUT_S = 30
_LOGIN = "export HF_TOKEN=… (a token with write access from huggingface.co/settings/tokens), or run: hf auth login"


class Place(abc.ABC):
    """A folder or a repository.

    Attributes:
        name: for messages.
    """

    name: str

    @abc.abstractmethod
    def listing(self) -> dict[str, str]:
        """Path → "sha256:…" or "git:…" (a git blob's SHA-1) of the files that are there; `Missing` if the place is not."""

    @abc.abstractmethod
    def fetch(self, path: str, target: Path, sha256: str = "") -> None:
        """Get a file under another name, resuming what had arrived; `Missing` if it is not there."""

    @abc.abstractmethod
    def put(self, files: Mapping[str, Content], message: str, gone: Sequence[str] = ()) -> None:
        """Write files, from a path or a text, and remove those that are `gone`, in one step."""

    @abc.abstractmethod
    def begin(self) -> None:
        """Make the place where it does not exist yet, before anything is put."""

    @abc.abstractmethod
    def tag(self, name: str) -> None:
        """Name what is there now, in place of what had this name before; a folder has no such names."""


class FolderPlace(Place):
    """A folder, such as a shared disk."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)

    def listing(self) -> dict[str, str]:
        if not self.path.is_dir():
            raise Missing("This folder does not exist.", where=self.path)
        files = {file.relative_to(self.path): file for file in self.path.rglob("*") if file.is_file()}
        shown = {name: file for name, file in files.items() if not any(part.startswith(".") for part in name.parts)}
        return {name.as_posix(): f"sha256:{sha256_file(file)}" for name, file in shown.items()}

    def fetch(self, path: str, target: Path, sha256: str = "") -> None:
        download(str(self.path / path), target, sha256=sha256)

    def begin(self) -> None:
        check_writable(self.path)
        self.path.mkdir(parents=True, exist_ok=True)

    def tag(self, name: str) -> None:
        return None

    def put(self, files: Mapping[str, Content], message: str, gone: Sequence[str] = ()) -> None:
        for path in gone:
            remove(self.path / path, asked=True)
        for path, content in files.items():
            (self.path / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                with atomic_file(self.path / path, "w") as handle:
                    handle.write(content)
                continue
            with atomic_path(self.path / path) as part, open(content, "rb") as source, open(part, "wb") as copy:
                while piece := source.read(1 << 20):
                    copy.write(piece)


@dataclasses.dataclass(frozen=True)
class HubPlace(Place):
    """A repository on the hub, or on a server that speaks its API (HF_ENDPOINT).

    Attributes:
        repository: user/name.
        kind: "model" or "dataset".
        revision: branch, tag or commit.
        private: of a repository that is made anew.
    """

    repository: str
    kind: str
    revision: str = "main"
    private: bool = True

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{_endpoint()}/{self._prefix}{self.repository}"

    @property
    def _prefix(self) -> str:
        return "datasets/" if self.kind == "dataset" else ""

    def listing(self) -> dict[str, str]:
        found: dict[str, str] = {}
        revision = urllib.parse.quote(self.revision, safe="")
        url = f"{_endpoint()}/api/{self.kind}s/{self.repository}/tree/{revision}?recursive=true"
        while url:
            rows, url = self._json(url)
            for row in rows:
                if isinstance(row, dict) and row.get("type") == "file":
                    check_path(str(row["path"]), self.name)
                    large = (row.get("lfs") or {}).get("oid")
                    found[str(row["path"])] = f"sha256:{large}" if large else f"git:{row.get('oid', '')}"
        return found

    def _json(self, url: str) -> tuple[Any, str]:
        """An answer of the API, and the address of its next page, "" without."""
        request = urllib.request.Request(url, headers={"User-Agent": "steve1-finetune"})
        if token := hub_token():
            request.add_unredirected_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                following = re.search(r'<([^>]+)>;\s*rel="next"', answer.headers.get("Link") or "")
                return json.load(answer), following[1] if following else ""
        except urllib.error.HTTPError as fault:
            with fault:
                raise self._refusal(fault.code, f"{fault.code} {fault.reason}") from None
        except (OSError, ValueError) as fault:
            got = f"{type(fault).__name__}: {fault}"
            raise UserError("The hub does not answer.", where=url, got=got, todo="try again later, or name another server with HF_ENDPOINT") from None  # fmt: skip

    def _refusal(self, status: int, got: str) -> UserError:
        """What a status means for somebody who pushes or pulls."""
        if status == 401 and hub_token():
            return UserError("The hub does not know this token.", where=self.name, got=got, todo=_LOGIN)
        if status == 403:
            return UserError("This token may not do that here.", where=self.name, got=got, todo=_LOGIN)
        if status in (401, 404):  # without a token, the hub answers 401 for what does not exist
            other = "a dataset needs --dataset" if self.kind == "model" else "a model needs no --dataset"
            todo = f"look at the name; {other}; a private {self.kind} needs a token: {_LOGIN}"
            return Missing("There is no such repository, or it is private.", where=self.name, got=got, todo=todo)
        return UserError("The hub refuses this.", where=self.name, got=got, todo="try again later")

    def fetch(self, path: str, target: Path, sha256: str = "") -> None:
        revision = urllib.parse.quote(self.revision, safe="")
        url = f"{_endpoint()}/{self._prefix}{self.repository}/resolve/{revision}/{urllib.parse.quote(path)}"
        try:
            download(url, target, sha256=sha256, token=hub_token(), attempts=4)
        except Refused as fault:
            status = int(fault.got.split()[0]) if fault.got[:3].isdigit() else 0
            raise self._refusal(status, fault.got) if status in (401, 403) else fault from None

    def begin(self) -> None:
        api = self._api()
        with self._told():
            api.create_repo(self.repository, repo_type=self.kind, private=self.private, exist_ok=True)

    def put(self, files: Mapping[str, Content], message: str, gone: Sequence[str] = ()) -> None:
        hub, api = _hub(), self._api()
        operations = [
            hub.CommitOperationAdd(path, content.encode() if isinstance(content, str) else str(content))
            for path, content in files.items()
        ]
        operations += [hub.CommitOperationDelete(path, is_folder=False) for path in gone]
        with self._told():
            api.create_commit(
                self.repository, operations, commit_message=message, repo_type=self.kind, revision=self.revision
            )

    def tag(self, name: str) -> None:
        api, errors = self._api(), optional_package("huggingface_hub.errors", "hub", "Pushing to the hub")
        with self._told():
            try:  # the hub moves no tag: readers would go on with what it named before
                api.delete_tag(self.repository, tag=name, repo_type=self.kind)
            except errors.HfHubHTTPError as fault:
                if fault.response is None or fault.response.status_code != 404:  # 404: there is none yet
                    raise
            api.create_tag(self.repository, tag=name, repo_type=self.kind, revision=self.revision, exist_ok=True)

    def _api(self) -> Any:
        if not hub_token():
            raise UserError("The hub needs a token.", where=self.name, todo=_LOGIN)
        return _hub().HfApi(endpoint=_endpoint(), token=hub_token(), library_name="steve1-finetune")

    def _told(self) -> Told:
        return Told(self)


class Told:
    """Turns the hub library's errors into messages."""

    def __init__(self, place: HubPlace) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: object) -> None:
        if fault is None or not isinstance(fault, Exception) or isinstance(fault, UserError):
            return
        answer = getattr(fault, "response", None)
        got = f"{type(fault).__name__}: {' '.join(str(fault).split())[:200]}"
        if answer is not None:
            raise self._place._refusal(int(answer.status_code), got) from None
        raise UserError(
            "The push was interrupted.",
            where=self._place.name,
            got=got,
            todo="run the same command again; it continues",
        ) from None


def matches(file: Path, mark: str) -> bool:
    """Whether a file has the contents that a listing says."""
    kind, _, wanted = mark.partition(":")
    if kind == "sha256":
        return sha256_file(file) == wanted
    digest = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(file, "rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest() == wanted


def place_of(text: str, kind: str, *, revision: str = "main", private: bool = True, writing: bool) -> Place:
    """The place that a user names: user/name is a repository of the hub, everything else a folder or file:// address.

    Raises:
        UserError: it is neither.
    """
    if text.startswith("file://"):
        text = urllib.parse.unquote(urllib.parse.urlsplit(text).path)
    elif "://" in text:
        expected = "user/name on the hub, a folder, or file:///folder"
        raise UserError("This address is not known here.", expected=expected, got=text)
    elif _REPOSITORY.fullmatch(text) and not (resolve(text).is_dir() and not writing):
        return HubPlace(text, kind, revision, private)
    return FolderPlace(output_path(text) if writing else resolve(text))


def hub_token() -> str:
    """The user's token for the hub, as its own tools find it; "" without one.

    Raises:
        UserError: it holds something that no request can, such as a Chinese comma that was copied with it.
    """
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    path = Path(os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")).expanduser()
    where = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), "")
    said = path.read_text(encoding="utf-8", errors="replace") if not where and path.is_file() else ""
    token = os.environ.get(where, said).strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise UserError("This token holds blanks, or letters that are not ASCII.", where=where or path, todo=_LOGIN)
    return token


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _hub() -> Any:
    return optional_package("huggingface_hub", "hub", "Pushing to the hub")


def batches(
    files: Mapping[str, Path], sizes: Mapping[str, int], count: int = 100, bytes_: int = 2 << 30
) -> Iterator[dict[str, Path]]:
    """Files in groups of at most `count` and about `bytes_`: what a push that breaks off need not send again."""
    group: dict[str, Path] = {}
    held = 0
    for path, file in files.items():
        if group and (len(group) == count or held + sizes[path] > bytes_):
            yield group
            group, held = {}, 0
        group[path] = file
        held += sizes[path]
    if group:
        yield group
