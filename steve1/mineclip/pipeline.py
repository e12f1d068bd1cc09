"""Many episodes through one MineCLIP: batches run over the ends of episodes, and reading goes on while the tower works.

In: episodes. Out: goal embeddings, episode by episode. An episode that is cut off in its middle leaves a hidden file
beside the dataset's episodes, from which the next run goes on.
"""

from __future__ import annotations

import contextlib
import json
import time
import zipfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.frames import mineclip_frame
from steve1.data.episodes.episode import Episode
from steve1.mineclip.model import MineCLIP, not_finite

#: of a dataset; holds what is known of episodes that are not whole yet
PARTS = ".embedding"
_AHEAD = 2

T = TypeVar("T")


@dataclass
class Piece:
    """Frames first..first+k-1 of an episode, uint8 (k,h,w,3) at the tower's size; `fault` where reading them failed."""

    number: int
    first: int
    frames: NDArray[np.uint8]
    last: bool = False
    fault: UserError | None = None


class Part:
    """An episode that is being embedded.

    Args:
        episode: of N frames.
        embed_dim: E.
        like: what the result depends on; an earlier run's part is taken up only where it is the same.
    """

    def __init__(self, episode: Episode, embed_dim: int, like: dict[str, Any]) -> None:
        self.episode = episode
        self._shape = (len(episode), embed_dim)
        self.rows: NDArray[np.float32] = np.zeros((0, embed_dim), np.float32)
        self.past = np.zeros((0, embed_dim), np.float32)
        self.done = 0
        self._like = json.dumps({**like, "frames": len(episode), "stamp": _stamp(episode.path)}, sort_keys=True)
        folder = episode.path.parent / PARTS
        self._rows_file, self._state_file = folder / f"{episode.path.name}.npy", folder / f"{episode.path.name}.npz"
        self._mapped = False
        self._take_up()

    def _take_up(self) -> None:
        try:
            with np.load(self._state_file, allow_pickle=False) as state:
                if str(state["like"]) != self._like:
                    return
                done, past = int(state["done"]), np.asarray(state["past"], np.float32)
            rows = np.load(self._rows_file, mmap_mode="r+", allow_pickle=False)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return  # none, or a torn one: begin anew
        if rows.shape == self._shape and rows.dtype == np.float32 and 0 < done < len(rows):
            self.rows, self.past, self.done, self._mapped = rows, past, done, True

    def add(self, rows: NDArray[np.float32], past: NDArray[np.float32]) -> None:
        """The next rows (k,E), and the features (≤15,E) of the last frames, which the rows after them need."""
        if not len(self.rows):
            self.rows = np.full(self._shape, np.nan, np.float32)  # not before: a run plans thousands of episodes
        self.rows[self.done : self.done + len(rows)] = rows
        self.done += len(rows)
        self.past = past

    def save(self) -> None:
        """Make sure that the next run can go on from here; rows first, then how many there are."""
        if not self._mapped:
            self._rows_file.parent.mkdir(exist_ok=True)
            mapped = np.lib.format.open_memmap(self._rows_file, "w+", np.float32, self._shape)  # type: ignore[no-untyped-call]
            mapped[: self.done] = self.rows[: self.done]
            self.rows, self._mapped = mapped, True
        self.rows.flush()  # type: ignore[attr-defined]
        with atomic_file(self._state_file) as handle:
            np.savez(handle, done=self.done, past=self.past, like=self._like)

    def forget(self) -> None:
        """The episode is whole, or cannot be made: its rows are let go."""
        self.rows, self._mapped = self.rows[:0], False
        for path in (self._state_file, self._rows_file):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._rows_file.parent.rmdir()


def _stamp(path: Path) -> list[list[Any]]:
    """Which files the frames are in: names, sizes and times."""
    files = [p for p in sorted(path.iterdir()) if p.suffix in (".mp4", ".jpgs") or p.name == "frames"]
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]


@dataclass
class Made:
    """What became of one episode: its rows (N,E), or why there are none. `frames`: embedded in this run."""

    part: Part
    frames: int = 0
    fault: UserError | None = None


