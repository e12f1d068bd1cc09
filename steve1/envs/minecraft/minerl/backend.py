"""MineRL 1.0 in the main program (`--env minerl`); nothing of the package is imported here."""

from __future__ import annotations

from steve1.envs.minecraft.game import Minecraft
from steve1.envs.worker.backend import Limits

# The very first start unpacks and links the game; a reset makes a new world.
GAME = Minecraft("minerl", Limits(start_s=900.0, reset_s=300.0, step_s=60.0, memory_mb=8000.0))
