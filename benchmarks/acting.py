"""How fast many games are acted in at once, and one with a recorded step (`bench acting`).

Comes in: settings of a network and a device. Goes out: milliseconds of a guided step at batch 1, guided steps/s at batch 64, and peak memory.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.policy import TINY
from steve1.agent.agent import Agent
from steve1.agent.batch import BatchAgent
from steve1.agent.recorded import RecordedAgent
from steve1.policy import GoalPolicy, PolicyConfig, read_model

TARGET_MS, TARGET_STEPS_PER_S = 3.0, 2000.0  # one H200 at 2x


def measure_acting(
    model: str | Mapping[str, Any] | PolicyConfig = "tiny",
    *,
    device: str = "auto",
    batches: tuple[int, ...] = (1, 64),
    steps: int = 30,
) -> dict[str, Any]:
    """Guided log-probabilities of random frames, memory full, each step waited for.

    Args:
        model: "tiny", "2x", a .model file, or settings.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N".
        steps: measured of each kind.

    Returns:
        batch_<G> with plain (float32) and, on CUDA, graph, bf16 and bf16_graph: each ms_per_step (median) and steps_per_s (games times steps); batch_1 also agent and recorded_agent (whole steps: frame in, action out);
        peak_memory_mb_<G> on CUDA.
    """
    named = {"tiny": TINY, "2x": PolicyConfig()}
    config = named[model] if isinstance(model, str) and model in named else read_model(model)
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    policy = GoalPolicy(config).initialise().to(where).eval()
    kinds: dict[str, dict[str, Any]] = {"plain": {}}
    if where.type == "cuda":
        low: dict[str, Any] = {"precision": torch.bfloat16}
        kinds |= {"graph": {"graph": True}, "bf16": low, "bf16_graph": {**low, "graph": True}}
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }
    random = np.random.default_rng(0)
    for games in batches:
        if where.type == "cuda":
            torch.cuda.reset_peak_memory_stats(where)
        frames = random.integers(0, 256, (games, *config.img_shape), dtype=np.uint8)
        goals = random.standard_normal((games, config.mineclip_embed_dim)).astype(np.float32)
        found[f"batch_{games}"] = {
            name: _speed(BatchAgent(policy, games, **how), frames, goals, steps) for name, how in kinds.items()
        }
        if games == 1:  # frame in, action out, the draw included
            how = {"precision": torch.bfloat16} if where.type == "cuda" else {}
            agents = {"agent": Agent(policy), "recorded_agent": RecordedAgent(policy, **how)}
            found["batch_1"] |= {name: _acting(agent, frames[0], goals[0], steps) for name, agent in agents.items()}
        if where.type == "cuda":
            found[f"peak_memory_mb_{games}"] = torch.cuda.max_memory_allocated(where) / 2**20
    return found | {"target_ms_batch_1": TARGET_MS, "target_steps_per_s_batch_64": TARGET_STEPS_PER_S}


def _speed(agent: BatchAgent, frames: np.ndarray, goals: np.ndarray, steps: int) -> dict[str, float]:
    return _timed(
        lambda: agent.log_probs(frames, goals)["buttons"][0, 0].item(), steps, agent.games
    )  # waits for the device


def _acting(agent: Agent, frame: np.ndarray, goal: np.ndarray, steps: int) -> dict[str, float]:
    return _timed(lambda: agent.act(frame, goal), steps)


def _timed(step: Callable[[], Any], steps: int, games: int = 1) -> dict[str, float]:
    took = []
    for number in range(steps + 5):
        began = time.perf_counter()
        step()
        if number >= 5:
            took.append(time.perf_counter() - began)
    median = statistics.median(took)
    return {"ms_per_step": 1000 * median, "steps_per_s": games / median}
