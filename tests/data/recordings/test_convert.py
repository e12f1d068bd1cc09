"""Conversion: every tick with its frame, nulls, cursor, broken recordings by name, and going on after a kill."""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1 import actions as act
from steve1.commands.data import convert as convert_command
from steve1.core.errors import UserError
from steve1.core.frames import agent_frame, mineclip_frame
from steve1.core.paths import ROOT
from steve1.data.episodes.episode import Episode
from steve1.data.loading.sampling import is_labelled
from steve1.data.media.jpegs import JpegPackWriter
from steve1.data.media.video import read_frames
from steve1.data.quality.validate import check_episode
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.data.recordings.layouts import find_recordings
from steve1.data.recordings.shards import alone_in
from steve1.data.recordings.summary import REPORT, Summary
from tests.data.episodes.test_episode import guide_episode, steve1_episode
from tests.data.makers import action, embeds, make_recording, null_tick, picture, tick
from tests.goldens import golden_arrays


def converted(tmp_path: Path, **settings: Any) -> Summary:
    return convert_folder(tmp_path / "in", tmp_path / "out", ConvertSettings(**settings))


def test_own_recordings_are_not_scaled_by_their_folders_name(tmp_path: Path) -> None:
    """A folder named "6.8" may be of the eighth of June; only the contractors' recorder of that version doubles the pointer's moves."""
    for folder in ("6.8", "later"):
        make_recording(tmp_path / "in" / folder, f"in_{folder}", [tick(n, isGuiOpen=True) for n in range(40)])
        options = {"format": "steve1-recording-1"}
        (tmp_path / "in" / folder / f"in_{folder}-options.json").write_text(json.dumps(options))
    make_recording(tmp_path / "in" / "6.8", "contractor", [tick(n, isGuiOpen=True) for n in range(40)])
    found = {each.name.split("/")[-1]: each for each in find_recordings(tmp_path / "in")[0]}
    own, later, other = (
        next(each for name, each in found.items() if name.endswith(end)).read_ticks().actions[0]["camera"]
        for end in ("in_6.8", "in_later", "contractor")
    )
    assert np.allclose(own, later)
    assert not np.allclose(own, other)


@pytest.mark.parametrize("refused", ["listed", "looked into"])
def test_a_folder_that_cannot_be_read_is_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """`lost+found` of a disk, for example. Root reads everything, so the refusal is made up."""
    make_recording(tmp_path / "in", "rec", 40)
    closed = tmp_path / "in" / "lost+found"
    closed.mkdir()
    original = {"scandir": os.scandir, "stat": os.stat}

    def refuse(name: str, path: Any = ".", *rest: Any, **more: Any) -> Any:
        if isinstance(path, str | Path) and (
            (Path(path) == closed and name == "scandir") or closed in Path(path).parents
        ):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        if isinstance(path, str | Path) and str(path) == f"{closed}/.":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return original[name](path, *rest, **more)

    for name in ("stat",) if refused == "looked into" else ("scandir", "stat"):
        monkeypatch.setattr(os, name, functools.partial(refuse, name))
    found, lonely = find_recordings(tmp_path / "in")
    monkeypatch.undo()
    assert [each.name for each in found] == ["rec"]
    assert [(path, why.split(":")[0]) for path, why in lonely] == [(closed, "a folder that cannot be read")]


def by_name(summary: Summary) -> dict[str, Any]:
    return {Path(result.recording).name: result for result in summary.results}


