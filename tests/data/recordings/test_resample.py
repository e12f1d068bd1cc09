"""Recordings of other rates and sizes: every movement and every button is in the episode, beside the frame of that moment."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.frames import agent_frame
from steve1.data.episodes.episode import Episode
from steve1.data.media.video import read_frames, recorder_size
from steve1.data.quality.history import read_history
from steve1.data.quality.success import parse_conditions, reached
from steve1.data.recordings.convert import ConvertSettings
from steve1.data.recordings.convert_folder import convert_folder
from steve1.data.recordings.recording import Ticks
from steve1.data.recordings.resample import merged, resample_ticks
from steve1.data.recordings.summary import Summary
from tests.data.episodes.test_episode import guide_episode
from tests.data.makers import action, make_recording, null_tick, picture, tick


def converted(tmp_path: Path, **more: Any) -> Summary:
    return convert_folder(tmp_path / "in", tmp_path / "out", ConvertSettings(keep_nulls=True, **more))


def ticks_of(actions: list[dict[str, Any]]) -> Ticks:
    count = len(actions)
    return Ticks(actions, np.ones(count, bool), np.full((count, 2), np.nan), [], np.arange(count))


def turned(yaw: float, **pressed: int) -> dict[str, Any]:
    return {**act.null_action(), **pressed, "camera": [yaw / 2, yaw]}


def test_merged_ticks_sum_movement_and_or_buttons() -> None:
    found = merged([turned(1.0, attack=1), turned(2.0, jump=1), turned(-0.5, **{"hotbar.7": 1})])
    assert found["camera"] == [1.25, 2.5]
    assert (found["attack"], found["jump"], found["hotbar.7"], found["forward"]) == (1, 1, 1, 0)
    # A slot is a state: the one chosen last holds, whatever its number.
    slots = merged([turned(0, **{"hotbar.9": 1}), turned(0, **{"hotbar.2": 1}), turned(0)])
    assert [name for name in act.ENV_BUTTONS if slots[name]] == ["hotbar.2"]


def test_sixty_a_second_become_twenty_three_by_three() -> None:
    actions = [turned(float(n), attack=int(n == 4)) for n in range(9)]
    found = resample_ticks(ticks_of(actions), 60.0)
    assert [a["camera"][1] for a in found.actions] == [0 + 1 + 2, 3 + 4 + 5, 6 + 7 + 8]
    assert [a["attack"] for a in found.actions] == [0, 1, 0]
    assert found.rows.tolist() == [0, 3, 6]


def test_ten_a_second_are_held_and_their_movement_divided() -> None:
    found = resample_ticks(ticks_of([turned(4.0, forward=1), turned(-2.0)]), 10.0)
    assert [a["camera"][1] for a in found.actions] == [2.0, 2.0, -1.0, -1.0]
    assert [a["forward"] for a in found.actions] == [1, 1, 0, 0]


def test_movements_below_a_bin_count_once_they_are_summed() -> None:
    # Three times 0.3 degrees are nothing each and a turn together: null is told after merging, and rounding too.
    found = resample_ticks(ticks_of([turned(0.3)] * 6), 60.0)
    assert found.keep.all()
    assert [a["camera"][1] for a in resample_ticks(ticks_of([turned(0.4)] * 6), 60.0, "legacy_int").actions] == [
        1.0,
        1.0,
    ]


@given(rate=st.floats(5.0, 240.0), count=st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_at_any_rate(rate: float, count: int) -> None:
    actions = [turned(float(n % 7) - 3, use=int(n % 50 == 13)) for n in range(count)]
    found = resample_ticks(ticks_of(actions), rate)
    assert abs(len(found.actions) - count * 20 / rate) < 1.001
    total = np.sum([a["camera"] for a in found.actions], axis=0)
    assert np.allclose(total, np.sum([a["camera"] for a in actions], axis=0), atol=1e-6)
    assert sum(a["use"] for a in found.actions) >= min(1, sum(a["use"] for a in actions))
    assert found.rows.tolist() == [int(number * rate / 20 + 1e-6) for number in range(len(found.rows))]


def test_a_tick_a_frame_at_thirty(tmp_path: Path) -> None:
    ticks = [
        tick(n, mouse={"dx": 10.0, "dy": 0.0, "buttons": [0] if n == 20 else []}, xpos=float(n), milli=n * 100 / 3)
        for n in range(61)
    ]
    video = make_recording(tmp_path / "in", "rec", ticks, fps=30)
    result = converted(tmp_path).results[0]
    assert (result.status, result.ticks, result.frames) == ("converted", 41, 41)
    episode = Episode(tmp_path / "out" / "rec")
    assert episode.metadata["resampled"] == {
        "video_fps": 30.0, "tick_rate": 30.0, "to": 20,
        "actions": "camera movements of merged ticks summed, buttons or-ed, the last slot chosen",
    }  # fmt: skip
    assert episode.metadata["source_fps"] == 30.0
    actions = episode.actions()
    assert np.isclose(sum(a["camera"][1] for a in actions), 61 * 1.5)
    assert {round(a["camera"][1], 6) for a in actions[:-1]} == {1.5, 3.0}
    assert [n for n, a in enumerate(actions) if a["attack"]] == [13]  # ticks 19 and 20
    source = list(read_frames(video))
    for row in (0, 1, 13, 40):
        error = [np.abs(episode.frames(row, row + 1)[0].astype(int) - agent_frame(source[n])).mean() for n in (int(row * 1.5), (int(row * 1.5) + 7) % 61)]  # fmt: skip
        assert error[0] < 3 < error[1]
    # What happened at each frame is still found in the recording, of which the ticks suffice.
    video.unlink()
    assert read_history(tmp_path / "out" / "rec").position[:4, 0].tolist() == [0, 1, 3, 4]


def test_ticks_of_the_game_beside_a_faster_video(tmp_path: Path) -> None:
    video = make_recording(tmp_path / "in", "rec", [tick(n) for n in range(40)], frames=120, fps=60)
    converted(tmp_path)
    episode = Episode(tmp_path / "out" / "rec")
    assert episode.actions() == act.from_contractor([tick(n) for n in range(40)])[0]
    assert episode.metadata["resampled"]["tick_rate"] == 20.0
    source = list(read_frames(video))
    assert np.abs(episode.frames(20, 21)[0].astype(int) - agent_frame(source[60])).mean() < 3


def test_ticks_that_fit_nothing_and_rates_of_no_game_are_refused(tmp_path: Path) -> None:
    make_recording(tmp_path / "in", "neither", [tick(n) for n in range(60)], frames=120, fps=30)
    make_recording(tmp_path / "in", "slow", 40, fps=2)
    make_recording(tmp_path / "in", "good", 40)
    found = {Path(r.recording).stem: r for r in converted(tmp_path).results}
    assert [found[name].status for name in ("neither", "slow", "good")] == ["refused", "refused", "converted"]
    assert "120 ticks (one a frame) or 80" in found["neither"].reason
    assert "5 to 480" in found["slow"].reason
    with pytest.raises(UserError, match="positive"):
        ConvertSettings(source_fps=-1)


def test_a_rate_that_is_named_holds_against_what_the_video_says(tmp_path: Path) -> None:
    make_recording(
        tmp_path / "in", "rec", [tick(n, mouse={"dx": 10.0}) for n in range(90)], fps=20, width=64, height=36
    )
    result = converted(tmp_path, source_fps=60.0).results[0]
    assert (result.status, result.frames) == ("converted", 30)
    assert [
        note for note in result.notes if "60 frames a second and a tick for each, resampled to 20" in note
    ] == result.notes
    episode = Episode(tmp_path / "out" / "rec")
    assert {round(a["camera"][1], 6) for a in episode.actions()} == {4.5}
    assert episode.metadata["resampled"]["video_fps"] == 60.0
    assert episode.metadata["source_fps"] == 20.0  # as the file says


def test_a_folder_of_pictures_is_taken_at_the_rate_that_is_named(tmp_path: Path) -> None:
    guide_episode(tmp_path / "in" / "pngs", 60)
    result = converted(tmp_path, source_fps=40.0).results[0]
    assert result.frames == 30
    episode = Episode(tmp_path / "out" / "pngs")
    assert episode.actions()[7] == merged([action(14), action(15)])
    assert np.abs(episode.frames(7, 8)[0].astype(int) - agent_frame(picture(14))).mean() < 4
    assert not episode.has_goals  # they were of other frames
    assert "embed it again" in result.notes[-1]


@pytest.mark.e2e
def test_large_pictures_are_reduced_without_noise_and_shapes_are_said(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3)).astype(np.uint8)
    assert recorder_size(noise).shape == (360, 640, 3)
    assert recorder_size(noise).std() < noise.std() / 2
    small = noise[:360, :640]
    assert recorder_size(small) is small
    make_recording(tmp_path / "in", "large", 30, width=1280, height=720)
    make_recording(tmp_path / "in", "square", 30, width=400, height=400)
    found = {Path(r.recording).stem: r for r in converted(tmp_path).results}
    assert found["large"].notes == []
    assert "1.00 times as wide" in found["square"].notes[0]
    assert Episode(tmp_path / "out" / "large").metadata["source_size"] == [1280, 720]


def uneven(path: Path, ticks: int, frames: int = 40) -> None:
    """A video of 20 frames/s on average in which those of its middle come up to a quarter of a second late."""
    make_recording(path.parent, path.stem, ticks)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=20, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, 180, 320), format="rgb24")
            # Held up for a quarter of a second at frame 10, and catching up until frame 25.
            frame.pts = max(50 * number, 410 + 34 * number if number >= 10 else 0)
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_variable_frame_rate_pairs_only_where_the_numbers_agree(tmp_path: Path) -> None:
    uneven(tmp_path / "in" / "same.mp4", 40)
    uneven(tmp_path / "in" / "other.mp4", 37)
    found = {Path(r.recording).stem: r for r in converted(tmp_path).results}
    assert (found["same"].status, found["same"].frames) == ("converted", 40)
    assert "off an even pace" in (found["same"].notes or [""])[0]
    assert found["other"].status == "refused"
    assert "fit neither" in found["other"].reason
    assert "off an even pace" in found["other"].reason


def basalt_tick(number: int, **changes: Any) -> dict[str, Any]:
    """What is left of a tick in the BASALT demonstrations: what was pressed, and no word of the world."""
    whole = tick(number, **changes)
    mouse = {key: whole["mouse"][key] for key in ("x", "y", "dx", "dy", "buttons", "newButtons")}
    return {"mouse": mouse, "keyboard": {"keys": whole["keyboard"]["keys"]}, "isGuiOpen": whole["isGuiOpen"]}


def test_basalt_demonstrations_have_fewer_fields(tmp_path: Path) -> None:
    ticks = [basalt_tick(n, mouse={"buttons": [0] if 5 <= n < 9 else [], "newButtons": [0] if n == 5 else []}) for n in range(50)]  # fmt: skip
    # The player ends a demonstration with ESC; it is no action of the policy's.
    ticks[-1] = {**basalt_tick(49), "keyboard": {"keys": ["key.keyboard.escape"]}, "mouse": {**ticks[-1]["mouse"], "dx": 0, "dy": 0}}  # fmt: skip
    make_recording(tmp_path / "in" / "data" / "10.0", "cheeky-1", ticks, width=640, height=360)
    summary = convert_folder(tmp_path / "in", tmp_path / "out", ConvertSettings())
    (result,) = summary.results
    assert (result.status, result.frames, result.notes) == ("converted", 49, [])
    episode = Episode(tmp_path / "out" / "data_10.0_cheeky-1")
    assert [n for n, a in enumerate(episode.actions()) if a["attack"]] == [5, 6, 7, 8]
    assert episode.metadata["recorder_version"] == "10.0"
    assert not any(a[f"hotbar.{slot}"] for a in episode.actions() for slot in range(1, 10))
    with pytest.raises(UserError, match="contain no inventory"):
        reached(parse_conditions(["log"], [], 0.0)[0], read_history(tmp_path / "out" / "data_10.0_cheeky-1"))


def test_null_ticks_of_basalt_are_dropped_like_any(tmp_path: Path) -> None:
    ticks = [basalt_tick(n) for n in range(40)]
    still = null_tick(7)
    ticks[7] = {"mouse": still["mouse"], "keyboard": {"keys": []}, "isGuiOpen": False}
    video = make_recording(tmp_path / "in", "rec", ticks)
    assert json.loads(video.with_suffix(".jsonl").read_text().splitlines()[0]).keys() == {
        "mouse",
        "keyboard",
        "isGuiOpen",
    }
    assert convert_folder(tmp_path / "in", tmp_path / "out", ConvertSettings()).results[0].frames == 39
