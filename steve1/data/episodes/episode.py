"""Episodes: one folder each, read by range of frames, written whole or not at all.

In: an episode folder (any of the three layouts), or frames and actions. Out: frames, actions, tokens and goals by frame
number; or a new folder in the native layout.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import atomic_dir, atomic_file
from steve1.core.frames import AGENT_SIZE, MINECLIP_SIZE, agent_frame, mineclip_frame
from steve1.core.paths import resolve
from steve1.data.episodes.layouts import (
    ACTIONS,
    FIRST_GOAL,
    FORMAT,
    FORMAT_VERSION,
    GOALS,
    INDEX,
    METADATA,
    MINECLIP_VIDEO,
    PACK,
    TOKENS,
    Layout,
    open_layout,
)
from steve1.data.media.jpegs import CHROMA, QUALITY, JpegPackWriter
from steve1.data.media.video import FPS, VideoWriter


class Episode:
    """One recorded episode of N frames at 20 Hz.

    Args:
        path: its folder; relative paths as `core.paths.resolve` takes them.

    Raises:
        UserError: no episode there, or its parts do not fit one another.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = resolve(path)
        self._layout: Layout = open_layout(self.path)

    def __len__(self) -> int:
        return self._layout.n_frames

    @property
    def metadata(self) -> dict[str, Any]:
        """What is known of its origin; {} where the layout keeps nothing."""
        return self._layout.metadata

    def frames(
        self, start: int = 0, stop: int | None = None, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Agent frames start..stop-1, uint8 (T, 128, 128, 3) RGB; written into `out` where given."""
        start, stop = self._range(start, stop)
        found = np.empty((stop - start, *AGENT_SIZE, 3), np.uint8) if out is None else out
        self._layout.read(start, stop, found)
        return found

    def actions(self, start: int = 0, stop: int | None = None) -> list[act.EnvAction]:
        """MineRL actions of frames start..stop-1."""
        start, stop = self._range(start, stop)
        return self._layout.checked_actions()[start:stop]

    def tokens(self, start: int = 0, stop: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Joint classes of frames start..stop-1: buttons i64 (T,), camera i64 (T,)."""
        start, stop = self._range(start, stop)
        rows = np.asarray(self._layout.tokens[start:stop], dtype=np.int64)
        return np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1])

    @property
    def goals(self) -> NDArray[np.floating[Any]]:
        """Goal embeddings float (N, E), rows 0..14 NaN, memory-mapped; UserError before the embedding step."""
        return self._layout.goals

    @property
    def has_goals(self) -> bool:
        """Whether the embedding step has been here."""
        return self._layout.goals_file is not None

    def mineclip_frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Every frame from `start` on at MineCLIP's size, uint8 (160, 256, 3) RGB, one at a time."""
        return self._layout.mineclip_frames(start)

    @property
    def keeps_mineclip_frames(self) -> bool:
        """False where `mineclip_frames` can only enlarge the agent's frames."""
        return self._layout.keeps_mineclip_frames

    def source_frames(self) -> Iterator[NDArray[np.uint8]]:
        """Every frame, uint8 (H, W, 3) RGB, as large as the layout keeps it, one at a time."""
        return self._layout.source_frames()

    def check_goals(self) -> None:
        """Read every goal row once.

        Raises:
            UserError: a row after the first 15 is not finite (names it).
        """
        goals = self.goals
        for start in range(FIRST_GOAL, len(goals), 4096):
            # A sum over a row is finite only if the row is; it is one pass without a mask as large as the data.
            sums = np.asarray(goals[start : start + 4096], dtype=np.float32).sum(axis=1)
            if not np.isfinite(sums).all():
                row = start + int(np.flatnonzero(~np.isfinite(sums))[0])
                raise UserError(
                    "A goal embedding is not finite.",
                    where=f"{self._layout.goals_file}, row {row}",
                    expected=f"numbers in every row after the first {FIRST_GOAL}",
                    todo=f"remove the file and run python tools/generate_mineclip_embeds.py --dataset_dir {self.path.parent}",
                )

    def _range(self, start: int, stop: int | None) -> tuple[int, int]:
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise UserError(
                "These frames are outside the episode.",
                where=self.path,
                expected=f"0 <= start <= stop <= {len(self)}",
                got=f"{start}..{stop}",
            )
        return start, stop


