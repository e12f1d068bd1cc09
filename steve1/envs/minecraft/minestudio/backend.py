"""MineStudio's simulator in the main program (`--env minestudio`); nothing of the package is imported here."""

from __future__ import annotations

from steve1.envs.minecraft.game import Minecraft
from steve1.envs.worker.backend import Limits

GAME = Minecraft("minestudio", Limits(start_s=1800.0, reset_s=600.0, step_s=60.0, memory_mb=8000.0))
