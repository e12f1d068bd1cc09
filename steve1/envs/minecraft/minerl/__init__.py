"""MineRL 1.0 (`--env minerl`): Minecraft 1.16.5 with the pictures and actions that VPT and STEVE-1 were trained on.

In: MineRL actions. Out: the interface's observations. The package lives in its own environment (`bash tools/install_minecraft.sh minerl`)
and runs in a worker; nothing of it is imported here.
"""

from __future__ import annotations

from typing import Any

from steve1.envs.minecraft.backends import find_interpreter, java_home
from steve1.envs.worker import Backend, Limits, WorkerEnv

BACKEND = Backend(
    "minerl", "steve1.envs.minecraft.minerl.adapter", python=lambda: str(find_interpreter("minerl")), display=True, ports=4, heap_mb=4096,
    # The very first start unpacks and links the game; a reset makes a new world.
    limits=Limits(start_s=900.0, reset_s=300.0, step_s=60.0, memory_mb=8000.0),
)  # fmt: skip


def make(*, biome: str = "meadow", width: int = 640, height: int = 360, instance: int = 0, **more: Any) -> WorkerEnv:
    """Start MineRL.

    Args:
        biome: the spawn biome of resets that name none: "meadow" (plains), "forest", "shore" (beach).
        more: `resets_per_seed`; `headless`, `limits`, `limits_more` as WorkerEnv takes them.

    Raises:
        UserError: the environment is missing, MineRL in it is 0.4, or there is no Java 8.
    """
    own = {name: more.pop(name) for name in ("resets_per_seed",) if name in more}
    settings = {"biome": biome, "java_home": java_home("minerl"), **own}
    return WorkerEnv(BACKEND, settings, width=width, height=height, instance=instance, **more)
