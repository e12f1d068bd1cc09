"""How fast a game runs, in the process that plays and in a supervised worker.

Input: biome and a picture size. Output: steps a second (whole `step()`: action, tick, picture, state) of both, taken in turns at the same
places, and how long a start and a reset take.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from typing import Any

from steve1.core import processes
from steve1.envs import make_env, start_states


def _rate(env: Any, steps: int, moving: bool) -> float:
    begin = time.perf_counter()
    for number in range(steps):
        turn = 1.0 if number % 40 < 20 else -1.0
        env.step({"forward": int(moving), "jump": int(moving and number % 15 == 0), "camera": [0.0, turn]})
    return steps / (time.perf_counter() - begin)


class _Side:
    """One of the two ways to hold the game, and what was measured of it."""

    def __init__(self, worker: bool, biome: str, width: int, height: int) -> None:
        begin = time.perf_counter()
        self.env: Any = make_env("luanti", biome=biome, width=width, height=height, worker=worker)
        self.start_s = time.perf_counter() - begin
        self.resets: list[float] = []
        self.rates: dict[str, list[float]] = {"standing": [], "walking": []}

    def reset(self, place: dict[str, Any]) -> None:
        begin = time.perf_counter()
        self.env.reset(seed=0, options={"start": place})
        self.resets.append(time.perf_counter() - begin)

    def figures(self) -> dict[str, Any]:
        members = {member for pid in self.env.pids for member in (pid, *processes.descendants(pid))}
        return {
            "start_s": round(self.start_s, 2), "reset_s": round(statistics.median(self.resets), 2),
            "standing_steps_per_s": round(statistics.median(self.rates["standing"]), 1),
            "walking_steps_per_s": round(statistics.median(self.rates["walking"]), 1),
            "memory_mb": round(processes.memory(members) / 1e6),
        }  # fmt: skip


def measure(
    steps: int = 150, places: int = 3, biome: str = "meadow", width: int = 640, height: int = 360, rounds: int = 2
) -> dict[str, Any]:
    """Measure one game that plays at a time; plain numbers, ready for JSON.

    Returns:
        worker, in_process: start_s; reset_s: median of resets at `places` places far apart; standing_steps_per_s, walking_steps_per_s: median over
            the places of `rounds` runs of `steps` steps each with the picture, the two ways in turns; memory_mb: of the game, its X server and its worker.
        worker_costs_ms: a step in the worker against one in this process, from the medians standing.
        cores, load_1min: of the machine, before the run.
    """
    load = os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        sides = {name: _Side(name == "worker", biome, width, height) for name in ("worker", "in_process")}
        for side in sides.values():
            stack.enter_context(side.env)
        for place in start_states("luanti", biome, "eval")[:places]:
            for side in sides.values():
                side.reset(place)
            for moving in (False, True):
                for _ in range(rounds):
                    for side in sides.values():
                        side.rates["walking" if moving else "standing"].append(_rate(side.env, steps, moving))
        figures = {name: side.figures() for name, side in sides.items()}
    costs = 1000.0 / figures["worker"]["standing_steps_per_s"] - 1000.0 / figures["in_process"]["standing_steps_per_s"]
    return {
        "biome": biome, "width": width, "height": height, "steps": steps, "places": places, "rounds": rounds, **figures,
        "worker_costs_ms": round(costs, 2), "cores": os.cpu_count() or 1, "load_1min": round(load, 2),
    }  # fmt: skip


if __name__ == "__main__":
    import json

    print(json.dumps(measure(), indent=2))