def embed_episodes(
    episodes: Sequence[Episode],
    model: MineCLIP,
    *,
    batch: int,
    like: dict[str, Any],
    save_seconds: float = 20.0,
    on_frames: Callable[[Path, int], None] = lambda _path, _n: None,
) -> Iterator[Made]:
    """Embed episodes in order; each is yielded as soon as it is whole or has failed.

    Args:
        episodes: to be embedded; an earlier run's parts of them are taken up.
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
    begun = [part.done for part in parts]
    failed: set[int] = set()
    saved = time.monotonic()
    with _saved_when_cut(parts), contextlib.closing(ahead(_batches(parts, model.config.resolution, batch), _AHEAD)) as source:  # fmt: skip
        for pieces in source:
            good = [piece for piece in pieces if piece.number not in failed]
            faults = {piece.number: piece.fault for piece in good if piece.fault}
            faults |= _embed_pieces([piece for piece in good if not piece.fault and len(piece.frames)], parts, model)
            for piece in good:
                part = parts[piece.number]
                fault = faults.get(piece.number)
                if fault is not None and piece.number not in failed:
                    failed.add(piece.number)
                    yield Made(part, part.done - begun[piece.number], fault)
                    part.forget()
                elif fault is None:
                    on_frames(part.episode.path, len(piece.frames))
                    if piece.last:
                        yield Made(part, part.done - begun[piece.number])
                        part.forget()
            if time.monotonic() - saved >= save_seconds:
                for number in {piece.number for piece in good} - failed:
                    if 0 < parts[number].done < len(parts[number].episode):
                        parts[number].save()
                saved = time.monotonic()


@contextlib.contextmanager
def _saved_when_cut(parts: Sequence[Part]) -> Iterator[None]:
    """Ctrl-C, or a fault of the machine: the episode in hand is not lost."""
    try:
        yield
    except BaseException:
        for part in parts:
            if len(part.rows) and 0 < part.done < len(part.episode):
                part.save()
        raise


def _embed_pieces(pieces: list[Piece], parts: list[Part], model: MineCLIP) -> dict[int, UserError]:
    """One pass over pieces of several episodes; faults by episode."""
    if not pieces:
        return {}
    faults: dict[int, UserError] = {}
    past = [torch.from_numpy(parts[piece.number].past) for piece in pieces]
    for piece, goals in zip(pieces, model.embed_successive([piece.frames for piece in pieces], past)):
        part = parts[piece.number]
        if goals.bad is not None:
            faults[piece.number] = not_finite(f"{part.episode.path}, frame {piece.first + goals.bad}")
        else:
            part.add(goals.rows, goals.past.cpu().numpy())
    return faults


def _batches(parts: Sequence[Part], resolution: tuple[int, int], batch: int) -> Iterator[list[Piece]]:
    """Pieces of at most `batch` frames in all; runs in the reading thread."""
    pieces: list[Piece] = []
    room = batch
    for number, part in enumerate(parts):
        first, total = part.done, len(part.episode)
        frames = part.episode.mineclip_frames(first)
        while first < total:
            taken, fault = _read(frames, min(room, total - first), resolution)
            last = first + len(taken) == total
            pieces.append(Piece(number, first, taken, last, fault))
            first, room = first + len(taken), room - len(taken)
            if fault is None and last:
                fault = _surplus(frames)
                pieces[-1].fault = fault
            if room == 0:
                yield pieces
                pieces, room = [], batch
            if fault is not None:
                break
    if pieces:
        yield pieces


def _read(
    frames: Iterator[NDArray[np.uint8]], count: int, resolution: tuple[int, int]
) -> tuple[NDArray[np.uint8], UserError | None]:
    """The next `count` frames as the tower takes them, or what is wrong with one of them."""
    found = np.empty((count, *resolution, 3), np.uint8)
    try:
        for row in range(count):
            found[row] = mineclip_frame(next(frames), resolution)
    except UserError as fault:
        return found[:0], fault
    except OSError as fault:
        return found[:0], UserError("This episode's frames cannot be read.", got=fault)
    except StopIteration:
        return found[:0], UserError(
            "The frames for MineCLIP end before the episode does.", got=f"{row} of the next {count}"
        )
    return found, None


def _surplus(frames: Iterator[NDArray[np.uint8]]) -> UserError | None:
    """An episode's last frame was read: is there another?"""
    try:
        next(frames)
    except StopIteration:
        return None
    except UserError as fault:
        return fault
    return UserError("There are more frames for MineCLIP than the episode has.")


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
