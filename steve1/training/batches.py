"""Batches for training: windows of episodes, cut into chunks of truncated backpropagation through time (TBPTT).

Output: one chunk for each optimizer step, the same TRUNC_T frames of GRADIENT_ACCUM_STEPS batches, on the device. A resumed run sees the
chunks of one that never stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.paths import display
from steve1.core.tuning import cores
from steve1.data.episodes.episode import Episode
from steve1.data.episodes.formats.replay import pack_of
from steve1.data.episodes.parts import FIRST_GOAL
from steve1.data.loading.batches import batches
from steve1.data.loading.lists import ListEntry, read_list
from steve1.data.loading.replay import replay_entries, with_replay
from steve1.data.loading.windows import WindowDataset
from steve1.policy import GoalPolicy
from steve1.policy.vision import ActivationCheckpointing
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks, local_processes
from steve1.training.finetune_modes import modes_that

Batch = dict[str, torch.Tensor]
"""frames u8 (B,C,128,128,3), or features float (B,C,256) from a cache; goals f32 (B,C,E), first bool (B,C), buttons and camera i64 (B,C);
with replay also replayed bool (B,C), True for old episodes; where some frames are only context, imitated bool (B,C), False for these."""
Goal = NDArray[np.float32]
FRAME_KEYS = ("frames", "features")
BATCH_KEYS = (*FRAME_KEYS, "goals", "first", "buttons", "camera", "replayed", "imitated")


@dataclasses.dataclass(frozen=True)
class TbpttChunk:
    """The data of one optimizer step."""

    micro_batches: list[Batch]
    following: tuple[int, int]
    """(group, chunk) of the next one."""
    starts: bool
    """True at the first chunk of new windows: the recurrent state begins afresh."""
    ends: bool
    """True at the last chunk of the windows."""
    episodes: list[str]
    """Episode of each new window; empty unless `starts`."""
    windows: list[dict[str, Any]]
    """The whole windows that the chunk was cut from, on the host."""

    @property
    def n_frames(self) -> int:
        return sum(batch["buttons"].numel() for batch in self.micro_batches)


def encode(
    policy: GoalPolicy, batch: Batch, activation_checkpointing: ActivationCheckpointing = "none"
) -> torch.Tensor:
    """The policy's features (B,C,H) of a batch's frames, or of their cached features."""
    if "features" in batch:
        return policy.net.img_process.from_dense(batch["features"])
    return policy.encode(batch["frames"], activation_checkpointing=activation_checkpointing)


def open_windows(
    settings: TrainSettings, goal: Goal | None = None
) -> tuple[WindowDataset, WindowDataset | None, WindowDataset | None]:
    """Windows for training, validation and retention; None where the settings name no such list.

    Args:
        goal: (E,), for every frame of the first two in place of hindsight goals.

    Raises:
        UserError: a list or an episode that cannot be used, or an episode that is in the training list and in another.
    """
    old, old_val = replay_entries(settings.replay_source, settings.sampling_dir)
    entries = with_replay(read_list(settings.train_path), old, settings.replay_share)
    refuse_packs(settings, [entry.path for entry in entries])
    val = read_list(settings.val_path) if settings.val_path is not None else []
    if settings.retention_path is not None:
        retention = read_list(settings.retention_path)
    else:  # those that replay leaves out of training
        retention = old_val if settings.val_freq else []
    for others in (val, retention):
        refuse_leaks(entries, others)
    if settings.best_by == "task+retention" and not retention:
        raise UserError(
            "These old episodes leave none to validate old skills on, which best_by task+retention needs.",
            where=display(settings.replay_path or settings.train_path),
            expected="a replay pack of at least ten episodes, or a sampling with a validation list",
            todo="RETENTION_SAMPLING=<a sampling of old skills>, or BEST_BY=task",
        )
    found = [
        windows_of(settings, others, fixed_goal, fixed=True) if others else None
        for others, fixed_goal in ((val, goal), (retention, None))
    ]
    return windows_of(settings, entries, goal, fixed=False), found[0], found[1]


def demonstrated_goal(settings: TrainSettings) -> Goal:
    """Where goal tuning begins without a prompt: the mean of the training episodes' goal embeddings, at their mean length; f32 (E,)."""
    total, length, count = np.zeros(()), 0.0, 0
    for entry in read_list(settings.train_path):
        episode = Episode(entry.path)
        episode.check_goals()
        rows = np.asarray(episode.goals[FIRST_GOAL:], dtype=np.float64)
        total, count = total + rows.sum(0), count + len(rows)
        length += float(np.linalg.norm(rows, axis=1).sum())
    return (total * (length / count) / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32)


def windows_of(
    settings: TrainSettings, entries: Sequence[ListEntry], goal: Goal | None = None, *, fixed: bool
) -> WindowDataset:
    """The windows of a list as the settings cut them; `fixed`: for validation."""
    return WindowDataset(
        entries,
        settings.T,
        min_btwn_goals=settings.min_btwn_goals,
        max_btwn_goals=settings.max_btwn_goals,
        p_uncond=settings.p_uncond,
        seed=settings.seed,
        goal_switch=settings.goal_switch,
        fixed=fixed,
        jitter=settings.jitter,
        first_frame=settings.first_frame,
        fixed_goal=goal,
    )


