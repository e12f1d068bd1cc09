"""How fast the policy trains and steps, against what the core can multiply at that moment.

Input: settings of a network (default: the small one of the published comparison). Output: frames/s, steps/s and percent of the
matrix-product rate, all measured with one thread in one process, in turns, so that other programs on the machine weigh on both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from steve1.actions import N_BUTTONS, N_CAMERA
from steve1.policy.config import PolicyConfig, read_model
from steve1.policy.flops import flop_count
from steve1.policy.network import GoalPolicy
from steve1.policy.parameters import parameter_groups

# the small configuration that published figures are for: 0.246 GFLOP a frame forward, 0.725 to train
TINY = PolicyConfig(
    hidsize=64,
    attention_heads=4,
    attention_memory_size=32,
    timesteps=16,
    n_recurrence_layers=2,
    impala_width=1,
)
TARGETS = {"train_fp32": 54.0, "train_bf16": 47.0}  # percent of the matrix-product rate


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread inside, as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def matmul_rate(
    dtype: torch.dtype, size: int = 1024, repeats: int = 4, clock: Callable[[], float] = time.thread_time
) -> float:
    """FLOP/s of the best of a few square matrix products; on the thread's own clock, or on the wall's for several threads."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    taken = []
    for _ in range(repeats):
        began = clock()
        a @ b
        taken.append(clock() - began)
    return 2.0 * size**3 / min(taken)


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the wall and by the thread's own clock (which other programs' turns do not count in)."""
    wall, own = time.perf_counter(), time.thread_time()
    work()
    return time.perf_counter() - wall, time.thread_time() - own


def make_batch(config: PolicyConfig, batch: int, steps: int) -> dict[str, Tensor]:
    """Random frames, goals, starts and labels (B, T)."""
    random = torch.Generator().manual_seed(0)
    height, width, channels = config.img_shape
    shape = (batch, steps)
    return {
        "frames": torch.randint(0, 256, (*shape, height, width, channels), dtype=torch.uint8, generator=random),
        "goals": torch.randn(*shape, config.mineclip_embed_dim, generator=random),
        "first": torch.zeros(shape, dtype=torch.bool),
        "buttons": torch.randint(0, N_BUTTONS, shape, generator=random),
        "camera": torch.randint(0, N_CAMERA, shape, generator=random),
    }


def training_step(policy: GoalPolicy, batch: Mapping[str, Tensor], bf16: bool) -> Callable[[], float]:
    """A whole step: loss, gradients, clipping, AdamW; returns the loss."""
    optimizer = torch.optim.AdamW(parameter_groups(policy, 0.039428), lr=1e-6, fused=True)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]

    def step() -> float:
        state = policy.initial_state(len(batch["frames"]))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = policy.loss(batch["frames"], batch["goals"], batch["first"], state, batch["buttons"], batch["camera"])
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(out.loss.detach())

    return step


def measure_training(
    model: str | Mapping[str, Any] | PolicyConfig = TINY, *, batch: int = 2, steps: int = 64, rounds: int = 4
) -> dict[str, Any]:
    """Whole optimizer steps in float32 and bfloat16, each round between two measurements of the matrix-product rate.

    Returns train_fp32 and train_bf16, each with frames_per_s (wall, best round), frames_per_cpu_s (the thread's own clock), percent (of the rate, on that clock,
    best round), percent_rounds, matmul_gflops and target_percent; and gflop_per_frame.
    """
    config = read_model(model)
    data = make_batch(config, batch, steps)
    flop = flop_count(config, steps).train
    found: dict[str, Any] = {"gflop_per_frame": flop / 1e9, "batch": batch, "T": steps}
    with one_thread():
        policy = GoalPolicy(config).initialise()
        for name, dtype in (("train_fp32", torch.float32), ("train_bf16", torch.bfloat16)):
            step = training_step(policy, data, dtype == torch.bfloat16)
            step()
            frames_per_s, frames_per_cpu_s, percent, best_rate = [], [], [], 0.0
            for _ in range(rounds):
                before = matmul_rate(dtype)
                wall, own = timed(step)
                rate = max(before, matmul_rate(dtype))
                best_rate = max(best_rate, rate)
                frames_per_s.append(batch * steps / wall)
                frames_per_cpu_s.append(batch * steps / own)
                percent.append(100 * frames_per_cpu_s[-1] * flop / rate)
            found[name] = {
                "frames_per_s": max(frames_per_s),
                "frames_per_cpu_s": max(frames_per_cpu_s),
                "percent": max(percent),
                "percent_rounds": [round(value, 1) for value in percent],
                "matmul_gflops": best_rate / 1e9,
                "target_percent": TARGETS[name],
            }
    return found
