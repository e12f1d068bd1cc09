"""A hundred and more ways in which recordings are broken, made from one that is good.

Each has a name, a way to break a copy of the good recording (or to make something else), and what the run must say of it.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.data.makers import null_tick, picture, tick

N = 24
#: of the run: left out, or taken with a note that says what was wrong
REFUSED, NOTED = "refused", "converted"


@dataclass(frozen=True)
class Case:
    """`make(video, ticks)` gets the paths of a copy of the good recording; the report names `file` with `reason` in it."""

    name: str
    make: Callable[[Path, Path], Any]
    reason: str = ""
    status: str = REFUSED
    file: str = ""


def cases() -> Iterator[Case]:
    """All of them."""
    for group in (videos, lines, fields, lost_ticks, links, folders):
        yield from group()


def videos() -> Iterator[Case]:
    for percent in (1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90):
        yield Case(f"cut{percent:02d}", lambda v, t, p=percent: _cut(v, p / 100))
    yield Case("cut95", lambda v, t: _cut(v, 0.95), "cut to the shorter", NOTED)
    for percent in (20, 50, 60, 80):
        yield Case(f"hole{percent}", lambda v, t, p=percent: _hole(v, p / 100), "")
    contents = {
        "nothing": b"", "one_byte": b"\0", "text": b"this is no video\n" * 40, "zeros": bytes(5000), "json": b'{"a": 1}',
        "noise": np.random.default_rng(0).bytes(4000), "header": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
        "zip": b"PK\3\4" + bytes(200), "html": b"<!DOCTYPE html><html><body>404</body></html>",
    }  # fmt: skip
    for name, content in contents.items():
        yield Case(f"is_{name}", lambda v, t, c=content: v.write_bytes(c), "")
    yield Case("unknown_codec", lambda v, t: v.write_bytes(v.read_bytes().replace(b"avc1", b"xyz9")), "")
    yield Case("no_frames", lambda v, t: v.write_bytes(v.read_bytes().replace(b"stsz", b"free")), "")
    yield Case("video_alone", lambda v, t: t.unlink(), "video without actions")
    yield Case("ticks_alone", lambda v, t: v.unlink(), "actions without a video", file="ticks_alone.jsonl")


def _cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _hole(path: Path, share: float) -> None:
    """A twentieth of the file is zeros, as after a failed copy."""
    content = bytearray(path.read_bytes())
    start = int(len(content) * share)
    content[start : start + len(content) // 20] = bytes(len(content) // 20)
    path.write_bytes(content)


def _edit(ticks: Path, line: int, text: str | bytes) -> None:
    rows = ticks.read_bytes().splitlines()
    rows[line] = text.encode() if isinstance(text, str) else text
    ticks.write_bytes(b"\n".join(rows) + b"\n")


def lines() -> Iterator[Case]:
    whole = json.dumps(tick(3))
    broken = {
        "torn": whole[:100], "word": "tick", "open": '{"mouse": {', "quote": '{"mouse: 1}', "list": "[]", "number": "7", "null": "null",
        "string": '"tick"', "two": whole + whole, "comma": whole[:-1] + ",}", "deep": "[" * 100_000, "single": whole.replace('"', "'"),
        "utf8": whole.encode().replace(b"key.keyboard.w", b"key.\xff\xfe.w"), "nul": b"\0" * 50, "latin": b'{"mouse": "\xe9"}',
    }  # fmt: skip
    for name, text in broken.items():
        yield Case(f"line_{name}", lambda v, t, x=text: _edit(t, 3, x), f"line_{name}.jsonl:4")
    yield Case("line_first", lambda v, t: _edit(t, 0, "{"), "line_first.jsonl:1")
    yield Case("line_last", lambda v, t: _edit(t, N - 1, "{"), "cut off", NOTED)
    yield Case("utf16", lambda v, t: t.write_bytes(t.read_text().encode("utf-16")), "utf16.jsonl:1")
    yield Case("no_ticks", lambda v, t: t.write_bytes(b""), "no ticks")
    yield Case("blank_lines", lambda v, t: t.write_bytes(b"\n\n  \n"), "no ticks")
    yield Case("one_line", lambda v, t: t.write_text(t.read_text().replace("\n", " ")), "")
    yield Case("mac_lines", lambda v, t: t.write_text(t.read_text().replace("\n", "\r")), "")


def fields() -> Iterator[Case]:
    values: dict[str, list[str]] = {
        "mouse": ["null", "[]", "7", '"x"'],
        "mouse.dx": ["NaN", "Infinity", "-Infinity", "1e400", "-1e308", "null", '"5"', "[1]", "1" + "0" * 400],
        "mouse.dy": ["NaN", "{}"],
        "mouse.buttons": ["null", "7", "[[0]]"],
        "mouse.newButtons": ["null", "3"],
        "keyboard": ["null", "[]"],
        "keyboard.keys": ["null", "7", "[{}]"],
        "hotbar": ["-1", "9", "100", "null", "[]", "NaN", '"x"', "1e400"],
    }
    for field, texts in values.items():
        for number, text in enumerate(texts):
            name = f"{field.replace('.', '_')}_{number}"
            yield Case(name, lambda v, t, f=field, x=text: _set(t, 7, f, x), name)
    for field in ("mouse", "keyboard", "mouse.dx", "mouse.dy", "mouse.buttons", "keyboard.keys"):
        name = f"without_{field.replace('.', '_')}"
        yield Case(name, lambda v, t, f=field: _set(t, 7, f, None), name)
    many = json.dumps({**tick(7), "keyboard": {"keys": [f"key.keyboard.k{n}" for n in range(10_000)] + [[]]}})
    yield Case("many_keys", lambda v, t: _edit(t, 7, many), "many_keys.jsonl:8")
    wide = json.dumps({f"field{n}": n for n in range(10_000)})
    yield Case("many_fields", lambda v, t: _edit(t, 7, wide), "tick 7")
    yield Case("all_null", lambda v, t: _ticks(t, [null_tick(n) for n in range(N)]), "--keep_nulls")


def _set(ticks: Path, line: int, field: str, text: str | None) -> None:
    """Give a field of one tick a JSON text as its value; None takes it out."""
    row = json.loads(ticks.read_text().splitlines()[line])
    *outer, last = field.split(".")
    inner = row[outer[0]] if outer else row
    if text is None:
        del inner[last]
        _edit(ticks, line, json.dumps(row))
    else:
        inner[last] = "PUT HERE"
        _edit(ticks, line, json.dumps(row).replace('"PUT HERE"', text))


def _ticks(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def lost_ticks() -> Iterator[Case]:
    whole = [tick(n) for n in range(N)]
    for count in (1, 3, 10):
        for start in (1, N // 2):
            rows = whole[:start] + whole[start + count :]
            yield Case(
                f"lost_{start}_{count}", lambda v, t, r=rows: _ticks(t, r), f"from {start - 1} to {start + count}"
            )
    doubled = [row for row in whole for _ in range(1 + (row["tick"] == 9))]
    yield Case("doubled", lambda v, t: _ticks(t, doubled), "from 9 to 9")
    swapped = [*whole[:5], whole[6], whole[5], *whole[7:], tick(N), tick(N + 1)]
    yield Case("swapped", lambda v, t: _ticks(t, swapped), "from 4 to 6")
    yield Case("fewer_at_the_end", lambda v, t: _ticks(t, whole[:-4]), "cut to the shorter", NOTED)
    yield Case("more_at_the_end", lambda v, t: _ticks(t, [tick(n) for n in range(N + 6)]), "cut to the shorter", NOTED)


def links() -> Iterator[Case]:
    def loop(path: Path) -> None:
        path.unlink()
        path.symlink_to(path.name)

    def dangling(path: Path) -> None:
        path.unlink()
        path.symlink_to("nowhere.mp4")

    def pair(video: Path) -> None:
        video.unlink()
        video.symlink_to("linked_b.mp4")
        video.with_name("linked_b.mp4").symlink_to(video.name)

    def replaced(path: Path, make: Callable[[Path], Any]) -> None:
        path.unlink()
        make(path)

    yield Case("loop_video", lambda v, t: loop(v), "cannot be opened")
    yield Case("loop_ticks", lambda v, t: loop(t), "cannot be opened", file="loop_ticks.jsonl")
    yield Case("dangling", lambda v, t: dangling(v), "cannot be opened")
    yield Case("linked_a", lambda v, t: pair(v), "cannot be opened")
    yield Case("pipe_video", lambda v, t: replaced(v, os.mkfifo), "neither a file nor a folder")
    yield Case(
        "pipe_ticks", lambda v, t: replaced(t, os.mkfifo), "neither a file nor a folder", file="pipe_ticks.jsonl"
    )
    yield Case("folder_video", lambda v, t: replaced(v, os.mkdir), "a folder that is named")
    yield Case("folder_ticks", lambda v, t: replaced(t, os.mkdir), "a folder that is named", file="folder_ticks.jsonl")
    yield Case("back", lambda v, t: _instead(v, t, lambda p: p.symlink_to(".")), "searched already", file="back")
    long = "n" * 245
    yield Case("long_name", lambda v, t: (v.rename(v.with_name(long + ".mp4")), t.rename(t.with_name(long + ".jsonl"))), "name too long", file=long + ".mp4")  # fmt: skip


def _instead(video: Path, ticks: Path, make: Callable[[Path], Any]) -> None:
    """Something else under the case's name."""
    video.unlink()
    ticks.unlink()
    make(video.with_suffix(""))