def refuse_packs(settings: TrainSettings, paths: Sequence[Path]) -> None:
    """UserError where episodes of a replay pack would be trained on without their features."""
    packs = [pack for pack in map(pack_of, paths) if pack is not None]
    if not packs:
        return
    if settings.mode.trains_cnn:
        raise UserError(
            "A replay pack holds features of a frozen CNN, and this fine-tuning mode trains the CNN.",
            where=display(packs[0]),
            got=f"finetune_mode {settings.finetune_mode}",
            todo=f"FINETUNE_MODE={modes_that('keep_cnn')} with --feature_cache; or REPLAY=<a sampling of episodes with pictures>",
        )
    if not settings.feature_cache:
        raise UserError(
            "A replay pack holds features and no pictures, so the other episodes have to be read as features too.",
            where=display(packs[0]),
            todo="add --feature_cache",
        )


def refuse_leaks(train: Sequence[ListEntry], val: Sequence[ListEntry]) -> None:
    """UserError where an episode is in both lists: its validation loss would mean nothing."""
    seen = {entry.path.resolve(): entry for entry in train}
    both = [(seen[entry.path.resolve()], entry) for entry in val if entry.path.resolve() in seen]
    if both:
        raise UserError(
            "1 episode is in the training list and in the validation list."
            if len(both) == 1
            else f"{len(both):,} episodes are in the training list and in the validation list.",
            where=f"{both[0][0].where}, {both[0][1].where}",
            got=both[0][1].path.name,
            todo="take them out of one list, or make both anew with bash 2_create_sampling.sh",
        )


def chunk_bounds(T: int, trunc_t: int) -> list[tuple[int, int]]:
    """(start, stop) of the chunks of a window; the last is shorter where trunc_t does not divide T."""
    return [(start, min(start + trunc_t, T)) for start in range(0, T, trunc_t)]


def chunks(
    dataset: WindowDataset, settings: TrainSettings, ranks: Ranks, *, group: int = 0, chunk: int = 0
) -> Generator[TbpttChunk, None, None]:
    """Endless chunks from (group, chunk) on; the next one is already on its way to the device while one is worked on.

    Closing the generator ends the processes that load.
    """
    with contextlib.closing(_cut(dataset, settings, ranks, group, chunk)) as ahead:
        waiting = next(ahead)
        for following in ahead:
            yield waiting
            waiting = following


def _cut(
    dataset: WindowDataset, settings: TrainSettings, ranks: Ranks, group: int, chunk: int
) -> Generator[TbpttChunk, None, None]:
    accum = settings.gradient_accum_steps
    stream = batches(
        dataset,
        settings.batch_size,
        workers=loading_processes(settings, ranks.device),
        start_batch=group * accum,
        rank=ranks.rank,
        world=ranks.world,
        prefetch=max(2, accum),
    )
    bounds = chunk_bounds(settings.T, settings.trunc_t)
    with contextlib.closing(stream):
        for number in itertools.count(group):
            windows = list(itertools.islice(stream, accum))
            episodes = [episode for batch in windows for episode in batch["episode"]]
            for index in range(chunk if number == group else 0, len(bounds)):
                ends = index == len(bounds) - 1
                yield TbpttChunk(
                    micro_batches=[to_device(batch, *bounds[index], ranks.device) for batch in windows],
                    following=(number + 1, 0) if ends else (number, index + 1),
                    starts=index == 0,
                    ends=ends,
                    episodes=episodes if index == 0 else [],
                    windows=windows,
                )


def loading_processes(settings: TrainSettings, device: torch.device) -> int:
    """Processes that load for this one: what was set, or as many as it needs.

    One reads 5,000 to 7,000 frames/s of pictures, less than a large GPU trains on.
    """
    if settings.num_workers != "auto":
        return settings.num_workers
    spare = cores() // local_processes() - 1
    return 2 if device.type == "cuda" and not settings.feature_cache and spare >= 2 else 1


def to_device(
    windows: dict[str, Any], start: int, stop: int, device: torch.device, keys: Sequence[str] = BATCH_KEYS
) -> Batch:
    """Frames start..stop-1 of a batch of windows on the device, those of `keys` that it has; to a GPU without waiting."""
    batch: Batch = {}
    for name in (name for name in keys if name in windows):
        piece = windows[name][:, start:stop]
        if device.type == "cuda":
            batch[name] = through_pinned(piece, device)
        elif name in FRAME_KEYS:
            batch[name] = piece.contiguous().to(device)  # turned into floats exactly, wherever they lie
        else:
            batch[name] = aligned(piece.contiguous(), device)
    return batch


def through_pinned(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on a GPU without waiting for it: one copy into pinned memory, which torch keeps and gives out again once the GPU has read it."""
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor).to(device, non_blocking=True)


def aligned(tensor: torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
    """A copy in memory that torch itself allocated.

    Intel's MKL rounds the same from run to run only for operands that begin at multiples of 64 bytes, as torch's do. Arrays of numpy or
    of files begin anywhere, and a run's result must not depend on where it was stopped.
    """
    return torch.empty_like(tensor, device=device, memory_format=torch.contiguous_format).copy_(tensor)


def source_of(episode: str) -> str:
    """The dataset folder that an episode lies in, as a name for curves."""
    return Path(episode).parent.name or "data"


def shares(windows: dict[str, int]) -> dict[str, float]:
    """Share of each source among the windows taken so far, as "share/<source>"."""
    total = max(1, sum(windows.values()))
    return {f"share/{name}": count / total for name, count in sorted(windows.items())}
