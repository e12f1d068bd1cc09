"""Frames as H.264 while they are played: each is encoded at once and needs no later one, as a browser's WebCodecs decodes it.

Input: uint8 RGB frames of one size. Output: for each frame the bytes of its picture, in Annex B form.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from numpy.typing import NDArray

_ENCODER = "libx264"
# AVCOL_* of FFmpeg: OpenCV's I420 has BT.601's matrix and the limited range; primaries and curve are those of sRGB.
_MATRIX, _RANGE, _PRIMARIES, _CURVE = 6, 1, 1, 13


@dataclass(frozen=True)
class Unit:
    """One frame's picture. `key`: it needs no other frame; `codec`: how WebCodecs names the stream, such as avc1.42c016."""

    data: bytes
    key: bool
    codec: str


def can_encode(width: int, height: int) -> bool:
    """Whether frames of this size can be encoded by this PyAV."""
    return width % 2 == height % 2 == 0 and _ENCODER in av.codecs_available


class H264Stream:
    """Encodes one frame after another. The first is a key frame; there are no others until `restart`.

    Args:
        width, height: pixels; even.
        rate: frames a second that the encoder reckons with.

    Raises:
        FFmpegError: the encoder does not start (also from `encode`).
    """

    def __init__(self, width: int, height: int, rate: int = 20) -> None:
        self.size = (width, height)
        self._number, self._key, self._name = 0, True, ""
        encoder = VideoCodecContext.create(_ENCODER, "w")
        assert isinstance(encoder, VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base, encoder.framerate, encoder.thread_count = Fraction(1, rate), Fraction(rate), 1
        encoder.colorspace, encoder.color_range = _MATRIX, _RANGE
        encoder.color_primaries, encoder.color_trc = _PRIMARIES, _CURVE
        encoder.options = {
            "preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "crf": "23", "g": "1000000000", "forced-idr": "1",
            "x264-params": "annexb=1:repeat-headers=1:scenecut=0",
        }  # fmt: skip
        self._encoder = encoder

    def restart(self) -> None:
        """Make the next frame a key frame."""
        self._key = True

    def encode(self, frame: NDArray[np.uint8]) -> Unit:
        """The picture of a frame (height, width, 3) u8 RGB."""
        planes = cast(NDArray[np.uint8], cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420))
        picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        picture.pts = self._number
        picture.pict_type = PictureType.I if self._key else PictureType.NONE
        (packet,) = self._encoder.encode(picture)  # zerolatency: never more or fewer than one
        self._number, self._key = self._number + 1, False
        data = bytes(packet)
        if packet.is_keyframe:
            self._name = _codec_name(data)
        return Unit(data, packet.is_keyframe, self._name)


def _codec_name(unit: bytes) -> str:
    """Profile, constraints and level of a key frame's parameter set, as WebCodecs wants them."""
    begin = unit.index(b"\0\0\1\x67") + 4
    return "avc1." + unit[begin : begin + 3].hex()
