"""Video in and out: counts, colours, ranges, and files that are broken in every way a recorder leaves them."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from steve1.core.errors import UserError
from steve1.data.media.video import VideoWriter, poster, probe, read_frames, read_range
from tests.data.makers import picture


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with VideoWriter(path, 128, 72) as video:
        for number in range(300):
            video.write(picture(number))
    return path


def test_round_trip_is_20_fps_h264_in_order(clip: Path) -> None:
    info = probe(clip)
    assert (info.width, info.height, info.fps, info.frames, info.codec) == (128, 72, 20.0, 300, "h264")
    for number, frame in enumerate(read_frames(clip)):
        assert frame.shape == (72, 128, 3)
        errors = [np.abs(frame.astype(int) - picture(n)).mean() for n in (number, number + 1)]
        assert errors[0] < 4 < errors[1]
    assert number == 299


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (120, 130), (249, 252), (297, 300)])
def test_ranges_equal_the_whole(clip: Path, start: int, stop: int) -> None:
    whole = list(read_frames(clip))[start:stop]
    assert np.array_equal(list(read_range(clip, start, stop)), whole)


def test_range_past_the_end_names_the_length(clip: Path) -> None:
    with pytest.raises(UserError, match="shorter") as fault:
        list(read_range(clip, 295, 305))
    assert "300" in str(fault.value)


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("frames", [1, 300])
def test_the_index_stands_in_front(tmp_path: Path, frames: int, lossless: bool) -> None:
    """Browsers show a video while it loads; its colours are those that every player knows."""
    path = tmp_path / "x.mp4"
    with VideoWriter(path, 64, 36, lossless=lossless) as video:
        for number in range(frames):
            video.write(np.full((36, 64, 3), number % 256, np.uint8))
    data, atoms, at = path.read_bytes(), [], 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        atoms.append(kind.decode())
        at += size
    assert atoms.index("moov") < atoms.index("mdat")
    assert at == len(data)
    with av.open(str(path)) as container:
        coded = container.streams.video[0].codec_context
        assert (coded.name, coded.pix_fmt) == ("h264", "gbrp" if lossless else "yuv420p")


def test_a_poster_shows_the_middle(clip: Path, tmp_path: Path) -> None:
    shown = cv2.imdecode(np.frombuffer(poster(clip, width=64), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (36, 64, 3)
    errors = [np.abs(cv2.resize(picture(n)[:, :, ::-1], (64, 36)).astype(int) - shown).mean() for n in range(300)]
    assert int(np.argmin(errors)) == 150
    (tmp_path / "none.mp4").write_bytes(b"")
    assert poster(tmp_path / "none.mp4") == poster(tmp_path / "missing.mp4") == b""


def index_last(clip: Path, path: Path) -> bytes:
    """The clip as most recorders write it: with the index at its end."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_cut_off_without_index_is_refused_by_name(clip: Path, tmp_path: Path, share: float) -> None:
    part = tmp_path / "part.mp4"
    data = index_last(clip, part)
    part.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match="does not open") as fault:
        list(read_frames(part))
    assert "part.mp4" in str(fault.value)


def test_cut_off_behind_its_index_just_ends(clip: Path, tmp_path: Path) -> None:
    """A file with its index in front that was cut gives the frames that arrived."""
    data = clip.read_bytes()
    part = tmp_path / "part.mp4"
    part.write_bytes(data[: int(len(data) * 0.6)])
    assert 50 < sum(1 for _ in read_frames(part)) < 290


def test_damage_in_the_middle_is_refused_with_its_frame(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes((7 * b + 3) % 256 for b in data[middle : middle + 3000])
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(bytes(data))
    with pytest.raises(UserError, match="corrupt") as fault:
        list(read_frames(broken))
    assert "frame " in str(fault.value)
    with pytest.raises(UserError, match="corrupt") as fault:
        list(read_range(broken, 0, 300))
    assert "broken.mp4, frames 0..299" in str(fault.value)


def test_a_range_that_cannot_be_decoded_names_its_video(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(bytes(data))
    for start in (100, 250, 297):
        with pytest.raises(UserError) as fault:
            list(read_range(broken, start, 300))
        assert "broken.mp4" in str(fault.value)


@pytest.mark.parametrize("content", [b"", b"not a video" * 50, b"\x00" * 4096])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError):
        list(read_frames(path))


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), VideoWriter(tmp_path / "x.mp4", 128, 72) as video:
        video.write(picture(0))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="even"):
        VideoWriter(tmp_path / "x.mp4", 127, 72)
    with pytest.raises(UserError, match="does not fit"), VideoWriter(tmp_path / "x.mp4", 128, 72) as video:
        video.write(picture(0, 64, 64))
    assert list(tmp_path.iterdir()) == []
