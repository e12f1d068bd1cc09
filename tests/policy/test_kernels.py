"""The compiled kernels against torch in float64, with any layout, width and number of threads; and what happens without a compiler."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from steve1.core.paths import ROOT
from steve1.policy import kernels
from steve1.policy.convolution import conv_pool_relu, frame_norm, residual

LAST = torch.channels_last
DTYPES = [torch.float32, torch.bfloat16]
needs_kernels = pytest.mark.skipif(kernels.library() is None, reason="no C++ compiler here")


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)
    return x.contiguous(memory_format=LAST) if len(shape) == 4 else x


def differs(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference, as a share of the largest number."""
    return float((got.double() - wanted.double()).abs().max() / wanted.double().abs().max())


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "side"), [(8, 16), (16, 64), (24, 16), (32, 64), (128, 40)])
@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_norm(channels: int, side: int, mean: float, dtype: torch.dtype) -> None:
    x, up = normal(3, channels, side, side, dtype=dtype) + mean, normal(3, channels, side, side, dtype=dtype)
    assert kernels.usable(x)
    ours = [x.clone().requires_grad_(), normal(channels).requires_grad_(), normal(channels).requires_grad_()]
    exact = [each.detach().double().requires_grad_() for each in ours]
    found, wanted = frame_norm(*ours), F.group_norm(exact[0], 1, exact[1], exact[2])
    allowed = 1e-2 if dtype == torch.bfloat16 else 1e-6 * (3 + mean)
    assert differs(found, wanted) < allowed
    assert found.is_contiguous(memory_format=LAST)
    for layout in (LAST, torch.contiguous_format):  # of the gradient, which others chose
        got = torch.autograd.grad(found, ours, up.contiguous(memory_format=layout), retain_graph=True)
        right = torch.autograd.grad(wanted, exact, up.double(), retain_graph=True)
        assert all(differs(*pair) < 10 * allowed for pair in zip(got, right, strict=True))


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 8, 16, 16), (1, 16, 15, 16), (2, 16, 16, 15), (1, 64, 1, 1), (1, 16, 2, 2)])
def test_pool_chooses_what_torch_chooses(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = (normal(*shape) * 2).round().to(dtype).requires_grad_()  # with many that are equal
    wanted = F.max_pool2d(x, 3, 2, 1).relu()
    up = normal(*wanted.shape, dtype=dtype)
    found, which = kernels.pool_relu(x.detach(), differentiable=True)
    assert torch.equal(found, wanted)
    assert which is not None
    got = kernels.pool_relu_backward(up, which, *shape[2:])
    assert differs(got, torch.autograd.grad(wanted, x, up)[0]) < (2e-2 if dtype == torch.bfloat16 else 1e-6)


@needs_kernels
def test_numbers_that_are_none_are_not_hidden() -> None:
    for bad in (float("nan"), -float("nan"), float("inf")):
        x = normal(1, 16, 16, 16)
        x[0, 3, 5, 5] = bad
        assert not kernels.pool_relu(x, differentiable=False)[0].isfinite().all()
        assert not kernels.norm(x, torch.ones(16), torch.zeros(16))[0].isfinite().all()


def block(dtype: torch.dtype) -> list[torch.Tensor]:
    shapes = [(3, 16, 32, 32), (16,), (16,), (16, 16, 3, 3), (16,), (16,), (16, 16, 3, 3)]
    return [normal(*shape, dtype=dtype if place == 0 else torch.float32) for place, shape in enumerate(shapes)]


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
def test_residual_block_and_its_gradients(dtype: torch.dtype) -> None:
    given = block(dtype)
    exact = [each.double().requires_grad_() for each in given]
    wanted = residual(*exact)
    up = normal(3, 16, 32, 32)
    right = torch.autograd.grad(wanted, exact, up.double())

    def errors() -> list[float]:
        ours = [each.clone().requires_grad_() for each in given]
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            found = residual(*ours)
        got = torch.autograd.grad(found, ours, up.to(found.dtype).contiguous())
        return [differs(found, wanted), *(differs(*pair) for pair in zip(got, right, strict=True))]

    ours = errors()
    with kernels.unused():
        plain = errors()
    for mine, other in zip(ours, plain, strict=True):
        assert mine < max(1.5 * other, 1e-5), "further from float64 than without the kernels"


@needs_kernels
@pytest.mark.parametrize("frozen", [(3, 6), (1, 2, 4, 5), (0,)])
def test_gradients_of_what_is_trained_alone(frozen: tuple[int, ...]) -> None:
    given = block(torch.float32)
    ours = [each.clone().requires_grad_(place not in frozen) for place, each in enumerate(given)]
    trained = [each for each in ours if each.requires_grad]
    got = torch.autograd.grad(residual(*ours).square().sum(), trained)
    with kernels.unused():
        right = torch.autograd.grad(residual(*ours).square().sum(), trained)
    assert all(differs(*pair) < 1e-4 for pair in zip(got, right, strict=True))


@needs_kernels
def test_any_number_of_threads_gives_the_same_bits() -> None:
    x, up = normal(1, 128, 64, 64), normal(1, 128, 64, 64)
    gain, shift = normal(128), normal(128)
    before, seen = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        out, stats = kernels.norm(x, gain, shift)
        seen.append([out, *kernels.norm_backward(up, x, gain, stats), kernels.pool_relu(x, differentiable=False)[0]])
    torch.set_num_threads(before)
    assert all(torch.equal(*pair) for other in seen[1:] for pair in zip(seen[0], other, strict=True))


@pytest.mark.parametrize("kind", ["float64", "odd size", "contiguous", "empty"])
def test_what_they_do_not_take_goes_to_torch(kind: str) -> None:
    x = {
        "float64": normal(1, 16, 8, 8).double(),
        "odd size": normal(1, 6, 7, 7),
        "contiguous": torch.randn(2, 16, 8, 8),
        "empty": normal(0, 16, 8, 8),
    }[kind]
    channels = x.shape[1]
    assert not kernels.usable(x)
    plain = torch.ones(channels, dtype=x.dtype), torch.zeros(channels, dtype=x.dtype)
    assert torch.allclose(frame_norm(x, *plain), F.group_norm(x, 1), atol=1e-5)


@pytest.mark.e2e
@pytest.mark.parametrize("fault", ["no compiler", "a compiler that fails", "a folder that cannot be made"])
def test_without_kernels_the_same_results(fault: str, tmp_path: Path) -> None:
    """A program's output is the same within rounding, and nothing is printed."""
    (tmp_path / "file").touch()
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / ("file" if "folder" in fault else "cache"))}
    if "compiler" in fault:
        environment["CXX"] = "no-such-compiler" if fault == "no compiler" else "false"
    code = (
        "import torch\n"
        "from steve1.policy import kernels\n"
        "from steve1.policy.convolution import frame_norm\n"
        "assert kernels.library() is None\n"
        "x = torch.randn(2, 16, 8, 8).contiguous(memory_format=torch.channels_last)\n"
        "y = frame_norm(x, torch.ones(16), torch.zeros(16))\n"
        "assert torch.allclose(y, torch.nn.functional.group_norm(x, 1), atol=1e-5)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_kernels
def test_a_library_is_made_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = kernels._compiled()
    made = path.stat().st_mtime_ns
    assert kernels._compiled() == path
    assert path.stat().st_mtime_ns == made
    assert list(path.parent.iterdir()) == [path], "nothing half-made stays behind"
    assert ctypes.CDLL(str(path)).norm_float32


@needs_kernels
def test_training_and_acting_pool_alike() -> None:
    x, weight, bias = normal(2, 3, 32, 32), normal(16, 3, 3, 3), normal(16)
    with torch.no_grad():
        still = conv_pool_relu(x, weight, bias)
    assert torch.equal(conv_pool_relu(x, weight, bias), still)
