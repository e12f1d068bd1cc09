"""Pushing to a server that speaks the hub's API, with the hub's own library, and pulling from it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from steve1.core.download import download
from steve1.core.errors import UserError
from steve1.hub.places import HubPlace
from steve1.hub.transfer import Bundle, pull, push
from tests.hub.server import TOKEN, Hub, hub_server


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for name in ("HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    with hub_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def library() -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed (extra hub)")


def made(folder: Path) -> Bundle:
    (folder / "sub").mkdir(parents=True)
    files = {}
    for name, size in (("a.bin", 50_000), ("sub/b b.bin", 3000), ("c.json", 20)):
        (folder / name).write_bytes(np.random.default_rng(size).bytes(size))
        files[name] = folder / name
    return Bundle("lerobot", files, "# card\n", tag="v3.0")


def stored(hub: Hub, bundle: Bundle, name: str = "datasets/user/set") -> None:
    """A repository that others made: without our list of files."""
    hub.repositories[name] = {path: file.read_bytes() for path, file in bundle.files.items()}


@pytest.mark.usefixtures("library")
def test_there_and_back(hub: Hub, tmp_path: Path) -> None:
    bundle, place = made(tmp_path / "source"), HubPlace("user/set", "dataset")
    assert len(push(bundle, place).sent) == 3
    files = hub.repositories["datasets/user/set"]
    assert {path: files[path] for path in bundle.files} == {
        path: file.read_bytes() for path, file in bundle.files.items()
    }
    assert files["README.md"] == b"# card\n"
    assert set(hub.tags["datasets/user/set"]) == {"v3.0"}
    assert "datasets/user/set" in hub.private
    kind, moved = pull(place, tmp_path / "here")
    assert (kind, len(moved.sent)) == ("lerobot", 3)
    assert (tmp_path / "here" / "sub" / "b b.bin").read_bytes() == files["sub/b b.bin"]
    hub.requests.clear()
    assert push(bundle, place).sent == []
    assert not any("/storage/" in request for request in hub.requests)


@pytest.mark.usefixtures("library")
def test_a_dataset_that_has_changed_is_what_readers_of_the_tag_see(hub: Hub, tmp_path: Path) -> None:
    bundle, place = made(tmp_path / "source"), HubPlace("user/set", "dataset")
    push(bundle, place)
    del bundle.files["sub/b b.bin"]
    (tmp_path / "source" / "new.bin").write_bytes(b"new")
    bundle.files["new.bin"] = tmp_path / "source" / "new.bin"
    with pytest.raises(UserError, match="not among these") as told:
        push(bundle, place)
    assert told.value.got == "sub/b b.bin"
    assert "sub/b b.bin" in hub.repositories["datasets/user/set"]
    push(bundle, place, overwrite=True)
    now = sorted(hub.repositories["datasets/user/set"])
    assert now == ["README.md", "a.bin", "c.json", "new.bin", "steve1_files.json"]
    assert hub.tags["datasets/user/set"]["v3.0"] == now


@pytest.mark.usefixtures("library")
def test_a_push_that_broke_off_is_continued(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steve1.hub.places import batches

    monkeypatch.setattr("steve1.hub.transfer.batches", lambda files, sizes: batches(files, sizes, count=1))
    bundle, place = made(tmp_path / "source"), HubPlace("user/set", "dataset")
    hub.faults.append([r"POST .*/preupload/", 400, 0])
    commits = iter(range(100))

    put = HubPlace.put

    def broken(self: HubPlace, files: dict[str, Path | str], message: str, gone: Sequence[str] = ()) -> None:
        if next(commits) == 2:
            hub.faults[0][2] = 1
        put(self, files, message, gone)

    monkeypatch.setattr(HubPlace, "put", broken)
    with pytest.raises(UserError):
        push(bundle, place)
    with pytest.raises(UserError, match="not finished"):
        pull(place, tmp_path / "here")
    moved = push(bundle, place)
    assert (len(moved.there), len(moved.sent)) == (1, 2)
    assert pull(place, tmp_path / "here")[0] == "lerobot"


def test_a_download_that_breaks_off_is_resumed_and_compared(hub: Hub, tmp_path: Path) -> None:
    bundle = made(tmp_path / "source")
    stored(hub, bundle)
    hub.drop_after = 20_000
    kind, moved = pull(HubPlace("user/set", "dataset"), tmp_path / "here")
    assert (kind, len(moved.sent)) == ("", 3)
    assert "bytes=20000-" in hub.ranges
    assert {path: (tmp_path / "here" / path).read_bytes() for path in bundle.files} == hub.repositories[
        "datasets/user/set"
    ]
    assert pull(HubPlace("user/set", "dataset"), tmp_path / "here")[1].sent == []


def test_a_small_file_with_other_contents_is_noticed(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = made(tmp_path / "source")
    stored(hub, bundle)
    monkeypatch.setattr(HubPlace, "listing", lambda self: {"c.json": "git:" + "0" * 40})
    with pytest.raises(UserError, match="other contents"):
        pull(HubPlace("user/set", "dataset"), tmp_path / "here")
    assert not (tmp_path / "here" / "c.json").exists()
    assert not list((tmp_path / "here").glob(".*"))


def test_a_missing_token_and_a_wrong_one_are_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = made(tmp_path / "source")
    stored(hub, bundle)
    hub.private.add("datasets/user/set")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="no such repository, or it is private") as told:
        pull(HubPlace("user/set", "dataset"), tmp_path / "here")
    assert "HF_TOKEN" in told.value.todo
    with pytest.raises(UserError, match="needs a token"):
        push(bundle, HubPlace("user/other", "dataset"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text(f"{TOKEN}\n")
    assert len(pull(HubPlace("user/set", "dataset"), tmp_path / "here")[1].sent) == 3
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    with pytest.raises(UserError, match="does not know this token"):
        pull(HubPlace("user/set", "dataset"), tmp_path / "again")


@pytest.mark.parametrize("token", [f"{TOKEN}，", f"{TOKEN} {TOKEN}", "令牌"])
def test_a_token_that_no_request_can_hold_is_told(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    stored(hub, made(tmp_path / "source"))
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match="not ASCII") as told:
        pull(HubPlace("user/set", "dataset"), tmp_path / "here")
    assert (told.value.where, hub.requests) == ("HF_TOKEN", [])
    assert token not in str(told.value)


@pytest.mark.usefixtures("library")
def test_a_wrong_token_is_told_before_anything_is_sent(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    with pytest.raises(UserError, match="does not know this token"):
        push(made(tmp_path / "source"), HubPlace("user/set", "dataset"))
    assert hub.repositories == {}


@pytest.mark.parametrize("token", [TOKEN, ""])
def test_a_repository_that_is_not_there_is_told(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match="no such repository") as told:
        pull(HubPlace("user/none", "model"), tmp_path / "here")
    assert "--dataset" in told.value.todo
    assert not (tmp_path / "here").exists()


def test_a_hub_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
    with pytest.raises(UserError, match="does not answer"):
        HubPlace("user/set", "dataset").listing()


def test_the_token_does_not_follow_a_redirect(tmp_path: Path) -> None:
    seen: list[str | None] = []

    class Redirecting(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            return

        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            if "elsewhere" not in self.path:
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{server.server_address[1]}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        assert (
            download(f"http://127.0.0.1:{server.server_address[1]}/file", tmp_path / "file", token=TOKEN).read_bytes()
            == b"ok"
        )
    finally:
        server.shutdown()
        server.server_close()
    assert seen == [f"Bearer {TOKEN}", None]
