"""H.264 for a browser: every frame comes at once, and decodes to what went in."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from steve1.data.media.h264 import H264Stream, can_encode

pytestmark = pytest.mark.skipif(not can_encode(640, 360), reason="this PyAV has no libx264")


def moving(count: int, width: int = 320, height: int = 180) -> list[NDArray[np.uint8]]:
    """A smooth picture that moves."""
    small = np.random.default_rng(0).integers(0, 256, (18, 32, 3), dtype=np.uint8)
    large = cv2.resize(small, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(large[n : n + height, 2 * n : 2 * n + width], np.uint8) for n in range(count)]


def test_each_frame_decodes_at_once_to_what_went_in() -> None:
    stream, decoder = H264Stream(320, 180), av.CodecContext.create("h264", "r")
    keys, sizes = [], []
    for number, frame in enumerate(moving(30)):
        if number == 20:
            stream.restart()
        unit = stream.encode(frame)
        assert unit.codec.startswith("avc1.42c0")  # constrained baseline
        (picture,) = decoder.decode(av.Packet(unit.data))  # type: ignore[attr-defined]
        assert np.abs(picture.to_ndarray(format="rgb24").astype(int) - frame).mean() < 6
        keys.append(unit.key)
        sizes.append(len(unit.data))
    assert [number for number, key in enumerate(keys) if key] == [0, 20]
    assert np.median(sizes) < min(sizes[0], sizes[20]) / 4


def test_a_decoder_may_begin_where_the_stream_was_restarted() -> None:
    stream, frames = H264Stream(320, 180), moving(12)
    for frame in frames[:6]:
        stream.encode(frame)
    stream.restart()
    decoder = av.CodecContext.create("h264", "r")
    for frame in frames[6:]:
        (picture,) = decoder.decode(av.Packet(stream.encode(frame).data))  # type: ignore[attr-defined]
        assert np.abs(picture.to_ndarray(format="rgb24").astype(int) - frame).mean() < 6


@pytest.mark.parametrize(("width", "height"), [(321, 180), (320, 181)])
def test_odd_sizes_are_not_for_h264(width: int, height: int) -> None:
    assert not can_encode(width, height)
