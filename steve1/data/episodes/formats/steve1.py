"""STEVE-1's format: frames.mp4, actions.pkl, embeds_attn.pkl, metadata.json, len.txt."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.frames import AGENT_SIZE, agent_frame
from steve1.core.reading.contents import read_text
from steve1.core.reading.pickles import load_restricted
from steve1.data.episodes.formats.base import EpisodeFormat
from steve1.data.episodes.parts import ACTIONS_PICKLE, GOALS_PICKLE, METADATA, write_pickle
from steve1.data.media.video import VideoWriter, read_frames, read_range

VIDEO, LENGTH = "frames.mp4", "len.txt"


def named_length(folder: Path) -> int | None:
    """The frames that len.txt names, at which longer parts end; None without the file.

    Raises:
        UserError: it is no number of frames.
    """
    file = folder / LENGTH
    if not file.exists():
        return None
    said = read_text(file).strip()
    if not said.isdecimal() or len(said) > 9 or not int(said):
        raise UserError("len.txt is not a number of frames.", where=file, got=said[:40])
    return int(said)


class Steve1Format(EpisodeFormat):
    """A video and pickled MineRL actions."""

    name = "steve1"
    marker = VIDEO
    actions_file = ACTIONS_PICKLE
    files = (VIDEO, ACTIONS_PICKLE, GOALS_PICKLE, METADATA, LENGTH)
    writable = True

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        named = named_length(path)
        self.n_frames, self.length_named = len(self._actions) if named is None else named, named is not None
        if not self.n_frames:
            raise UserError("This episode has no actions.", where=path / ACTIONS_PICKLE)

    @cached_property
    def _actions(self) -> list[act.EnvAction]:
        path = self.path / ACTIONS_PICKLE
        found = load_restricted(path)
        if not isinstance(found, (list, tuple)) or not all(isinstance(action, dict) for action in found):
            what = "These actions are not a list of MineRL actions."
            raise UserError(what, where=path, got=type(found).__name__)
        return list(found)

    def actions(self) -> list[act.EnvAction]:
        return self.cut(self._actions)

    def read(self, start: int, stop: int, out: NDArray[np.uint8]) -> None:
        for row, frame in zip(out, read_range(self.path / VIDEO, start, stop)):
            row[:] = agent_frame(frame)

    def source_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        stop = self.n_frames if self.length_named else None
        yield from itertools.islice(read_frames(self.path / VIDEO), start, stop)

    @classmethod
    def write(cls, source: EpisodeFormat, actions: Sequence[act.EnvAction], folder: Path, *, lossless: bool) -> None:
        height, width = AGENT_SIZE
        with VideoWriter(folder / VIDEO, width, height, crf=10, lossless=lossless) as video:
            for frame in source.agent_frames():
                video.write(frame)
        arrays = [{**action, "camera": np.array(action["camera"], np.float64)} for action in actions]
        write_pickle(arrays, folder / ACTIONS_PICKLE)
        (folder / LENGTH).write_text(f"{len(actions)}\n")
