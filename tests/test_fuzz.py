"""A few inputs of every format that users bring, made wrong; `python tools/fuzz.py --minutes 60` tries many more."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tests.fuzzing import FORMATS, fuzz


@pytest.mark.e2e
@pytest.mark.parametrize("name", FORMATS)
def test_wrong_files_end_in_one_message(name: str) -> None:
    assert fuzz(name, FORMATS[name].examples) > 0


FOUND: list[tuple[str, bytes]] = [
    ("weights' metadata", b'{"model": "", "mineclip": true}'),
    ("weights' metadata", b'{"model": "a", "cond_scale": "6"}'),
    ("weights' metadata", b'{"model": "a", "hashes": []}'),
    ("goals", b'{"goal": [1.0], "prompt": 3}'),
    ("tasks", b"env: luanti\ndefaults: true\ntasks: {}\n"),
    ("tasks", b"env: luanti\ntasks: {a: {1: 2, b: 3}}\n"),
    ("pickles", pickle.dumps([{"camera": 1}])),
    ("pickles", pickle.dumps(["x", "y"])),
    ("actions", b'{"ESC": [null, []], "camera": [0, 0]}\n'),
    (
        "arrays of goals",
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': 20, 8), }".ljust(117) + b"\n",
    ),
]


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_inputs_that_once_ended_in_another_error(name: str, data: bytes, tmp_path: Path) -> None:
    FORMATS[name].make(tmp_path)
    FORMATS[name].check(tmp_path, data)
