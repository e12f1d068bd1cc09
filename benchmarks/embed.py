"""How fast goals are embedded, against what the processor could do.

Input: sizes, a precision and a device. Output: frames/s of the whole embedding path, and percent of the bound that the vision
tower's arithmetic sets at the matrix-product rate measured in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from steve1.core.seeds import generator
from steve1.mineclip.config import MineCLIPConfig, read_config
from steve1.mineclip.model import EpisodeStream, MineCLIP


def frame_flop(config: MineCLIPConfig) -> float:
    """Floating-point operations of one frame through the vision tower; a multiply-add counts two.

    Matrix products only: patches, projections, attention's two products, feed-forward.
    """
    tokens, width = config.tokens_per_frame, config.vision_width
    patches = 2 * (tokens - 1) * width * 3 * config.patch**2
    layer = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    return float(patches + config.vision_layers * layer + 2 * width * config.embed_dim)


def window_flop(config: MineCLIPConfig) -> float:
    """Floating-point operations of one clip through the temporal encoder."""
    frames, dim, inner = config.clip_frames, config.embed_dim, config.temporal_heads * 64
    attention = 2 * frames * 4 * dim * inner + 4 * frames**2 * inner
    return float(config.temporal_layers * (attention + 2 * frames * 12 * dim**2))


def _sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _rate(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Calls per second, after one call to warm up."""
    work()
    _sync(device)
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not count:
        work()
        _sync(device)
        count += 1
    return count / elapsed if elapsed > 0 else float("inf")


def matmul_flops(dtype: torch.dtype, device: torch.device, seconds: float = 1.0, size: int = 1536) -> float:
    """Operations per second of a large square matrix product."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2.0 * size**3 * _rate(lambda: a @ b, device, seconds)


def measure_embed(
    config: str | dict[str, Any] | MineCLIPConfig = "attn",
    *,
    bf16: bool = False,
    batch: int = 16,
    device: str = "cpu",
    seconds: float = 3.0,
) -> dict[str, Any]:
    """Embed random frames with random weights, as an episode comes: each frame once, a goal for each.

    The matrix-product rate is measured before and after, and the mean taken, since other programs may share the processor.

    Args:
        config: sizes, as `load_mineclip` takes them.
        bf16: matrix products in bfloat16, both in the tower and in the rate it is held against.
        batch: frames encoded at a time.
        device: where.
        seconds: time to measure, at least.

    Returns:
        frames_per_s; gflop_per_frame of the vision tower, temporal_gflop_per_frame beside it; matmul_gflops;
        bound_frames_per_s = matmul rate / tower's arithmetic; percent_of_bound; and how it was measured.
    """
    sizes = read_config(config)
    place = torch.device(device)
    dtype = torch.bfloat16 if bf16 else torch.float32
    torch.manual_seed(0)
    model = MineCLIP(sizes).to(place).eval().requires_grad_(False)
    model.autocast = bf16
    rng = generator(0, "bench embed")
    frames = list(rng.integers(0, 256, (batch, *sizes.resolution, 3), dtype=np.uint8))
    stream = EpisodeStream(model)
    stream.push_many(frames)
    before = matmul_flops(dtype, place, seconds / 6)
    frames_per_s = batch * _rate(lambda: stream.push_many(frames), place, seconds)
    after = matmul_flops(dtype, place, seconds / 6)
    matmul = (before + after) / 2
    bound = matmul / frame_flop(sizes)
    return {
        "frames_per_s": frames_per_s,
        "gflop_per_frame": frame_flop(sizes) / 1e9,
        "temporal_gflop_per_frame": window_flop(sizes) / 1e9,
        "matmul_gflops": matmul / 1e9,
        "matmul_gflops_before_after": [before / 1e9, after / 1e9],
        "bound_frames_per_s": bound,
        "percent_of_bound": 100 * frames_per_s / bound,
        "batch": batch,
        "dtype": "bfloat16" if bf16 else "float32",
        "device": str(place),
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    import json

    print(json.dumps([measure_embed(), measure_embed(bf16=True)], indent=2))