def test_frames_actions_and_metadata(tmp_path: Path) -> None:
    video = make_recording(tmp_path / "in", "rec", 50)
    options = {"behaviour": "dig_dirt", "captions": ["dig dirt"], "seed": 4}
    (tmp_path / "in" / "rec-options.json").write_text(json.dumps(options))
    summary = converted(tmp_path)
    assert summary.count("converted") == 1
    episode = Episode(tmp_path / "out" / "rec")
    assert len(episode) == 50
    source = list(read_frames(video))
    wanted = np.stack([agent_frame(frame) for frame in source])
    assert np.abs(episode.frames().astype(int) - wanted).mean() < 2
    larger = list(episode.mineclip_frames())
    assert len(larger) == 50
    assert np.abs(np.stack(larger).astype(int) - np.stack([mineclip_frame(f) for f in source])).mean() < 3
    expected, _ = act.from_contractor([tick(n) for n in range(50)])
    assert episode.actions() == expected
    buttons, camera = act.to_joint(expected)
    assert (episode.tokens()[0] == buttons).all()
    assert (episode.tokens()[1] == camera).all()
    known = episode.metadata
    assert known["behaviour"] == "dig_dirt"
    assert known["captions"] == ["dig dirt"]
    assert known["options"] == options
    assert known["camera_rounding"] == "float"
    assert known["keep_nulls"] is False
    assert len(known["sha256"]["rec.mp4"]) == 64
    report = [json.loads(line) for line in (tmp_path / "out" / "convert_report.jsonl").read_text().splitlines()]
    assert [(row["status"], row["frames"], row["ticks"]) for row in report] == [("converted", 50, 50)]


def test_nulls_are_dropped_after_quantising_and_hotbar_ticks_kept(tmp_path: Path) -> None:
    ticks = [tick(n) for n in range(40)]
    ticks[10] = null_tick(10)
    ticks[11] = null_tick(11, mouse={"dx": 1.0, "dy": 1.0})  # moves, but less than a bin
    ticks[12] = null_tick(12, keyboard={"keys": ["key.keyboard.escape"]})  # nothing that the policy could press
    for number in range(20, 40):
        ticks[number]["hotbar"] = 3
    ticks[20] = null_tick(20, hotbar=3)  # changes the slot and nothing else
    video = make_recording(tmp_path / "in", "rec", ticks)
    converted(tmp_path)
    episode = Episode(tmp_path / "out" / "rec")
    kept = [n for n in range(40) if n not in (10, 11, 12)]
    assert len(episode) == 37
    assert episode.metadata["null_frames_dropped"] == 3
    assert episode.actions()[kept.index(20)]["hotbar.4"] == 1
    # Frames and actions stay together across the gaps.
    source = list(read_frames(video))
    for row in (9, 10, 20, 36):
        errors = [
            np.abs(episode.frames(row, row + 1)[0].astype(int) - agent_frame(source[kept[row] + d])).mean()
            for d in (-1, 0)
        ]
        assert errors[1] < errors[0]
    convert_folder(tmp_path / "in", tmp_path / "all", ConvertSettings(keep_nulls=True))
    assert len(Episode(tmp_path / "all" / "rec")) == 40


def test_small_movements_keep_their_bin_unless_the_old_labels_are_wanted(tmp_path: Path) -> None:
    ticks = [tick(n, mouse={"dx": 5.0, "dy": 0.0}) for n in range(30)]  # 0.75 degrees
    make_recording(tmp_path / "in", "rec", ticks)
    converted(tmp_path)
    convert_folder(tmp_path / "in", tmp_path / "old", ConvertSettings(camera_rounding="legacy_int"))
    exact, old = Episode(tmp_path / "out" / "rec"), Episode(tmp_path / "old" / "rec")
    assert exact.actions()[5]["camera"] == [0.0, 0.75]
    assert (exact.tokens()[1] == 61).all()
    assert old.actions()[5]["camera"] == [0.0, 0.0]
    assert (old.tokens()[1] == act.NULL_CAMERA).all()
    assert old.metadata["camera_rounding"] == "legacy_int"
    with pytest.raises(UserError, match="camera rounding"):
        ConvertSettings(camera_rounding="round")


@pytest.mark.parametrize("make", [guide_episode, steve1_episode])
def test_the_old_labels_of_episode_folders_are_whole_degrees_too(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "in" / "ep", 30)
    converted(tmp_path, camera_rounding="legacy_int")
    old = Episode(tmp_path / "out" / "ep")
    assert [found["camera"] for found in old.actions()] == [
        [float(int(value)) for value in action(n)["camera"]] for n in range(30)
    ]
    assert (old.tokens()[1] == act.to_joint(old.actions())[1]).all()
    assert old.metadata["camera_rounding"] == "legacy_int"


