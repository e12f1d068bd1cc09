"""The readers of pickles: everything real files hold comes back equal; nothing hostile runs, whether it is refused or kept as a record."""

from __future__ import annotations

import builtins
import collections
import copyreg
import os
import pickle
import pickletools
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.core.reading.pickle_machine import Record
from steve1.core.reading.pickles import load_inert, load_restricted
from steve1.policy.config import PolicyConfig, read_model

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


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_foreign_objects_beside_the_settings_are_kept_as_records_and_never_run(protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    odd = Runs(os.system, f"touch {marker}", state={"inner": [Runs(builtins.eval, "1"), threading.Event]})
    path = tmp_path / "2x.model"
    path.write_bytes(
        pickle.dumps(PolicyConfig().to_model() | {"beside": {"space": odd, "class": threading.Event}}, protocol)
    )
    before = set(sys.modules)
    assert read_model(path) == PolicyConfig()
    assert set(sys.modules) == before
    assert not marker.exists()
    space = load_inert(path)["beside"]["space"]
    assert (type(space), space.name, space.arguments) == (Record, "posix.system", (f"touch {marker}",))
    assert space.state["inner"][0].name == "builtins.eval"
    assert space.state["inner"][1].name == "threading.Event"
    with pytest.raises(UserError, match=r"posix\.system"):
        load_restricted(path)


@pytest.mark.parametrize(
    "place", ["hidsize", "impala_chans", "init_norm_kwargs", "temperature", "model", "args", "net", "nested"]
)
def test_a_foreign_object_in_a_settings_place_is_refused_by_its_key(place: str, tmp_path: Path) -> None:
    odd: Any = Runs(os.system, f"touch {tmp_path / 'ran'}")
    content = PolicyConfig().to_model()
    args = content["model"]["args"]
    if place == "model":
        content["model"] = odd
    elif place == "args":
        content["model"]["args"] = odd
    elif place == "net":
        args["net"] = odd
    elif place == "temperature":
        args["pi_head_opts"]["temperature"] = odd
    elif place == "nested":
        args["net"]["args"]["impala_kwargs"] = {"post_pool_groups": [odd]}
    else:
        args["net"]["args"][place] = odd
    path = tmp_path / "odd.model"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match="nothing of") as caught:
        read_model(path)
    assert ("impala_kwargs" if place == "nested" else place) in str(caught.value)
    assert "posix.system" in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["idm_4x.model", "idm_tiny.model"])
def test_an_inverse_dynamics_model_is_called_by_its_name(name: str, golden: Path) -> None:
    content = load_inert(golden / name)
    space = content["extra_args"]["ac_space"]
    assert space.name == "gym3.types.DictType"
    assert space.state["_n2t"]["buttons"].state["shape"] == (20,)
    assert content["model"]["args"]["net"]["args"]["conv3d_params"]["padding"] == [2, 0, 0]
    assert "gym3" not in sys.modules
    with pytest.raises(UserError, match="inverse dynamics model"):
        read_model(golden / name)


INERT: dict[str, tuple[bytes, str]] = {
    "reduce": (b"cos\nsystem\n(S'true'\ntR.", "posix.system|os.system"),
    "instance": (b"(S'true'\nios\nsystem\n.", "os.system"),
    "object": (b"(cos\nsystem\nS'true'\no.", "os.system"),
    "new object": (b"\x80\x02cos\nsystem\n)\x81.", "os.system"),
    "new object with names": (b"\x80\x04cos\nsystem\n)}\x92.", "os.system"),
    "class": (b"cos\nsystem\n.", "os.system"),
    "class by stack": (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),
    "persistent id": (b"Ppid\n.", "a persistent id"),
    "binary persistent id": (b"\x80\x02K\x01Q.", "a persistent id"),
    "extension code": (b"\x80\x02\x82\x01.", "extension code 1"),
    "long extension code": (b"\x80\x02\x84\x01\x00\x00\x00.", "extension code 1"),
    "call of a result": (b"cos\nsystem\n)R)R.", "os.system"),
    "items of an object": (b"\x80\x02cos\nsystem\n)\x81(K\x01K\x02u(K\x03e.", "os.system"),
    "getattr": (pickle.dumps(Runs(builtins.getattr, str, "join")), "builtins.getattr"),
}


