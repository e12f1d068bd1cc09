"""MCio (`--env mcio`): modern Minecraft through a Fabric mod, in lock-step, with the actions and pictures of MineRL 1.0.

In: MineRL actions. Out: the interface's observations. `mcio-ctrl` lives in its own environment with a Python of 3.12 or newer
(`bash tools/install_minecraft.sh mcio`) and runs in a worker; nothing of it is imported here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from steve1.core.errors import UserError
from steve1.envs.minecraft.backends import find_interpreter
from steve1.envs.starts import BIOMES
from steve1.envs.worker import Backend, Limits, WorkerEnv

INSTANCE = "steve1"
BACKEND = Backend(
    "mcio", "steve1.envs.minecraft.mcio.adapter", python=lambda: str(find_interpreter("mcio")), display=True, ports=2, heap_mb=4096,
    # A reset may make a new world first, which starts a server once, and may start Minecraft anew.
    limits=Limits(start_s=180.0, reset_s=600.0, step_s=30.0, memory_mb=8000.0),
)  # fmt: skip
OWN = ("instance_name", "mcio_dir", "java", "gpu", "window", "settle", "scale")


def mcio_dir() -> Path:
    """MCio's folder: $STEVE1_MCIO_DIR, else its own default."""
    return Path(os.environ.get("STEVE1_MCIO_DIR") or "~/.mcio").expanduser()


def has_minecraft(instance: str = INSTANCE) -> bool:
    """Whether MCio has installed Minecraft under this name; MCio's own list of its instances tells."""
    try:
        known = yaml.safe_load((mcio_dir() / "mcio.yaml").read_text(encoding="utf-8"))
        return instance in (known["instances"] or {})
    except (OSError, yaml.YAMLError, TypeError, KeyError):
        return False


def make(*, biome: str = "meadow", width: int = 640, height: int = 360, instance: int = 0, **more: Any) -> WorkerEnv:
    """Start MCio's worker; Minecraft itself starts with the first reset, which knows the world.

    Args:
        biome: of resets whose start names no world.
        more: `instance_name` (of MCio's installation; "steve1"), `mcio_dir`, `java` (another Java than Minecraft's own), `gpu` (GL vendor:
            nvidia, amd, mesa), `window` (show the game's own window), `settle` (ticks after a reset until the world is drawn, 40), `scale` (of
            the window in which a person plays, 2); `headless`, `limits`, `limits_more` as WorkerEnv takes them.

    Raises:
        UserError: the environment or Minecraft in it is not installed (with the command that installs it).
    """
    if biome not in BIOMES:
        raise UserError("Unknown biome.", got=biome, expected=", ".join(BIOMES))
    own = {name: more.pop(name) for name in OWN if name in more}
    settings = {"biome": biome, "mcio_dir": str(mcio_dir()), "instance_name": INSTANCE, **own}
    if settings.get("window"):
        more.setdefault("headless", False)
    return WorkerEnv(BACKEND, settings, width=width, height=height, instance=instance, **more)
