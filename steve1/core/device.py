"""Chooses the torch device: "auto" or a name → a device that computes, and its precision; says why a GPU is not used; prepares memory for a CPU's."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys

import torch

from steve1.core.cuda_builds import BUILDS, advice, gpu_of_the_system
from steve1.core.errors import UserError
from steve1.core.messages import message, translated

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # as in malloc.h


def choose_device(name: str = "auto") -> torch.device:
    """ "auto" takes CUDA, then MPS, then the CPU; where a GPU is there that PyTorch cannot use, it says so.

    Raises:
        UserError: the device is unknown or absent, or this build of PyTorch has no kernels for it.
    """
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        elif torch.backends.mps.is_available():
            name = "mps"
        else:
            warn_of_unused_gpu()
            return torch.device("cpu")
    try:
        device = torch.device(name)
        # a kernel has to run: memory alone can be had on cards that the build does not know
        float((torch.ones(8, device=device) * 2).sum())
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        if "no kernel image" in str(error):
            raise _unknown_card(torch.device(name), first) from error
        raise UserError(
            "This device is not available.",
            where="--device",
            expected="auto, cpu, cuda, cuda:N or mps",
            got=f"{name} ({first})",
            todo="python -m steve1 doctor says what is there, and which build of PyTorch fits it",
        ) from error
    return device


def _unknown_card(device: torch.device, said: str) -> UserError:
    """This build of PyTorch has no kernels for the card."""
    capability = torch.cuda.get_device_capability(device)
    # NVIDIA's driver is new enough for this build, or CUDA would not have started
    driver = next((build.driver for build in BUILDS if build.cuda.split(".")[0] == _cuda_major()), 0)
    return UserError(
        "This build of PyTorch has no kernels for this GPU.",
        where=f"{device}: {torch.cuda.get_device_name(device)}, compute capability {capability[0]}.{capability[1]}",
        expected=f"one of {', '.join(torch.cuda.get_arch_list())}",
        got=said,
        todo=f"{advice(str(driver), capability, torch.__version__.split('+')[0])}   (or --device cpu)",
    )


def _cuda_major() -> str:
    return (torch.version.cuda or "").split(".")[0]


@functools.cache
def warn_of_unused_gpu() -> None:
    """Print once that there is a GPU which PyTorch does not see, so that nobody computes on the CPU without knowing it."""
    kind = gpu_of_the_system()
    if kind:
        print(message("gpu unused", kind=kind, why=translated(why_unused(kind))), file=sys.stderr, flush=True)


def why_unused(kind: str) -> str:
    """The likely reason, in a few words."""
    if kind == "AMD" and torch.version.hip is None:
        return "this build of PyTorch is not the one for ROCm"
    if kind == "NVIDIA" and torch.version.cuda is None:
        return "this build of PyTorch is for the CPU"
    return f"its driver does not run this build (CUDA {torch.version.cuda or torch.version.hip})"


def has_bf16(device: torch.device) -> bool:
    """Whether a GPU computes in bf16 itself. Older cards emulate it, and cuDNN has no convolutions for it there."""
    if device.type != "cuda":
        return device.type == "mps"
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


def refuse_emulated_bf16(device: torch.device) -> None:
    """UserError where bf16 was asked for on a card that has to emulate it."""
    if device.type == "cuda" and not has_bf16(device):
        major, minor = torch.cuda.get_device_capability(device)
        raise UserError(
            "This GPU has no bf16: PyTorch would emulate it, and its convolutions do not run.",
            where=f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor}",
            expected="compute capability 8.0 or higher (RTX 30xx, A100 and later)",
            got="--precision bf16",
            todo="--precision auto takes float32 here; fp16 is not offered, since it gives NaNs",
        )


def choose_precision(name: str, device: torch.device, *, bf16_on_cpu: bool = True) -> torch.dtype:
    """torch.bfloat16 or torch.float32: "auto" takes bf16 on CUDA cards that have it and on CPUs with bf16 instructions.

    Args:
        bf16_on_cpu: False: "auto" is float32 on every CPU.

    Raises:
        UserError: bf16 was asked for on a card that emulates it.
    """
    if name in ("fp32", "tf32"):
        return torch.float32
    if name == "bf16":
        refuse_emulated_bf16(device)
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if bf16_on_cpu and device.type == "cpu" and has_instructions() else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> contextlib.AbstractContextManager[None]:
    """The context that a forward pass runs in."""
    if precision == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=precision)


def set_tf32(on: bool) -> None:
    """Let CUDA round the factors of float32 products and convolutions to 10 bits of mantissa, which is several times faster; or not at all.

    PyTorch's own default rounds those of convolutions and not those of matrix products.
    """
    precision = "tf32" if on else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]


def keep_freed_memory() -> None:
    """From here on this process keeps the memory that it frees, where its C library is glibc; elsewhere nothing changes.

    glibc returns large blocks to the system, which then clears every page anew for the next tensor of the same size: measured, a sixth of a
    small network's training step and a fifth of the 2x network's. Peaks stay as they are, since the next step needs them again.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for setting, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1)):
            library.mallopt(setting, value)