@pytest.mark.parametrize("name", INERT)
def test_what_would_run_becomes_a_record(name: str) -> None:
    payload, called = INERT[name]
    copyreg.add_extension("os", "system", 1)
    try:
        found = load_inert(payload)
        assert isinstance(found, Record)
        assert found.name in called.split("|")
        with pytest.raises(UserError, match="refused"):
            load_restricted(payload)
    finally:
        copyreg.remove_extension("os", "system", 1)


BOMBS: dict[str, bytes] = {
    # each level holds the one before twice: 2^60 values in 300 bytes
    "doubled lists": b"\x80\x02]q\x00" + b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(60)) + b".",
    "doubled tuples": b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60)) + b".",
    "doubled tuples as a key": b"\x80\x02})q\x00"
    + b"".join(b"0h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60))
    + b"K\x01s.",
    "doubled frozensets": b"\x80\x04(\x91\x94" + b"".join(b"(h%ch%c\x91\x94" % (n, n) for n in range(60)) + b".",
    "deep lists": b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "deep tuples": b"\x80\x02)" + b"\x85" * 1_000_000 + b".",
    "deep tuples as a key": b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.",
    "deep objects": b"cos\nsystem\n(" * 10_000 + b"tR" * 10_000 + b".",
    "a list in itself": b"]q\x00h\x00a.",
    "a dict in itself": b"\x80\x02}q\x00K\x01h\x00s.",
    "a number of a gigabyte": b"\x80\x02\x8b\x00\x00\x00\x40\x01.",
    "a text of an exabyte": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x0f.",
    "no mark": b"\x80\x02t.",
    "an empty stack": b"\x80\x02.",
    "memo never set": b"h\x05.",
    "attributes of a class": b"ccollections\nOrderedDict\n(N}S'x'\nK\x01sdtb.",
    "attributes of a function": b"\x80\x02c_codecs\nencode\nN}U\x0c__defaults__U\x01xs\x86b.",
    "attributes of a stand-in": b"\x80\x02cnumpy\nndarray\nN}U\x08__init__K\x01s\x86b.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_once(name: str) -> None:
    for read in (load_restricted, load_inert):
        with pytest.raises(UserError, match="refused"):
            read(BOMBS[name])


def test_arrays_made_again_and_again_of_the_same_bytes_are_refused() -> None:
    """A file of a megabyte would ask for a hundred gigabytes."""
    whole = pickle.dumps(np.zeros(10_000), 2)
    remembered, before = {}, ""
    for code, argument, _ in pickletools.genops(whole):
        if code.name == "BINPUT":
            remembered[before] = argument
        before = code.name
    once_more = b"h\x00h%cRh%cb" % (remembered["TUPLE3"], remembered["TUPLE"])
    with pytest.raises(UserError, match="more memory than the file has"):
        load_restricted(b"\x80\x02](" + whole[2:-1] + once_more * 1000 + b"e.")
    np.testing.assert_equal(load_restricted(b"\x80\x02](" + whole[2:-1] + once_more + b"e."), [np.zeros(10_000)] * 2)


@pytest.mark.parametrize("read", [load_restricted, load_inert])
def test_a_pickle_cut_anywhere_is_refused(read: Any, golden: Path) -> None:
    whole = (golden / "idm_tiny.model").read_bytes() if read is load_inert else pickle.dumps(GOOD)
    for length in range(0, len(whole), max(1, len(whole) // 300)):
        with pytest.raises(UserError, match=r"refused|empty"):
            read(whole[:length])
