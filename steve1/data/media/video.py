"""Reads and writes video frame by frame, with a few frames in memory.

A video that was cut off ends early; one that is corrupt in the middle is refused.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import atomic_path
from steve1.core.frames import jpeg_bytes
from steve1.core.reading.contents import refuse_other_content

FPS = 20
#: width and height of the recorders' frames; larger ones are reduced to this size first
RECORDER_SIZE = (640, 360)
Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class VideoInfo:
    """The header of a container's first video stream; `frames` is 0 if unknown."""

    width: int  #: as coded, before any turn
    height: int
    fps: float
    frames: int
    codec: str
    seconds: float
    aspect: float = 1.0  #: width of a pixel in heights


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream; UserError if there is none."""
    source = Path(path)
    if not source.is_file():
        raise UserError("This video does not exist.", where=source)
    refuse_other_content(source)
    try:
        container = av.open(f"file:{source}", "r")
    except (FFmpegError, OSError, ValueError) as fault:
        raise UserError(
            "This video does not open.",
            where=source,
            expected="a complete video file (mp4 with H.264 is what the recorders write)",
            got=reason(fault),
            todo="record or download it again; a recording that was cut off has no index and cannot be read",
        ) from None
    with container:
        if not container.streams.video:
            raise UserError("This file holds no video stream.", where=source)
        if container.streams.video[0].codec_context is None:
            raise UserError("FFmpeg has no decoder for this video.", where=source, expected="H.264")
        yield container, container.streams.video[0]


def reason(fault: BaseException) -> str:
    return str(getattr(fault, "strerror", "") or fault)


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Size, rate and length of a video, read from its header.

    Raises:
        UserError: it does not exist, does not open, or has no video stream.
    """
    with opened(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate or Fraction(0)
        seconds = float(container.duration or 0) / av.time_base
        codec = stream.codec_context
        aspect = float(stream.sample_aspect_ratio or 1)
        return VideoInfo(codec.width, codec.height, float(rate), int(stream.frames or 0), codec.name, seconds, aspect)


def frame_times(path: str | os.PathLike[str]) -> tuple[float, NDArray[np.float64], float | None]:
    """Average frames per second, seconds (N,) from the first frame to each, and the first one's time stamp; decodes nothing.

    Raises:
        UserError: as `probe`.
    """
    with opened(path) as (container, stream):
        stamps: list[int | None] = []
        with contextlib.suppress(FFmpegError):  # a file that was cut off: decoding it reports that
            stamps = [packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard]
        header = float(stream.average_rate or stream.guessed_rate or 0)
        tick = float(stream.time_base or 0)
    known = sorted(stamp for stamp in stamps if stamp is not None)
    if len(known) < max(2, len(stamps)) or known[-1] == known[0]:
        rate = header or float(FPS)
        return rate, np.arange(len(stamps)) / rate, None
    seconds = (np.asarray(known, np.float64) - known[0]) * tick
    rate = (len(seconds) - 1) / float(seconds[-1])
    # The header's rate is exact where the container rounds times; its audio or fragments may make it wrong.
    return (header if abs(header / rate - 1) < 0.005 else rate), seconds, known[0] * tick


def turn_of(path: str | os.PathLike[str]) -> int:
    """Degrees by which a video's frames are to be turned counter-clockwise: 0, 90, 180 or 270. `read_frames` does it."""
    return next((_turn(frame) for frame in decoded_frames(path)), 0)


def _turn(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) * 90 % 360


def read_frames(path: str | os.PathLike[str], *, threads: int = 1) -> Iterator[Frame]:
    """Every frame of a video in order, (H, W, 3) uint8 RGB.

    A file that was cut off ends the iteration early: compare the count with what you expected.

    Args:
        threads: decoder threads; 1 where many videos are read in parallel.

    Raises:
        UserError: it does not open, or a frame in the middle does not decode (names the frame).
    """
    return map(to_rgb, decoded_frames(path, threads=threads))


def decoded_frames(path: str | os.PathLike[str], *, threads: int = 1, start: float = 0.0) -> Iterator[av.VideoFrame]:
    """Like `read_frames`, as PyAV frames: with time stamps, not yet converted to RGB.

    Args:
        start: a time stamp in seconds; the first frame is then a key frame at or before it, with 0 the video's first.
    """
    with opened(path) as (container, stream):
        stream.codec_context.thread_count = threads
        if start > 0 and stream.time_base is not None:
            with contextlib.suppress(FFmpegError):  # a container that cannot be searched is read from its beginning
                container.seek(int(start / stream.time_base), stream=stream, backward=True)
        yield from _decoded(container, stream, path)


def _decoded(
    container: InputContainer, stream: VideoStream, path: str | os.PathLike[str], part: str = ""
) -> Iterator[av.VideoFrame]:
    """The frames from where the container stands; `part` names in errors what is read, "": the frame that is missing."""
    count, fault = 0, ""
    try:
        for packet in container.demux(stream):
            if fault and packet.size == 0:
                break  # flushing returns the frames around the missing one, in an order that cannot be known
            try:
                frames = packet.decode()
            except FFmpegError as error:
                fault = fault or reason(error)
                continue
            for frame in frames:
                if frame.is_corrupt:
                    fault = fault or "damaged frame data"
                elif fault:
                    where = f"{path}, {part or f'frame {count}'}"
                    todo = "record or download it again"
                    raise UserError("This video is corrupt.", where=where, got=fault, todo=todo)
                else:
                    yield frame
                    count += 1
    except FFmpegError as error:
        fault = fault or reason(error)
    if count == 0:
        raise UserError("No frame of this video can be decoded.", where=path, got=fault or "no frames")


def to_rgb(frame: av.VideoFrame) -> Frame:
    """(H, W, 3) uint8, turned as the video says; takes as long as decoding."""
    picture = cast(Frame, frame.to_ndarray(format="rgb24"))
    quarters = _turn(frame) // 90
    return np.ascontiguousarray(np.rot90(picture, quarters)) if quarters else picture


def recorder_size(frame: Frame) -> Frame:
    """A frame no larger than the recorders', (H, W, 3) uint8.

    A larger one is reduced to 640x360 by area averaging, like the recorders' smaller window. The reduction to 128x128 that
    follows is bilinear and would alias a large frame.
    """
    height, width = frame.shape[:2]
    if width <= RECORDER_SIZE[0] or height <= RECORDER_SIZE[1]:
        return frame
    return cv2.resize(frame, RECORDER_SIZE, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def read_range(path: str | os.PathLike[str], start: int, stop: int) -> Iterator[Frame]:
    """Frames start..stop-1 of a constant-rate video; seeks to the key frame before `start`.

    Raises:
        UserError: the video ends before `stop`, its rate is not constant, or a frame does not decode.
    """
    with opened(path) as (container, stream):
        stream.codec_context.thread_count = 1
        per_frame = 1 / ((stream.average_rate or Fraction(FPS)) * stream.time_base)  # type: ignore[operator]
        first = stream.start_time or 0
        if start > 0:
            container.seek(int(first + start * per_frame), stream=stream, backward=True)
        wanted = start
        for frame in _decoded(container, stream, path, f"frames {start}..{stop - 1}"):
            number = round((frame.pts - first) / per_frame) if frame.pts is not None else wanted
            if number < wanted:
                continue
            if number > wanted:
                what = "This video has no constant frame rate, so its frames cannot be counted."
                raise UserError(what, where=f"{path}, frame {wanted}")
            yield to_rgb(frame)
            wanted += 1
            if wanted == stop:
                return
    expected = f"at least {stop} frames"
    raise UserError("This video is shorter than its episode.", where=path, expected=expected, got=wanted)


def poster(path: str | os.PathLike[str], width: int = 480) -> bytes:
    """A picture from the middle of a video as JPEG, at most `width` pixels wide; b"" where none can be read."""
    try:
        with opened(path) as (container, stream):
            middle, frame = (container.duration or 0) // 2, None
            container.seek(middle)
            for frame in container.decode(stream):
                if frame.time is None or frame.time * av.time_base >= middle:
                    break
    except (UserError, FFmpegError):
        return b""
    if frame is None:
        return b""
    shown = min(width, frame.width)
    picture = frame.to_ndarray(format="rgb24", width=shown, height=round(frame.height * shown / frame.width))
    return jpeg_bytes(np.asarray(picture, np.uint8))


class VideoWriter:
    """Writes H.264 at a constant rate; the file gets its name only when the `with` block succeeds.

    The index stands in front of the pictures, so that a browser shows the first frame before it has the whole file.

    Args:
        path: the mp4 to write.
        width, height: pixels; even unless lossless.
        fps: frames per second; the games run at 20.
        crf: x264's constant rate factor; lower is better and larger.
        preset: x264's; "ultrafast" encodes and decodes about twice as fast at twice the size.
        lossless: keep every pixel, in RGB: 4:2:0 chroma alone would change most of them.
        gop: frames from one key frame to the next; 0: as x264 likes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        width: int,
        height: int,
        fps: int | Fraction = FPS,
        *,
        crf: int = 18,
        preset: str = "veryfast",
        lossless: bool = False,
        gop: int = 0,
    ) -> None:
        if not lossless and (width % 2 or height % 2):
            raise UserError("H.264 needs an even width and height.", where=path, got=f"{width}x{height}")
        self.path, self.width, self.height, self.fps = Path(path), width, height, fps
        self._lossless = lossless
        quality = {"qp": "0", "g": "64"} if lossless else {"crf": str(crf)}
        self._options: dict[str, object] = {"preset": preset, **quality, **({"g": str(gop)} if gop else {})}
        self.frames, self.bytes = 0, 0  # bytes of the pictures so far; the encoder holds back some
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> VideoWriter:
        part = self._stack.enter_context(atomic_path(self.path))
        options = {"movflags": "+faststart"}
        self._container = self._stack.enter_context(av.open(f"file:{part}", "w", format="mp4", options=options))
        self._stack.push(self._flush)
        self._stream = self._container.add_stream("libx264rgb" if self._lossless else "libx264", rate=self.fps)
        self._stream.width, self._stream.height = self.width, self.height
        self._stream.pix_fmt = "rgb24" if self._lossless else "yuv420p"
        self._stream.options = self._options
        self._stream.codec_context.thread_count = 1
        return self

    def _flush(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._container.mux(self._stream.encode(None))

    def write(self, frame: Frame) -> None:
        """Add one (height, width, 3) uint8 RGB frame."""
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            raise UserError(
                "A frame does not fit the video.",
                where=f"{self.path}, frame {self.frames}",
                expected=f"uint8 ({self.height}, {self.width}, 3)",
                got=f"{frame.dtype} {frame.shape}",
            )
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        packets = self._stream.encode(picture)
        self.bytes += sum(packet.size for packet in packets)
        self._container.mux(packets)
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, fault, trace)
