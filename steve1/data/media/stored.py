"""Videos inside the datasets of other programs: frames by their times in a long video, and videos that are values of a database."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from typing import IO

import av
import numpy as np
from av.error import FFmpegError

from steve1.core.errors import UserError
from steve1.data.media.video import FPS, Frame, opened, reason, to_rgb


def read_frames_of(source: IO[bytes], where: object) -> Iterator[Frame]:
    """Every frame of a video that is held in memory, (H, W, 3) uint8 RGB.

    Args:
        where: for the message.

    Raises:
        UserError: it is not a video, or a frame does not decode.
    """
    try:
        with av.open(source, "r") as container:
            if not container.streams.video:
                raise UserError("This is not a video.", where=where)
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            yield from map(to_rgb, container.decode(stream))
    except (FFmpegError, OSError, ValueError) as fault:
        raise UserError("This video does not decode.", where=where, got=reason(fault)) from None


def encode_video(
    frames: Iterable[Frame], width: int, height: int, *, fps: int = FPS, crf: int = 18, preset: str = "veryfast"
) -> bytes:
    """An mp4 (H.264, yuv420p) of these (height, width, 3) uint8 RGB frames, for stores that hold videos as values."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": str(crf), "preset": preset}
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def read_timed(path: str | os.PathLike[str], first: float, fps: float, count: int) -> Iterator[Frame]:
    """The frames of a video at the times first, first + 1/fps …, in seconds; seeks to the key frame before `first`.

    Raises:
        UserError: no frame lies within a quarter of a frame of such a time (names it).
    """
    with opened(path) as (container, stream):
        stream.codec_context.thread_count = 1
        if first > 0:
            container.seek(int((first - 0.25 / fps) / (stream.time_base or 1)), stream=stream, backward=True)
        done, seen = 0, float("nan")
        for frame in container.decode(stream):
            seen, wanted = float(frame.time if frame.time is not None else first + done / fps), first + done / fps
            if seen < wanted - 0.25 / fps:
                continue
            if seen > wanted + 0.25 / fps:
                break
            yield to_rgb(frame)
            done += 1
            if done == count:
                return
    raise UserError(
        "This video has no frame at a time that its dataset names.",
        where=f"{path}, frame {done} of the episode",
        expected=f"a frame at {first + done / fps:.4f} s",
        got=f"the next at {seen:.4f} s" if seen > first + done / fps else f"the last at {seen:.4f} s",
    )
