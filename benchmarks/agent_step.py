"""How fast an agent steps, with and without guidance, against what the core can multiply at that moment.

Input: settings of a network. Output: steps/s, percent of the matrix-product rate, and what guidance costs.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.policy import TINY, matmul_rate, one_thread, timed
from steve1.agent import Agent
from steve1.policy import GoalPolicy, PolicyConfig, read_model
from steve1.policy.flops import flop_count

TARGET_PERCENT = 50.0
TARGET_RATIO = 1.2


def measure_steps(
    model: str | Mapping[str, Any] | PolicyConfig = TINY, *, rounds: int = 6, steps: int = 40
) -> dict[str, Any]:
    """Single steps (frame in, action out), guided and not, in turns, each round between measurements of the matrix-product rate.

    Returns single and guided, each with steps_per_s (wall), steps_per_cpu_s (the thread's own clock) and percent (of the float32 rate, on that clock), from the
    median step of the best round; ratio (guided time over unguided, median of the rounds); matmul_gflops; targets.
    """
    config = read_model(model)
    flop = flop_count(config).forward
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (8, *config.img_shape), dtype=np.uint8)
    goal = random.standard_normal(config.mineclip_embed_dim).astype(np.float32)
    walls: dict[str, list[float]] = {"single": [], "guided": []}
    owns: dict[str, list[float]] = {"single": [], "guided": []}
    percents: dict[str, list[float]] = {"single": [], "guided": []}
    ratios, best_rate = [], 0.0
    with one_thread():
        policy = GoalPolicy(config).initialise()
        agents = {"single": Agent(policy, cond_scale=0.0), "guided": Agent(policy, cond_scale=6.0)}
        for agent in agents.values():
            for frame in frames:
                agent.act(frame, goal)
        for _ in range(rounds):
            rate = matmul_rate(torch.float32)
            own: dict[str, list[float]] = {"single": [], "guided": []}
            wall: dict[str, list[float]] = {"single": [], "guided": []}
            for number in range(steps):
                for name, agent in agents.items():
                    took = timed(lambda: agent.act(frames[number % 8], goal))  # noqa: B023
                    wall[name].append(took[0])
                    own[name].append(took[1])
            rate = max(rate, matmul_rate(torch.float32))
            best_rate = max(best_rate, rate)
            for name in agents:
                walls[name].append(statistics.median(wall[name]))
                owns[name].append(statistics.median(own[name]))
                percents[name].append(100 * flop / statistics.median(own[name]) / rate)
            ratios.append(statistics.median(own["guided"]) / statistics.median(own["single"]))
    found: dict[str, Any] = {
        name: {
            "steps_per_s": 1 / min(walls[name]),
            "steps_per_cpu_s": 1 / min(owns[name]),
            "percent": max(percents[name]),
            "percent_rounds": [round(value, 1) for value in percents[name]],
        }
        for name in agents
    }
    return found | {
        "ratio": statistics.median(ratios),
        "gflop_per_step": flop / 1e9,
        "matmul_gflops": best_rate / 1e9,
        "target_percent": TARGET_PERCENT,
        "target_ratio": TARGET_RATIO,
    }
