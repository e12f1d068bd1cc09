"""Export: episodes in the layouts of other programs.

In: an episode in any layout. Out: the same in the guide's layout (PNG frames, actions.jsonl) or STEVE-1's (mp4 and pickles).
Read again, frames, actions, tokens and embeddings are what they were, bit for bit: PNG loses nothing, and the video is
lossless unless asked otherwise.
"""

from __future__ import annotations

import json
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import atomic_dir
from steve1.data.episodes.episode import Episode, plain_action
from steve1.data.episodes.layouts import ACTIONS, FIRST_GOAL, GOALS_PICKLE, METADATA
from steve1.data.media.video import FPS, VideoWriter

Kind = Literal["guide", "steve1"]
#: entries of the metadata that are true of this project's own layout only
_NATIVE = ("format", "format_version", "jpeg", "mineclip_frames", "frame_size")


def export_episode(source: Path, target: Path, kind: Kind, *, lossless: bool = True) -> int:
    """Write one episode to the folder `target`, whole or not at all; returns its number of frames.

    Args:
        source: an episode in any layout.
        target: the folder to make; it must not exist.
        kind: "guide" or "steve1".
        lossless: of STEVE-1's video: exact pixels (H.264 in RGB; 15 KB a frame of the game) instead of yuv420p (2.6 KB).

    Raises:
        UserError: the episode is broken, or `target` exists.
    """
    episode = Episode(source)
    actions = [plain_action(action) for action in episode.actions()]
    if len(actions) != len(episode):
        raise UserError(
            "The actions do not fit the frames.", where=source, expected=len(episode), got=len(actions),
            todo=f"python tools/validate_dataset.py {source} --repair OUT_DIR",
        )  # fmt: skip
    with atomic_dir(target) as folder:
        if kind == "guide":
            _write_guide(episode, actions, folder)
        else:
            _write_steve1(episode, actions, folder, lossless)
        if episode.has_goals:
            _dump(_goal_rows(episode.goals), folder / GOALS_PICKLE)
        metadata = {
            **{key: value for key, value in episode.metadata.items() if key not in _NATIVE},
            "exported": {"layout": kind, "from": source.name, "lossless": kind == "guide" or lossless},
        }
        (folder / METADATA).write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(episode)


def _write_guide(episode: Episode, actions: list[act.EnvAction], folder: Path) -> None:
    (folder / "frames").mkdir()
    digits = max(5, len(str(len(episode) - 1)))
    for number, frame in enumerate(episode.source_frames()):
        path = folder / "frames" / f"{number:0{digits}d}.png"
        if not cv2.imwrite(str(path), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)):
            raise UserError("A frame could not be written.", where=path, todo="is the disk full?")
    lines = "".join(json.dumps(action, separators=(",", ":")) + "\n" for action in actions)
    (folder / ACTIONS).write_text(lines, encoding="utf-8")


def _write_steve1(episode: Episode, actions: list[act.EnvAction], folder: Path, lossless: bool) -> None:
    if lossless:
        _lossless_video(episode, folder / "frames.mp4")
    else:
        first = episode.frames(0, 1)[0]
        with VideoWriter(folder / "frames.mp4", first.shape[1], first.shape[0], crf=10) as video:
            for start in range(0, len(episode), 64):
                for frame in episode.frames(start, min(start + 64, len(episode))):
                    video.write(frame)
    _dump([{**action, "camera": np.array(action["camera"], np.float64)} for action in actions], folder / "actions.pkl")
    (folder / "len.txt").write_text(f"{len(episode)}\n")


def _lossless_video(episode: Episode, path: Path) -> None:
    """H.264 without loss and without leaving RGB: half-resolution colours alone would change most pixels."""
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264rgb", rate=FPS)
        first = episode.frames(0, 1)[0]
        stream.height, stream.width, stream.pix_fmt = first.shape[0], first.shape[1], "rgb24"
        stream.options = {"qp": "0", "preset": "veryfast", "g": "64"}
        stream.codec_context.thread_count = 1
        for start in range(0, len(episode), 64):
            for frame in episode.frames(start, min(start + 64, len(episode))):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))


def _goal_rows(goals: NDArray[np.floating[Any]]) -> list[NDArray[np.float32] | None]:
    """STEVE-1's form: None where there is no embedding yet, then float32 (1, E)."""
    return [None if row < FIRST_GOAL else np.array(goals[row : row + 1], np.float32) for row in range(len(goals))]


def _dump(value: Any, path: Path) -> None:
    """A pickle that numpy 1 reads too: numpy 2 names its module in a way that older ones do not know."""
    data = pickle.dumps(value, protocol=3)
    pieces, at = [], 0
    for code, argument, position in pickletools.genops(data):
        if code.name == "GLOBAL" and position is not None and str(argument).startswith("numpy._core."):
            module, name = str(argument).split(" ")
            end = position + len(f"c{module}\n{name}\n")
            pieces += [data[at:position], f"c{module.replace('numpy._core', 'numpy.core')}\n{name}\n".encode()]
            at = end
    with open(path, "wb") as handle:
        handle.write(b"".join([*pieces, data[at:]]))
        handle.flush()
        os.fsync(handle.fileno())
