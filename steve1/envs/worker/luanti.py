"""Luanti's half of the protocol in the main program: `make_env("luanti", worker=True)`."""

from __future__ import annotations

import sys
from typing import Any

from .backend import Backend, Limits
from .env import WorkerEnv

# Luanti brings its own X server; its starts and resets are those of LuantiEnv, which has time-outs of its own.
BACKEND = Backend("luanti", "steve1.envs.worker.adapter_luanti", lambda: sys.executable, Limits(start_s=180.0, reset_s=90.0, step_s=70.0, memory_mb=4000.0))


def make(*, surroundings: str, width: int, height: int, instance: int, **more: Any) -> WorkerEnv:
    """LuantiEnv's arguments, and `limits`, `limits_more` as WorkerEnv takes them."""
    own = {name: more.pop(name) for name in ("limits", "limits_more") if name in more}
    return WorkerEnv(BACKEND, {"surroundings": surroundings, **more}, width=width, height=height, instance=instance, **own)
