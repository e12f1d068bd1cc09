"""The bench's arithmetic: known sizes, and figures that fit each other."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.embed import frame_flop, measure_embed
from steve1.mineclip.config import MineCLIPConfig
from steve1.mineclip.model import MineCLIP
from tests.mineclip.conftest import SMALL


def test_the_published_tower_costs_27_gflop() -> None:
    """A little above the 27.5 GFLOP of its weights alone (2 x 85.5 M x 161), for attention's products."""
    assert frame_flop(MineCLIPConfig()) / 1e9 == pytest.approx(28.4, abs=0.3)


def test_counted_as_torch_counts(small: MineCLIP) -> None:
    # torch counts attention's products only where they are separate operations.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        small.image_features(torch.zeros(1, 80, 128, 3, dtype=torch.uint8))
    assert counter.get_total_flops() == pytest.approx(frame_flop(SMALL), rel=0.01)


@pytest.mark.parametrize("bf16", [False, True])
def test_figures_fit_each_other(bf16: bool) -> None:
    found = measure_embed(SMALL, bf16=bf16, seconds=0.2)
    assert found["frames_per_s"] > 0
    assert found["percent_of_bound"] == pytest.approx(
        100 * found["frames_per_s"] * found["gflop_per_frame"] / found["matmul_gflops"]
    )
    assert found["dtype"] == ("bfloat16" if bf16 else "float32")