class EpisodeWriter:
    """Writes one native episode; the folder appears only when the `with` block ends well.

    Args:
        path: the folder to make; it must not exist.
        metadata: provenance, kept beside the fields that the format itself fills.
        keep_mineclip_frames: also write the 256x160 video that the embedding step reads.
    """

    def __init__(
        self, path: str | os.PathLike[str], metadata: dict[str, Any] | None = None, *, keep_mineclip_frames: bool = True
    ) -> None:
        self.path = Path(path)
        #: may be added to until the block ends
        self.metadata = dict(metadata or {})
        #: goal embeddings float (N, E) that are known already, written with the rest
        self.goals: NDArray[np.floating[Any]] | None = None
        self._keep_mineclip = keep_mineclip_frames
        self._actions: list[act.EnvAction] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> EpisodeWriter:
        try:
            self._folder = self._stack.enter_context(atomic_dir(self.path))
            self._lines: IO[str] = self._stack.enter_context(open(self._folder / ACTIONS, "w", encoding="utf-8"))
            self._pack_file: IO[bytes] = self._stack.enter_context(open(self._folder / PACK, "wb"))
            self._pack = JpegPackWriter(self._pack_file)
            self._video: VideoWriter | None = None
            if self._keep_mineclip:
                height, width = MINECLIP_SIZE
                self._video = self._stack.enter_context(
                    VideoWriter(self._folder / MINECLIP_VIDEO, width, height, preset="ultrafast")
                )
        except BaseException as fault:
            self._stack.__exit__(type(fault), fault, fault.__traceback__)
            raise
        return self

    def __len__(self) -> int:
        return len(self._actions)

    def add(self, frame: NDArray[np.uint8], action: act.EnvAction) -> None:
        """Append a frame, uint8 (H, W, 3) RGB of any size, and the MineRL action taken on seeing it."""
        plain = plain_action(action)
        self._pack.add(agent_frame(frame))
        if self._video is not None:
            self._video.write(mineclip_frame(frame))
        self._actions.append(plain)
        self._lines.write(json.dumps(plain, separators=(",", ":")) + "\n")

    def __exit__(self, kind: Any, fault: Any, trace: Any) -> bool | None:
        if kind is None:
            try:
                self._finish()
            except BaseException as late:
                self._stack.__exit__(type(late), late, late.__traceback__)
                raise
        return self._stack.__exit__(kind, fault, trace)

    def _finish(self) -> None:
        if not self._actions:
            raise UserError("An episode needs at least one frame.", where=self.path)
        goals = None if self.goals is None else _checked_goals(self.goals, len(self), self.path)
        write_native_parts(
            self._folder,
            offsets=self._pack.offsets,
            actions=self._actions,
            metadata={**self.metadata, "jpeg": None},
            goals=goals,
            mineclip_frames=self._keep_mineclip,
        )
        for handle in (self._lines, self._pack_file):
            handle.flush()
            os.fsync(handle.fileno())


def write_native_parts(
    folder: Path,
    *,
    offsets: NDArray[np.int64],
    actions: Sequence[act.EnvAction],
    metadata: dict[str, Any],
    goals: NDArray[np.floating[Any]] | None,
    mineclip_frames: bool,
) -> None:
    """What a native episode of N frames holds besides its pictures and `actions.jsonl`.

    Args:
        folder: where those are already.
        offsets: int64 (N+1,), where each picture begins in the pack.
        actions: N plain MineRL actions.
        metadata: provenance; the format's own fields are set here ("jpeg" stays as it is, for pictures that were not encoded anew).
        goals: (N, E) embeddings, or None.
        mineclip_frames: whether the 256x160 video is there.
    """
    np.save(folder / TOKENS, np.stack(act.to_joint(actions), axis=1).astype(np.int32))
    np.save(folder / INDEX, offsets.astype(np.int64))
    if goals is not None:
        np.save(folder / GOALS, goals)
    own = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "n_frames": len(actions),
        "fps": FPS,
        "frame_size": list(AGENT_SIZE),
        "jpeg": metadata.get("jpeg") or {"quality": QUALITY, "chroma": CHROMA},
        "mineclip_frames": mineclip_frames,
    }
    text = json.dumps({**own, **metadata, **own}, indent=2, ensure_ascii=False) + "\n"
    (folder / METADATA).write_text(text, encoding="utf-8")


def plain_action(action: act.EnvAction) -> act.EnvAction:
    """A MineRL action as plain numbers: every button 0 or 1, "camera" a list of two floats."""
    plain = act.null_action()
    for name in act.ENV_BUTTONS:
        if name in action:
            plain[name] = int(action[name])
    pitch, yaw = np.asarray(action["camera"], dtype=np.float64).reshape(-1).tolist()
    plain["camera"] = [pitch, yaw]
    return plain


def write_goals(path: str | os.PathLike[str], embeds: NDArray[np.floating[Any]]) -> None:
    """Write goal embeddings (N, E) float into a native episode, atomically; float16 stays, anything else becomes float32.

    Raises:
        UserError: not one row a frame, or a row after the first 15 is not finite (names it).
    """
    episode = Episode(path)
    with atomic_file(episode.path / GOALS) as handle:
        np.save(handle, _checked_goals(embeds, len(episode), episode.path))


def _checked_goals(embeds: NDArray[np.floating[Any]], n_frames: int, where: Path) -> NDArray[np.floating[Any]]:
    rows = np.asarray(embeds)
    rows = rows if rows.dtype == np.float16 else rows.astype(np.float32)
    if rows.ndim != 2 or len(rows) != n_frames:
        raise UserError(
            "The embeddings do not fit the episode.", where=where, expected=f"({n_frames}, E)", got=f"{rows.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(rows[FIRST_GOAL:]).all(axis=1))
    if len(bad):
        raise UserError("A goal embedding is not finite.", where=f"{where}, row {FIRST_GOAL + int(bad[0])}")
    return rows


def find_episodes(folder: str | os.PathLike[str]) -> list[Path]:
    """Every episode folder directly below `folder`, sorted by name; hidden and unfinished ones are left out.

    Raises:
        UserError: `folder` does not exist.
    """
    root = resolve(folder)
    if not root.is_dir():
        raise UserError(
            "This dataset folder does not exist.", where=root, todo="bash 1_generate_dataset.sh, or put episodes there"
        )
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".") and is_episode(p))


def is_episode(path: Path) -> bool:
    """Whether a folder holds frames as one of the layouts names them."""
    return any((path / name).exists() for name in (PACK, "frames.mp4", "frames"))
