"""What people look at: letters, overlays, films."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steve1 import actions
from steve1.core.errors import UserError
from steve1.data.media.video import VideoWriter, probe, read_frames
from steve1.rollout import text as drawn
from steve1.rollout.overlay import Overlay
from steve1.rollout.play import rollout
from steve1.rollout.video import EpisodeVideo, Panel, grid, side_by_side
from tests.rollout.fakes import FakeAgent, FakeEnv, goal

GREY = np.full((360, 640, 3), 128, dtype=np.uint8)


def changed(a: np.ndarray, b: np.ndarray, region: tuple[slice, slice]) -> float:
    return float(np.abs(a[region].astype(int) - b[region].astype(int)).mean())


def test_pressed_keys_light_up_and_the_input_stays_untouched() -> None:
    overlay, frame = Overlay("dig dirt", 300), GREY.copy()
    idle = overlay.draw(frame, actions.null_action(), 0)
    assert np.array_equal(frame, GREY)
    for button in ("forward", "attack", "jump", "sneak", "sprint", "use", "drop", "inventory"):
        pressed = overlay.draw(frame, {**actions.null_action(), button: 1}, 0)
        yellow = np.all(np.abs(pressed.astype(int) - (255, 214, 64)) < 4, axis=2)
        assert yellow.sum() > 100, button
        assert not np.all(np.abs(idle.astype(int) - (255, 214, 64)) < 4, axis=2).any()


def test_camera_arrow_points_where_the_camera_goes() -> None:
    overlay = Overlay("x", 10)
    centre = (640 - 28, 360 - 26)
    for camera, side in (([0.0, 8.0], "right"), ([0.0, -8.0], "left"), ([-8.0, 0.0], "up"), ([8.0, 0.0], "down")):
        picture = overlay.draw(GREY, {**actions.null_action(), "camera": camera}, 0)
        yellow = np.argwhere((np.abs(picture.astype(int) - (255, 214, 64)) < 60).all(axis=2))
        mean = yellow.mean(axis=0) - (centre[1], centre[0])
        assert {"right": mean[1] > 4, "left": mean[1] < -4, "up": mean[0] < -4, "down": mean[0] > 4}[side]


def test_prompt_and_step_are_in_the_header() -> None:
    top = (slice(0, 26), slice(None))
    one = Overlay("dig dirt", 300).draw(GREY, actions.null_action(), 0)
    two = Overlay("explore", 300).draw(GREY, actions.null_action(), 0)
    later = Overlay("dig dirt", 300).draw(GREY, actions.null_action(), 7)
    assert changed(one, two, top) > 0.5
    assert changed(one, later, top) > 0.1
    assert changed(one, later, (slice(26, None), slice(None))) == 0


def test_chinese_is_drawn_where_a_font_is_there() -> None:
    if drawn.font_file_for("挖泥土") is None:
        pytest.skip("no font with Chinese signs is installed")
    signs = [drawn.text_mask(sign, 16) for sign in "挖泥土"]
    assert all(sign.max() > 200 for sign in signs)
    assert not np.array_equal(signs[0], signs[1])
    mixed = drawn.split_by_font("dig 挖泥土!")
    assert [part for part, _ in mixed] == ["dig ", "挖泥土", "!"]


def test_without_a_font_question_marks_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn, "font_file_for", lambda signs: None)
    assert drawn.split_by_font("a挖é") == [("a?é", None)]


@pytest.mark.parametrize("prompt", ["x", "build a very long house " * 20, "i" * 100_000, "盖房子" * 400, "W" * 3])
def test_text_of_any_length_is_cut_to_fit_in_few_measurements(prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    mask = drawn.text_mask
    monkeypatch.setattr(drawn, "text_mask", lambda text, size: (measured.append(text), mask(text, size))[1])
    drawn.fit_text.cache_clear()
    for width in (30, 300):
        text = drawn.fit_text(prompt, 16, width)
        if text != prompt:
            head = text.removesuffix("...")
            assert text.endswith("...")
            assert prompt.startswith(head)
            assert mask(prompt[: len(head) + 2] + "...", 16).shape[1] > width  # nothing more fits
        assert mask(text, 16).shape[1] <= max(width, mask("...", 16).shape[1])
    assert max(map(len, measured)) <= 303
    assert len(measured) <= 25
    count = len(measured)
    drawn.fit_text(prompt, 16, 300)  # the next frame of a video
    assert len(measured) == count


def test_edges_are_safe() -> None:
    frame = GREY.copy()
    for x, y in ((-500, 5), (-5, -5), (636, 355), (900, 900)):
        drawn.draw_text(frame, "edge", x, y, 14)
    assert frame.shape == GREY.shape


def test_an_episodes_video_has_a_frame_for_each_step(tmp_path: Path) -> None:
    path = tmp_path / "a b.c.mp4"
    with EpisodeVideo(path, "dig dirt", 25) as video:
        rollout(FakeAgent(), FakeEnv(size=(128, 336)), goal(0), 25, on_frame=video.on_frame)
    info = probe(path)
    assert (info.codec, info.width, info.height, info.fps) == ("h264", 336, 128, 20.0)
    assert sum(1 for _ in read_frames(path)) == 25


def test_a_repeated_episode_starts_its_video_anew_and_a_failed_one_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with EpisodeVideo(path, "x", 9) as video:
        for steps in (4, 9):
            for step in range(steps):
                video.on_frame(GREY, actions.null_action(), step)
    assert sum(1 for _ in read_frames(path)) == 9
    other = tmp_path / "w.mp4"
    with pytest.raises(ZeroDivisionError):
        with EpisodeVideo(other, "x", 9) as video:
            video.on_frame(GREY, actions.null_action(), 0)
            raise ZeroDivisionError
    assert sorted(file.name for file in tmp_path.iterdir()) == ["v.mp4"]


def colour_video(path: Path, colour: tuple[int, int, int], frames: int) -> Path:
    with VideoWriter(path, 320, 180) as writer:
        for _ in range(frames):
            writer.write(np.full((180, 320, 3), colour, dtype=np.uint8))
    return path


def test_side_by_side_keeps_places_lengths_and_results(tmp_path: Path) -> None:
    red, blue = colour_video(tmp_path / "r.mp4", (200, 30, 30), 10), colour_video(tmp_path / "b.mp4", (30, 30, 200), 6)
    out = side_by_side(
        [Panel(red, "base", "0 items", False), Panel(blue, "tuned", "4 items", True)],
        tmp_path / "both.mp4",
        heading="挖泥土",
        hold=5,
    )
    frames = list(read_frames(out))
    assert len(frames) == 10 + 5
    assert frames[0].shape == (30 + 26 + 180 + 24, 640, 3)
    for frame in (frames[0], frames[9]):
        assert frame[130, 160].argmax() == 0
        assert frame[130, 480].argmax() == 2
    last = frames[-1][-24:].astype(int)
    left, right = last[:, :320], last[:, 320:]
    assert (left[..., 0] - left[..., 1]).max() > 60, "the failed one's result is red"
    assert (right[..., 1] - right[..., 0]).max() > 60, "the successful one's result is green"


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 2, 2), (5, 3, 2)])
def test_grids_fit_the_screen(count: int, columns: int, rows: int) -> None:
    found = grid(count, 640, 360)
    assert found[:2] == (columns, rows)
    assert found[0] * found[2] <= 1280
    assert found[2] % 2 == 0
    assert found[3] % 2 == 0


def test_nothing_to_compare_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to put side by side"):
        side_by_side([], tmp_path / "x.mp4")
    with pytest.raises(UserError, match="does not exist"):
        side_by_side([Panel(tmp_path / "none.mp4", "a")], tmp_path / "x.mp4")


def test_a_small_video_keeps_the_shape_of_its_frames(tmp_path: Path) -> None:
    with EpisodeVideo(tmp_path / "small.mp4", "dig dirt", 3, small=True) as video:
        for step in range(3):
            video.on_frame(GREY, actions.null_action(), step)
    info = probe(tmp_path / "small.mp4")
    assert (info.width, info.height) == (320, 180)
    assert sum(1 for _ in read_frames(tmp_path / "small.mp4")) == 3
