"""A folder of videos → episodes, and everything that must not become one."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from steve1 import actions as act
from steve1.actions import to_bins
from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.core.paths import ROOT
from steve1.data.episodes.cut import cut_episode
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.data.episodes.parts import LABEL_LOGP
from steve1.data.loading.sampling import is_labelled
from steve1.data.quality.validate import check_episode
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.data.recordings.shards import Shard, alone_in
from steve1.data.videos.form import VideoForm
from steve1.idm.labelling.calibration import read_calibration
from steve1.idm.labelling.checks import (
    Thresholds,
)
from steve1.idm.labelling.folder import LINES, PAGE, RECORDS, LabelSummary, Machine, label_folder
from steve1.idm.labelling.part import PartLabeller
from steve1.idm.labelling.settings import IdmFiles, LabelSettings
from tests.data.makers import tick
from tests.data.videos.films import encode, film, pictures, turns
from tests.idm.oracle import Oracle

GOLDEN = Path(__file__).parents[1] / "golden"
MINI = ROOT / "data" / "mini" / "mini_idm"
N = 240


Labeller = Callable[..., LabelSummary]


@pytest.mark.e2e
def test_a_video_becomes_an_episode_with_its_actions(tmp_path: Path, label: Labeller) -> None:
    degrees = turns(N)
    film(tmp_path / "v" / "walk.mp4", degrees, 60)
    summary = label(tmp_path / "v", tmp_path / "out", mineclip_frames=True)
    assert [episode["name"] for episode in summary.episodes] == ["walk_000000"]
    episode = Episode(tmp_path / "out" / "walk_000000")
    assert len(episode) == N
    found = np.array([action["camera"] for action in episode.actions()])
    assert (to_bins(found) == to_bins(degrees)).mean() > 0.9
    _, camera = episode.tokens()
    assert (act.to_joint(episode.actions())[1] == camera).all(), "the bins' centres fall into the same bins again"
    assert all(action["forward"] for action in episode.actions())
    source = episode.metadata
    assert source["source_kind"] == "video"
    assert source["source_fps"] == pytest.approx(60)
    assert source["sha256"] == {"walk.mp4": sha256_file(tmp_path / "v" / "walk.mp4")}
    assert source["idm"]["rule"] == "aligned"
    assert source["idm"]["follow"][1] > 0.9
    sure = np.load(episode.path / LABEL_LOGP)
    assert (sure.shape, sure.dtype) == ((N, 2), np.dtype("<f2"))
    assert check_episode(episode.path).sound
    assert len(list(episode.mineclip_frames())) == N
    cut_episode(episode.path, tmp_path / "cut", 100, 160)
    np.testing.assert_array_equal(np.load(tmp_path / "cut" / LABEL_LOGP), sure[100:160])
    text = (tmp_path / "out" / PAGE).read_text("utf-8")
    assert "walk 0:00" in text
    assert "Thresholds are the defaults" in text


SPOILED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "shifted": (lambda bins: np.roll(bins, 2, axis=0), "off by"),
    "yaw inverted": (lambda bins: np.stack([bins[:, 0], 10 - bins[:, 1]], axis=1), "yaw labels have the wrong sign"),
    "another video's": (lambda bins: to_bins(turns(len(bins), 9)), "does not follow"),
}


@pytest.mark.e2e
@pytest.mark.parametrize("how", SPOILED)
def test_spoiled_labels_are_caught(tmp_path: Path, label: Labeller, how: str) -> None:
    spoil, reason = SPOILED[how]
    film(tmp_path / "v" / "walk.mp4", turns(N))
    summary = label(tmp_path / "v", tmp_path / "out", Oracle(spoil))
    assert not summary.episodes
    assert reason in summary.rejected[0][1]
    assert not find_episodes(tmp_path / "out")
    assert reason in (tmp_path / "out" / PAGE).read_text("utf-8")
    kept = label(tmp_path / "v", tmp_path / "kept", Oracle(spoil), keep_rejected=True)
    assert len(kept.episodes) == 1


@pytest.mark.e2e
def test_cuts_end_an_episode_and_null_frames_are_dropped(tmp_path: Path, label: Labeller) -> None:
    class Idle(Oracle):
        def log_probabilities(self, bins: Any) -> Any:
            buttons, camera = super().log_probabilities(bins)
            buttons[::2] = buttons[::2, [0]]  # forward is not held in every other frame
            return buttons, camera

    degrees = turns(150)
    frames = [
        *pictures(degrees),
        *pictures(turns(150, 1), seed=1),
        *pictures(turns(30, 2), seed=2),
        *pictures(turns(70, 3), seed=3),
    ]
    encode(tmp_path / "v" / "a.mp4", iter(frames))
    label(tmp_path / "v", tmp_path / "out", Idle(), keep_nulls=True)
    lengths = {path.name: len(Episode(path)) for path in find_episodes(tmp_path / "out")}
    assert lengths == {"a_000000": 148, "a_000152": 146, "a_000332": 68}, (
        "two frames on each side of a cut, and less than 2 s"
    )
    label(tmp_path / "v", tmp_path / "dropped", Idle())
    shorter = Episode(tmp_path / "dropped" / "a_000000")
    assert len(shorter) < 148
    assert len(shorter) + shorter.metadata["null_frames_dropped"] == 148
    assert len(np.load(shorter.path / LABEL_LOGP)) == len(shorter)


@pytest.mark.e2e
def test_what_is_no_game_is_left_out(tmp_path: Path, label: Labeller) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "v"
    film(folder / "game.mp4", turns(N))
    slides = [frame for frame in pictures(turns(5) * 20) for _ in range(50)]
    encode(folder / "slides.mp4", iter(slides))
    slow = [frame for frame in pictures(turns(100)) for _ in range(2)]
    encode(folder / "slow.mp4", iter(slow))
    talk = [cv2.resize(rng.integers(0, 255, (9, 16, 3), np.uint8), (320, 180)) // 4 + 90 for _ in range(200)]
    encode(folder / "talk.mp4", iter(talk))
    summary = label(folder, tmp_path / "out")
    assert {episode["name"] for episode in summary.episodes} == {"game_000000"}
    reasons = {name.split(",")[0].rsplit("/")[-1]: reason for name, reason in summary.rejected}
    assert set(reasons) == {"slides.mp4", "slow.mp4", "talk.mp4"}
    assert "slide show" in reasons["slides.mp4"] or "2 s" in reasons["slides.mp4"]
    assert "repeat the one before" in reasons["slow.mp4"]


@pytest.mark.e2e
def test_bad_files_are_named_and_the_rest_is_labelled(tmp_path: Path, label: Labeller) -> None:
    folder = tmp_path / "v"
    good = film(folder / "good.mp4", turns(200))
    (folder / "page.mp4").write_text("<!doctype html><html>log in</html>")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "cut.mp4").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    film(folder / "short.mp4", turns(20))
    long = encode(tmp_path / "whole.mkv", pictures(turns(300)), options={"g": "20"})
    (folder / "broken off.mkv").write_bytes(long.read_bytes()[: long.stat().st_size // 2])
    summary = label(folder, tmp_path / "out")
    names = {episode["name"] for episode in summary.episodes}
    assert names == {"good_000000", "broken off_000000", "cut_000000"}
    reasons = dict(summary.rejected)
    assert {name.split(",")[0].rsplit("/")[-1] for name in reasons} == {"page.mp4", "empty.mp4", "short.mp4"}
    broken = next(record for record in summary.records if record["video"] == "cut")
    assert any("breaks off" in note for note in broken["notes"])
    assert "web page" in next(reason for name, reason in reasons.items() if "page" in name)
    assert not list((tmp_path / "out").glob(".*.tmp"))
    rows = [json.loads(line) for line in (tmp_path / "out" / LINES).read_text().splitlines()]
    assert len(rows) == 6
    # A file that was got again is tried again.
    film(folder / "page.mp4", turns(200, 4))
    again = label(folder, tmp_path / "out")
    assert (again.labelled, again.there) == (3, 3)
    assert "page_000000" in {episode["name"] for episode in again.episodes}


@pytest.mark.e2e
def test_the_same_command_continues(tmp_path: Path, label: Labeller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steve1.idm.labelling.parts.PART", 120)
    folder = tmp_path / "v"
    film(folder / "a.mp4", turns(300))
    film(folder / "b.mp4", turns(100, 1))

    class Killed(Oracle):
        def label(self, frames: Any, **more: Any) -> Any:
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().label(frames, **more)

    with pytest.raises(KeyboardInterrupt):
        label(folder, tmp_path / "out", Killed())
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / RECORDS).iterdir()}
    assert set(done) == {"a_000000.json", "a_000120.json"}
    assert not list((tmp_path / "out").glob(".*.tmp"))
    summary = label(folder, tmp_path / "out")
    assert (summary.labelled, summary.there) == (2, 2)
    assert {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / "out" / RECORDS).iterdir() if path.name in done
    } == done
    assert [(path.name, len(Episode(path))) for path in find_episodes(tmp_path / "out")] == [
        ("a_000000", 120), ("a_000120", 120), ("a_000240", 60), ("b_000000", 100)
    ]  # fmt: skip
    once = label(folder, tmp_path / "once")
    assert once.frames == summary.frames
    other = label(folder, tmp_path / "out", keep_nulls=True)
    assert (other.labelled, len(other.changed)) == (0, 4)
    (tmp_path / "out" / "a_000000.mp4").write_bytes(b"a film that the user made of this episode")
    anew = label(folder, tmp_path / "out", keep_nulls=True, overwrite=True)
    assert (anew.labelled, anew.changed) == (4, [])
    assert (tmp_path / "out" / "a_000000.mp4").exists()


@pytest.mark.e2e
def test_what_lies_there_of_other_videos_and_settings_stays(tmp_path: Path, label: Labeller) -> None:
    film(tmp_path / "v" / "a.mp4", turns(100))
    film(tmp_path / "w" / "a.mp4", turns(100, 1))
    out = tmp_path / "out"
    label(tmp_path / "v", out)
    (out / RECORDS / "a_000000.json").unlink()  # as after a kill
    with pytest.raises(UserError, match="No video has the name"):
        label(tmp_path / "v", out, mask=("b=1,2,3,4",))
    assert "other settings" in label(tmp_path / "v", out, keep_nulls=True).rejected[0][1]
    made = Episode(out / "a_000000").metadata["sha256"]
    for overwrite in (False, True):
        other = label(tmp_path / "w", out, overwrite=overwrite)
        assert (other.episodes, "another video" in other.rejected[0][1]) == ([], True)
        assert Episode(out / "a_000000").metadata["sha256"] == made, (
            "--overwrite removes its own video's episodes alone"
        )
    assert label(tmp_path / "v", out).frames == 100
    nothing = label(tmp_path / "v", tmp_path / "none", end=-20.0)
    assert "Nothing of this video" in nothing.rejected[0][1]


@pytest.mark.e2e
def test_another_beginning_leaves_no_frame_twice(
    tmp_path: Path, label: Labeller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parts have other names than those of before, which hold the same frames."""
    monkeypatch.setattr("steve1.idm.labelling.parts.PART", 100)
    film(tmp_path / "v" / "a.mp4", turns(200))
    film(tmp_path / "v" / "b.mp4", turns(100, 1))
    out = tmp_path / "out"
    label(tmp_path / "v", out)
    film(tmp_path / "w" / "a.mp4", turns(140, 2))
    with pytest.raises(UserError, match="were labelled in other parts before"):
        label(tmp_path / "v", out, start=3.0, overwrite=True, shard=Shard(1, 2))
    stays = label(tmp_path / "v", out, start=3.0)
    assert (stays.labelled, stays.changed) == (0, ["a_000000", "a_000100", "b_000000"])
    assert stays.frames == 300
    anew = label(tmp_path / "v", out, start=3.0, overwrite=True)
    assert (anew.labelled, anew.changed) == (3, [])
    today = ["a_000060", "a_000160", "b_000060"]
    assert [path.name for path in find_episodes(out)] == today
    assert sorted(path.stem for path in (out / RECORDS).iterdir()) == today
    other = label(tmp_path / "w", out, start=2.0, overwrite=True)
    assert other.labelled == 1
    assert set(today) < {path.name for path in find_episodes(out)}, "another video's of the same name stay"


