"""What is said when the memory runs out: which settings need less."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from steve1.core.errors import UserError
from steve1.core.messages import translated
from steve1.policy import PolicyConfig
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.memory.estimate import GIB, Method, estimate_of
from steve1.training.memory.plans import METHODS, plans, usable

# In lower case: what CUDA, cuBLAS, cuDNN, PyTorch's allocators and numpy say. cuDNN finds no engine where none gets its workspace.
WORDINGS = (
    "out of memory",
    "allocate memory",
    "unable to allocate",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "unable to find an engine",
)
FRAGMENTS = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"


def is_oom(fault: BaseException) -> bool:
    """Whether this error means that the memory is full, in any of its wordings."""
    if isinstance(fault, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(fault, RuntimeError) and any(wording in str(fault).lower() for wording in WORDINGS)


@contextmanager
def explain_oom(settings: TrainSettings, config: PolicyConfig, ranks: Ranks, precision: torch.dtype) -> Iterator[None]:
    """Turns an out-of-memory error in the body into a UserError that names settings which fit."""
    try:
        yield
    except (RuntimeError, MemoryError) as fault:
        if not is_oom(fault):
            raise
        device = ranks.device
        on_gpu, held = device.type == "cuda" and not isinstance(fault, MemoryError), ""
        if on_gpu:
            size = torch.cuda.get_device_properties(device).total_memory
            allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
            held = f" (of {reserved / GIB:.1f} GiB that PyTorch holds, {allocated / GIB:.1f} are tensors)"
        else:
            size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        raise UserError(
            "The memory of the GPU is full." if on_gpu else "The memory of this machine is full.",
            where=f"batch_size {settings.batch_size}, trunc_t {settings.trunc_t}, T {settings.T}, finetune_mode {settings.finetune_mode}",
            got=(str(fault).splitlines() or [type(fault).__name__])[0] + translated(held),
            todo=what_fits(settings, config, size / GIB, precision, on_gpu, ranks.world),
        ) from fault


def what_fits(
    settings: TrainSettings,
    config: PolicyConfig,
    gpu_gb: float,
    precision: torch.dtype,
    on_gpu: bool = True,
    processes: int = 1,
) -> str:
    """The nearest plans that need clearly less than these settings and fit, the same method first."""
    now = Method.of(settings)
    used = estimate_of(settings, config, precision, on_gpu, processes)
    # Where the estimate says that it should have fitted, something else holds memory: look for clearly less.
    most = min(usable(gpu_gb), used.around + 0.8 * (used.total - used.around))
    found = plans(
        config,
        gpu_gb,
        total_frames=settings.total_frames,
        effective_batch=settings.batch_size * settings.gradient_accum_steps,
        T=settings.T,
        methods=tuple(dict.fromkeys([now, *METHODS])),
        precision=precision,
        memory=most,
        on_gpu=on_gpu,
        processes=processes,
    )
    said = translated(
        f"estimated need {used.total / GIB:.2f} GiB of {gpu_gb:.1f}; all methods: python -m steve1 plan --gpu_gb {gpu_gb:.0f}"
    )
    if on_gpu:
        said += translated(
            f"; {FRAGMENTS} in front of the command loses less to fragmentation; nvidia-smi shows what else holds memory"
        )
    if not found:
        return said + translated("; none of them fits this network: use a card with more memory, or a smaller network")
    less = [f"{plan.gib:.2f} GiB: {plan.command()}" for plan in found[:3]]
    return "\n    ".join([said + translated(". These need less:"), *less])
