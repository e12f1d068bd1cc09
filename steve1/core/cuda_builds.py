"""The builds of PyTorch for NVIDIA's cards: which one runs with a driver and on a card.

Input: the driver's version and the card's compute capability, as nvidia-smi prints them. Output: the build, and the command that installs
it. Standard library only: the doctor asks this where PyTorch is missing or does not load.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path

INDEX = "https://download.pytorch.org/whl"


@dataclasses.dataclass(frozen=True)
class Build:
    """A build of PyTorch (2.12 to 2.14), by PyTorch's release matrix and NVIDIA's table of drivers."""

    name: str
    """Its folder in the index, such as cu126."""
    cuda: str
    driver: int
    """The least major version of the driver, on Linux."""
    lowest: tuple[int, int]
    highest: tuple[int, int]
    """Compute capabilities of the cards that it has kernels for."""

    def runs_on(self, capability: tuple[int, int]) -> bool:
        """Whether it has kernels for a card, (0, 0): for an unknown one; those of a capability also run on later ones of the same major number."""
        return capability == (0, 0) or (self.lowest <= capability and capability[0] <= self.highest[0])

    def command(self, torch: str) -> str:
        """Installs this version of PyTorch over what is there."""
        return f".venv/bin/python -m pip install --force-reinstall torch=={torch} --index-url {INDEX}/{self.name}"


# The newest first: the first that fits is taken. pip installs the first one by itself.
BUILDS = (
    Build("cu130", "13.0", 580, (7, 5), (12, 1)),
    Build("cu126", "12.6", 525, (5, 0), (9, 0)),
)
ROCM = "https://pytorch.org/get-started/locally/ names the build of PyTorch for ROCm"


def version(text: str) -> tuple[int, int]:
    """ "8.6" → (8, 6), "580.65.06" → (580, 65); (0, 0) where it is no version."""
    words = text.strip().split(".")
    try:
        return int(words[0]), int(words[1]) if len(words) > 1 else 0
    except ValueError:
        return 0, 0


def fitting(driver: str, capability: tuple[int, int]) -> Build | None:
    """The newest build for this card that this driver, "" if it is unknown, can run; None: the driver is too old for each of them."""
    known = version(driver)[0]
    found = [build for build in BUILDS if build.runs_on(capability) and (not known or known >= build.driver)]
    return found[0] if found else None


def advice(driver: str, capability: tuple[int, int], torch: str) -> str:
    """What to do so that PyTorch runs on this card: a command, or a newer driver."""
    build = fitting(driver, capability)
    if build is not None:
        return build.command(torch)
    able = [build for build in BUILDS if build.runs_on(capability)]
    if not able:
        return "--device cpu: no build of PyTorch has kernels for this card"
    least = able[-1]
    return (
        f"install NVIDIA's driver {least.driver} or newer (here: {driver or 'unknown'}), then: {least.command(torch)}"
    )


def gpu_of_the_system(root: Path = Path("/")) -> str:
    """ "NVIDIA" or "AMD" where the system's drivers know such a GPU; "" also where it is hidden by CUDA_VISIBLE_DEVICES."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return ""
    if any(root.glob("proc/driver/nvidia/gpus/*")) or (root / "dev/nvidia0").exists():
        return "NVIDIA"
    # the processor is a node too, with gpu_id 0
    for file in root.glob("sys/class/kfd/kfd/topology/nodes/*/gpu_id"):
        with contextlib.suppress(OSError):
            if file.read_text().strip() not in ("", "0"):
                return "AMD"
    return ""
