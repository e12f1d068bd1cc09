"""How fast an agent acts in one game and in many at once, eagerly and as a CUDA graph (`python -m benchmarks acting`).

Input: settings of a network and a device. Output: milliseconds of a guided step at batch 1, guided steps/s at batch 64, and peak memory.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.policy import TINY
from steve1.agent import Agent
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
        batch_<G> with plain (float32) and, on CUDA, graph, bf16 and bf16_graph: each ms_per_step (median) and steps_per_s (games
        times steps); batch_1 also agent and, on CUDA, graph_agent (whole steps: frame in, action out); peak_memory_mb_<G> on CUDA.
    """
    named = {"tiny": TINY, "2x": PolicyConfig()}
    config = named[model] if isinstance(model, str) and model in named else read_model(model)
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    policy = GoalPolicy(config).initialise().to(where).eval()
    kinds: dict[str, dict[str, Any]] = {"plain": {}}
    if where.type == "cuda":
        low: dict[str, Any] = {"precision": torch.bfloat16}
        kinds |= {"graph": {"cuda_graph": True}, "bf16": low, "bf16_graph": {**low, "cuda_graph": True}}
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
            name: _speed(Agent(policy, games=games, **how), frames, goals, steps) for name, how in kinds.items()
        }
        if games == 1:  # frame in, action out, sampling included
            agents = {"agent": Agent(policy)}
            if where.type == "cuda":
                agents["graph_agent"] = Agent(policy, precision=torch.bfloat16, cuda_graph=True)
            for name, agent in agents.items():
                found["batch_1"][name] = _timed(lambda: agent.act(frames[0], goals[0]), steps)  # noqa: B023
        if where.type == "cuda":
            found[f"peak_memory_mb_{games}"] = torch.cuda.max_memory_allocated(where) / 2**20
    return found | {"target_ms_batch_1": TARGET_MS, "target_steps_per_s_batch_64": TARGET_STEPS_PER_S}


def _speed(agent: Agent, frames: np.ndarray, goals: np.ndarray, steps: int) -> dict[str, float]:
    # reading one number waits for the device
    return _timed(lambda: agent.log_probs(list(frames), list(goals))["buttons"][0, 0].item(), steps, agent.games)


def _timed(step: Callable[[], Any], steps: int, games: int = 1) -> dict[str, float]:
    took = []
    for number in range(steps + 5):
        began = time.perf_counter()
        step()
        if number >= 5:
            took.append(time.perf_counter() - began)
    median = statistics.median(took)
    return {"ms_per_step": 1000 * median, "steps_per_s": games / median}