def test_the_cursor_is_drawn_while_a_menu_is_open(tmp_path: Path) -> None:
    ticks = [tick(n, isGuiOpen=n >= 20, mouse={"x": 320.0, "y": 240.0, "dx": 9.0}) for n in range(40)]
    video = make_recording(tmp_path / "in", "rec", ticks, width=640, height=360)
    converted(tmp_path)
    episode = Episode(tmp_path / "out" / "rec")
    source = list(read_frames(video))
    for number, drawn in ((10, False), (30, True)):
        plain = agent_frame(source[number]).astype(int)
        error = np.abs(episode.frames(number, number + 1)[0].astype(int) - plain).mean(axis=2)
        # x, y = 320, 240 of 1280x720 is 160, 120 of 640x360: about 32, 43 of 128x128.
        there = error[43:48, 32:35].max()
        assert (there > 40) == drawn
        error[40:52, 28:40] = 0
        assert error.max() < 40
    assert episode.metadata["gui_share"] == 0.5


def test_recorder_versions_scale_the_mouse_in_menus(tmp_path: Path) -> None:
    ticks = [tick(n, isGuiOpen=n >= 20, mouse={"dx": 20.0, "dy": 0.0}) for n in range(40)]
    for version in ("5.7", "6.8", "6.13"):
        make_recording(tmp_path / "in" / version, "rec", ticks)
    summary = converted(tmp_path)
    yaws = {}
    for result in summary.results:
        episode = Episode(result.episode)
        yaws[episode.metadata["recorder_version"]] = (
            episode.actions()[5]["camera"][1],
            episode.actions()[30]["camera"][1],
        )
    assert yaws == {"5.7": (3.0, 1.5), "6.8": (3.0, 6.0), "6.13": (3.0, 3.0)}


def break_lines(path: Path, **changes: Any) -> None:
    lines = path.read_text().splitlines()
    for name, value in changes.items():
        lines[int(name[1:])] = value
    path.write_text("\n".join(line for line in lines if line is not None) + "\n")


@pytest.mark.e2e
def test_bad_recordings_are_named_and_the_good_ones_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    make_recording(folder, "good", 40)
    make_recording(folder, "empty", 40).write_bytes(b"")
    cut = make_recording(folder, "cut", 40)
    cut.write_bytes(cut.read_bytes()[:600])  # in the middle of its index
    break_lines(make_recording(folder, "json", 40).with_suffix(".jsonl"), _20='{"mouse": {')
    break_lines(make_recording(folder, "fields", 40).with_suffix(".jsonl"), _20='{"keyboard": {"keys": []}}')
    break_lines(
        make_recording(folder, "nan", 40).with_suffix(".jsonl"), _7=json.dumps(tick(7, mouse={"dx": float("nan")}))
    )
    break_lines(make_recording(folder, "slot", 40).with_suffix(".jsonl"), _7=json.dumps(tick(7, hotbar=-4)))
    break_lines(make_recording(folder, "huge", 40).with_suffix(".jsonl"), _7=json.dumps(tick(7, mouse={"dx": 10**400})))
    break_lines(make_recording(folder, "lost", 40).with_suffix(".jsonl"), **{f"_{n}": None for n in range(15, 20)})
    make_recording(folder, "noticks", 40).with_suffix(".jsonl").write_text("")
    make_recording(folder, "bytes", 40).with_suffix(".jsonl").write_bytes(b"\xff\xfe\x00" * 300 + b"\n{}\n")
    make_recording(folder, "rate", 40, fps=2)
    make_recording(folder, "still", [null_tick(n) for n in range(40)])
    make_recording(folder, "alone", 40).with_suffix(".jsonl").unlink()
    (folder / "orphan.jsonl").write_text(json.dumps(tick(0)) + "\n")
    (folder / "other.mkv").write_bytes(b"what OBS writes")
    (folder / "loud.MP4").write_bytes(b"what a camera writes")
    summary = converted(tmp_path)
    found = by_name(summary)
    assert {name for name, result in found.items() if result.status == "converted"} == {"good.mp4"}
    for name, reason in {
        "empty.mp4": "0 bytes", "cut.mp4": "does not open", "json.mp4": "json.jsonl:21", "fields.mp4": "tick 20",
        "nan.mp4": "tick 7", "slot.mp4": "tick 7", "huge.mp4": "", "lost.mp4": "from 14 to 20", "noticks.mp4": "no ticks",
        "bytes.mp4": "bytes.jsonl:1", "rate.mp4": "frame rate", "still.mp4": "--keep_nulls",
        "alone.mp4": "video without actions", "orphan.jsonl": "actions without a video",
        "other.mkv": "ffmpeg -i other.mkv -c copy other.mp4", "loud.MP4": "rename it to loud.mp4",
    }.items():  # fmt: skip
        assert found[name].status == "refused"
        assert found[name].reason
        assert reason in found[name].reason, name
        assert name in summary.text
    left = {p.name for p in (tmp_path / "out").iterdir()}
    assert left == {"good", "convert_report.jsonl", ".convert.lock"}


