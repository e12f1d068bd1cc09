"""Videos of all kinds at 20 frames a second: which frame is shown when, what is cut off, where the picture jumps."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.data.media.motion import Motion, grey_of
from steve1.data.media.video import decoded_frames, probe
from steve1.data.videos.find import find_videos
from steve1.data.videos.form import VideoForm, length_of, look_at, parse_box
from steve1.data.videos.overlays import OverlayFinder
from steve1.data.videos.stream import Stretch, game_frames, stretches
from tests.data.episodes.test_episode import steve1_episode
from tests.data.makers import make_episode
from tests.data.videos.films import FPS, HEIGHT, WIDTH, encode, film, pictures, turns

Frame = np.ndarray


def numbered(count: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[Frame]:
    """Grey frames with their number in them: 8 squares, one for each bit."""
    frames = []
    for number in range(count):
        frame = np.full((size[1], size[0], 3), 128, np.uint8)
        for bit in range(8):
            x = size[0] * bit // 8
            frame[:, x : x + size[0] // 8] = 220 if number >> bit & 1 else 40
        frames.append(frame)
    return frames


def number_of(frame: Frame) -> int:
    """The number that such a frame shows."""
    row = frame[frame.shape[0] // 2].mean(axis=1)
    width = frame.shape[1]
    return sum(1 << bit for bit in range(8) if row[width * bit // 8 + width // 16] > 128)


def shown(path: Path, **more: Any) -> list[tuple[int, int]]:
    """(moment, the frame's number) of a video."""
    return [(moment, number_of(frame)) for moment, frame in game_frames(path, look_at(path), **more)]


@pytest.mark.parametrize("rate", [20, 24, 25, 30, 50, 60])
def test_each_moment_shows_the_last_frame_whose_time_has_come(tmp_path: Path, rate: int) -> None:
    count = rate * 3
    path = encode(tmp_path / "a.mp4", iter(numbered(count)), stamps=lambda number: number / rate)
    found = shown(path)
    assert [moment for moment, _ in found] == list(range(60))
    # Time stamps are whole milliseconds: at a whole moment, the frame that is due within one of them.
    wanted = [max(n for n in range(count) if round(n / rate * 1000) <= moment * 50) for moment in range(60)]
    assert [number for _, number in found] == wanted


def test_30_to_20_is_0_1_3_4(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", iter(numbered(90)), stamps=lambda number: number / 30)
    assert [number for _, number in shown(path)[:8]] == [0, 1, 3, 4, 6, 7, 9, 10]


def test_a_rate_that_varies_does_not_drift(tmp_path: Path) -> None:
    times = np.cumsum([0, *np.random.default_rng(0).uniform(0.008, 0.07, 149)])
    path = encode(tmp_path / "a.mkv", iter(numbered(150)), stamps=lambda number: float(times[number]))
    for moment, number in shown(path):
        due = np.flatnonzero(np.round(times * 1000) / 1000 <= moment / FPS + 1e-4)[-1]
        assert number == due, moment


def test_reading_from_the_middle_is_the_same(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "a.mp4", iter(numbered(180)), stamps=lambda number: number / 30, options={"g": "25", "bf": "2"}
    )
    whole = dict(shown(path))
    for first in (1, 37, 80, 119):
        assert dict(shown(path, first=first)) == {moment: whole[moment] for moment in range(first, 120)}
    assert [moment for moment, _ in shown(path, first=10, stop=30)] == list(range(10, 30))


def test_pictures_of_an_avi_come_in_turn_though_its_stamps_do_not(tmp_path: Path) -> None:
    """AVI has stamps of decoding alone, and B-frames are decoded after the frame that they precede."""
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "ultrafast", "bf": "3", "b-adapt": "0", "g": "40"}
        for frame in numbered(120):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    stamps = [float(frame.time or 0) for frame in decoded_frames(path)]
    assert stamps != sorted(stamps)
    assert shown(path) == [(number, number) for number in range(120)]
    assert shown(path, first=70) == [(number, number) for number in range(70, 120)]


def test_a_long_gap_in_the_time_stamps_is_left_out(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", pictures(turns(80)), stamps=lambda number: number / 20 + 1000 * (number >= 40))
    moments = [moment for moment, _ in game_frames(path, look_at(path))]
    assert len(moments) < 90
    assert moments[-1] == 20 * 1000 + 79
    runs = list(stretches(game_frames(path, look_at(path))))
    assert len(runs) == 2


CODECS = [
    ("a.mp4", "libx264"), ("a.mp4", "libx265"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.webm", "libsvtav1"), ("a.mp4", "libsvtav1"),
]  # fmt: skip


@pytest.mark.e2e
@pytest.mark.parametrize(("name", "codec"), CODECS)
def test_containers_and_codecs(tmp_path: Path, name: str, codec: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    frames = numbered(100)
    options = (
        {"preset": "8", "crf": "10"}
        if "av1" in codec
        else {"preset": "ultrafast", "deadline": "realtime", "cpu-used": "8"}
    )
    path = encode(tmp_path / name, iter(frames), codec, audio=True, options=options)
    assert shown(path) == [(number, number) for number in range(100)]


@pytest.mark.e2e
def test_bars_are_cut_off_and_other_shapes_are_named(tmp_path: Path) -> None:
    def framed(size: tuple[int, int], inner: tuple[int, int, int, int]) -> Path:
        x, y, w, h = inner
        frames = []
        for frame in pictures(turns(60)):
            big = np.full((size[1], size[0], 3), 3, np.uint8)
            big[y : y + h, x : x + w] = cv2.resize(frame, (w, h))
            frames.append(big)
        return encode(tmp_path / f"{size}{inner}.mp4", iter(frames))

    boxed = look_at(framed((640, 480), (0, 60, 640, 360)))
    assert np.abs(np.subtract(boxed.crop, (0, 60, 640, 360))).max() <= 1
    assert "black bars" in boxed.notes[0]
    wide = look_at(framed((840, 360), (0, 0, 840, 360)))
    assert wide.crop == (100, 0, 640, 360)
    assert "sides are cut off" in wide.notes[0]
    old = look_at(framed((480, 360), (0, 0, 480, 360)))
    assert old.crop == (0, 0, 480, 360)
    assert "stretched" in old.notes[0]
    with pytest.raises(UserError, match="portrait"):
        look_at(framed((360, 640), (0, 0, 360, 640)))
    with pytest.raises(UserError, match="too small"):
        look_at(framed((112, 64), (0, 0, 112, 64)))


def test_a_dark_scene_is_no_bar(tmp_path: Path) -> None:
    frames = [frame if number > 50 else frame // 30 for number, frame in enumerate(pictures(turns(80)))]
    assert look_at(encode(tmp_path / "a.mp4", iter(frames))).crop == (0, 0, WIDTH, HEIGHT)
    assert look_at(encode(tmp_path / "b.mp4", iter([frame // 30 for frame in frames]))).crop == (0, 0, WIDTH, HEIGHT)


@pytest.mark.e2e
@pytest.mark.parametrize("live", [False, True])
def test_a_title_at_the_beginning_is_no_bar(tmp_path: Path, live: bool) -> None:
    """A live recording names no length; the other has a single key frame, so that searching finds the title alone."""
    films = []
    for title in ((107, 60), (240, 40)):
        frames = list(pictures(turns(60)))
        x, y = (WIDTH - title[0]) // 2, (HEIGHT - title[1]) // 2
        for number in range(3):
            frames[number] = np.zeros_like(frames[number])
            frames[number][y : y + title[1], x : x + title[0]] = 200
        options = {"g": "600", "sc_threshold": "0", "preset": "ultrafast"}
        films.append(encode(tmp_path / f"{title[0]}.mkv", iter(frames), live=live, options=options))
    assert (probe(films[0]).seconds == 0) is live
    for path in films:
        assert look_at(path).crop == (0, 0, WIDTH, HEIGHT)


def test_the_length_that_no_header_names_is_measured(tmp_path: Path) -> None:
    quick = {"preset": "ultrafast"}
    path = encode(tmp_path / "a.mkv", pictures(turns(70)), live=True, options=quick)
    assert probe(path).seconds == 0
    assert length_of(path) == pytest.approx(3.5, abs=0.01)
    assert look_at(path).count == 70
    with pytest.raises(UserError, match="too short"):
        look_at(encode(tmp_path / "b.mkv", pictures(turns(30)), live=True, options=quick))


def test_large_frames_are_averaged_and_masks_take_the_colour_around() -> None:
    form = VideoForm(1280, 720, 30, 9, "h264", 0, (0, 0, 1280, 720), ((100, 100, 200, 80),))
    picture = np.full((720, 1280, 3), 90, np.uint8)
    picture[::2, ::2] = 94
    picture[110:150, 120:200] = 255
    found = form.frame(picture)
    assert found.shape == (360, 640, 3)
    assert abs(int(found[:40].mean()) - 91) <= 1
    assert np.abs(found[50:90, 50:150].astype(int) - 91).max() <= 2
    assert form.frame(picture[::2, ::2]).shape == (360, 640, 3), "a video that changes its size on the way"


def test_cuts_are_found_and_turns_and_menus_are_not(tmp_path: Path) -> None:
    fast = np.zeros((100, 2))
    fast[::4, 1] = 20  # the fastest turn that a mouse makes in a frame
    fast[1::4, 1] = -20
    frames = [*pictures(turns(100)), *pictures(turns(100, 1), seed=1), *pictures(fast, seed=1)]
    for number in range(150, 190):  # a menu: the middle covered, the rest dark
        frames[number] = frames[number] // 3
        frames[number][50:130, 90:230] = 180
    path = encode(tmp_path / "a.mp4", iter(frames), options={"crf": "20"})
    found = [
        (run.first, sum(1 for _ in run.frames), run.after_cut, run.before_cut)
        for run in stretches(game_frames(path, look_at(path)))
    ]
    # The third piece begins elsewhere in the same landscape.
    assert [row[:2] for row in found] in ([(0, 100), (100, 200)], [(0, 100), (100, 100), (200, 100)])
    assert found[0][2:] == (False, True)
    assert found[-1][3] is False


def test_a_long_stretch_is_divided_and_what_is_not_read_is_passed_over(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", turns(100))
    found: list[Stretch] = []
    for run in stretches(game_frames(path, look_at(path)), longest=40):
        list(itertools.islice(run.frames, 3))
        found.append(run)
    assert [(run.first, len(run), run.after_cut) for run in found] == [(0, 40, False), (40, 40, False), (80, 20, False)]


def test_damage_in_the_middle_ends_the_stretch(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", pictures(turns(200)), options={"g": "20", "bf": "0"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 6000] = np.random.default_rng(0).integers(0, 256, 6000, np.uint8).tobytes()
    path.write_bytes(bytes(data))
    runs = []
    for run in stretches(game_frames(path, look_at(path))):
        list(run.frames)
        runs.append(run)
    frames = sum(len(run) for run in runs)
    assert 40 < frames < 200
    assert runs[-1].fault or frames > 100, "FFmpeg may pass over the damage"


@pytest.mark.e2e
def test_what_lies_over_the_picture(tmp_path: Path) -> None:
    def overlays(draw: Any) -> list[Any]:
        finder, motion = OverlayFinder(), Motion()
        degrees = turns(400)
        degrees[::3] = 0  # still frames between, on which a face moves on
        for number, frame in enumerate(pictures(degrees)):
            small = cv2.resize(draw(number, frame.copy()), (128, 128), interpolation=cv2.INTER_LINEAR)
            motion.add(grey_of(small))
            assert motion.grey is not None
            finder.add(motion.grey, motion.last_shift)
        return finder.find()

    noise = np.random.default_rng(0)
    still = noise.integers(0, 255, (40, 90, 3), np.uint8)

    def watermark(number: int, frame: Frame) -> Frame:
        frame[5:45, 10:100] = still
        return frame

    def facecam(number: int, frame: Frame) -> Frame:
        face = cv2.resize(noise.integers(0, 255, (6, 8, 3), np.uint8), (80, 60))
        frame[0:60, 240:320] = face
        return frame

    def hotbar(number: int, frame: Frame) -> Frame:
        frame[155:, 90:230] = 60
        frame[160:175, 95:225:9] = 250
        return frame

    assert overlays(lambda number, frame: frame) == []
    assert overlays(hotbar) == []
    (found,) = overlays(watermark)
    assert not found.moves
    assert found.box[0] < 0.1
    assert found.box[2] > 0.2
    (found,) = overlays(facecam)
    assert found.moves
    assert found.box[0] >= 0.6
    assert "facecam" in found.text


def test_videos_are_found_by_name(tmp_path: Path) -> None:
    for name in ("b/one.mp4", "b/one.webm", "a.MKV", "notes.txt", ".hidden.mp4", "with.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "with.jsonl").write_text("{}\n")
    found = find_videos(tmp_path)
    assert list(found.videos) == ["a", "b_one.mp4", "b_one.webm"]
    assert [(path.name, "convert" in why) for path, why in found.left_out] == [("with.mp4", True)]
    assert list(find_videos(tmp_path / "a.MKV").videos) == ["a"]
    (tmp_path / "b" / "c.mp4").write_bytes(b"x")
    (tmp_path / "b_c.mp4").write_bytes(b"x")
    found = find_videos(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path, why in found.left_out if "rename" in why] == ["b/c.mp4"]
    assert found.videos["b_c.mp4"] == tmp_path / "b_c.mp4"
    with pytest.raises(UserError, match="does not exist"):
        find_videos(tmp_path / "nothing")
    with pytest.raises(UserError, match="no video"):
        (tmp_path / "empty").mkdir()
        find_videos(tmp_path / "empty")


def test_videos_in_linked_folders_are_found_once(tmp_path: Path) -> None:
    for name in ("v/near.mp4", "disk/far.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "v" / "more").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "v")
    (tmp_path / "v" / "once").symlink_to(tmp_path / "disk")
    assert sorted(find_videos(tmp_path / "v").videos) == ["more_far", "near"]


def test_a_link_beside_its_folder_renames_no_video(tmp_path: Path) -> None:
    """By its name a mask is given, and its episodes are called."""
    for name in ("2024/x.mp4", "2024/.kept/y.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    before = list(find_videos(tmp_path).videos)
    (tmp_path / "1-newest").symlink_to(tmp_path / "2024")
    assert list(find_videos(tmp_path).videos) == before == ["2024_x"]
    (tmp_path / "2024" / "0-all").symlink_to(tmp_path)
    (tmp_path / "2024" / "0-kept").symlink_to(tmp_path / "2024" / ".kept")
    assert list(find_videos(tmp_path).videos) == ["2024_x", "2024_0-kept_y"]


def test_the_pictures_of_episodes_are_no_videos_to_label(tmp_path: Path) -> None:
    """A run whose output lies beside the videos would label its own episodes when it is continued."""
    (tmp_path / "frames.mp4").write_bytes(b"x")
    make_episode(tmp_path / "labelled" / "frames_000000", 16, goals=False)
    steve1_episode(tmp_path / "others" / "ep", 16)
    assert len(list(tmp_path.rglob("*.mp4"))) == 3
    assert list(find_videos(tmp_path).videos.values()) == [tmp_path / "frames.mp4"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("建" * 71, "213 bytes"),
        (os.fsdecode("\u6211".encode("gbk")), "not UTF-8"),
        ("a\nb", "line break"),
        (" a", "blank"),
    ],
)
def test_a_video_that_no_episode_can_be_named_after_is_left_out(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / f"{name}.mp4").write_bytes(b"x")
    (tmp_path / f"{'建' * 70}.mp4").write_bytes(b"x")
    found = find_videos(tmp_path)
    assert list(found.videos) == ["建" * 70]
    ((path, said),) = found.left_out
    assert (path.stem, why in said) == (name, True)
    assert find_videos(path).left_out == found.left_out
    # The longest name that anything made of a video has for a moment, in a process of many digits.
    (tmp_path / f".{'建' * 70}_000000-options.json.4194304.0123abcd.tmp").write_bytes(b"x")


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "-1,0,5,5", "0,0,0,5", ""])
def test_boxes(text: str) -> None:
    assert parse_box("1,2,3,4") == (1, 2, 3, 4)
    with pytest.raises(UserError, match="not a mask"):
        parse_box(text)
