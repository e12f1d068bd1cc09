"""The restricted reader: everything real files hold comes back equal; nothing hostile runs."""

from __future__ import annotations

import builtins
import collections
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.core.pickles import load_restricted, read_tensors

GOOD: list[Any] = [
    None,
    {"a": [1, 2.5, "x", b"y", True], "b": (1, {2, 3}, frozenset({4}))},
    collections.OrderedDict(z=1, a=2),
    [None] * 15 + [np.arange(4, dtype=np.float32).reshape(1, 4)],
    {"f": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "s": np.float32(2.0), "big": np.arange(3, dtype=">i4")},
    [{"camera": np.array([1.5, -2.0]), "attack": np.int64(1)}],
    np.array(["a", "bcd"]),
    np.zeros((0, 512), np.float16),
    complex(1, 2),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("index", range(len(GOOD)))
def test_plain_content_comes_back_equal(index: int, protocol: int) -> None:
    value = GOOD[index]
    back = load_restricted(pickle.dumps(value, protocol=protocol))
    np.testing.assert_equal(back, value)
    if isinstance(value, np.ndarray):
        assert back.dtype == value.dtype
        assert back.flags.writeable


class Runs:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.call


def _hostile(marker: Path) -> list[bytes]:
    touch = f"open({str(marker)!r}, 'w').close()"
    calls = [
        Runs(os.system, f"touch {marker}"),
        Runs(builtins.eval, touch),
        Runs(builtins.exec, touch),
        Runs(builtins.open, str(marker), "w"),
        Runs(builtins.getattr, str, "join"),
        Runs(builtins.__import__, "os"),
        Runs(builtins.compile, touch, "x", "exec"),
        Runs(subprocess.Popen, ["touch", str(marker)]),
        Runs(subprocess.check_output, ["touch", str(marker)]),
        Runs(os.remove, str(marker)),
        Runs(os.mkdir, str(marker)),
        Runs(os.execv, sys.executable, ["python"]),
        Runs(np.load, str(marker)),
        Runs(np.fromfile, str(marker)),
        Runs(np.memmap, str(marker), np.uint8, "w+", 0, (4,)),
        Runs(np.ndarray, (1,), np.dtype("O"), b"A" * 8),
        Runs(pickle.loads, pickle.dumps(Runs(os.system, f"touch {marker}"))),
        Runs(Path, str(marker)),
        Runs(map, builtins.eval, [touch]),
        Runs(builtins.bytearray, 1 << 40),
        Runs(collections.Counter, "abc"),
        Runs(collections.defaultdict, list),
        Runs(builtins.type, "X", (), {}),
        Runs(builtins.delattr, str, "x"),
        Runs(np.frombuffer, b"12345678", np.int64),
        {"nested": [(1, Runs(os.system, f"touch {marker}"))]},
        np.array([Runs(os.system, f"touch {marker}")], dtype=object),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([None, {}], dtype=object),
    ]
    payloads = [pickle.dumps(call) for call in calls]
    payloads += [
        b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.",
        b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.",
        b"(S'touch " + str(marker).encode() + b"'\nios\nsystem\n.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"\x80\x02\x82\x01.",
        b"Ppid\n.",
        b"\x80\x02cnumpy\nfloat32\n.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"",
        b"not a pickle at all",
        pickle.dumps(list(range(1000)))[:-20],
    ]
    return payloads


@pytest.mark.parametrize("index", range(len(_hostile(Path("/nonexistent/marker")))))
def test_hostile_content_is_refused_and_never_runs(index: int, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    payload = _hostile(marker)[index]
    with pytest.raises(UserError) as caught:
        load_restricted(payload)
    assert not marker.exists()
    assert "refused" in str(caught.value) or "memory" in str(caught.value)


def test_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "actions.pkl"
    path.write_bytes(pickle.dumps(Runs(os.system, "true")))
    with pytest.raises(UserError) as caught:
        load_restricted(path)
    assert "actions.pkl" in str(caught.value)
    with pytest.raises(UserError, match="does not exist"):
        load_restricted(tmp_path / "none.pkl")
    with pytest.raises(UserError, match="larger"):
        load_restricted(path, max_bytes=3)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>quota</html>", "web page"),
    ],
)
def test_what_lies_in_a_large_files_place_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    for name in ("a.model", "a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=fault):
        load_restricted(tmp_path / "a.model")
    for name in ("a.pth", "a.safetensors"):
        with pytest.raises(UserError, match=fault):
            read_tensors(tmp_path / name, "weights")
