"""This project's format: packed JPEGs, actions as JSON lines, memory-mapped tokens and goal embeddings."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import atomic_dir, read_json
from steve1.core.frames import AGENT_SIZE, MINECLIP_SIZE, agent_frame, mineclip_frame
from steve1.data.episodes.formats.base import EpisodeFormat
from steve1.data.episodes.parts import (
    ACTION_MASK,
    ACTIONS,
    GOALS,
    GOALS_PICKLE,
    INDEX,
    LABEL_LOGP,
    METADATA,
    MINECLIP_VIDEO,
    PACK,
    TOKENS,
    action_line,
    check_finite,
    check_length,
    load_array,
    plain_action,
    read_actions,
)
from steve1.data.media.jpegs import CHROMA, QUALITY, JpegPackWriter, file_size, read_pack
from steve1.data.media.video import FPS, VideoWriter, read_frames, read_range

FORMAT, FORMAT_VERSION = "steve1-episode", 1


class NativeFormat(EpisodeFormat):
    """Random access to frames, tokens and goals without decoding or parsing anything else."""

    name = "native"
    marker = PACK
    files = (PACK, INDEX, ACTIONS, TOKENS, MINECLIP_VIDEO, GOALS, GOALS_PICKLE, LABEL_LOGP, ACTION_MASK, METADATA)

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.metadata = self.metadata or read_json(path / METADATA)  # which reports the missing file
        version = self.metadata.get("format"), self.metadata.get("format_version")
        if version != (FORMAT, FORMAT_VERSION):
            raise UserError(
                "This episode is of a format that this version does not read.",
                where=path / METADATA,
                expected=f"{FORMAT} version {FORMAT_VERSION}",
                got=f"{version[0]} version {version[1]}",
                todo="convert the recording again",
            )
        self.offsets: NDArray[np.int64] = np.asarray(load_array(path / INDEX))
        self.n_frames = len(self.offsets) - 1
        check_length(path / METADATA, "n_frames", self.metadata.get("n_frames"), self.n_frames)
        if file_size(path / PACK) != self.offsets[-1]:
            raise UserError(
                "The packed frames do not fit their index.",
                where=path / PACK,
                expected=f"{self.offsets[-1]} bytes",
                got=file_size(path / PACK),
                todo="convert the recording again",
            )

    def read(self, start: int, stop: int, out: NDArray[np.uint8]) -> None:
        read_pack(self.path / PACK, self.offsets, start, stop, out)

    def actions(self) -> list[act.EnvAction]:
        return read_actions(self.path / ACTIONS)

    @cached_property
    def tokens(self) -> NDArray[np.integer[Any]]:
        found = load_array(self.path / TOKENS)
        check_length(self.path / TOKENS, "action tokens", len(found), self.n_frames)
        return found

    @property
    def keeps_mineclip_frames(self) -> bool:
        return (self.path / MINECLIP_VIDEO).exists()

    def mineclip_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        video = self.path / MINECLIP_VIDEO
        if not self.keeps_mineclip_frames:
            yield from super().mineclip_frames(start)
        elif start:
            yield from read_range(video, start, self.n_frames)
        else:
            count = 0
            for frame in read_frames(video):
                yield frame
                count += 1
            check_length(video, "frames", count, self.n_frames)


class EpisodeWriter:
    """Writes one episode in this project's format; the folder appears only when the `with` block succeeds.

    Args:
        path: the folder to create; it must not exist.
        metadata: provenance, kept beside the fields that the format itself sets.
        keep_mineclip_frames: also write the 256x160 video that the embedding step reads.

    Attributes:
        metadata: may be added to until the block ends.
        goals: goal embeddings float (N, E) to write with the rest, None without.
        label_logp: how sure the labels are, (N, 2), for episodes made from videos; None without.
        imitated: bool (N,), whether training imitates each frame's action; None, or True everywhere: it imitates all.
    """

    def __init__(
        self, path: str | os.PathLike[str], metadata: dict[str, Any] | None = None, *, keep_mineclip_frames: bool = True
    ) -> None:
        self.path = Path(path)
        self.metadata = dict(metadata or {})
        self.goals: NDArray[np.floating[Any]] | None = None
        self.label_logp: NDArray[np.floating[Any]] | None = None
        self.imitated: NDArray[np.bool_] | None = None
        self._keep_mineclip = keep_mineclip_frames
        self._jpeg: dict[str, Any] = {"quality": QUALITY, "chroma": CHROMA}
        self._actions: list[act.EnvAction] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> EpisodeWriter:
        with contextlib.ExitStack() as stack:
            self._folder = stack.enter_context(atomic_dir(self.path))
            self._lines: IO[str] = stack.enter_context(open(self._folder / ACTIONS, "w", encoding="utf-8"))
            self._pack_file: IO[bytes] = stack.enter_context(open(self._folder / PACK, "wb"))
            self._pack = JpegPackWriter(self._pack_file)
            self._video = stack.enter_context(_mineclip_writer(self._folder)) if self._keep_mineclip else None
            self._stack = stack.pop_all()
        return self

    def __len__(self) -> int:
        return len(self._actions)

    def add(self, frame: NDArray[np.uint8], action: act.EnvAction) -> None:
        """Append a frame, uint8 (H, W, 3) RGB of any size, and the MineRL action taken on seeing it."""
        plain = plain_action(action, f"{self.path}, frame {len(self)}")
        self._pack.add(agent_frame(frame))
        if self._video is not None:
            self._video.write(mineclip_frame(frame))
        self._add_action(plain)

    def copy(self, pack: NDArray[np.uint8], offsets: NDArray[np.int64], actions: Sequence[act.EnvAction]) -> None:
        """Append a stretch of another native episode, encoded as it is: its pack, offsets int64 (N+1,) in it, N actions."""
        self._jpeg = self.metadata.get("jpeg") or self._jpeg
        self._pack.copy(pack, offsets)
        for action in actions:
            self._add_action(plain_action(action, f"{self.path}, frame {len(self)}"))

    def copy_video(self, source: Path, numbers: NDArray[np.int64], *, whole: bool) -> None:
        """Write the frames `numbers`, in ascending order, of a 256x160 video as this episode's; `whole`: they are all of it, so copy the file."""
        self._keep_mineclip = True
        if whole:
            shutil.copyfile(source, self._folder / MINECLIP_VIDEO)
            return
        wanted = set(numbers.tolist())
        with _mineclip_writer(self._folder) as writer:
            for number, frame in enumerate(itertools.islice(read_frames(source), int(numbers[-1]) + 1)):
                if number in wanted:
                    writer.write(frame)
        if writer.frames != len(numbers):
            expected = f"{int(numbers[-1]) + 1} frames"
            raise UserError("This video is shorter than its episode.", where=source, expected=expected)

    def _add_action(self, action: act.EnvAction) -> None:
        self._actions.append(action)
        self._lines.write(action_line(action))

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is not None:
            return self._stack.__exit__(kind, fault, trace)
        with self._stack:
            self._finish()
        return None

    def _finish(self) -> None:
        if not self._actions:
            raise UserError("An episode needs at least one frame.", where=self.path)
        np.save(self._folder / TOKENS, np.stack(act.to_joint(self._actions), axis=1).astype(np.int32))
        np.save(self._folder / INDEX, self._pack.offsets)
        if self.goals is not None:
            np.save(self._folder / GOALS, checked_goals(self.goals, len(self), self.path))
        if self.label_logp is not None:
            np.save(self._folder / LABEL_LOGP, self.label_logp.astype("<f2"))
        if self.imitated is not None and not self.imitated.all():
            check_length(self.path, "mask of actions", len(self.imitated), len(self))
            np.save(self._folder / ACTION_MASK, np.asarray(self.imitated, np.bool_))
        own = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "n_frames": len(self),
            "fps": FPS,
            "frame_size": list(AGENT_SIZE),
            "jpeg": self._jpeg,
            "mineclip_frames": self._keep_mineclip,
        }
        text = json.dumps({**own, **self.metadata, **own}, indent=2, ensure_ascii=False) + "\n"
        (self._folder / METADATA).write_text(text, encoding="utf-8", errors="backslashreplace")
        for handle in (self._lines, self._pack_file):
            handle.flush()
            os.fsync(handle.fileno())


def _mineclip_writer(folder: Path) -> VideoWriter:
    height, width = MINECLIP_SIZE
    return VideoWriter(folder / MINECLIP_VIDEO, width, height, preset="ultrafast")


def checked_goals(embeds: NDArray[np.floating[Any]], n_frames: int, where: Path) -> NDArray[np.floating[Any]]:
    """Goal embeddings (N, E) as they are written: float16 stays, anything else becomes float32.

    Raises:
        UserError: not one row per frame, or a row after the first 15 is not finite (names it).
    """
    rows = np.asarray(embeds)
    rows = rows if rows.dtype == np.float16 else rows.astype(np.float32)
    if rows.ndim != 2 or len(rows) != n_frames:
        what = "The embeddings do not fit the episode."
        raise UserError(what, where=where, expected=f"({n_frames}, E)", got=rows.shape)
    check_finite(rows, where)
    return rows
