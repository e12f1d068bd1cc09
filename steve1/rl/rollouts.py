"""Rollouts: what learning needs of a played episode, in one file each, and padded batches of them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steve1.actions.joint import CAMERA_MOVES
from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.paths import display
from steve1.core.seeds import generator
from steve1.evaluation.statistics.tests import clustered_error, wilson, worth
from steve1.rl.advantages import Series, mixed_groups

_FAULTS = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)
_ARRAYS = ("buttons", "camera", "images", "log_p", "goal", "reward")


@dataclasses.dataclass(frozen=True)
class Rollout:
    """One episode of N steps, as it was played and judged.

    Attributes:
        key, group: of its job.
        buttons, camera: i64 (N,), the classes that were sampled, which a trace does not keep where they have no effect.
        images: f32 (N, 256), the frozen CNN's features; or u8 (N, 128, 128, 3), the frames, where the CNN is trained.
        log_p: f32 (N,), of the sampled actions when they were played.
        goal: f32 (E,).
        reward: f64 (N,), and what each term paid: parts {term: (N,)}.
        success: by the task's rule.
        facts: weights_sha256, seeds, steps asked for, crashes, seconds.
    """

    key: str
    group: int
    buttons: NDArray[np.int64]
    camera: NDArray[np.int64]
    images: NDArray[Any]
    log_p: NDArray[np.float32]
    goal: NDArray[np.float32]
    reward: Series
    parts: dict[str, Series]
    success: bool
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.buttons)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it, whole or not at all."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {f"part/{name}": part for name, part in self.parts.items()}
        facts = {"key": self.key, "group": self.group, "success": self.success, **self.facts}
        with atomic_file(path) as handle:
            np.savez(handle, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **arrays)

    @staticmethod
    def check(path: str | os.PathLike[str], weights_sha256: str) -> None:
        """Read what a file says of its episode, without the arrays.

        Raises:
            UserError: not a rollout, or of other weights.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                played_by = str(json.loads(file["facts"].tobytes()).get("weights_sha256"))
        except _FAULTS as fault:
            raise _unreadable(path, fault) from None
        if played_by != weights_sha256:
            raise UserError(
                "This rollout was played by other weights.",
                where=display(path),
                expected=weights_sha256[:12],
                got=played_by[:12],
                todo="remove the iteration's folder; the same command plays it again",
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Rollout:
        """Read a rollout.

        Raises:
            UserError: it is none, or it is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                named = {name: file[name] for name in file.files}
            facts = json.loads(named.pop("facts").tobytes())
            parts = {name.removeprefix("part/"): named.pop(name) for name in list(named) if name.startswith("part/")}
            known = {name: facts.pop(name) for name in ("key", "group", "success")}
            return cls(**named, **known, parts=parts, facts=facts)
        except _FAULTS as fault:
            raise _unreadable(path, fault) from None


def _unreadable(path: str | os.PathLike[str], fault: Exception) -> UserError:
    todo = "remove it; the same command plays this episode again"
    return UserError("This rollout cannot be read.", where=display(path), got=str(fault), todo=todo)


@dataclasses.dataclass(frozen=True)
class RolloutBatch:
    """B episodes, padded to the longest, T steps.

    Attributes:
        images: f32 (B, T, 256) or u8 (B, T, 128, 128, 3).
        goals: f32 (B, E); or (B, T, E), where each step has its own.
        buttons, camera: i64 (B, T).
        counted: f32 (B, T), 1 for steps of an episode, 0 behind its end and where old episodes are context.
        moves: f32 (B, T), 1 where the camera's class has an effect.
        wanted: (B, T, H), the starting policy's latents; None where they have to be computed.
    """

    images: Tensor
    goals: Tensor
    buttons: Tensor
    camera: Tensor
    counted: Tensor
    moves: Tensor
    wanted: Tensor | None = None


def padded(rows: Sequence[NDArray[Any]]) -> Tensor:
    """Arrays (N_i, …) as one tensor (B, max N, …), zeros behind each end."""
    found = np.zeros((len(rows), max(map(len, rows)), *rows[0].shape[1:]), rows[0].dtype)
    for number, row in enumerate(rows):
        found[number, : len(row)] = row
    return torch.from_numpy(found)


def batch_of(
    rollouts: Sequence[Rollout], device: torch.device, latents: Sequence[Tensor] | None = None
) -> RolloutBatch:
    """The episodes as a padded batch on the device.

    Args:
        latents: the starting policy's (N, H) of each, where they are known.
    """
    moves = torch.from_numpy(CAMERA_MOVES.astype(np.float32))
    buttons = padded([rollout.buttons for rollout in rollouts])
    counted = padded([np.ones(len(rollout), np.float32) for rollout in rollouts])
    tensors = (
        padded([rollout.images for rollout in rollouts]),
        torch.from_numpy(np.stack([rollout.goal for rollout in rollouts])),
        buttons,
        padded([rollout.camera for rollout in rollouts]),
        counted,
        moves[buttons] * counted,
    )
    wanted = None if latents is None else nn.utils.rnn.pad_sequence(list(latents), batch_first=True)
    return dataclasses.replace(RolloutBatch(*(tensor.to(device) for tensor in tensors)), wanted=wanted)


def permuted(rollouts: Sequence[Rollout], seed: int, iteration: int) -> list[Rollout]:
    """The placebo: the rewards and successes of all episodes dealt out anew, cut or filled to the lengths of those that get them.

    Among all, not within each start state: there the sum of a start state's rewards stays what it was, so a value function can still learn
    which states pay. Measured in the game, such a placebo improved (docs/rl.md).
    """
    found = []
    for taker, source in zip(rollouts, generator(seed, "placebo", iteration).permutation(len(rollouts))):
        giver = rollouts[int(source)]

        def fitted(series: Series, length: int = len(taker)) -> Series:
            return np.concatenate([series[:length], np.zeros(max(0, length - len(series)))])

        parts = {name: fitted(part) for name, part in giver.parts.items()}
        found.append(dataclasses.replace(taker, reward=fitted(giver.reward), parts=parts, success=giver.success))
    return found


def figures_of(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """What an iteration's episodes say by themselves: success and return with their uncertainty, return by term, length, groups with a difference.

    Errors count that episodes from the same start end alike.
    """
    groups = [rollout.group for rollout in rollouts]
    successes = [rollout.success for rollout in rollouts]
    returns = np.array([rollout.reward.sum() for rollout in rollouts])
    rate, error = float(np.mean(successes)), clustered_error(successes, groups)
    count = worth(rate, len(successes), error)
    low, high = wilson(rate * count, count)
    apart = {group: {float(paid) for paid, other in zip(returns, groups) if other == group} for group in groups}
    found = {
        "success": rate,
        "success_low": low,
        "success_high": high,
        "error_of_success": error,
        "return": float(returns.mean()),
        "error_of_return": clustered_error(returns.tolist(), groups),
        "episode_steps": float(np.mean([len(rollout) for rollout in rollouts])),
        "mixed_groups": mixed_groups(successes, groups),
        "differing_groups": sum(len(paid) > 1 for paid in apart.values()) / len(apart),
        "crashes": float(sum(rollout.facts.get("crashes", 0) for rollout in rollouts)),
    }
    for name in rollouts[0].parts:
        found[f"return_{name}"] = float(np.mean([rollout.parts[name].sum() for rollout in rollouts]))
    return found


def speed_of(rollouts: Sequence[Rollout], games: int) -> dict[str, float]:
    """How long an iteration's episodes took, played by so many games at a time: seconds, games and steps a second, and the share of resets."""
    seconds = [rollout.facts["seconds"] for rollout in rollouts]
    total = max(1e-9, sum(float(each["total"]) for each in seconds))
    played = total / max(1, min(games, len(rollouts)))
    return {
        "seconds_playing": played,
        "games_per_second": len(rollouts) / played,
        "steps_per_second": sum(map(len, rollouts)) / played,
        "share_resets": sum(float(each.get("reset", 0.0)) for each in seconds) / total,
    }


def tag_of(prompt: str) -> str:
    """A prompt as part of a curve's name, which TensorBoard wants without blanks."""
    return re.sub(r"[^\w.-]+", "_", prompt) or "no_goal"
