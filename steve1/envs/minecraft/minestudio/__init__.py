"""MineStudio's simulator (`--env minestudio`): Minecraft 1.16.5, the engine of CraftJarvis' work.

In: MineRL actions; drop, pickItem and swapHands do nothing in it. Out: the interface's observations. It lives in its own environment
(`bash tools/install_minecraft.sh minestudio`) and runs in a worker; nothing of it is imported here.
"""

from __future__ import annotations

from typing import Any

from steve1.envs.minecraft.backends import find_interpreter, interpreter_path, java_home
from steve1.envs.worker import Backend, Limits, WorkerEnv

BACKEND = Backend(
    "minestudio", "steve1.envs.minecraft.minestudio.adapter", python=lambda: str(find_interpreter("minestudio")), display=True, ports=4, heap_mb=4096,
    limits=Limits(start_s=1800.0, reset_s=600.0, step_s=60.0, memory_mb=8000.0),
)  # fmt: skip


def make(*, biome: str = "meadow", width: int = 640, height: int = 360, instance: int = 0, **more: Any) -> WorkerEnv:
    """Start MineStudio's simulator. `biome` names the spawn biome as in `--env minerl`; `more` as there.

    Raises:
        UserError: the environment is missing, or there is no Java 8.
    """
    engine = interpreter_path("minestudio").parent.parent / "engine"
    own = {name: more.pop(name) for name in ("resets_per_seed",) if name in more}
    settings = {**own, "biome": biome, "java_home": java_home("minestudio"), "engine_folder": str(engine)}
    return WorkerEnv(BACKEND, settings, width=width, height=height, instance=instance, **more)
