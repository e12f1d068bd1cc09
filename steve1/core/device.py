"""Chooses the torch device: "auto" or a name → a device that is available."""

from __future__ import annotations

import torch

from steve1.core.errors import UserError


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
