"""Files that people bring, made wrong in every way: each must be read, or refused with a UserError, at once and with little memory.

Input: a valid file of each format. Output: nothing, or the smallest input found that ends in another error, hangs, or asks for much memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import math
import pickle
import resource
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning
from safetensors.torch import save

from steve1.core.checkpoint_metadata import read_checkpoint_metadata, read_goal
from steve1.core.errors import UserError
from steve1.core.reading.pickles import load_inert, load_restricted, read_tensors
from steve1.data.episodes.captions import read_captions
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.formats.replay import open_pack, write_pack
from steve1.data.episodes.parts import load_goals
from steve1.data.exchange.lerobot import schema as lerobot
from steve1.data.exchange.lerobot.read import LeRobotSet
from steve1.data.loading.lists import read_list
from steve1.data.media.video import VideoWriter, frame_times, probe, read_frames
from steve1.data.quality.validate import check_episode
from steve1.data.recordings.contractor import ContractorRecording
from steve1.data.recordings.contractor_index import read_index
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.data.recordings.trim import read_times
from steve1.evaluation.tasks.suite import load_suite
from steve1.hub.manifest import Manifest, parse_manifest
from steve1.policy.config import PolicyConfig, read_model
from tests.data.makers import make_episode, make_recording, picture, tick

HANG_S = 10.0  # of processor time
WAIT_S = 300.0  # of any time: a machine may be busy, but nothing waits this long
MEMORY = 1 << 30
Check = Callable[[Path, bytes], object]


class Hang(BaseException):
    """An input took longer than HANG_S or WAIT_S."""


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        make: valid contents, from a folder in which it may write what they name.
        check: writes the bytes of an input and reads them; UserError is a good answer.
        form: "bytes", or "json", "lines" (of JSON), "yaml", "text": contents are also changed as values.
        examples: inputs of one round in the tests, so that a round takes about a second.
    """

    make: Callable[[Path], list[bytes]]
    check: Check
    form: str = "bytes"
    examples: int = 80


# ---- inputs ----

_WORDS = [
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r", b'"', b"{", b"}", b"[", b"]", b"null", b"NaN", b"-1", b"1e999", b"9" * 400,
    b"\xbf\xb3\xca\xf7", "，；：％".encode(), b"# weight: ", b"~nosuchuser", b"../" * 8, b"\x80\x02", b"\x7f\xff\xff\xff",
    b"\xff" * 8, b"\0" * 64, b"%s{}", b"&a *a", b"!!python/object:os.system ",
]  # fmt: skip