def folders() -> Iterator[Case]:
    def guide(path: Path, actions: list[str] | None = None, count: int = 20, spoil: Callable[[Path], Any] = lambda p: None) -> None:  # fmt: skip
        (path / "frames").mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(path / "frames" / f"{number:05d}.png"), picture(number, 36, 64))
        good = [json.dumps({"forward": 1, "camera": [1.0, 2.0]})] * 20
        (path / "actions.jsonl").write_text("\n".join(good if actions is None else actions) + "\n")
        spoil(path)

    good = json.dumps({"forward": 1, "camera": [1.0, 2.0]})
    spoiled: dict[str, Callable[[Path], Any]] = {
        "png_empty": lambda p: (p / "frames" / "00004.png").write_bytes(b""),
        "png_torn": lambda p: _cut(p / "frames" / "00004.png", 0.4),
        "png_text": lambda p: (p / "frames" / "00004.png").write_text("no picture"),
        "png_lost": lambda p: (p / "frames" / "00004.png").unlink(),
        "png_more": lambda p: shutil.copy(p / "frames" / "00004.png", p / "frames" / "00099.png"),
        "no_pictures": lambda p: [f.unlink() for f in (p / "frames").iterdir()],
        "no_actions": lambda p: (p / "actions.jsonl").unlink(),
        "goals_short": lambda p: np.save(p / "embeds_attn.npy", np.zeros((7, 8), np.float32)),
        "goals_objects": lambda p: (p / "embeds_attn.pkl").write_bytes(pickle.dumps([Path("x")])),
        "metadata": lambda p: (p / "metadata.json").write_text("{"),
    }
    for name, spoil in spoiled.items():
        yield Case(
            f"guide_{name}", lambda v, t, s=spoil: _instead(v, t, lambda p: guide(p, spoil=s)), "", file=f"guide_{name}"
        )
    camera = {"three": [1, 2, 3], "one": [1], "text": ["a", "b"], "flat": 5, "none": None}
    for name, value in camera.items():
        rows = [good] * 9 + [json.dumps({"camera": value})] + [good] * 10
        yield Case(
            f"camera_{name}", lambda v, t, r=rows: _instead(v, t, lambda p: guide(p, r)), "", file=f"camera_{name}"
        )
    odd = {"nan": '{"camera": [NaN, 0]}', "button": '{"camera": [0, 0], "attack": "yes"}', "list": "[]", "lost": '{"attack": 1}', "json": "{"}  # fmt: skip
    for name, text in odd.items():
        rows = [good] * 9 + [text] + [good] * 10
        yield Case(
            f"action_{name}", lambda v, t, r=rows: _instead(v, t, lambda p: guide(p, r)), "", file=f"action_{name}"
        )

    def steve1(path: Path, pickled: bytes, length: str = f"{N}\n", video: bytes | None = None, source: Path | None = None) -> None:  # fmt: skip
        path.mkdir()
        (path / "frames.mp4").write_bytes(video if video is not None else (source or path).read_bytes())
        (path / "actions.pkl").write_bytes(pickled)
        (path / "len.txt").write_text(length)

    class Runs:
        def __reduce__(self) -> Any:
            return os.system, ("touch executed",)

    actions = pickle.dumps([{"forward": np.array(1), "camera": np.array([1.0, 2.0])}] * N)
    foreign: dict[str, dict[str, Any]] = {
        "hostile": {"pickled": pickle.dumps([Runs()])},
        "hostile_goals": {"pickled": actions, "goals": pickle.dumps([Runs()])},
        "torn": {"pickled": actions[:-30]},
        "dict": {"pickled": pickle.dumps({"a": 1})},
        "numbers": {"pickled": pickle.dumps([1, 2, 3])},
        "length": {"pickled": actions, "length": "many"},
        "longer": {"pickled": actions, "length": "9999"},
        "no_video": {"pickled": actions, "video": b""},
    }
    for name, how in foreign.items():

        def make(video: Path, ticks: Path, how: dict[str, Any] = how) -> None:
            kept = video.read_bytes()
            given = {"video": kept, **{key: value for key, value in how.items() if key != "goals"}}

            def build(path: Path) -> None:
                steve1(path, **given)
                if "goals" in how:
                    (path / "embeds_attn.pkl").write_bytes(how["goals"])

            _instead(video, ticks, build)

        yield Case(f"steve1_{name}", make, "", file=f"steve1_{name}")
