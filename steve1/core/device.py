"""Chooses the torch device: "auto" or a name → a device that is available; and prepares memory for a CPU's."""

from __future__ import annotations

import contextlib
import ctypes

import torch

from steve1.core.errors import UserError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # as in malloc.h


def choose_device(name: str = "auto") -> torch.device:
    """ "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        UserError: the named device is unknown or absent.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            "This device is not available.",
            where="--device",
            expected="auto, cpu, cuda, cuda:N or mps",
            got=f"{name} ({str(error).splitlines()[0]})",
        ) from error
    return device


def keep_freed_memory() -> None:
    """From here on this process keeps the memory that it frees, where its C library is glibc; elsewhere nothing changes.

    glibc returns large blocks to the system, which then clears every page anew for the next tensor of the same size: measured, a sixth of a
    small network's training step and a fifth of the 2x network's. Peaks stay as they are, since the next step needs them again.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for setting, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1)):
            library.mallopt(setting, value)
