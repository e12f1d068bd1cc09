"""What a game in a worker process costs per step, beyond the game itself.

Output: milliseconds per step of a game that does nothing: action there, observation and picture back, over the same socket and memory as
any game's.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from typing import Any

from steve1.envs.worker.backend import Backend
from steve1.envs.worker.env import WorkerEnv


def _cpu_ms(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000.0 / os.sysconf("SC_CLK_TCK")


def measure(steps: int = 2000, width: int = 640, height: int = 360) -> dict[str, Any]:
    """Plain numbers, ready for JSON.

    Returns:
        start_s: of the worker. reset_ms: of one reset. step_ms_p10, step_ms_median, step_ms_p95: wall time of one step; beside other jobs
            the tenth percentile is what it takes when no processor is waited for.
        cpu_main_ms, cpu_worker_ms: processor time of one step on either side.
    """
    began = time.perf_counter()
    with WorkerEnv(Backend("null", "benchmarks.null_game", lambda: sys.executable), width=width, height=height) as env:
        started = time.perf_counter()
        env.reset(seed=0)
        reset = time.perf_counter()
        (pid,) = env.pids
        worker, own, times = _cpu_ms(pid), time.process_time(), []
        for _ in range(steps):
            before = time.perf_counter()
            env.step({"forward": 1, "camera": [1.5, -0.6154]})
            times.append((time.perf_counter() - before) * 1000.0)
        own, worker = (time.process_time() - own) * 1000.0, _cpu_ms(pid) - worker
    times.sort()
    return {
        "width": width, "height": height, "steps": steps, "start_s": round(started - began, 3), "reset_ms": round((reset - started) * 1000.0, 3),
        "step_ms_p10": round(times[steps // 10], 3), "step_ms_median": round(statistics.median(times), 3), "step_ms_p95": round(times[int(0.95 * steps)], 3),
        "cpu_main_ms": round(own / steps, 3), "cpu_worker_ms": round(worker / steps, 3),
    }  # fmt: skip