def _edited(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """A valid file with up to six pieces replaced, cut out or put in, or cut off."""
    piece = st.one_of(st.sampled_from(_WORDS), st.binary(max_size=12))
    edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), piece), min_size=1, max_size=6)

    def edit(whole: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
        for at, length, words in changes:
            place = int(at * len(whole))
            whole = whole[:place] + words + whole[place + length :]
        return whole

    cut = st.builds(lambda whole, share: whole[: int(share * len(whole))], st.sampled_from(seeds), st.floats(0, 1))
    return st.one_of(st.builds(edit, st.sampled_from(seeds), edits), cut, st.binary(max_size=200))


_ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from([10**30, -(10**30), math.nan, math.inf, "", "key.keyboard.w", "f5", "1:00"]),
)  # fmt: skip
_VALUES = st.recursive(
    _ATOMS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from _places(each, (*path, key))


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(value[path[0]], path[1:], new)
    return copy


def _changed(seeds: list[Any]) -> st.SearchStrategy[Any]:
    """A valid value with one or two of its parts replaced by any value."""
    choices = [(value, path) for value in seeds for path in _places(value)]
    once = st.builds(lambda choice, new: _with(choice[0], choice[1], new), st.sampled_from(choices), _VALUES)
    return st.one_of(
        once,
        once.flatmap(
            lambda value: st.builds(
                lambda path, new: _with(value, path, new), st.sampled_from([*_places(value)][:200]), _VALUES
            )
        ),
    )


def inputs(form: str, seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """The inputs of a format, from valid ones."""
    edited = _edited(seeds)
    if form == "json":
        return st.one_of(
            edited, _changed([json.loads(text) for text in seeds]).map(lambda value: json.dumps(value).encode())
        )
    if form == "yaml":
        return st.one_of(
            edited,
            _changed([yaml.safe_load(text) for text in seeds]).map(
                lambda value: yaml.safe_dump(value, allow_unicode=True).encode()
            ),
        )
    if form == "lines":
        rows = [[json.loads(line) for line in text.splitlines()] for text in seeds]
        return st.one_of(
            edited,
            _changed(rows)
            .filter(lambda value: isinstance(value, list))
            .map(lambda rows: b"".join(json.dumps(row).encode() + b"\n" for row in rows)),
        )
    return edited


# ---- formats ----


def _in(name: str, *readers: Callable[[Path], object]) -> Check:
    """Write the input under this name, and read it with each reader."""

    def check(folder: Path, data: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        for read in readers:
            with contextlib.suppress(UserError):
                read(path)

    return check


def _ticks(folder: Path) -> list[bytes]:
    rows = [
        tick(0),
        tick(1, hotbar=3, isGuiOpen=True),
        tick(2, mouse={"dx": 3.5, "dy": -1, "buttons": [0, 1], "newButtons": [0]}),
    ]
    return [b"".join(json.dumps(row).encode() + b"\n" for row in rows)]


def _recording(path: Path) -> object:
    return ContractorRecording(path.stem, path.with_suffix(".mp4"), "6.8").read_ticks()


def _options(folder: Path) -> list[bytes]:
    (folder / "rec.jsonl").write_bytes(_ticks(folder)[0])
    return [json.dumps({"behaviour": "dig_dirt", "captions": ["dig dirt"], "seed": 4, "success": True}).encode()]


def _with_options(path: Path) -> object:
    recording = ContractorRecording("rec", path.with_name("rec.mp4"), "6.8")
    return recording.options, recording.read_ticks()


def _list(folder: Path) -> list[bytes]:
    (folder / "ep00").mkdir(exist_ok=True)
    at = str(folder / "ep00").encode()
    return [b"# 70 %\n# weight: 0.7\n" + at + b"\n\n# weight: 0.3\n" + at + b"\n", at + b"\n" + at + b"\n"]


def _part(name: str) -> Callable[[Path], list[bytes]]:
    """A file of a native episode."""
    return lambda folder: [(make_episode(folder / "ep", 20, size=8) / name).read_bytes()]


def _episode(path: Path) -> object:
    episode = Episode(path.parent)
    return len(episode), episode.actions(0, 2), episode.has_goals and episode.goals, episode.frames(0, 2)


def _video(folder: Path) -> list[bytes]:
    with VideoWriter(folder / "good.mp4", 64, 36) as video:
        for number in range(12):
            video.write(picture(number, 36, 64))
    return [(folder / "good.mp4").read_bytes()]


def _pickles(folder: Path) -> list[bytes]:
    values = [
        PolicyConfig().to_model(), [None] * 3 + [np.zeros((1, 8), np.float32)] * 3, {"text_embeddings": np.zeros((2, 4)), "visual_embeddings": np.zeros((2, 4))},
        [{"camera": np.array([1.5, 2.0]), "attack": np.int64(1)}], {"a": {1, 2}, "b": (frozenset({3}), complex(1, 2), b"x", bytearray(b"y"))},
        {"space": Path("/tmp"), "class": json.JSONDecoder},
    ]  # fmt: skip
    return [pickle.dumps(value, protocol) for value in values for protocol in range(6)]


def _replay_pack(folder: Path) -> list[bytes]:
    path = folder / "good.replay.safetensors"
    rows = (np.zeros((20, 4), np.float16), np.zeros((20, 3), np.float32), np.zeros(20), np.zeros(20), np.ones(20))
    write_pack(
        path, [("a/b", 20), ("a/c", 20)], iter([rows, rows]), {"cnn_sha256": "0", "behaviours": '{"a/b": "dig"}'}
    )
    return [path.read_bytes()]


def _packed(path: Path) -> object:
    found = [Episode(each) for each in open_pack(path).paths()]
    return [(each.tokens(), each.goals[0], each.imitated, each.metadata, len(each)) for each in found]


def _suite(folder: Path) -> list[bytes]:
    content = yaml.safe_load((Path(load_suite("luanti").path)).read_text(encoding="utf-8"))
    names = list(content["tasks"])
    return [
        yaml.safe_dump({**content, "tasks": {name: content["tasks"][name]}}, allow_unicode=True).encode()
        for name in names[:6]
    ]


def _lerobot(folder: Path) -> list[bytes]:
    (folder / "meta").mkdir(exist_ok=True)
    (folder / "meta" / "episodes.jsonl").write_text('{"episode_index": 0, "tasks": ["dig dirt"], "length": 40}\n')
    counts = {"total_episodes": 1, "total_frames": 40, "total_tasks": 1}
    return [json.dumps(lerobot.info("v2.1", lerobot.features(128, 128), counts, lerobot.Limits())).encode()]


def _lerobot_set(path: Path) -> object:
    found = LeRobotSet(path.parent.parent)
    return found.entries, found.picture_size, found.columns


def _lerobot_mapping(folder: Path) -> list[bytes]:
    data = _lerobot(folder)[0]
    (folder / "meta" / "info.json").write_bytes(data)
    return [
        b"picture: observation.images.pov\nactions:\n  forward: jump\n  camera_yaw: {column: 'action:5', scale: 0.5}\n"
    ]


def _neighbours(folder: Path, data: bytes) -> None:
    """A recording made wrong, between two good ones: both are converted, and nothing is left half-written."""
    source = folder / "source"
    if not source.exists():
        make_recording(source, "good", 12, width=64, height=36)
    work = Path(tempfile.mkdtemp(dir=folder))
    try:
        (work / "in").mkdir()
        for name in ("a", "m", "z"):
            for ending in (".mp4", ".jsonl"):
                shutil.copy(source / f"good{ending}", work / "in" / f"{name}{ending}")
        (work / "in" / ("m.jsonl" if data[:1] in b"{\xef" else "m.mp4")).write_bytes(data)
        with contextlib.redirect_stderr(io.StringIO()):  # of the progress bar
            summary = convert_folder(work / "in", work / "out", ConvertSettings(), workers=1)
        status = {Path(row.recording).stem: row.status for row in summary.results}
        assert status["a"] == status["z"] == "converted", status
        names = {path.name for path in (work / "out").iterdir() if path.is_dir()}
        assert names == {name for name, found in status.items() if found == "converted"}, names
        for name in names:
            assert Episode(work / "out" / name).frames(0, 1).shape == (1, 128, 128, 3)
    finally:
        shutil.rmtree(work)


FORMATS: dict[str, Format] = {
    "ticks": Format(_ticks, _in("rec.jsonl", _recording), "lines"),
    "options": Format(_options, _in("rec-options.json", _with_options), "json", 50),
    "sampling lists": Format(_list, _in("x_train.txt", read_list)),
    "lists of times": Format(lambda folder: [b"recording,start,end,name\nrec,0,1:02.5,x\nrec,f10,end\n"], _in("times.csv", read_times)),
    "indexes": Format(
        lambda folder: [b'{"basedir": "https://host.example/data/", "relpaths": ["data/6.13/a-b.mp4", "c.mp4"]}'],
        _in("index.json", lambda path: read_index(str(path), path.parent)), "json",
    ),
    "filters": Format(
        lambda folder: [b"a-b\nc.mp4\n# no\n"],
        _in("names.txt", lambda path: _index_beside(path)),
    ),
    "metadata": Format(_part("metadata.json"), _in("ep/metadata.json", _episode), "json", 60),
    "actions": Format(_part("actions.jsonl"), _in("ep/actions.jsonl", _episode, lambda path: check_episode(path.parent)), "lines", 30),
    "arrays of goals": Format(_part("embeds_attn.npy"), _in("ep/embeds_attn.npy", _episode), examples=30),
    "packed frames": Format(_part("frames.jpgs"), _in("ep/frames.jpgs", _episode, lambda path: check_episode(path.parent)), examples=30),
    "frame indexes": Format(_part("frames_index.npy"), _in("ep/frames_index.npy", _episode, lambda path: check_episode(path.parent)), examples=30),
    "weights' metadata": Format(
        lambda folder: [b'{"model": "data/mini/mini.model", "mineclip": "a", "prior": "b", "cond_scale": 6.0, "temperature": 1.0, "env": "luanti"}'],
        _in("a.weights.json", lambda path: read_checkpoint_metadata(path.with_suffix(""))), "json",
    ),
    "captions": Format(lambda folder: [b"dig_dirt:\n  train: [dig dirt, dig]\n  held_out: [get dirt]\nb:\n  train: [c]\n"], _in("captions.yaml", read_captions), "yaml", 50),
    "tasks": Format(_suite, _in("tasks.yaml", load_suite), "yaml", 40),
    "goals": Format(lambda folder: [b'{"goal": [0.5, 1.0, -2.0], "weights": "a", "weights_sha256": "b", "prompt": "c", "made_by": {"steps": 3}}'], _in("a.goal.json", read_goal), "json"),
    "pickles": Format(_pickles, _in("a.pkl", load_restricted, load_goals, load_inert)),
    "models": Format(_pickles, _in("a.model", read_model)),
    "safetensors": Format(lambda folder: [save({"a": torch.zeros(2, 3), "b": torch.zeros(1, dtype=torch.int64)}, {"config": "{}"})], _in("a.safetensors", lambda path: read_tensors(path, "weights"))),
    "replay packs": Format(_replay_pack, _in("a.replay.safetensors", _packed), examples=60),
    "LeRobot's info": Format(_lerobot, _in("meta/info.json", _lerobot_set), "json", 100),
    "LeRobot's mapping": Format(_lerobot_mapping, _in("steve1/mapping.yaml", _lerobot_set), "yaml", 100),
    "lists of files": Format(
        lambda folder: [Manifest("weights", {"a/b.bin": "0" * 64}, {"a/b.bin": 9}).text().encode()],
        _in("steve1_files.json", lambda path: parse_manifest(path.read_text(errors="replace"), path)), "json",
    ),
    "videos": Format(_video, _in("a.mp4", probe, frame_times, lambda path: sum(1 for _ in read_frames(path))), examples=60),
    "conversion": Format(lambda folder: _video(folder) + _ticks(folder), _neighbours, examples=5),
}  # fmt: skip


def _index_beside(path: Path) -> object:
    index = path.with_name("index.json")
    index.write_text('{"basedir": "/x", "relpaths": ["data/6.13/a-b.mp4", "c.mp4"]}')
    return read_index(str(index), path.parent, str(path))


# ---- running ----


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raise Hang after HANG_S of processor time or WAIT_S, and AssertionError where memory grew beyond MEMORY."""

    def hung(*_: object) -> None:
        raise Hang(f"not done after {HANG_S:g} s of processor time or {WAIT_S:g} s")

    peak = _peak()
    timers = ((signal.SIGPROF, signal.ITIMER_PROF, HANG_S), (signal.SIGALRM, signal.ITIMER_REAL, WAIT_S))
    before = [signal.signal(number, hung) for number, _, _ in timers]
    for _, timer, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
    assert _peak() - peak < MEMORY, f"memory grew by {(_peak() - peak) >> 20} MB"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def fuzz(name: str, examples: int, number: int = 0) -> int:
    """Try `examples` inputs of a format, the same for the same number; returns how many were tried.

    Raises:
        Exception: whatever an input ended in that is no UserError, with the smallest such input.
    """
    kind, tried = FORMATS[name], 0
    logging.disable(logging.WARNING)
    try:
        warnings.simplefilter("ignore", HypothesisWarning)  # about the length of examples
        with tempfile.TemporaryDirectory(prefix="steve1_fuzz_") as folder:

            @seed(number)
            @settings(
                max_examples=examples,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            )
            @given(inputs(kind.form, kind.make(Path(folder))))
            def each(data: bytes) -> None:
                nonlocal tried
                tried += 1
                try:
                    with _limited():
                        kind.check(Path(folder), data)
                except Hang as fault:  # the smallest such input would take hours to find
                    kept = Path(tempfile.gettempdir()) / f"steve1_hang_{hashlib.sha256(data).hexdigest()[:12]}"
                    kept.write_bytes(data)
                    raise Hang(f"{fault}; the input is in {kept}") from None

            each()
    finally:
        logging.disable(logging.NOTSET)
    return tried


def main(minutes: float = math.inf, only: str = "", inputs: float = math.inf) -> int:
    """Fuzz every format in turn for this long, or until each has had `inputs`, other ones each time; 1 if a fault was found."""
    end, number, failed = time.monotonic() + minutes * 60, 0, set[str]()
    counts = dict.fromkeys([only] if only else FORMATS, 0)
    while time.monotonic() < end and (
        left := [name for name in counts if name not in failed and counts[name] < inputs]
    ):
        number += 1
        for name in left:
            try:
                counts[name] += fuzz(name, int(min(FORMATS[name].examples * 4, inputs - counts[name])), number)
            except (Exception, Hang) as fault:
                failed.add(name)
                print(
                    f"{name}: {type(fault).__name__}: {fault}\n  " + "\n  ".join(getattr(fault, "__notes__", [])),
                    flush=True,
                )
    for name, count in counts.items():
        print(f"{name:<20}{count:>8} inputs{'  FAILED' if name in failed else ''}")
    return 1 if failed else 0
