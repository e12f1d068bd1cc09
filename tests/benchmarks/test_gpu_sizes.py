"""The sizes that a GPU is measured with fit it, from 8 GB on."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu_sizes import Args, main, sizes
from steve1.policy import PolicyConfig
from steve1.training.memory.estimate import Method, estimate
from steve1.training.memory.plans import usable

BF16, FP32 = torch.bfloat16, torch.float32


@pytest.mark.parametrize("gpu_gb", [8.0, 12.0, 16.0, 24.0, 80.0, 141.0])
@pytest.mark.parametrize("precision", [BF16, FP32])
def test_sizes_fit_the_card(gpu_gb: float, precision: torch.dtype) -> None:
    *counts, together = sizes(PolicyConfig(), gpu_gb, precision)
    batch, widest, compiled, light, full = map(int, counts)
    ways = {
        Method(): (batch, widest, compiled),
        Method(activation_checkpointing="light"): (light,),
        Method("all", "factored", "full"): (full,),
    }
    for method, windows in ways.items():
        for count in windows:
            if count:
                found = estimate(PolicyConfig(), method, batch=count, trunc_t=64, precision=precision)
                assert found.total <= usable(gpu_gb)
    assert batch <= light <= full
    assert full >= 1, "every card from 8 GB on can be measured"
    assert together == ("both" if gpu_gb >= 80 else "cached") or gpu_gb == 24.0


def test_a_large_card_is_measured_wide(capsys: pytest.CaptureFixture[str]) -> None:
    main(Args(device="cpu", gpu_gb=141.0))
    assert capsys.readouterr().out.split() == ["8", "32", "15", "8", "8", "both"]
