"""Luanti in the main program: how `make_env("luanti")` starts it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from steve1.envs.interface import Env
from steve1.envs.luanti.env import LuantiEnv
from steve1.envs.luanti.mods import missing
from steve1.envs.luanti.shim import APT
from steve1.envs.starts import BIOMES, check
from steve1.envs.worker.backend import Backend, Limits
from steve1.envs.worker.env import WorkerEnv

BACKEND = Backend("luanti", "steve1.envs.luanti.adapter", lambda: sys.executable, Limits(memory_mb=4000.0))


def limits(timeout_s: float) -> Limits:
    """The worker's time-outs around LuantiEnv's own, which find a hanging game first and say where it hangs.

    A start may be tried twice, and before the first one the shim is compiled; a reset is a few commands, of which one is long.
    """
    around = timeout_s + 10.0
    return Limits(
        start_s=2.0 * around + 60.0,
        reset_s=1.5 * around,
        step_s=around,
        call_s=around,
        memory_mb=BACKEND.limits.memory_mb,
    )


class Luanti:
    """Starts Luanti in a worker, which runs in the project's own Python."""

    def make(self, *, biome: str, width: int, height: int, instance: int, worker: bool = True, **more: Any) -> Env:
        """Start Luanti.

        Args:
            worker: False keeps the game in this process, without supervision.
            more: `split`, `timeout_s`, `settings`, `backend` as LuantiEnv takes them; `limits`, `limits_more` as WorkerEnv does.
        """
        check("biome", biome, BIOMES)
        if not worker:
            return LuantiEnv(biome=biome, width=width, height=height, instance=instance, **more)
        own: dict[str, Any] = {
            name: more.pop(name) for name in ("split", "timeout_s", "settings", "backend") if name in more
        }
        more.setdefault("limits", limits(own.get("timeout_s", 60.0)))
        return WorkerEnv(BACKEND, {"biome": biome, **own}, width=width, height=height, instance=instance, **more)

    def playable(self) -> bool:
        """Luanti stands in for whatever cannot be played; what it lacks is said when it starts."""
        return True

    def missing_mods(self, wanted: Sequence[str]) -> dict[str, str]:
        """See `registry.Game`."""
        return {mod: f"{APT} {package}" if package else "an unknown mod" for mod, package in missing(wanted).items()}


GAME = Luanti()