def test_lengths_that_differ_are_cut_with_a_note(tmp_path: Path) -> None:
    make_recording(tmp_path / "in", "shorter", 40, frames=33)
    make_recording(tmp_path / "in", "longer", 40, frames=44)
    torn = make_recording(tmp_path / "in", "torn", 40).with_suffix(".jsonl")
    torn.write_text(torn.read_text()[:-60])
    found = by_name(converted(tmp_path))
    assert (found["shorter.mp4"].frames, found["longer.mp4"].frames, found["torn.mp4"].frames) == (33, 40, 39)
    assert "33 frames for 40 ticks" in found["shorter.mp4"].notes[0]
    assert "cut off" in found["torn.mp4"].notes[0]
    assert Episode(tmp_path / "out" / "torn").metadata["notes"] == found["torn.mp4"].notes


def test_a_second_run_goes_on_and_says_what_differs(tmp_path: Path) -> None:
    for name in "abc":
        make_recording(tmp_path / "in", name, 30)
    converted(tmp_path)
    (tmp_path / "out" / ".x.999999999.0123abcd.tmp").mkdir()
    before = (tmp_path / "out" / "a" / "frames.jpgs").stat().st_mtime_ns
    summary = converted(tmp_path, keep_nulls=True)
    assert summary.count("exists") == 3
    assert "converted with keep_nulls False (now True); it stays as it is" in summary.results[0].notes[0]
    assert "another output folder" in summary.text
    assert (tmp_path / "out" / "a" / "frames.jpgs").stat().st_mtime_ns == before
    assert not (tmp_path / "out" / ".x.999999999.0123abcd.tmp").exists()


def edit_metadata(folder: Path, drop: tuple[str, ...]) -> None:
    known = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps({key: value for key, value in known.items() if key not in drop}))


def test_another_recording_of_the_same_name_is_refused(tmp_path: Path) -> None:
    days = [tmp_path / "days" / day for day in ("day1", "day2")]
    for number, day in enumerate(days):
        make_recording(day, "same", 30 + number)
    make_recording(days[1], "other", 30)
    out = tmp_path / "out"
    assert convert_folder(days[0], out, ConvertSettings()).count("converted") == 1
    before = (out / "same" / "frames.jpgs").read_bytes()
    summary = convert_folder(days[1], out, ConvertSettings())
    assert (summary.count("converted"), summary.count("refused"), summary.count("exists")) == (1, 1, 0)
    (refused,) = (result for result in summary.results if result.status == "refused")
    for text in ("Another recording of this name was converted already", "day1/same.mp4", "day2/same", "rename", "parent folder"):  # fmt: skip
        assert text in refused.reason
    assert (refused.frames, refused.episode) == (0, "")
    rows = [json.loads(line) for line in summary.report.read_text().splitlines()]
    assert [row["status"] for row in rows if row["recording"].endswith("same.mp4")] == ["refused"]
    assert (out / "same" / "frames.jpgs").read_bytes() == before
    assert convert_folder(tmp_path / "days", tmp_path / "both", ConvertSettings()).count("converted") == 3
    # The same files in another folder, and an episode that does not say what it was made from.
    shutil.copytree(days[0], tmp_path / "moved")
    assert convert_folder(tmp_path / "moved", out, ConvertSettings()).count("exists") == 1
    edit_metadata(out / "same", ("sha256",))
    assert convert_folder(days[1], out, ConvertSettings()).count("exists") == 2


