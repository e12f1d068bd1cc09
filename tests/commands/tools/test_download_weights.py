"""The published weights: fall-backs, a mirror, a used-up quota, not enough disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from steve1.commands.tools import download_weights
from steve1.commands.tools.download_weights import FILES, Args, main
from steve1.core.errors import UserError
from tests.core.servers import faulty_server


def test_every_file_of_the_default_family_has_a_source() -> None:
    paths = {file.path for file in FILES.values()}
    for needed in (
        "data/weights/vpt/2x.model",
        "data/weights/steve1/steve1.weights",
        "data/weights/mineclip/attn.pth",
        "data/weights/steve1/steve1_prior.pt",
    ):
        assert needed in paths
    assert all(url.startswith("https://") for file in FILES.values() for url in file.sources)


def test_a_mirror_folder_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = tmp_path / "usb"
    mirror.mkdir()
    (mirror / "2x.model").write_bytes(b"model")
    (mirror / "steve1_prior.pt").write_bytes(b"prior")
    assert main(Args(names=("vpt_model", "prior"), mirror=str(mirror), root=tmp_path)) == 0
    assert (tmp_path / "data/weights/vpt/2x.model").read_bytes() == b"model"
    assert main(Args(names=("vpt_model",), mirror=str(mirror), root=tmp_path)) == 0
    assert "already there" in capsys.readouterr().out


def test_a_quota_page_falls_back_and_then_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with faulty_server() as server:
        server.files["/first"] = server.files["/second"] = b"weights"
        server.plan["/first"] = ["html", "html"]
        file = dataclasses.replace(FILES["steve1"], urls=(server.url + "/first", server.url + "/second"), megabytes=0.1)
        monkeypatch.setitem(download_weights.FILES, "steve1", file)
        assert main(Args(names=("steve1",), root=tmp_path)) == 0
        assert (tmp_path / file.path).read_bytes() == b"weights"
        only = dataclasses.replace(file, urls=(server.url + "/first",), path="data/weights/other.weights")
        monkeypatch.setitem(download_weights.FILES, "steve1", only)
        assert main(Args(names=("steve1",), root=tmp_path)) == 1
    said = capsys.readouterr().out
    assert "by hand: open https://drive.google.com" in said
    assert "steve1_hub" in said


def test_unknown_names_and_a_small_disk_stop_before_anything_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no published file") as caught:
        main(Args(names=("mineclips",)))
    assert "mineclip" in str(caught.value)
    monkeypatch.setitem(download_weights.FILES, "vpt", dataclasses.replace(FILES["vpt"], megabytes=1e12))
    with pytest.raises(UserError, match="disk"):
        main(Args(names=("vpt",), root=tmp_path))


def test_a_download_that_has_nearly_filled_the_disk_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = tmp_path / "usb" / "2x.model"
    mirror.parent.mkdir()
    mirror.write_bytes(b"model")
    monkeypatch.setitem(download_weights.FILES, "vpt_model", dataclasses.replace(FILES["vpt_model"], megabytes=10.0))
    monkeypatch.setattr(download_weights.shutil, "disk_usage", lambda path: SimpleNamespace(free=3e6))
    with pytest.raises(UserError, match="disk"):
        main(Args(names=("vpt_model",), mirror=str(mirror.parent), root=tmp_path))
    part = tmp_path / f"{FILES['vpt_model'].path}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(8_000_000))
    assert main(Args(names=("vpt_model",), mirror=str(mirror.parent), root=tmp_path)) == 0


def test_reasons_are_in_the_users_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEVE1_LANG", "zh")
    monkeypatch.setitem(FILES, "vpt_model", dataclasses.replace(FILES["vpt_model"], urls=(str(tmp_path / "gone"),)))
    assert main(Args(names=("vpt_model",), mirror=str(tmp_path / "usb"), root=tmp_path, attempts=1, backoff=0.0)) == 1
    said = capsys.readouterr().out
    assert f"{tmp_path / 'usb' / '2x.model'}: 此文件不存在。" in said
    assert "does not exist" not in said
