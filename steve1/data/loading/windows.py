"""Windows: the T frames that training reads at a time, with their hindsight goals.

Each window is a function of (seed, epoch, window) alone: the same in any order, in any process, after any restart.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.messages import message, translated
from steve1.core.seeds import generator
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.parts import FIRST_GOAL, GOAL_FRAMES, check_goal_size
from steve1.data.loading.frame_source import PIXELS, FrameSource
from steve1.data.loading.goals import GoalSwitch, check_gaps
from steve1.data.loading.lists import ListEntry
from steve1.data.minecraft_dataset import Chunk, get_episode_chunk, get_episode_chunk_fixed_prompt

_log = logging.getLogger(__name__)
#: episodes that a process keeps open; each has up to three memory maps and no frames
_OPEN_EPISODES = 64


@lru_cache(maxsize=_OPEN_EPISODES)
def _episode(path: str) -> Episode:
    return Episode(path)


def window_starts(n_frames: int, T: int, first_frame: int = FIRST_GOAL) -> list[int]:
    """First frames of an episode's windows: first_frame, +T, …; the last is moved back to end with the episode.

    [] for an episode shorter than first_frame + T.
    """
    last = n_frames - T
    if last < first_frame:
        return []
    starts = list(range(first_frame, last + 1, T))
    return starts if starts[-1] == last else [*starts, last]


class WindowDataset:
    """All windows of a list of episodes.

    Args:
        entries: of a sampling list, with or without weights.
        T: frames of a window, at least 16.
        min_btwn_goals, max_btwn_goals: frames between hindsight goals, U[min, max).
        p_uncond: share of windows with a zero goal, from which the policy learns to act without one.
        seed: of every random choice.
        goal_switch: "exact", or "legacy" like the published code.
        fixed: for validation: goals depend on (seed, window) only, none is dropped, the order never changes.
        jitter: shift each window by up to T/2 frames within its episode, anew in every epoch (for small datasets).
        first_frame: start of an episode's first window; 15 as published, 0 to train on the very first frames too.
        fixed_goal: float (E,), the goal of every frame instead of hindsight goals.

    Raises:
        UserError: bad settings; an episode without goals, or with rows that are not finite; no episode long enough.
    """

    def __init__(
        self,
        entries: Sequence[ListEntry],
        T: int,
        *,
        min_btwn_goals: int = 15,
        max_btwn_goals: int = 200,
        p_uncond: float = 0.1,
        seed: int = 0,
        goal_switch: GoalSwitch = "exact",
        fixed: bool = False,
        jitter: bool = False,
        first_frame: int = FIRST_GOAL,
        fixed_goal: NDArray[np.floating[Any]] | None = None,
    ) -> None:
        self.T, self.seed, self.fixed, self.jitter = T, seed, fixed, jitter and not fixed
        self.min_btwn_goals, self.max_btwn_goals, self.goal_switch = min_btwn_goals, max_btwn_goals, goal_switch
        self.p_uncond, self.first_frame, self.fixed_goal = 0.0 if fixed else p_uncond, first_frame, fixed_goal
        self._check_settings()
        self.embed_dim = 0
        #: what the episodes show, "" among them where one does not say
        self.behaviours: set[str] = set()
        #: sha256 of the MineCLIP weights that made the goals, where the episodes say so
        self.mineclips: set[str] = set()
        #: whether some episode has frames that are not imitated; windows then say of each frame whether it is
        self.masked = False
        #: may be replaced, such as by a cache of image features
        self.frame_source: FrameSource = PIXELS
        _episode.cache_clear()  # episodes may have been embedded anew since they were opened
        lengths = [self._length(entry) for entry in entries]
        starts = [window_starts(length, T, first_frame) for length in lengths]
        used = [number for number, found in enumerate(starts) if found]
        self._report_short(entries, lengths)
        self.paths = [entries[number].path for number in used]
        self._lengths = np.array([lengths[number] for number in used], np.int64)
        #: (number in paths, first frame) of each window
        self._windows = np.array([(row, at) for row, number in enumerate(used) for at in starts[number]], np.int64)
        self._sections = np.array([entries[number].section for number in used], np.int64)[self._windows[:, 0]]
        self.shares = self._section_shares(entries)
        #: of each window: whether its episode is an old one, replayed to keep old skills
        self.replayed = np.array([entries[number].replay for number in used], np.bool_)[self._windows[:, 0]]

    def _check_settings(self) -> None:
        if self.T < GOAL_FRAMES:
            raise UserError("T is too short.", expected=f"at least {GOAL_FRAMES} frames", got=f"T={self.T}")
        check_gaps(self.min_btwn_goals, self.max_btwn_goals)
        if not 0 <= self.p_uncond <= 1:
            raise UserError("p_uncond is a probability.", expected="0..1", got=str(self.p_uncond))
        # Goal rows 0..14 do not exist; a goal that early would condition frames on nothing.
        early = self.first_frame < FIRST_GOAL or self.goal_switch == "legacy"
        if self.first_frame < 0 or (early and self.min_btwn_goals < FIRST_GOAL):
            raise UserError(
                f"With this setting a goal could lie before frame {FIRST_GOAL}, where there are no embeddings.",
                expected=f"min_btwn_goals >= {FIRST_GOAL} with first_frame < {FIRST_GOAL} or goal_switch legacy",
                got=f"min_btwn_goals={self.min_btwn_goals}, first_frame={self.first_frame}, goal_switch={self.goal_switch}",
            )

    def _length(self, entry: ListEntry) -> int:
        """Length of an episode, after its goals were checked."""
        episode = _episode(str(entry.path))
        self.behaviours.add(str(episode.metadata.get("behaviour") or ""))
        self.masked = self.masked or episode.imitated is not None
        if self.fixed_goal is not None:
            self.embed_dim = int(np.size(self.fixed_goal))
            return len(episode)
        if made_by := episode.mineclip_sha256:
            self.mineclips.add(made_by)
        episode.check_goals()
        size = int(episode.goals.shape[1])
        check_goal_size(self.embed_dim, size, entry.where)
        self.embed_dim = size
        return len(episode)

    def _report_short(self, entries: Sequence[ListEntry], lengths: Sequence[int]) -> None:
        need = self.T + self.first_frame
        short = [(entry, length) for entry, length in zip(entries, lengths) if length < need]
        if len(short) == len(entries):
            fits = (max(lengths, default=0) - self.first_frame) // 16 * 16
            shorter = (
                [translated(f"T={fits} TRUNC_T={min(64, fits)} in front of the training script,")]
                if fits >= GOAL_FRAMES
                else []
            )
            raise UserError(
                "No episode of this list is long enough." if entries else "This list is empty.",
                where=short[0][0].where if short else "",
                expected=f"at least {need} frames (T + {self.first_frame})",
                got=", ".join(f"{entry.path.name} ({n})" for entry, n in short[:5]),
                todo=message("or").join(
                    [*shorter, translated(f"record episodes of at least STEPS={need}, in another OUTPUT_DIR")]
                ),
            )
        for entry, n_frames in short:
            skipped = "skipped %s (%s): %d frames, and T=%d needs %d"
            _log.warning(skipped, entry.path.name, entry.where, n_frames, self.T, need)

    def _section_shares(self, entries: Sequence[ListEntry]) -> dict[int, float]:
        """Share of the windows of each section; {} for a list without weights, and for validation, which takes each window once."""
        if self.fixed:
            return {}
        weights = {entry.section: entry.weight for entry in entries if entry.weight is not None}
        total = sum(weights.values())
        for section, weight in weights.items():
            if not (self._sections == section).any():
                first = next(entry for entry in entries if entry.section == section)
                raise UserError(
                    f"No episode below the weight {weight:g} is long enough.",
                    where=first.where,
                    expected=f"at least {self.T + self.first_frame} frames",
                )
        return {section: weight / total for section, weight in sorted(weights.items())}

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def n_frames(self) -> int:
        """Frames of all episodes in use."""
        return int(self._lengths.sum())

    def episode(self, number: int) -> Episode:
        """One of `paths`, opened."""
        return _episode(str(self.paths[number]))

    def epoch_order(self, epoch: int) -> NDArray[np.int64]:
        """The windows of an epoch in order: int64 (len,), a function of (seed, epoch).

        Without weights each window appears once. With weights a section gets its share of the epoch's len(self) windows,
        rounded up or down at random so that it is exact in expectation; no window repeats before its section is used up.
        """
        if self.fixed:
            return np.arange(len(self), dtype=np.int64)
        rng = generator(self.seed, "order", epoch)
        if not self.shares:
            return rng.permutation(len(self)).astype(np.int64)
        # One offset for all makes every count exact in expectation and their sum exactly len(self).
        bounds = np.cumsum([0.0, *self.shares.values()])
        bounds[-1] = 1.0
        counts = np.diff(np.floor(bounds * len(self) + rng.random() * (bounds < 1)).astype(np.int64))
        drawn = []
        for section, count in zip(self.shares, counts):
            windows = np.flatnonzero(self._sections == section)
            rounds = [rng.permutation(windows) for _ in range(-(-count // len(windows)))]
            drawn.append(np.concatenate([windows[:0], *rounds])[:count])
        return rng.permutation(np.concatenate(drawn)).astype(np.int64)

    def start_of(self, epoch: int, index: int) -> tuple[int, int]:
        """(episode number, first frame) of a window in an epoch; differs between epochs only with jitter."""
        number, start = (int(v) for v in self._windows[index])
        if self.jitter:
            half = self.T // 2
            shifted = start + int(generator(self.seed, "jitter", epoch, index).integers(-half, half + 1))
            start = min(max(shifted, self.first_frame), int(self._lengths[number]) - self.T)
        return number, start

    def window(self, epoch: int, index: int, out: Chunk | None = None) -> Chunk:
        """One window.

        Args:
            epoch, index: index is a window's number, 0..len-1.
            out: arrays to fill, as `empty_chunk` makes them; new ones otherwise.

        Returns:
            frames u8 (T,128,128,3) (or what `frame_source` reads, under its key), goals f32 (T,E), first bool (T,), buttons
            and camera i64 (T,), goal_frame i64 (T,) (-1 and a zero goal if unconditional), episode str, start int; and imitated bool (T,) if the dataset is `masked`.
        """
        number, start = self.start_of(epoch, index)
        path, stop = str(self.paths[number]), start + self.T
        if self.fixed_goal is not None:
            goal, source = self.fixed_goal, self.frame_source
            found = get_episode_chunk_fixed_prompt(
                _episode(path), start, stop, goal, source=source, masked=self.masked, out=out
            )
        else:
            found = get_episode_chunk(
                _episode(path),
                start,
                stop,
                min_btwn_goals=self.min_btwn_goals,
                max_btwn_goals=self.max_btwn_goals,
                p_uncond=self.p_uncond,
                rng=generator(self.seed, "goals", "fixed" if self.fixed else epoch, index),
                goal_switch=self.goal_switch,
                source=self.frame_source,
                masked=self.masked,
                out=out,
            )
        return found | {"episode": path, "start": start}