@pytest.mark.e2e
def test_a_video_that_has_another_name_now_is_not_labelled_again(tmp_path: Path, label: Labeller) -> None:
    folder, out = tmp_path / "v", tmp_path / "out"
    walk = film(folder / "walk.mp4", turns(60))
    label(folder, out)
    film(tmp_path / "w" / "a.mp4", turns(60, 1)).rename(folder / "walk.mkv")  # beside it, "walk" is no name any more
    beside = label(folder, out)
    assert (beside.labelled, beside.there) == (1, 1)
    (folder / "old").mkdir()
    walk.rename(folder / "old" / "hike.mp4")
    moved = label(folder, out)
    assert (moved.labelled, moved.there, moved.changed) == (0, 2, [])
    assert sorted(path.name for path in find_episodes(out)) == ["walk.mkv_000000", "walk_000000"]
    film(folder / "old" / "swim.mp4", turns(60, 2))
    assert label(folder, out).labelled == 1


@pytest.mark.e2e
def test_frames_that_time_stamps_leave_out_are_no_end(tmp_path: Path, label: Labeller) -> None:
    encode(tmp_path / "v" / "a.mkv", pictures(turns(100)), stamps=lambda number: number / 20 + 10 * (number >= 50))
    (record,) = label(tmp_path / "v", tmp_path / "out").records
    assert [episode["first"] for episode in record["episodes"]] == [0, 252]
    assert record["notes"] == []


