"""How fast a game runs.

In: surroundings and a picture size. Out: steps a second (whole `step()`: action, tick, picture, state), and how long a
start and a reset take.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

from . import make_env, start_states


def _rss_mb(pid: int) -> float:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _rate(env: Any, steps: int, moving: bool) -> float:
    begin = time.perf_counter()
    for number in range(steps):
        turn = 1.0 if number % 40 < 20 else -1.0
        env.step({"forward": int(moving), "jump": int(moving and number % 15 == 0), "camera": [0.0, turn]})
    return steps / (time.perf_counter() - begin)


def measure(
    steps: int = 150, places: int = 3, surroundings: str = "meadow", width: int = 640, height: int = 360
) -> dict[str, Any]:
    """Measure one game alone; plain numbers, ready for JSON.

    Returns:
        start_s: game's start. reset_s: median of resets at `places` places far apart.
        standing_steps_per_s, walking_steps_per_s: median over the places, each of `steps` steps with the picture.
        memory_mb: the game's and the X server's. cores, load_1min: of the machine, before the run.
    """
    load = os.getloadavg()[0]
    begin = time.perf_counter()
    env: Any = make_env("luanti", surroundings=surroundings, width=width, height=height)
    with env:
        start_s = time.perf_counter() - begin
        resets, standing, walking = [], [], []
        for place in start_states("luanti", surroundings, "eval")[:places]:
            begin = time.perf_counter()
            env.reset(seed=0, options={"start": place})
            resets.append(time.perf_counter() - begin)
            standing.append(_rate(env, steps, moving=False))
            walking.append(_rate(env, steps, moving=True))
        memory = sum(_rss_mb(pid) for pid in env.pids)
    return {
        "surroundings": surroundings, "width": width, "height": height, "steps": steps, "places": places,
        "start_s": round(start_s, 2), "reset_s": round(statistics.median(resets), 2),
        "standing_steps_per_s": round(statistics.median(standing), 1),
        "walking_steps_per_s": round(statistics.median(walking), 1),
        "memory_mb": round(memory), "cores": os.cpu_count() or 1, "load_1min": round(load, 2),
    }  # fmt: skip


if __name__ == "__main__":
    import json

    print(json.dumps(measure(), indent=2))
