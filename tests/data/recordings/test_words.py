"""What recorders write in another way: counted and named, or refused; folders and names of every kind."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from pathlib import Path
from typing import Any

import cv2
import pytest

from steve1.commands.data import convert as convert_command
from steve1.data.episodes.episode import Episode
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.data.recordings.summary import Result
from tests.data.episodes.test_episode import guide_episode, steve1_episode
from tests.data.makers import action, make_recording, picture, tick


def converted(folder: Path) -> dict[str, Result]:
    results = convert_folder(folder / "in", folder / "out", ConvertSettings(keep_nulls=True)).results
    return {os.path.relpath(result.recording, folder / "in"): result for result in results}


def with_ticks(folder: Path, **changes: Any) -> Result:
    """A recording of 30 ticks, each with these changes."""
    make_recording(folder / "in", "rec", [tick(n, **changes) for n in range(30)], width=64, height=36)
    return converted(folder)["rec.mp4"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["w", "left.shift"], 'refused: "w" in 30 of 30 ticks'),
        (["key.keyboard.left shift"], "refused: key.keyboard.left.shift"),
        (["Key.shift", "'w'"], "refused"),
        (["key.keyboard.w", "key.keyboard.left shift"], 'noted: "key.keyboard.left shift" in 30 of 30 ticks'),
        (["key.keyboard.w", "key.keyboard.ctrl"], "noted: known: key"),
        (["key.keyboard.w", "key.keyboard.tab", "key.keyboard.f3", "key.keyboard.keypad.7"], ""),
        (["key.keyboard.tab"], ""),
        ([], ""),
        ("key.keyboard.w", "refused: rec.jsonl:1; got: keyboard.keys"),
        ({"key.keyboard.s": False}, "refused: rec.jsonl:1; got: keyboard.keys"),
        ([0], "refused: rec.jsonl:1; got: keyboard.keys"),
    ],
)  # fmt: skip
def test_keys_in_any_spelling(tmp_path: Path, keys: Any, said: str) -> None:
    result = with_ticks(tmp_path, keyboard={"keys": keys})
    status, _, text = said.partition(": ")
    assert result.status == ("refused" if status == "refused" else "converted")
    assert bool(result.notes) == (status == "noted")
    assert text in f"{result.reason} {result.notes}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mouse": {"buttons": ["left"]}}, "mouse.buttons"),
        ({"mouse": {"buttons": {"0": True}}}, "mouse.buttons"),
        ({"mouse": {"buttons": [True, False]}}, "mouse.buttons"),
        ({"mouse": {"buttons": [None]}}, "mouse.buttons"),
        ({"mouse": {"newButtons": "0"}}, "mouse.newButtons"),
        ({"mouse": {"buttons": [0, 4]}}, ""),
        ({"isGuiOpen": "false"}, "isGuiOpen"),
        ({"isGuiOpen": "True"}, "isGuiOpen"),
        ({"isGuiOpen": []}, "isGuiOpen"),
        ({"isGuiOpen": 0}, ""),
        ({"isGuiOpen": None}, ""),
    ],
)
def test_fields_of_another_kind(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    result = with_ticks(tmp_path, **changes)
    assert result.status == ("refused" if said else "converted")
    if said:
        assert "rec.jsonl:1" in result.reason
        assert said in result.reason
    elif "isGuiOpen" in changes:
        assert Episode(tmp_path / "out" / "rec").metadata["gui_share"] == 0


@pytest.mark.parametrize(
    ("slots", "changes", "status"),
    [
        ([0] * 5 + [3, 0, 0, 0, 2, 2, 0, 0, 5] + [0] * 16, {}, "refused"),
        ([0] * 5 + [3] * 9 + [0] * 3 + [2] * 9 + [0] * 4, {}, "converted"),
        ([0] * 5 + [3, 0, 0, 0, 2, 2, 0, 0, 5] + [0] * 16, {"mouse": {"dwheel": 120.0}}, "converted"),
        ([0] * 5 + [3, 0, 0, 0, 2, 2, 0, 0, 5] + [0] * 16, {"keyboard": {"keys": ["key.keyboard.1"]}}, "converted"),
        ([0] * 5 + [1, 2, 3, 2, 1] + [0] * 20, {}, "converted"),
    ],
)
def test_the_hotbar_is_a_slot_and_no_key(
    tmp_path: Path, slots: list[int], changes: dict[str, Any], status: str
) -> None:
    make_recording(
        tmp_path / "in", "rec", [tick(n, hotbar=slot, **changes) for n, slot in enumerate(slots)], width=64, height=36
    )
    result = converted(tmp_path)["rec.mp4"]
    assert result.status == status
    assert ("3 at line 6" in result.reason) == (status == "refused")


def test_packed_ticks_are_read(tmp_path: Path) -> None:
    for name in ("rec", "torn"):
        plain = make_recording(tmp_path / "in", name, 30, width=64, height=36).with_suffix(".jsonl")
        packed = gzip.compress(plain.read_bytes())
        plain.with_suffix(".jsonl.gz").write_bytes(packed if name == "rec" else packed[:-40])
        plain.unlink()
    (tmp_path / "in" / "alone.jsonl.gz").write_bytes(packed)
    found = converted(tmp_path)
    assert (found["rec.mp4"].status, found["rec.mp4"].frames, found["rec.mp4"].notes) == ("converted", 30, [])
    assert "does not unpack" in found["torn.mp4"].reason
    assert "alone.mp4 is missing" in found["alone.jsonl.gz"].reason


@pytest.mark.parametrize("make", [guide_episode, steve1_episode])
def test_a_misspelt_button_is_named(tmp_path: Path, make: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = make(tmp_path / "in" / "ep", 20)
    rows = [{**action(n), "atack": 1} for n in range(20)]
    if make is guide_episode:
        (path / "actions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        (path / "actions.pkl").write_bytes(pickle.dumps(rows))
    (result,) = converted(tmp_path).values()
    assert result.status == "converted"
    assert '"atack" in 20 of 20 actions' in result.notes[0]
    assert "known: attack" in result.notes[0]
    Episode(path).tokens()
    assert "atack" in caplog.text


@pytest.mark.parametrize(
    "beside", ["frames", "frames with text", "frames.mp4", "episode", "recordings in frames", "in episode"]
)
def test_recordings_beside_frames_are_converted_or_named(tmp_path: Path, beside: str) -> None:
    folder = tmp_path / "in"
    names = [make_recording(folder, f"rec_{n}", 20, width=64, height=36).name for n in range(2)]
    wanted = dict.fromkeys(names, "converted")
    if beside.startswith("frames") and beside != "frames.mp4":
        (folder / "frames").mkdir()
        cv2.imwrite(str(folder / "frames" / "shot1.jpg"), picture(0))
        wanted["."] = "refused"
    elif beside == "frames.mp4":
        wanted[make_recording(folder, "frames", 20, width=64, height=36).name] = "converted"
    elif beside == "episode":
        guide_episode(tmp_path / "ep", 20)
        for path in (tmp_path / "ep").iterdir():
            path.rename(folder / path.name)
        wanted["."] = "converted"
    elif beside == "recordings in frames":
        make_recording(folder / "frames", "deep", 20, width=64, height=36)
        wanted |= {"frames/deep.mp4": "converted", ".": "refused"}
    else:
        guide_episode(folder / "ep", 20)
        make_recording(folder / "ep", "inside", 20, width=64, height=36)
        wanted |= {"ep": "converted", "ep/inside.mp4": "converted"}
    assert {name: result.status for name, result in converted(tmp_path).items()} == wanted


@pytest.mark.parametrize(
    "name", [b"new\nline", b"trail ", b" lead", b"tab\there", "录像".encode("gbk"), b"\x1b[31mred", "\u2028x".encode()]
)  # fmt: skip
def test_a_name_that_no_list_can_hold_is_refused_and_the_rest_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: bytes
) -> None:
    for plain in ("good", "盖房子 #1"):
        video = make_recording(tmp_path / "in", plain, 20, width=64, height=36)
    for path in (video, video.with_suffix(".jsonl")):
        os.rename(path, os.path.join(os.fsencode(tmp_path / "in"), name + path.suffix.encode()))
    video = make_recording(tmp_path / "in", "盖房子 #1", 20, width=64, height=36)
    assert convert_command.main(convert_command.Args(str(tmp_path / "in"), str(tmp_path / "out"), workers=1)) == 1
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {"good", video.stem, "convert_report.jsonl"}
    said = capsys.readouterr().out
    assert "2 converted" in said
    assert all(line.isprintable() for line in said.split("\n"))
    assert "rename it" in said
    rows = [
        json.loads(line) for line in (tmp_path / "out" / "convert_report.jsonl").read_text("utf-8").split("\n") if line
    ]
    assert sorted(row["status"] for row in rows) == ["converted", "converted", "refused"]


def test_a_folder_that_is_not_utf_8_is_no_obstacle(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), "数据".encode("gbk"))))
    make_recording(tmp_path / "in", "rec", 20, width=64, height=36)
    os.rename(tmp_path / "in", folder)
    (result,) = convert_folder(folder, tmp_path / "out", ConvertSettings()).results
    assert result.status == "converted", result.reason
    assert len(Episode(tmp_path / "out" / "rec")) == 20


@pytest.mark.parametrize(
    ("size", "said"),
    [((1440, 1080), "1.33"), ((1080, 1920), "0.56"), ((2560, 1080), "2.37"), ((640, 480), "1.33"), ((1920, 1080), ""), ((426, 240), "")],
)  # fmt: skip
def test_pictures_of_another_shape_are_noted_by_the_size_they_came_in(
    tmp_path: Path, size: tuple[int, int], said: str
) -> None:
    make_recording(tmp_path / "in", "rec", 3, width=size[0], height=size[1])
    guide = guide_episode(tmp_path / "in" / "ep", 3)
    for path in (guide / "frames").iterdir():
        cv2.imwrite(str(path), picture(0, size[1], size[0]))
    (guide / "embeds_attn.pkl").unlink()
    for result in converted(tmp_path).values():
        assert bool(result.notes) == bool(said), result
        assert f"{said} times as wide as high" in f"{result.notes}" or not said
