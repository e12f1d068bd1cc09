"""Downloads against a server that drops, shortens, refuses and forgets."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from steve1.core.download import Busy, Missing, Refused, download
from steve1.core.errors import UserError
from tests.core.servers import Faulty, faulty_server

BODY = os.urandom(3_000_000)


@pytest.fixture
def server() -> Iterator[Faulty]:
    with faulty_server() as state:
        state.files["/a.bin"] = BODY
        yield state


def test_drops_short_bodies_and_errors_are_survived_without_fetching_twice(server: Faulty, tmp_path: Path) -> None:
    server.plan["/a.bin"] = ["drop", ("short", 1_000_000), 500, 503, ("short", 500_000), "drop"]
    seen: list[tuple[int, int]] = []
    path = download(
        server.url + "/a.bin",
        tmp_path / "a.bin",
        backoff=0.01,
        md5=hashlib.md5(BODY).hexdigest(),
        on_bytes=lambda *n: seen.append(n),
    )
    assert path.read_bytes() == BODY
    assert os.listdir(tmp_path) == ["a.bin"]
    assert [wanted for _, wanted in server.requests] == ["", "", *["bytes=1000000-"] * 3, *["bytes=1500000-"] * 2]
    assert seen[-1] == (len(BODY), len(BODY))


@pytest.mark.e2e
def test_a_later_run_goes_on_where_the_first_was_cut(server: Faulty, tmp_path: Path) -> None:
    server.plan["/a.bin"] = [("short", 2_000_000), *["drop"] * 3]
    with pytest.raises(UserError, match="This download failed"):
        download(server.url + "/a.bin", tmp_path / "a.bin", attempts=3, backoff=0.01)
    assert not (tmp_path / "a.bin").exists()
    assert download(server.url + "/a.bin", tmp_path / "a.bin").read_bytes() == BODY
    assert server.requests[-1][1] == "bytes=2000000-"


def test_a_server_without_ranges_starts_over(server: Faulty, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(b"x" * 100)
    server.plan["/a.bin"] = ["no-range"]
    assert download(server.url + "/a.bin", tmp_path / "a.bin").read_bytes() == BODY


def test_a_part_longer_than_the_file_starts_over_and_a_whole_one_is_taken(server: Faulty, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(b"x" * (len(BODY) + 5))
    assert download(server.url + "/a.bin", tmp_path / "a.bin", backoff=0.01).read_bytes() == BODY
    (tmp_path / "b.bin.part").write_bytes(BODY)
    assert download(server.url + "/a.bin", tmp_path / "b.bin", backoff=0.01).read_bytes() == BODY


def half(url: str, path: Path, cut_at: int) -> None:
    """What a download leaves that was stopped there."""

    def stop(done: int, total: int) -> None:
        if done >= cut_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(url, path, on_bytes=stop)
    assert path.with_name(path.name + ".part").stat().st_size >= cut_at


def test_what_came_from_another_address_is_not_continued(server: Faulty, tmp_path: Path) -> None:
    other = bytes(len(BODY))
    server.files["/other/a.bin"] = other
    (tmp_path / "s.bin").write_bytes(other)
    for url in (server.url + "/other/a.bin", str(tmp_path / "s.bin")):
        half(url, tmp_path / "a.bin", 1 << 20)
        assert download(server.url + "/a.bin", tmp_path / "a.bin").read_bytes() == BODY
        assert server.requests[-1] == ("/a.bin", "")
        (tmp_path / "a.bin").unlink()
    half(server.url + "/a.bin", tmp_path / "a.bin", 1 << 20)
    assert download(str(tmp_path / "s.bin"), tmp_path / "a.bin").read_bytes() == other
    (tmp_path / "b.bin.part").write_bytes(b"x" * 100)
    assert download(server.url + "/a.bin", tmp_path / "b.bin").read_bytes() == BODY, "nobody knows from where"
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.bin", "s.bin"]


def test_an_address_without_the_file_takes_nothing_from_another_one(server: Faulty, tmp_path: Path) -> None:
    """Each run asks the mirror first."""
    half(server.url + "/a.bin", tmp_path / "a.bin", 1 << 20)
    server.plan["/mirror/b.bin"] = [503, 503]
    for url in (str(tmp_path / "none"), server.url + "/mirror/a.bin", server.url + "/mirror/b.bin"):
        with pytest.raises(UserError):
            download(url, tmp_path / "a.bin", attempts=2, backoff=0.01)
    assert download(server.url + "/a.bin", tmp_path / "a.bin").read_bytes() == BODY
    assert server.requests[-1][1] == "bytes=1048576-"


def test_a_local_file_that_has_changed_is_copied_anew_and_else_continued(tmp_path: Path) -> None:
    source, before = tmp_path / "s.bin", bytes(len(BODY))
    source.write_bytes(before)
    os.utime(source, ns=(1, 1))
    half(str(source), tmp_path / "1", 1 << 20)
    seen: list[int] = []
    assert download(str(source), tmp_path / "1", on_bytes=lambda done, _: seen.append(done)).read_bytes() == before
    assert seen[0] > 1 << 20, "the first megabyte was there"
    half(str(source), tmp_path / "2", 1 << 20)
    source.write_bytes(BODY)
    assert download(str(source), tmp_path / "2").read_bytes() == BODY


def test_a_server_that_sends_another_part_than_was_asked_for_is_not_believed(server: Faulty, tmp_path: Path) -> None:
    half(server.url + "/a.bin", tmp_path / "a.bin", 1 << 20)
    server.plan["/a.bin"] = [("from", 1000)]
    assert download(server.url + "/a.bin", tmp_path / "a.bin", backoff=0.01).read_bytes() == BODY


def test_two_versions_of_a_file_are_not_mixed_where_a_server_names_none(server: Faulty, tmp_path: Path) -> None:
    server.etag, server.files["/a.bin"] = "", bytes(len(BODY) + 1)
    half(server.url + "/a.bin", tmp_path / "a.bin", 1 << 20)
    server.files["/a.bin"] = BODY
    assert download(server.url + "/a.bin", tmp_path / "a.bin", backoff=0.01).read_bytes() == BODY


@pytest.mark.parametrize("fault", [ssl.SSLError("bad record"), OSError(errno.EHOSTUNREACH, "No route to host")])
def test_any_fault_of_the_connection_is_tried_again_and_one_of_the_disk_is_not(
    server: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: OSError
) -> None:
    faults, read = [fault], http.client.HTTPResponse.read

    def broken(self: http.client.HTTPResponse, amount: int | None = None) -> bytes:
        if faults:
            raise faults.pop()
        return read(self, amount)

    monkeypatch.setattr(http.client.HTTPResponse, "read", broken)
    assert download(server.url + "/a.bin", tmp_path / "a.bin", backoff=0.01).read_bytes() == BODY

    def full(done: int, total: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        download(server.url + "/a.bin", tmp_path / "b.bin", on_bytes=full)


def test_names_with_blanks_and_chinese_letters_are_asked_for_as_percent_codes(server: Faulty, tmp_path: Path) -> None:
    asked = "/%E5%BB%BA%20%E6%88%BF/a%20b.mp4?x=%E6%88%BF"
    server.files[asked] = BODY
    assert download(f"{server.url}/建 房/a%20b.mp4?x=房", tmp_path / "a.mp4").read_bytes() == BODY
    assert server.requests[-1][0] == asked


@pytest.mark.parametrize("url", ["htp://x/y", "http:///x", "http://[::1/x", "http://host:port/x", "https://../x"])
def test_what_is_no_address_is_told_at_once(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="not an address"):
        download(url, tmp_path / "x", attempts=2, backoff=100.0)
    assert list(tmp_path.iterdir()) == []


def test_final_answers_are_not_retried(server: Faulty, tmp_path: Path) -> None:
    with pytest.raises(Missing):
        download(server.url + "/none", tmp_path / "x")
    server.plan["/a.bin"] = [403, "html"]
    with pytest.raises(Refused):
        download(server.url + "/a.bin", tmp_path / "x")
    with pytest.raises(Refused, match="web page"):
        download(server.url + "/a.bin", tmp_path / "x")
    assert len(server.requests) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_checksum_leaves_nothing(server: Faulty, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="md5"):
        download(server.url + "/a.bin", tmp_path / "x", md5="0" * 32)
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "x.part").exists()


def test_local_files_need_no_network(tmp_path: Path) -> None:
    source = tmp_path / "a folder" / "s.bin"
    source.parent.mkdir()
    source.write_bytes(BODY)
    assert download(str(source), tmp_path / "1").read_bytes() == BODY
    assert download(source.as_uri(), tmp_path / "2").read_bytes() == BODY
    with pytest.raises(Missing):
        download((tmp_path / "no").as_uri(), tmp_path / "3")


def test_existing_files_are_kept_and_two_processes_do_not_mix(server: Faulty, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"mine")
    assert download(server.url + "/a.bin", tmp_path / "a.bin").read_bytes() == b"mine"
    with open(tmp_path / "b.bin.part", "a+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="Another process"):
            download(server.url + "/a.bin", tmp_path / "b.bin")


def test_a_disk_without_locks_takes_downloads(
    server: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert download(server.url + "/a.bin", tmp_path / "a.bin").read_bytes() == BODY
    assert "cannot be locked" in caplog.text