@pytest.mark.e2e
def test_a_file_with_the_name_of_a_recording_is_not_taken_for_it(tmp_path: Path, label: Labeller) -> None:
    """Or --overwrite would remove it."""
    film(tmp_path / "v" / "a.mp4", turns(100))
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_000000.mp4").write_bytes(b"mine")
    for overwrite in (False, True):
        found = label(tmp_path / "v", out, form="recordings", overwrite=overwrite)
        assert (found.episodes, "another video" in found.rejected[0][1]) == ([], True)
    assert (out / "a_000000.mp4").read_bytes() == b"mine"
    whole = tmp_path / "whole"
    assert label(tmp_path / "v", whole, form="recordings").frames == 100
    (whole / RECORDS / "a_000000.json").unlink()  # as after a kill
    assert label(tmp_path / "v", whole, form="recordings").frames == 100


@pytest.mark.e2e
def test_shards_divide_the_work(tmp_path: Path, label: Labeller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steve1.idm.labelling.parts.PART", 100)
    film(tmp_path / "v" / "a.mp4", turns(300))
    counts = [label(tmp_path / "v", tmp_path / "out", shard=Shard(number, 2)).labelled for number in (1, 2)]
    assert counts == [2, 1]
    assert [path.name for path in find_episodes(tmp_path / "out")] == ["a_000000", "a_000100", "a_000200"]
    with alone_in(tmp_path / "out", work="label"), pytest.raises(UserError, match="Another run"):
        label(tmp_path / "v", tmp_path / "out")


def test_a_full_disk_stops_it_and_leaves_nothing_half_written(
    tmp_path: Path, label: Labeller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "frames.jpgs")

    film(tmp_path / "v" / "a.mp4", turns(100))
    with monkeypatch.context() as patch:
        patch.setattr("steve1.idm.labelling.scratch.Scratch.write_episode", full)
        with pytest.raises(UserError, match="disk is full"):
            label(tmp_path / "v", tmp_path / "out")
    assert not find_episodes(tmp_path / "out")
    assert not list((tmp_path / "out" / RECORDS).glob("*"))
    assert not list((tmp_path / "out").glob(".*.tmp"))
    assert label(tmp_path / "v", tmp_path / "out").labelled == 1


@pytest.mark.e2e
def test_recordings_for_other_programs_convert_to_the_same_episodes(tmp_path: Path, label: Labeller) -> None:
    film(tmp_path / "v" / "a.mp4", turns(120))
    label(tmp_path / "v", tmp_path / "episodes")
    label(tmp_path / "v", tmp_path / "recordings", form="recordings")
    assert {path.name for path in (tmp_path / "recordings").glob("a_*")} == {
        "a_000000.mp4", "a_000000.jsonl", "a_000000-options.json"
    }  # fmt: skip
    summary = convert_folder(tmp_path / "recordings", tmp_path / "converted", ConvertSettings(keep_nulls=True))
    assert summary.count("converted") == len(summary.results) == 1, summary.text
    one, other = Episode(tmp_path / "episodes" / "a_000000"), Episode(tmp_path / "converted" / "a_000000")
    for mine, theirs in zip(one.tokens(), other.tokens()):
        np.testing.assert_array_equal(mine, theirs)
    assert np.abs(one.frames(0, 120).astype(int) - other.frames(0, 120)).mean() < 6
    assert is_labelled(one)
    assert is_labelled(other)


def test_another_field_of_view_corrects_the_camera(tmp_path: Path, label: Labeller) -> None:
    film(tmp_path / "v" / "a.mp4", turns(100))
    label(tmp_path / "v", tmp_path / "plain")
    label(tmp_path / "v", tmp_path / "wide", fov=90.0)
    plain, wide = (Episode(tmp_path / name / "a_000000") for name in ("plain", "wide"))
    gain = np.tan(np.radians(45)) / np.tan(np.radians(35))
    assert wide.metadata["idm"]["camera_gain"] == pytest.approx(gain, abs=1e-4)
    for one, other in zip(plain.actions(), wide.actions()):
        np.testing.assert_allclose(np.array(one["camera"]) * gain, other["camera"], atol=1e-6)


def test_an_overlay_is_painted_over_in_its_video_alone() -> None:
    form = VideoForm(1280, 720, 30, 9, "h264", 0, (0, 0, 1280, 720))
    text = PartLabeller._overlay_text("my film=2", (0.75, 0.0, 0.25, 0.25), "a facecam", form)
    (option,) = re.findall(r"--mask (.+) paints", text)
    settings = LabelSettings(mask=tuple(shlex.split(option)))
    assert settings.masks_for("my film=2") == [(960, 0, 320, 180)]
    assert not settings.masks_for("another")


def known_recording(path: Path, count: int = 600) -> Path:
    """A contractor's recording of a film."""
    degrees = turns(count, 5)
    film(path, degrees)
    lines = []
    for number, (pitch, yaw) in enumerate(degrees):
        found = tick(number)
        found["mouse"] |= {"dx": yaw / 0.15, "dy": pitch / 0.15}
        lines.append(json.dumps(found))
    path.with_suffix(".jsonl").write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.e2e
def test_a_known_recording_sets_the_thresholds(tmp_path: Path, label: Labeller) -> None:
    film(tmp_path / "v" / "a.mp4", turns(300))
    video = known_recording(tmp_path / "known" / "me.mp4")
    label(tmp_path / "v", tmp_path / "out", calibrate=str(video))
    known = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert known["thresholds"]["sure"] is not None
    assert known["scores"]["camera"][1]["r2"] > 0.9
    assert Thresholds().follow < known["thresholds"]["follow"] < 0.7
    assert Episode(tmp_path / "out" / "a_000000").metadata["idm"]["thresholds"] == known["thresholds"]
    text = (tmp_path / "out" / PAGE).read_text("utf-8")
    assert "On the known recording" in text
    assert "field of view: what that difference would mean" in text
    assert known["thresholds"]["mirror"] == pytest.approx(known["measures"]["mirror"], abs=1e-4)
    assert known["thresholds"]["mirror"] > 0.9
    # Labels that are less sure than on the known recording are rejected. The thresholds stay in the folder.
    film(tmp_path / "w" / "b.mp4", turns(300, 2))
    summary = label(tmp_path / "w", tmp_path / "out", Oracle(sure=0.6))
    assert not summary.episodes
    assert {"the labels are unsure"} == {each["reason"] for each in summary.records[0]["rejected"]}
    with pytest.raises(UserError, match="no actions beside it"):
        label(tmp_path / "v", tmp_path / "other", calibrate=str(tmp_path / "v" / "a.mp4"))


@pytest.mark.e2e
def test_a_calibration_is_of_the_thresholds_and_field_of_view_of_today(
    tmp_path: Path, files: tuple[str, str], label: Labeller
) -> None:
    film(tmp_path / "v" / "a.mp4", turns(60))
    video = known_recording(tmp_path / "known" / "me.mp4", 420)

    def known() -> tuple[float, float, float]:
        found = json.loads((tmp_path / "out" / "calibration.json").read_text())
        (forward,) = (button for button in found["scores"]["buttons"] if button["name"] == "forward")
        return found["fov"], forward["threshold"], forward["f1"]

    label(tmp_path / "v", tmp_path / "out", calibrate=str(video))
    assert known() == (70, 0.5, 1)
    written = (tmp_path / "out" / "calibration.json").stat().st_mtime_ns
    label(tmp_path / "v", tmp_path / "out", calibrate=str(video))
    assert (tmp_path / "out" / "calibration.json").stat().st_mtime_ns == written, "nothing has changed"
    Path(f"{files[1]}.json").write_text(json.dumps({"fov": 90, "thresholds": {"forward": 0.99}}))
    label(tmp_path / "v", tmp_path / "out", calibrate=str(video), overwrite=True)
    assert known() == (90, 0.99, 0), "nothing is labelled forward any more"
    Path(f"{files[1]}.json").write_text(json.dumps({"fov": 80, "thresholds": {"forward": 0.99}}))
    found = read_calibration(tmp_path / "out", IdmFiles.of(*files), None)
    assert found is not None
    assert found.fov == 80


def test_a_missing_or_wrong_model_is_named(tmp_path: Path) -> None:
    film(tmp_path / "v" / "a.mp4", turns(60))
    with pytest.raises(UserError, match="not found") as fault:
        label_folder(tmp_path / "v", tmp_path / "out", LabelSettings(), Machine())
    assert "0_download_weights.sh idm" in fault.value.todo
    (tmp_path / "x.weights").write_bytes(b"x")
    (tmp_path / "x.weights.json").write_text('{"fov": 500}')
    with pytest.raises(UserError, match="field of view"):
        IdmFiles.of(GOLDEN / "idm_tiny.model", tmp_path / "x.weights")


def test_another_threshold_or_field_of_view_of_the_model_is_another_setting(
    tmp_path: Path, files: tuple[str, str], label: Labeller
) -> None:
    beside = Path(f"{files[1]}.json")
    film(tmp_path / "v" / "a.mp4", turns(100))
    label(tmp_path / "v", tmp_path / "out")
    record = tmp_path / "out" / RECORDS / "a_000000.json"
    known = json.loads(record.read_text())
    for new in ("button_thresholds", "model_fov", "env"):
        del known["made_with"][new]
    del known["made_with"]["thresholds"]["mirror"]
    record.write_text(json.dumps(known))
    assert not label(tmp_path / "v", tmp_path / "out").changed, "what an earlier version did not note"
    label(tmp_path / "v", tmp_path / "out", keep_nulls=True, overwrite=True)
    for changed in ({"thresholds": {"forward": 0.99}}, {"fov": 90}):
        beside.write_text(json.dumps(changed))
        again = label(tmp_path / "v", tmp_path / "out", keep_nulls=True)
        assert (again.labelled, again.changed) == (0, ["a_000000"])
        again = label(tmp_path / "v", tmp_path / "out", keep_nulls=True, overwrite=True)
        assert (again.labelled, again.changed) == (1, [])
    beside.write_text('{"thresholds": {"forward": 0.99}}')
    label(tmp_path / "v", tmp_path / "out", keep_nulls=True, overwrite=True)
    assert not any(action["forward"] for action in Episode(tmp_path / "out" / "a_000000").actions())


@pytest.mark.e2e
@pytest.mark.parametrize("where", ["processes", "ray"])
def test_two_workers_and_the_real_network(tmp_path: Path, request: pytest.FixtureRequest, where: str) -> None:
    """With a small model that knows nothing, in processes of this machine and on a Ray cluster."""
    if where == "ray":
        request.getfixturevalue("cluster")
    weights = tmp_path / "tiny.weights"
    with np.load(GOLDEN / "idm_tiny_state.npz") as state:
        torch.save({name: torch.from_numpy(state[name].astype(np.float32)) for name in state.files}, weights)
    for number in range(2):
        film(tmp_path / "v" / f"{number}.mp4", turns(60, number))
    settings = LabelSettings(
        idm_model=str(GOLDEN / "idm_tiny.model"), idm_weights=str(weights), keep_rejected=True, keep_nulls=True
    )
    one = label_folder(tmp_path / "v", tmp_path / "one", settings, Machine(device="cpu"))
    machine = Machine(device="cpu", ray=True) if where == "ray" else Machine(device="cpu", workers=2)
    two = label_folder(tmp_path / "v", tmp_path / "two", settings, machine)
    assert one.frames == two.frames == 120
    for path in find_episodes(tmp_path / "one"):
        a, b = Episode(path), Episode(tmp_path / "two" / path.name)
        for mine, theirs in zip(a.tokens(), b.tokens()):
            np.testing.assert_array_equal(mine, theirs)
        assert a.metadata["idm"]["agreement"][0] is not None
