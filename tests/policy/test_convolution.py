"""The fast forms of norm, convolution and pool against torch's plain ones, with and without gradients, in both precisions."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from steve1.agent.packed import _Norm
from steve1.core.paths import ROOT
from steve1.policy import convolution
from steve1.policy.convolution import conv_pool_relu, frame_norm, norm_conv_relu

LAST = torch.channels_last


def normal(*shape: int) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))
    return x.contiguous(memory_format=LAST) if len(shape) == 4 else x


@pytest.mark.parametrize("mean", [0, 1, 10, 100])
@pytest.mark.parametrize("channels", [8, 16, 24, 128])
@pytest.mark.parametrize("layout", [LAST, torch.contiguous_format])
def test_norm_and_its_gradients(channels: int, mean: float, layout: torch.memory_format) -> None:
    """As near to float64 as float32's rounding of the frame allows, however large the mean is beside the spread."""
    tensors = [normal(3, channels, 10, 12) + mean, normal(channels), normal(channels)]
    up = normal(3, channels, 10, 12).contiguous(memory_format=layout)
    ours = [tensor.clone().requires_grad_() for tensor in tensors]
    exact = [tensor.double().requires_grad_() for tensor in tensors]
    y = frame_norm(*ours)
    wanted = F.group_norm(exact[0], 1, exact[1], exact[2])
    near = 1e-6 * (4 + mean)
    assert float((y - wanted).detach().abs().max()) < near * float(wanted.detach().abs().max())
    assert y.is_contiguous(memory_format=LAST)
    for got, reference in zip(
        torch.autograd.grad(y, ours, up), torch.autograd.grad(wanted, exact, up.double()), strict=True
    ):
        assert float((got - reference).abs().max()) < 10 * near * float(reference.abs().max())


@pytest.mark.parametrize("channels", [8, 16])
def test_a_frame_in_patches(channels: int) -> None:
    """Equal numbers in a row round alike, which sums of squares do not forgive."""
    x = F.interpolate(normal(2, channels, 4, 4), size=(64, 64)).contiguous(memory_format=LAST) + 20
    plain = torch.ones(channels), torch.zeros(channels)
    wanted = F.group_norm(x.double(), 1)
    assert float((frame_norm(x, *plain) - wanted).abs().max()) < 1e-5
    assert float((_Norm(torch.nn.GroupNorm(1, channels), 64)(x[:1]) - wanted[:1]).abs().max()) < 1e-5


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("channels", [8, 16])
def test_without_gradients_the_same(count: int, channels: int) -> None:
    x, gain, shift = normal(count, channels, 16, 16), normal(channels), normal(channels)
    weight, bias, first = normal(12, channels, 3, 3), normal(12), normal(12, channels, 3, 3)
    with torch.no_grad():
        without = (norm_conv_relu(x, gain, shift, weight), conv_pool_relu(x, first, bias))
    assert torch.allclose(without[0], norm_conv_relu(x, gain, shift, weight), atol=1e-4)
    plain = F.max_pool2d(F.relu(F.conv2d(x, first, bias, padding=1)), 3, stride=2, padding=1)
    assert torch.allclose(without[1], plain, atol=1e-4)
    assert torch.allclose(conv_pool_relu(x, first, bias), plain, atol=1e-4)


@pytest.mark.parametrize("size", [(16, 16), (15, 16), (16, 15), (2, 2)])
def test_pool_of_any_size(size: tuple[int, int]) -> None:
    x, weight = normal(2, 3, *size), normal(8, 3, 3, 3)
    plain = F.max_pool2d(F.relu(F.conv2d(x, weight, padding=1)), 3, stride=2, padding=1)
    with torch.no_grad():
        assert torch.allclose(conv_pool_relu(x, weight, None), plain, atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("channels", [8, 16])
def test_autocast_keeps_the_low_precision(channels: int, fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fused:  # as on a processor whose oneDNN has no bfloat16
        monkeypatch.setattr(convolution, "FUSED_DTYPES", {torch.float32})
    x, gain, shift, weight = (
        normal(2, channels, 8, 8),
        normal(channels),
        normal(channels),
        normal(channels, channels, 3, 3),
    )
    exact = norm_conv_relu(x, gain, shift, weight)
    with torch.autocast("cpu", torch.bfloat16):
        low = norm_conv_relu(x.bfloat16(), gain, shift, weight)
        with torch.no_grad():
            still = norm_conv_relu(x.bfloat16(), gain, shift, weight)
    assert low.dtype == still.dtype == torch.bfloat16
    scale = float(exact.abs().max())
    assert float((low.float() - exact).abs().max()) < 0.03 * scale
    assert float((still.float() - low.float()).abs().max()) < 0.03 * scale


@pytest.mark.e2e
def test_bfloat16_on_a_processor_without_it() -> None:
    """torch refuses the fused convolution there; these variables make such a processor of a newer one."""
    code = (
        "import torch\n"
        "from steve1.policy.convolution import norm_conv_relu\n"
        "x, weight = torch.randn(1, 8, 8, 8), torch.randn(8, 8, 3, 3)\n"
        "with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):\n"
        "    y = norm_conv_relu(x.bfloat16(), torch.ones(8), torch.zeros(8), weight)\n"
        "assert y.dtype == torch.bfloat16 and y.isfinite().all()\n"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
