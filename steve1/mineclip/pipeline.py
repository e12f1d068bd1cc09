"""Embeds many episodes with one MineCLIP: batches span episodes, and frames are read while the vision tower works.

Input: episodes. Output: their goal embeddings, one episode after the other. An episode that is interrupted leaves a hidden file
beside the dataset's episodes, from which the next run continues.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
import zipfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import atomic_file, remove, remove_empty
from steve1.core.frames import mineclip_frame
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.parts import pictures_stamp
from steve1.mineclip.model import MineCLIP, not_finite

# A folder in the dataset's folder, with the rows of episodes that are not complete yet.
PARTS = ".embedding"
_ROWS = re.compile(r".+\.np[yz]", re.DOTALL)
_AHEAD = 2

T = TypeVar("T")


class Part:
    """An episode that is being embedded: its rows (N,E) so far.

    Attributes:
        rows: float32 (N,E), filled up to row `done`.
        past: (≤15,E), the features of the last frames, which the next rows need.
        fault: why the episode cannot be embedded.
    """

    def __init__(self, episode: Episode, embed_dim: int, like: dict[str, Any]) -> None:
        """`like`: what the result depends on; an earlier run's rows are used only where it is the same."""
        self.episode = episode
        self.fault: UserError | None = None
        self._shape = (len(episode), embed_dim)
        self.rows: NDArray[np.float32] = np.zeros((0, embed_dim), np.float32)
        self.past = np.zeros((0, embed_dim), np.float32)
        self.done = 0
        self._depends_on = like
        folder = episode.path.parent / PARTS
        self._rows_file, self._state_file = folder / f"{episode.path.name}.npy", folder / f"{episode.path.name}.npz"
        self._mapped = False
        self._load()
        self._loaded = self.done

    @cached_property
    def _like(self) -> str:
        # Not before it is needed: a run plans thousands of episodes, which may have thousands of pictures each.
        files = hashlib.sha256(pictures_stamp(self.episode.path).encode(errors="surrogateescape")).hexdigest()
        return json.dumps({**self._depends_on, "frames": len(self.episode), "files": files}, sort_keys=True)

    def _load(self) -> None:
        try:
            with np.load(self._state_file, allow_pickle=False) as state:
                if str(state["like"]) != self._like:
                    return
                done, past = int(state["done"]), np.asarray(state["past"], np.float32)
            rows = np.load(self._rows_file, mmap_mode="r+", allow_pickle=False)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return  # there is none, or it is damaged: begin anew
        if rows.shape == self._shape and rows.dtype == np.float32 and 0 < done < len(rows):
            self.rows, self.past, self.done, self._mapped = rows, past, done, True

    @property
    def embedded(self) -> int:
        """Frames embedded in this run."""
        return self.done - self._loaded

    def add(self, rows: NDArray[np.float32], past: NDArray[np.float32]) -> None:
        """Append rows (k,E), and keep the features (≤15,E) of the last frames."""
        if not len(self.rows):
            self.rows = np.full(self._shape, np.nan, np.float32)  # not before: a run plans thousands of episodes
            _ = self._like  # of the pictures that are read now, not of those that are there when the rows are saved
        self.rows[self.done : self.done + len(rows)] = rows
        self.done += len(rows)
        self.past = past

    def save(self) -> None:
        """Write what the next run needs to continue, unless nothing or everything is done; rows first, then their number."""
        if not len(self.rows) or not 0 < self.done < len(self.episode):
            return
        if not self._mapped:
            self._rows_file.parent.mkdir(exist_ok=True)
            mapped = np.lib.format.open_memmap(self._rows_file, "w+", np.float32, self._shape)  # type: ignore[no-untyped-call]
            mapped[: self.done] = self.rows[: self.done]
            self.rows, self._mapped = mapped, True
        self.rows.flush()  # type: ignore[attr-defined]
        with atomic_file(self._state_file) as handle:
            np.savez(handle, done=self.done, past=self.past, like=self._like)

    def forget(self) -> None:
        """Free the rows and remove the files: the episode is complete, or has failed."""
        self.rows, self._mapped = self.rows[:0], False
        for path in (self._state_file, self._rows_file):
            remove(path, ours=_ROWS)
        remove_empty(self._rows_file.parent)


@dataclass
class _Piece:
    """The next frames of an episode, uint8 (k,h,w,3) at the tower's resolution; `fault` where they cannot be read."""

    part: Part
    first: int
    frames: NDArray[np.uint8]
    last: bool = False
    fault: UserError | None = None


