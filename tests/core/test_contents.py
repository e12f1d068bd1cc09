"""Files are known by their first bytes, and texts by their encoding: one message each, wherever they are opened."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.reading.contents import read_text, read_yaml, refuse_other_content
from steve1.core.reading.pickles import load_inert, load_restricted, read_tensors
from steve1.data.episodes.parts import load_array
from steve1.data.media.video import VideoWriter, probe
from steve1.data.recordings.contractor import parsed_ticks
from steve1.policy.config import read_model
from steve1.prior.pairs import load_pairs


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("2x.model", "x")
    return buffer.getvalue()


def _array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


CONTENT = {
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
    "page": b"\n<!DOCTYPE html><html>quota</html>",
    "page with a comment": b"<!-- saved -->\n<HTML lang=en>quota</HTML>",
    "answer": b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>AccessDenied</Code></Error>",
    "empty": b"",
    "gzip": gzip.compress(b"tick"),
    "zip": _zip(),
    "json": b'{"a": 1}',
    "safetensors": save({"a": torch.zeros(2)}),
    "pickle": pickle.dumps({"a": 1}),
    "npy": _array(),
    "picture": b"\xff\xd8\xff\xe0\x00\x10JFIF",
}
# What is said of each; endings under which it is right are left out.
SAID = {
    "pointer": "Git LFS pointer", "page": "web page", "page with a comment": "web page", "answer": "server's answer", "empty": "empty",
    "gzip": "gzip archive", "zip": "zip archive", "json": "JSON", "safetensors": "safetensors", "pickle": "pickle", "npy": "NumPy array",
    "picture": "picture",
}  # fmt: skip
READERS: dict[str, tuple[Callable[[Path], Any], set[str]]] = {
    "a.model": (read_model, {"pickle"}),
    "a.pkl": (load_restricted, {"pickle"}),
    "b.pkl": (load_pairs, {"pickle"}),
    "c.pkl": (load_inert, {"pickle"}),
    "a.weights": (lambda path: read_tensors(path, "weights"), {"zip", "pickle"}),
    "a.pth": (lambda path: read_tensors(path, "weights"), {"zip", "pickle"}),
    "a.safetensors": (lambda path: read_tensors(path, "weights"), {"safetensors"}),
    "a.npz": (load_pairs, {"zip"}),
    "a.npy": (load_array, {"npy"}),
    "a.mp4": (probe, set()),
    "a.jsonl": (lambda path: list(parsed_ticks(path)), {"json", "empty"}),
    "a.json": (read_json, {"json", "empty"}),
    "a.txt": (read_text, {"json", "empty"}),
    "a.yaml": (read_yaml, {"json", "empty"}),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", CONTENT)
def test_another_content_is_named(name: str, kind: str, tmp_path: Path) -> None:
    read, right = READERS[name]
    path = tmp_path / name
    path.write_bytes(CONTENT[kind])
    if kind in right:
        refuse_other_content(path, empty=True)
        return
    with pytest.raises(UserError, match=SAID[kind]) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert caught.value.todo


def test_every_right_content_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.weights")
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "a.safetensors").write_bytes(CONTENT["safetensors"])
    for name in ("a.weights", "a.pth", "a.safetensors"):
        assert list(read_tensors(tmp_path / name, "weights")[0]) == ["a"]
    (tmp_path / "old.pkl").write_bytes(pickle.dumps([1], 0))
    assert load_restricted(tmp_path / "old.pkl") == [1]
    with VideoWriter(tmp_path / "a.mp4", 64, 36) as video:
        video.write(np.zeros((36, 64, 3), np.uint8))
    assert probe(tmp_path / "a.mp4").width == 64


TEXT = "# 注释\ndata/甲\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (TEXT.encode(), []),
        (TEXT.encode("utf-8-sig"), []),
        (b"data/a\n" + "data/砍树\n".encode("gbk"), [":2", "in GBK it reads data/砍树", "iconv -f GB18030"]),
        (TEXT.encode("utf-16"), ["UTF-16 text"]),
        (TEXT.encode("utf-16-be"), []),
        (b"a\nb\xff\xff\n", [":2", "0xff"]),
        (b"a\nb\0c\n", [":2", "zero byte"]),
    ],
)
def test_texts_of_other_encodings_are_named_with_their_line(data: bytes, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(data)
    if data in (TEXT.encode(), TEXT.encode("utf-8-sig")):
        assert read_text(path) == TEXT
        return
    with pytest.raises(UserError, match="text") as caught:
        read_text(path)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[]", "wrong form"),
        ("3", "wrong form"),
        ('{"a": 1', "not valid JSON"),
        ('{\n"a": x}', ":2"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
    ],
)
def test_json_of_another_form_is_one_message(text: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "metadata.json"
    path.write_text(text)
    with pytest.raises(UserError, match=fault):
        read_json(path)


@pytest.mark.parametrize("text", ["- a\n", "a: [", "a: 2026-99-99", "[" * 5000, "3", "a: !!python/object:os.system {}"])
def test_yaml_of_another_form_is_one_message(text: str, tmp_path: Path) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"YAML|wrong form"):
        read_yaml(path, "suite of tasks")


def test_json_may_begin_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "a-options.json").write_bytes(json.dumps({"caption": "砍树"}).encode("utf-8-sig"))
    assert read_json(tmp_path / "a-options.json") == {"caption": "砍树"}
