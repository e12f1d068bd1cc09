"""Writes a run's output: weights in the published form (low-rank additions merged), an adapter beside them, or a tuned goal."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, assert_never

import numpy as np

from steve1.core.checkpoint_metadata import (
    CheckpointMetadata,
    GoalFile,
    checkpoint_metadata_path,
    write_checkpoint_metadata,
    write_goal,
)
from steve1.core.files import atomic_path, sha256_file
from steve1.core.paths import display, resolve
from steve1.policy import GoalPolicy, save_weights
from steve1.training.config import TrainSettings
from steve1.training.trainable import adapter_path, plain_policy, tuned_goal, write_adapter


def sidecar_files(path: Path, settings: TrainSettings) -> list[Path]:
    """`path` and the files that go with it."""
    match settings.mode.adds:
        case "goal":
            return [path]
        case "lora":
            return [path, checkpoint_metadata_path(path), adapter_path(path)]
        case "nothing":
            return [path, checkpoint_metadata_path(path)]
        case _:
            assert_never(settings.mode.adds)


def write_output(
    policy: GoalPolicy, path: Path, settings: TrainSettings, metadata: CheckpointMetadata, facts: dict[str, Any]
) -> None:
    """Write the policy or its tuned goal, with the sidecar files; `facts` go into a goal file."""
    goal = tuned_goal(policy)
    start = "" if settings.starts_empty else metadata.hashes.get("in_weights", "")
    if goal is not None:
        numbers = goal.detach().float().cpu().numpy().astype(np.float32)
        made_by = {"learning_rate": settings.learning_rate, **facts}
        write_goal(
            path, GoalFile(numbers, display(resolve(settings.in_weights)), start, settings.fixed_prompt, made_by)
        )
        return
    with atomic_path(path) as part:
        save_weights(plain_policy(policy), part)
    if settings.mode.adds == "lora":
        write_adapter(policy, adapter_path(path), start)
    write_checkpoint_metadata(
        path, dataclasses.replace(metadata, hashes={**metadata.hashes, "weights": sha256_file(path)})
    )