def embed_episodes(
    episodes: Sequence[Episode],
    model: MineCLIP,
    *,
    batch: int,
    like: dict[str, Any],
    save_seconds: float = 20.0,
    on_frames: Callable[[Path, int], None] = lambda _path, _n: None,
) -> Iterator[Part]:
    """Embed episodes in order; each is yielded as soon as it is complete or has failed.

    Args:
        episodes: to be embedded; what an earlier run left of them is used.
        model: on its device, in evaluation mode.
        batch: frames in the vision tower at a time, of as many episodes as it takes.
        like: what the rows depend on (weights, precision).
        save_seconds: how much work a kill may cost.
        on_frames: called with the episode and the number of frames just embedded (or found embedded).
    """
    parts = [Part(episode, model.embed_dim, like) for episode in episodes]
    for part in parts:
        if part.done:
            on_frames(part.episode.path, part.done)
    saved = time.monotonic()
    try:
        with contextlib.closing(ahead(_batches(parts, model.config.resolution, batch), _AHEAD)) as source:
            for read in source:
                pieces = [piece for piece in read if piece.part.fault is None]
                _embed([piece for piece in pieces if piece.fault is None], model)
                for piece in pieces:
                    part, part.fault = piece.part, piece.fault
                    if part.fault is None:
                        on_frames(part.episode.path, len(piece.frames))
                    if piece.last or part.fault is not None:
                        yield part
                        part.forget()
                if time.monotonic() - saved >= save_seconds:
                    for piece in pieces:
                        piece.part.save()
                    saved = time.monotonic()
    except BaseException:  # Ctrl-C, or a fault of the machine: what is embedded is not lost
        for part in parts:
            part.save()
        raise


def _embed(pieces: list[_Piece], model: MineCLIP) -> None:
    """Embed pieces of several episodes at once; faults are noted in them."""
    if not pieces:
        return
    past = [torch.from_numpy(piece.part.past) for piece in pieces]
    for piece, goals in zip(pieces, model.embed_successive([piece.frames for piece in pieces], past)):
        if goals.bad is not None:
            piece.fault = not_finite(f"{piece.part.episode.path}, frame {piece.first + goals.bad}")
        else:
            piece.part.add(goals.rows, goals.past.cpu().numpy())


def _batches(parts: Sequence[Part], resolution: tuple[int, int], batch: int) -> Iterator[list[_Piece]]:
    """Pieces of at most `batch` frames in all; runs in the reading thread."""
    pieces: list[_Piece] = []
    free = batch
    for part in parts:
        first, total = part.done, len(part.episode)
        frames = part.episode.mineclip_frames(first)
        while first < total:
            piece = _read(part, frames, first, min(free, total - first), resolution)
            pieces.append(piece)
            first, free = first + len(piece.frames), free - len(piece.frames)
            if free == 0:
                yield pieces
                pieces, free = [], batch
            if piece.fault is not None:
                break
    if pieces:
        yield pieces


def _read(
    part: Part, frames: Iterator[NDArray[np.uint8]], first: int, count: int, resolution: tuple[int, int]
) -> _Piece:
    """The next `count` frames, or what is wrong with them."""
    found, row = np.empty((count, *resolution, 3), np.uint8), 0
    try:
        for row in range(count):
            found[row] = mineclip_frame(next(frames), resolution)
        last = first + count == len(part.episode)
        if last and next(frames, None) is not None:
            raise UserError("There are more frames for MineCLIP than the episode has.")
        return _Piece(part, first, found, last)
    except StopIteration:
        fault = UserError("The frames for MineCLIP end before the episode does.", got=f"{row} of the next {count}")
    except UserError as error:
        fault = error
    except OSError as error:
        fault = UserError("This episode's frames cannot be read.", got=error)
    return _Piece(part, first, found[:0], fault=fault)


def ahead(source: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The same items, made by a thread; at most `depth` of them wait, and one is in hand. Its exceptions come through."""
    items, end = iter(source), object()
    reader = ThreadPoolExecutor(1, thread_name_prefix="frames")
    try:
        coming = deque(reader.submit(next, items, end) for _ in range(depth + 1))
        while (item := coming.popleft().result()) is not end:
            coming.append(reader.submit(next, items, end))
            yield item  # type: ignore[misc]
    finally:
        reader.shutdown(cancel_futures=True)
