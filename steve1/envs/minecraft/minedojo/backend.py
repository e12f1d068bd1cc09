"""MineDojo in the main program (`--env minedojo`); nothing of the package is imported here."""

from __future__ import annotations

import dataclasses
from typing import Any

from steve1.envs.minecraft.game import Minecraft
from steve1.envs.minecraft.minedojo.tasks import find_tasks
from steve1.envs.worker.backend import Limits
from steve1.envs.worker.env import WorkerEnv

SUCCESS = "minedojo:success"
"""A crafted "item" of this name in info and traces: MineDojo counts the task as done."""


@dataclasses.dataclass(frozen=True)
class MineDojo(Minecraft):
    """MineDojo, whose tasks bring their own biome."""

    def make(self, *, task: str = "", **more: Any) -> WorkerEnv:
        """Start MineDojo's worker; its Minecraft starts with the first reset.

        Args:
            task: the programmatic task's id; a reset's start state {"task": id} overrules it.
            more: as for every Minecraft; `mode`: "fresh" makes a new world for each new seed, "fast" keeps one world and begins
                each episode at another place in it.

        Raises:
            UserError: as for every Minecraft, or no task has this id (names the nearest).
        """
        if task:
            find_tasks([task])
        return super().make(task=task, **more)


# A reset with a new seed restarts Minecraft.
GAME = MineDojo(
    "minedojo",
    Limits(start_s=120.0, reset_s=900.0, step_s=60.0, memory_mb=8000.0),
    heap_mb=2048,
    options=("resets_per_seed", "task", "mode"),
)