def test_the_same_ticks_with_another_video_are_another_recording(tmp_path: Path) -> None:
    make_recording(tmp_path / "in", "a", 30)
    converted(tmp_path)
    make_recording(tmp_path / "in", "a", 30, width=160, height=90)
    assert "a.mp4" in converted(tmp_path).results[0].reason


@pytest.mark.parametrize("make", [guide_episode, steve1_episode])
def test_another_folder_of_frames_of_the_same_name_is_refused(tmp_path: Path, make: Any) -> None:
    for day, length in (("day1", 30), ("day2", 31)):
        make(tmp_path / day / "same", length)
    statuses = [
        convert_folder(tmp_path / day, tmp_path / "out", ConvertSettings()).results[0].status
        for day in ("day1", "day1", "day2")
    ]
    assert statuses == ["converted", "exists", "refused"]


def test_the_command_tells_the_refusal_by_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for day in ("day1", "day2"):
        make_recording(tmp_path / day, "same", 30 if day == "day1" else 31)
    command = {"output_dir": str(tmp_path / "out"), "workers": 1}
    assert convert_command.main(convert_command.Args(str(tmp_path / "day1"), **command)) == 0
    with pytest.raises(UserError, match="Nothing could be converted"):
        convert_command.main(convert_command.Args(str(tmp_path / "day2"), **command))
    make_recording(tmp_path / "day2", "new", 30)
    assert convert_command.main(convert_command.Args(str(tmp_path / "day2"), **command)) == 1
    assert "1 converted, 0 skipped (already done), 1 rejected" in capsys.readouterr().out


def test_other_settings_are_told_with_both_values(tmp_path: Path) -> None:
    make_recording(tmp_path / "in", "a", 60, fps=30)
    assert not [note for note in converted(tmp_path).results[0].notes or () if "converted with" in note]
    for same in ({}, {"source_fps": 30.0}):
        assert (converted(tmp_path, **same).results[0].status, converted(tmp_path, **same).results[0].notes) == ("exists", [])  # fmt: skip
    summary = converted(tmp_path, source_fps=20, esc_as_inventory=True, mineclip_frames=False)
    assert (summary.count("exists"), summary.results[0].frames) == (1, 40)
    told = "esc_as_inventory False (now True), mineclip_frames True (now False), source_fps 30 (now 20)"
    assert told in summary.results[0].notes[0]
    edit_metadata(tmp_path / "out" / "a", ("esc_as_inventory", "mineclip_frames", "source_fps", "resampled", "sha256"))
    summary = converted(tmp_path, source_fps=20, esc_as_inventory=True, mineclip_frames=False)
    assert (summary.count("exists"), summary.results[0].notes) == (1, [])


def test_another_use_of_a_policys_frames_is_told_where_a_policy_plays(tmp_path: Path) -> None:
    make_recording(tmp_path / "in", "corrected", [tick(n, who="policy" if n < 10 else "person") for n in range(30)])
    make_recording(tmp_path / "in", "played", 30)
    converted(tmp_path)
    assert [result.notes for result in converted(tmp_path).results] == [[], []]
    corrected, played = converted(tmp_path, policy_frames="imitate").results
    assert "policy_frames context (now imitate)" in (corrected.notes or [""])[0]
    assert played.notes == []


def test_a_rate_that_was_named_is_compared_with_the_videos_own(tmp_path: Path) -> None:
    make_recording(tmp_path / "in", "a", 30, fps=30)
    converted(tmp_path, source_fps=20)
    assert "source_fps 20 (now 30)" in (converted(tmp_path).results[0].notes or [""])[0]
    guide_episode(tmp_path / "frames" / "b", 30)
    for _ in range(2):
        again = convert_folder(tmp_path / "frames", tmp_path / "out", ConvertSettings(source_fps=10))
    assert (again.count("exists"), again.results[0].notes) == (1, [])
    again = convert_folder(tmp_path / "frames", tmp_path / "out", ConvertSettings())
    assert "source_fps 10 (now 20)" in (again.results[0].notes or [""])[0]


