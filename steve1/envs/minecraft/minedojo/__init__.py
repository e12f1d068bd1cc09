"""MineDojo (`--env minedojo`): its programmatic tasks by id, in Minecraft 1.11.2, judged by its own success signals.

In: MineRL actions; the inventory's menu and swapHands do nothing in it. Out: the interface's observations; info["success"],
info["task_reward"] and info["task"] beside them. It lives in its own environment (`bash tools/install_minecraft.sh minedojo`)
and runs in a worker; nothing of it is imported here.
"""

from __future__ import annotations

from typing import Any

from steve1.envs.minecraft.backends import find_interpreter, java_home
from steve1.envs.minecraft.minedojo.tasks import find_tasks, programmatic_tasks
from steve1.envs.worker import Backend, Limits, WorkerEnv

__all__ = ["BACKEND", "SUCCESS", "find_tasks", "make", "programmatic_tasks"]

SUCCESS = "minedojo:success"
"""A crafted "item" of this name in info and traces: MineDojo counts the task as done."""
BACKEND = Backend(
    "minedojo", "steve1.envs.minecraft.minedojo.adapter", python=lambda: str(find_interpreter("minedojo")), display=True, ports=4, heap_mb=2048,
    # A reset starts a Minecraft anew where the seed is new.
    limits=Limits(start_s=120.0, reset_s=900.0, step_s=60.0, memory_mb=8000.0),
)  # fmt: skip


def make(
    *,
    biome: str = "",
    width: int = 640,
    height: int = 360,
    instance: int = 0,
    task: str = "",
    mode: str = "fresh",
    **more: Any,
) -> WorkerEnv:
    """Start MineDojo's worker; its Minecraft starts with the first reset.

    Args:
        biome: not used: tasks bring their own.
        task: the programmatic task's id; a reset's start state {"task": id} overrules it.
        mode: "fresh": each new seed makes a new world; "fast": one world, another place in it for each episode.
        more: `resets_per_seed`; `headless`, `limits`, `limits_more` as WorkerEnv takes them.

    Raises:
        UserError: the environment is missing, there is no Java 8, or no task has this id (names the nearest).
    """
    if task:
        find_tasks([task])
    own = {name: more.pop(name) for name in ("resets_per_seed",) if name in more}
    settings = {**own, "task": task, "mode": mode, "java_home": java_home("minedojo")}
    return WorkerEnv(BACKEND, settings, width=width, height=height, instance=instance, **more)
