"""Luanti's half of the protocol in the main program: where `make_env("luanti")` plays."""

from __future__ import annotations

import sys
from typing import Any

from steve1.envs.worker.backend import Backend, Limits
from steve1.envs.worker.env import WorkerEnv

BACKEND = Backend("luanti", "steve1.envs.worker.adapter_luanti", lambda: sys.executable, Limits(memory_mb=4000.0))


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


def make(
    *, biome: str, width: int, height: int, instance: int, split: str = "eval", timeout_s: float = 60.0,
    settings: dict[str, Any] | None = None, backend: str = "auto", **own: Any,
) -> WorkerEnv:  # fmt: skip
    """LuantiEnv's arguments, and `limits`, `limits_more` as WorkerEnv takes them."""
    given = {"biome": biome, "split": split, "timeout_s": timeout_s, "settings": settings or {}, "backend": backend}
    return WorkerEnv(
        BACKEND, given, width=width, height=height, instance=instance, **{"limits": limits(timeout_s), **own}
    )
