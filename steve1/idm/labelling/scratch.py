"""Where the frames of a stretch wait until their labels are known, and the episodes that are made of them.

The frames of 128x128 are packed as the episode will hold them. Those that are coded again in the end (MineCLIP's, or a recording's) wait
without loss or nearly so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.files import atomic_file
from steve1.core.frames import MINECLIP_SIZE, mineclip_frame
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.media.jpegs import JpegPackWriter, read_pack
from steve1.data.media.video import FPS, RECORDER_SIZE, Frame, VideoWriter, read_frames

_NEARLY_LOSSLESS = 8  # x264's rate factor


class Scratch:
    """Takes the frames of a stretch.

    Args:
        folder: an empty one, of this stretch alone.
        full_size: keep frames of 640x360 for recordings, rather than MineCLIP's of 256x160.
        second: keep these at all.
    """

    def __init__(self, folder: Path, *, full_size: bool, second: bool = True) -> None:
        self._pack_path, self._video_path, self._full = folder / "frames.jpgs", folder / "frames.mp4", full_size
        self._handle = open(self._pack_path, "wb")  # noqa: SIM115  (closed at the end of the block)
        self._pack = JpegPackWriter(self._handle)
        size = RECORDER_SIZE if full_size else MINECLIP_SIZE[::-1]
        self._video: VideoWriter | None = None
        if second:
            self._video = VideoWriter(
                self._video_path, *size, preset="ultrafast", lossless=not full_size, crf=_NEARLY_LOSSLESS
            )

    def __enter__(self) -> Scratch:
        if self._video is not None:
            self._video.__enter__()
        return self

    def take(self, frames: Iterable[tuple[Frame, Frame]], rows: range) -> Iterator[Frame]:
        """Keep each (frame of the recorders' size, agent frame) whose place is in `rows`, and pass every agent frame on."""
        for number, (frame, agent) in enumerate(frames):
            if number in rows:
                self._pack.add(agent)
                if self._video is not None:
                    self._video.write(_full_size(frame) if self._full else mineclip_frame(frame))
            yield agent

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()
        if self._video is not None:
            self._video.__exit__(kind, fault, trace)

    def agent_frame(self, number: int) -> Frame:
        """Frame `number` as the episode will hold it; after the block."""
        out = np.empty((1, 128, 128, 3), np.uint8)
        read_pack(self._pack_path, self._pack.offsets, number, number + 1, out)
        return out[0]

    def write_episode(
        self,
        path: Path,
        numbers: NDArray[np.int64],
        actions: Sequence[act.EnvAction],
        sure: NDArray[np.float32],
        metadata: dict[str, Any],
    ) -> None:
        """Write frames `numbers` (ascending) with their actions and confidence (both of these frames) as a native episode; after the block."""
        pack, offsets = np.memmap(self._pack_path, np.uint8, "r"), self._pack.offsets
        with EpisodeWriter(path, metadata, keep_mineclip_frames=False) as writer:
            done = 0
            for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
                first, last = int(run[0]), int(run[-1])
                writer.copy(pack, offsets[first : last + 2], actions[done : done + len(run)])
                done += len(run)
            if self._video is not None:
                writer.copy_video(self._video_path, numbers, whole=False)
            writer.label_logp = sure

    def write_recording(
        self, path: Path, numbers: NDArray[np.int64], actions: Sequence[act.EnvAction], options: dict[str, Any]
    ) -> None:
        """Write frames `numbers` with their actions as name.mp4, name.jsonl and name-options.json; after the block. The video gets its name last."""
        wanted = set(numbers.tolist())
        with atomic_file(path.with_name(f"{path.name}-options.json"), "w") as handle:
            handle.write(json.dumps(options, indent=2, ensure_ascii=False) + "\n")
        with atomic_file(path.with_name(f"{path.name}.jsonl"), "w") as lines:
            for number, action in enumerate(actions):
                lines.write(json.dumps(act.to_contractor(action, number)) + "\n")
        with VideoWriter(path.with_name(f"{path.name}.mp4"), *RECORDER_SIZE, FPS) as writer:
            for number, frame in enumerate(read_frames(self._video_path)):
                if number in wanted:
                    writer.write(frame)


def _full_size(frame: Frame) -> Frame:
    height, width = frame.shape[:2]
    if (width, height) == RECORDER_SIZE:
        return frame
    return cv2.resize(frame, RECORDER_SIZE, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]
