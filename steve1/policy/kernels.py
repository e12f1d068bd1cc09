"""Kernels for frames on a CPU (kernels.cpp), compiled when first used; without a compiler torch's own operations serve.

Input: activations (N, C, h, w), channels last in memory, float32 or bfloat16. Output: the same, and gradients.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import math
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from steve1.core.files import atomic_path

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")
EPSILON = 1e-5
_WIDE = 64  # as in the source
_P, _N = ctypes.c_void_p, ctypes.c_long
_ARGUMENTS = {
    "norm": [_P] * 5 + [_N] * 3 + [ctypes.c_float],
    "norm_backward": [_P] * 8 + [_N] * 3 + [ctypes.c_int],
    "pool": [_P] * 3 + [_N] * 4,
    "pool_backward": [_P] * 3 + [_N] * 4,
    "add": [_P] * 3 + [_N],
    "relu_backward": [_P] * 3 + [_N],
}
_DTYPES = (torch.float32, torch.bfloat16)
_unused: list[bool] = []


def usable(x: Tensor) -> bool:
    """Whether the kernels take these frames: on a CPU, channels last, of a size that divides into vectors, and compiled."""
    if x.device.type != "cpu" or x.dtype not in _DTYPES or torch.compiler.is_compiling():
        return False
    channels, size = x.shape[1], x[0].numel() if len(x) else 0
    return (
        channels % 8 == 0
        and size > 0
        and size % math.lcm(channels, _WIDE) == 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and library() is not None
        and not _unused
    )


@contextlib.contextmanager
def unused() -> Iterator[None]:
    """Torch's own operations serve inside, as without a compiler."""
    _unused.append(True)
    try:
        yield
    finally:
        _unused.pop()


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, made at the first call of a machine and kept in the user's cache; None without a compiler."""
    with contextlib.suppress(OSError, subprocess.SubprocessError, AttributeError):
        loaded = ctypes.CDLL(str(_compiled()))
        for name, arguments in _ARGUMENTS.items():
            for dtype in _DTYPES:
                function = getattr(loaded, f"{name}_{str(dtype).removeprefix('torch.')}")
                function.argtypes, function.restype = arguments, None
        return loaded
    return None


def _compiled() -> Path:
    """Path of the library for this source, compiler and processor."""
    compiler = os.environ.get("CXX", "c++")
    described = Path("/proc/cpuinfo")  # of Linux alone
    flags = (
        [line for line in described.read_text().splitlines() if line.startswith("flags")][:1]
        if described.is_file()
        else []
    )
    made_from = (SOURCE.read_text(), compiler, FLAGS, platform.machine(), platform.processor(), flags)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "steve1"
    path = cache / f"kernels-{hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]}.so"
    if not path.is_file():
        with atomic_path(path) as part:  # other processes may compile at the same moment
            command = [compiler, *FLAGS, str(SOURCE), "-o", str(part)]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
    return path


def _call(name: str, dtype: torch.dtype, *arguments: object) -> None:
    loaded = library()
    assert loaded is not None
    suffix = "float32" if dtype == torch.float32 else "bfloat16"
    getattr(loaded, f"{name}_{suffix}")(*[each.data_ptr() if isinstance(each, Tensor) else each for each in arguments])


def norm(x: Tensor, gain: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """GroupNorm with one group, and what its gradient needs: mean and 1 / deviation of each frame (N, 2)."""
    gain, shift, out, stats = gain.float(), shift.float(), torch.empty_like(x), torch.empty(len(x), 2)
    _call("norm", x.dtype, x, gain, shift, out, stats, len(x), x[0].numel(), len(gain), EPSILON)
    return out, stats


def norm_of_one(gain: Tensor, shift: Tensor, side: int) -> Callable[[Tensor], Tensor] | None:
    """`norm` of one frame (1, C, side, side) float32 whose memory is prepared: each call gives the same tensor. None where it is not usable.

    gain and shift must not change meanwhile.
    """
    gain, shift = gain.detach().float().contiguous(), shift.detach().float().contiguous()
    out = torch.empty((1, len(gain), side, side), memory_format=torch.channels_last)
    loaded = library() if usable(out) and gain.device.type == "cpu" else None
    if loaded is None:
        return None
    stats, function = torch.empty(1, 2), loaded.norm_float32
    places = gain.data_ptr(), shift.data_ptr(), out.data_ptr(), stats.data_ptr()

    def norm_into(x: Tensor, _alive: tuple[Tensor, ...] = (gain, shift, stats)) -> Tensor:
        function(x.data_ptr(), *places, 1, out.numel(), len(gain), EPSILON)
        return out

    return norm_into


def norm_backward(
    grad: Tensor, x: Tensor, gain: Tensor, stats: Tensor, plus: Tensor | None = None, relu: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, gain and shift.

    Args:
        grad: of the output; x, stats: input and second output of `norm`.
        plus: added to the gradient of x.
        relu: x is a ReLU's output, and its gradient that of the ReLU's input.
    """
    grad, gain, out = _aligned(grad, x), gain.float(), torch.empty_like(x)
    plus = None if plus is None else _aligned(plus, x)
    d_gain, d_shift = torch.empty_like(gain), torch.empty_like(gain)
    _call(
        "norm_backward", x.dtype, grad, x, gain, stats, plus, out, d_gain, d_shift,
        len(x), x[0].numel(), len(gain), relu,
    )  # fmt: skip
    return out, d_gain, d_shift


def _aligned(grad: Tensor, like: Tensor) -> Tensor:
    return grad.to(like.dtype).contiguous(memory_format=torch.channels_last)


def pool_relu(x: Tensor, *, differentiable: bool) -> tuple[Tensor, Tensor | None]:
    """relu(max-pool 3, stride 2, pad 1), and where each maximum lay, u8, for `pool_relu_backward`."""
    count, channels, height, width = x.shape
    size = (count, channels, (height + 1) // 2, (width + 1) // 2)
    out = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
    which = torch.empty_like(out, dtype=torch.uint8) if differentiable else None
    _call("pool", x.dtype, x, out, which, count, height, width, channels)
    return out, which


def pool_relu_backward(grad: Tensor, which: Tensor, height: int, width: int) -> Tensor:
    """The gradient of `pool_relu`'s input (N, C, height, width)."""
    count, channels = grad.shape[:2]
    grad = grad.contiguous(memory_format=torch.channels_last)
    out = torch.empty((count, channels, height, width), dtype=grad.dtype, memory_format=torch.channels_last)
    _call("pool_backward", grad.dtype, grad, which, out, count, height, width, channels)
    return out


def add(a: Tensor, b: Tensor) -> Tensor:
    """a + b, of the same layout."""
    out = torch.empty_like(a)
    _call("add", a.dtype, a, b, out, a.numel())
    return out


def relu_backward(grad: Tensor, seen: Tensor) -> Tensor:
    """The gradient of a ReLU's input, from that of its output `seen`."""
    out = torch.empty_like(seen)
    _call("relu_backward", seen.dtype, _aligned(grad, seen), seen, out, seen.numel())
    return out
