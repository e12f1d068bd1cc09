"""How fast actions map to classes and back.

Input: number of ticks. Output: microseconds per tick, beside the 97 of the published tick-by-tick loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from steve1.actions.joint import N_BUTTONS, N_CAMERA, actions_to_arrays, arrays_to_joint, to_env, to_joint
from steve1.core.seeds import generator

PUBLISHED_US = 97.0


def measure(ticks: int = 20_000, rounds: int = 5) -> dict[str, Any]:
    """Best of a few rounds: to_joint_us and to_env_us (lists of actions), arrays_to_joint_us (arrays), in microseconds a tick,
    and times_published (how often to_joint goes into the published loop's time)."""
    rng = generator(0, "bench", "actions")
    buttons, camera = rng.integers(0, N_BUTTONS, ticks), rng.integers(0, N_CAMERA, ticks)
    actions = to_env(buttons, camera)
    arrays = actions_to_arrays(actions)
    work: dict[str, Callable[[], Any]] = {
        "to_joint_us": lambda: to_joint(actions),
        "to_env_us": lambda: to_env(buttons, camera),
        "arrays_to_joint_us": lambda: arrays_to_joint(*arrays),
    }
    found: dict[str, Any] = {"ticks": ticks, "published_us": PUBLISHED_US}
    for name, call in work.items():
        best = float("inf")
        for _ in range(rounds):
            begun = time.thread_time()
            call()
            best = min(best, time.thread_time() - begun)
        found[name] = 1e6 * best / ticks
    found["times_published"] = PUBLISHED_US / found["to_joint_us"]
    return found
