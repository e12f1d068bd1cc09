"""MCio in the main program (`--env mcio`); nothing of the package is imported here."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import yaml

from steve1.envs.minecraft.game import Minecraft
from steve1.envs.starts import BIOMES, check
from steve1.envs.worker.backend import Limits
from steve1.envs.worker.env import WorkerEnv

INSTANCE = "steve1"


def mcio_dir() -> Path:
    """MCio's folder: $STEVE1_MCIO_DIR, else its own default."""
    return Path(os.environ.get("STEVE1_MCIO_DIR") or "~/.mcio").expanduser()


def has_minecraft(instance: str = INSTANCE) -> bool:
    """Whether MCio has installed Minecraft under this name, from MCio's own list of instances."""
    try:
        known = yaml.safe_load((mcio_dir() / "mcio.yaml").read_text(encoding="utf-8"))
        return instance in (known["instances"] or {})
    except (OSError, yaml.YAMLError, TypeError, KeyError):
        return False


@dataclasses.dataclass(frozen=True)
class Mcio(Minecraft):
    """MCio, which brings its own Java and installs Minecraft itself."""

    def make(self, *, biome: str, **more: Any) -> WorkerEnv:
        """Start MCio's worker; Minecraft itself starts with the first reset, which knows the world.

        Args:
            biome: of resets whose start names no world.
            more: `instance_name` (of MCio's installation; "steve1"), `mcio_dir`, `java` (another Java than Minecraft's own), `gpu` (GL vendor:
                nvidia, amd, mesa), `window` (show the game's own window), `settle` (ticks after a reset until the world is drawn, 40), `scale`
                (of the window in which a human plays, 2); and as for every Minecraft.

        Raises:
            UserError: the environment, or Minecraft in it, is not installed (with the command that installs it).
        """
        check("biome", biome, BIOMES)
        if more.get("window"):
            more.setdefault("headless", False)
        return super().make(biome=biome, **{"mcio_dir": str(mcio_dir()), "instance_name": INSTANCE, **more})

    def playable(self) -> bool:
        return super().playable() and has_minecraft()


# A reset may make a new world first, which starts a server once, and may restart Minecraft.
GAME = Mcio(
    "mcio",
    Limits(start_s=180.0, reset_s=600.0, step_s=30.0, memory_mb=8000.0),
    ports=2,
    options=("instance_name", "mcio_dir", "java", "gpu", "window", "settle", "scale"),
)