def test_workers_do_the_same(tmp_path: Path) -> None:
    for name in "abc":
        make_recording(tmp_path / "in", name, 30)
    make_recording(tmp_path / "in", "bad", 30).write_bytes(b"x")
    one = convert_folder(tmp_path / "in", tmp_path / "one", ConvertSettings())
    two = convert_folder(tmp_path / "in", tmp_path / "two", ConvertSettings(), workers=2)
    assert [(r.recording, r.status, r.frames) for r in one.results] == [
        (r.recording, r.status, r.frames) for r in two.results
    ]
    for name in "abc":
        assert (tmp_path / "one" / name / "frames.jpgs").read_bytes() == (
            tmp_path / "two" / name / "frames.jpgs"
        ).read_bytes()


def test_two_conversions_do_not_share_a_folder(tmp_path: Path) -> None:
    make_recording(tmp_path / "in", "a", 30)
    (tmp_path / "out").mkdir()
    with alone_in(tmp_path / "out"), pytest.raises(UserError, match="Another run"):
        converted(tmp_path)
    assert converted(tmp_path).count("converted") == 1


@pytest.mark.e2e
def test_a_killed_conversion_leaves_whole_episodes_only_and_goes_on(tmp_path: Path) -> None:
    for number in range(3):
        make_recording(tmp_path / "in", f"r{number}", 150)
    for attempt in range(5):  # a kill may come between two recordings, or late where the machine is busy
        out = tmp_path / f"out{attempt}"
        command = [sys.executable, str(ROOT / "tools" / "convert_recordings.py"), "--input_dir", str(tmp_path / "in")]
        command += ["--output_dir", str(out), "--workers", "1"]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 240
        while not list(out.glob(".r*.tmp/frames.jpgs")) and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        running.kill()
        running.wait()
        if list(out.glob(".r*.tmp")):
            break
    assert list(out.glob(".r*.tmp"))
    whole = [p for p in out.iterdir() if p.is_dir() and not p.name.startswith(".")]
    assert len(whole) < 3
    assert all(len(Episode(path)) == 150 for path in whole)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{3 - len(whole)} converted, {len(whole)} skipped (already done)" in done.stdout
    assert not list(out.glob(".r*.tmp"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_told_keeps_what_is_whole_and_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    for name in "abc":
        make_recording(tmp_path / "in", name, 30)
    if workers == 1:
        add, left = JpegPackWriter.add, [40]

        def full(*given: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            add(*given)

        monkeypatch.setattr("steve1.data.media.jpegs.JpegPackWriter.add", full)
    else:

        def refused(*_: Any) -> Any:
            future: Future[Any] = Future()
            future.set_exception(OSError(28, "No space left on device"))
            return future

        monkeypatch.setattr(ProcessPoolExecutor, "submit", refused)
    summary = convert_folder(tmp_path / "in", tmp_path / "out", ConvertSettings(), workers=workers)
    whole = {"a"} if workers == 1 else set()
    assert {Path(r.recording).stem for r in summary.results if r.status == "converted"} == whole
    assert summary.count("failed") == 3 - len(whole)
    assert "No space" in summary.text
    assert "No space" in summary.stopped
    report = [json.loads(line) for line in summary.report.read_text().splitlines()]
    assert [row["status"] for row in report] == [r.status for r in summary.results]
    left_over = {p.name for p in (tmp_path / "out").iterdir()}
    assert left_over == whole | {".convert.lock", "convert_report.jsonl"}
    with pytest.raises(UserError, match="had to stop"):
        summary.check_finished()


def test_a_file_that_cannot_be_opened_is_this_recordings_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        make_recording(tmp_path / "in", name, 30)
    real_open = open

    def forbidden(path: Any, *more: Any, **named: Any) -> Any:
        if str(path).endswith("b.jsonl"):
            raise PermissionError(13, "Permission denied", str(path))
        return real_open(path, *more, **named)

    monkeypatch.setattr("steve1.data.recordings.contractor.open", forbidden, raising=False)
    found = by_name(converted(tmp_path))
    assert {name: result.status for name, result in found.items()} == {
        "a.mp4": "converted", "b.mp4": "refused", "c.mp4": "converted",
    }  # fmt: skip
    assert "b.jsonl" in found["b.mp4"].reason


def test_episode_folders_become_native_and_keep_their_goals(tmp_path: Path) -> None:
    guide_episode(tmp_path / "in" / "guide", 60)
    steve1_episode(tmp_path / "in" / "steve1", 60)
    summary = converted(tmp_path)
    assert summary.count("converted") == 2
    for name in ("guide", "steve1"):
        episode = Episode(tmp_path / "out" / name)
        assert (episode.tokens()[0] == act.to_joint([action(n) for n in range(60)])[0]).all()
        assert np.array_equal(episode.goals, embeds(60), equal_nan=True)
        assert np.abs(episode.frames(30, 31)[0].astype(int) - agent_frame(picture(30))).mean() < 4


def test_goals_are_left_behind_when_frames_are_dropped(tmp_path: Path) -> None:
    path = guide_episode(tmp_path / "in" / "guide", 60)
    rows = [action(n) for n in range(60)]
    rows[33] = act.null_action()
    (path / "actions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = converted(tmp_path)
    assert len(Episode(tmp_path / "out" / "guide")) == 59
    assert not Episode(tmp_path / "out" / "guide").has_goals
    assert "embed it again" in summary.results[0].notes[0]


def test_an_output_inside_the_input_is_not_converted_again(tmp_path: Path) -> None:
    make_recording(tmp_path / "in", "a", 30)
    for _ in range(2):
        summary = convert_folder(tmp_path / "in", tmp_path / "in" / "out", ConvertSettings())
        assert [Path(r.recording).name for r in summary.results] == ["a.mp4"]


def test_odd_numbers_of_an_episode_folder_make_no_broken_episode(tmp_path: Path) -> None:
    for name, changes in (("two", {"jump": 2}), ("less", {"jump": -1}), ("infinite", {"camera": [float("inf"), 0.0]})):
        file = guide_episode(tmp_path / "in" / name, 20) / "actions.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        rows[3] |= changes
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = by_name(converted(tmp_path))
    assert {name: result.status for name, result in results.items()} == {
        "two": "converted", "less": "converted", "infinite": "refused"
    }  # fmt: skip
    assert "not a number" in results["infinite"].reason
    for name in ("two", "less"):
        assert Episode(tmp_path / "out" / name).actions()[3]["jump"] == 1
        assert check_episode(tmp_path / "out" / name).sound


def test_labels_that_were_written_as_a_recording_are_labels_and_reports_are_no_recordings(tmp_path: Path) -> None:
    for name, kind in (("label", {"source_kind": "video"}), ("true", {"behaviour": "dig_dirt"})):
        make_recording(tmp_path / "in", name, 20)
        (tmp_path / "in" / f"{name}-options.json").write_text(json.dumps(kind))
    for name in ("label_report.jsonl", "label_report-1of2.jsonl", "filter_report.jsonl", "convert_report.jsonl"):
        (tmp_path / "in" / name).write_text("{}\n")
    summary = converted(tmp_path)
    assert summary.count("converted") == len(summary.results) == 2, summary.text
    assert is_labelled(Episode(tmp_path / "out" / "label"))
    assert not is_labelled(Episode(tmp_path / "out" / "true"))


def test_names_follow_the_folders_and_must_differ(tmp_path: Path) -> None:
    make_recording(tmp_path / "in" / "x" / "y", "a", 20)
    assert [r.name for r in find_recordings(tmp_path / "in")[0]] == ["x_y_a"]
    make_recording(tmp_path / "in" / "x", "y_a", 20)
    found, lonely = find_recordings(tmp_path / "in")
    assert [str(r.video.relative_to(tmp_path / "in")) for r in found] == ["x/y/a.mp4"]
    assert lonely[0][0].name == "y_a.mp4"
    assert "same episode" in lonely[0][1]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="nothing to convert"):
        find_recordings(tmp_path / "nothing")
    with pytest.raises(UserError, match="does not exist"):
        find_recordings(tmp_path / "nowhere")


@pytest.mark.e2e
def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    import resource

    make_recording(tmp_path / "short", "rec", 20, width=640, height=360)
    make_recording(tmp_path / "long", "rec", 240, width=640, height=360)
    convert_folder(tmp_path / "short", tmp_path / "out", ConvertSettings())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    convert_folder(tmp_path / "long", tmp_path / "again", ConvertSettings())
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    # 240 frames of 640x360 are 166 MB; ru_maxrss counts KiB on Linux, bytes on macOS.
    assert grown * (1 if sys.platform == "darwin" else 1024) < 50e6


@pytest.mark.parametrize(("good", "bad", "code"), [(2, 0, 0), (1, 1, 1), (0, 2, 2)])
def test_exit_codes(tmp_path: Path, good: int, bad: int, code: int) -> None:
    for number in range(good + bad):
        path = make_recording(tmp_path / "in", f"r{number}", 20)
        if number >= good:
            path.write_bytes(b"")
    command = [sys.executable, str(ROOT / "tools" / "convert_recordings.py"), "--input_dir", str(tmp_path / "in")]
    done = subprocess.run(
        [*command, "--output_dir", str(tmp_path / "out"), "--workers", "1"], capture_output=True, text=True
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert ("rejected" in done.stdout) or not bad
    assert REPORT in {p.name for p in (tmp_path / "out").iterdir()}


def test_resizing_is_the_published_one() -> None:
    stored = golden_arrays("resize.npz")
    for number in (0, 1):
        assert np.array_equal(agent_frame(stored[f"in{number}"]), stored[f"out128_{number}"])
        assert np.array_equal(mineclip_frame(stored[f"in{number}"]).transpose(2, 0, 1), stored[f"mineclip_{number}"])


@pytest.mark.parametrize(
    ("data", "captions"),
    [
        (json.dumps({"captions": ["chop a tree"]}).encode("utf-8-sig"), ["chop a tree"]),
        (b'{"captions": "chop a tree"}', ["chop a tree"]),
        (b'{"captions": ["chop', None),
        ('{"captions": ["砍树"]}'.encode("gbk"), None),
        (b"[]", None),
    ],
)
def test_options_that_cannot_be_read_are_noted(data: bytes, captions: list[str] | None, tmp_path: Path) -> None:
    make_recording(tmp_path / "in", "rec", [tick(n) for n in range(20)])
    (tmp_path / "in" / "rec-options.json").write_bytes(data)
    (found,) = convert_folder(tmp_path / "in", tmp_path / "out", ConvertSettings()).results
    assert found.status == "converted"
    assert json.loads((tmp_path / "out" / "rec" / "metadata.json").read_text()).get("captions") == captions
    assert any("captions and other options are left out" in note for note in found.notes) == (captions is None)


def test_a_caption_of_an_episode_folder_that_has_changed_since_is_said(tmp_path: Path) -> None:
    """Before, it was skipped without a word, and training went on with the caption of before."""
    source = guide_episode(tmp_path / "in" / "ep", 20)
    told = {"behaviour": "dig_dirt", "captions": ["dig dirt"]}
    (source / "metadata.json").write_text(json.dumps(told))
    for notes in (0, 0):
        (result,) = convert_folder(tmp_path / "in", tmp_path / "out", ConvertSettings(keep_nulls=True)).results
        assert len(result.notes) == notes
    (source / "metadata.json").write_text(json.dumps(told | {"captions": ["dig a hole"], "from": "elsewhere"}))
    (result,) = convert_folder(tmp_path / "in", tmp_path / "out", ConvertSettings(keep_nulls=True)).results
    assert result.status == "exists"
    assert result.notes[0].startswith(
        "was converted with captions ['dig dirt'] (now ['dig a hole']); it stays as it is"
    )
    assert Episode(tmp_path / "out" / "ep").metadata["captions"] == ["dig dirt"]
