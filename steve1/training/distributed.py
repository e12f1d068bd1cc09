"""The processes of one run under torchrun: rank, device, and the sums over all; with one process every sum is a no-op."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist

from steve1.core.device import choose_device, keep_freed_memory
from steve1.core.errors import UserError

TIMEOUT = datetime.timedelta(hours=2)
"""How long a process waits for the others: they may compute features of episodes that are longer, or write to a slow disk."""

_left: list[object] = []
"""Groups that this process has left. A network that trained in one outlives it: as its last owner, DDP would end the group's threads while
it holds Python's lock, for which one of them may wait to free what it has summed, and both would wait for ever."""


class Ranks:
    """This process's rank, the number of processes, and its device."""

    def __init__(self, rank: int, world: int, device: torch.device) -> None:
        self.rank, self.world, self.device = rank, world, device
        if device.type == "cuda":  # a run's shapes repeat: the fastest convolutions are worth looking for once
            torch.backends.cudnn.benchmark = True

    @property
    def is_main(self) -> bool:
        """True on the one process that prints and writes."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over all processes; a new tensor."""
        total = values.clone()
        if self.world > 1:
            dist.all_reduce(total)
        return total

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over all processes, the same on each; a new tensor."""
        return self.sum(values) / self.world

    def of_main(self, values: Sequence[int]) -> list[int]:
        """The first process's whole numbers, on every process."""
        own = torch.tensor(values if self.is_main else [0] * len(values), device=self.device)
        return [int(value) for value in self.sum(own).tolist()]

    @contextmanager
    def synchronized(self, doing: str) -> Iterator[None]:
        """Run the body on every process and wait for all; where one fails, all do, so that none waits for ever."""
        fault: Exception | None = None
        try:
            yield
        except Exception as caught:  # reported below, after the others know
            fault = caught
        failed = self.sum(torch.tensor(float(fault is not None), device=self.device))
        if fault is not None:
            raise fault
        if failed > 0:
            raise UserError(f"Another process of this run failed while {doing}.", todo="its message stands above")


@contextmanager
def joined(device: str = "auto", threads: int = 0) -> Iterator[Ranks]:
    """This process among those that torchrun started; alone without torchrun.

    Args:
        device: "auto", "cpu", "cuda", "cuda:N" or "mps". Under torchrun "cuda" means the card of the local rank.
        threads: CPU threads for torch; 0: its own choice.

    Raises:
        UserError: the device is not there, or all processes would take the same card.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = local_device(device, int(os.environ.get("LOCAL_RANK", "0")), local_processes())
    on_gpu = chosen.type == "cuda"
    if on_gpu:  # before the processes meet: NCCL takes the current card
        torch.cuda.set_device(chosen)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            rank=rank,
            world_size=world,
            timeout=TIMEOUT,
            device_id=chosen if on_gpu else None,
        )
    if chosen.type == "cpu":
        keep_freed_memory()
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        yield Ranks(rank, world, chosen)
    finally:
        torch.set_num_threads(before)
        if world > 1 and dist.is_initialized():
            _left.append(dist.group.WORLD)
            dist.destroy_process_group()


def local_processes() -> int:
    """Processes of this run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE", "1"))


def local_device(name: str, local_rank: int = 0, processes: int = 1) -> torch.device:
    """The torch device that `name` means to this process, one of `processes` of this machine; UserError where it is not there."""
    if name.startswith("cuda:") and processes > 1:
        raise UserError(
            "Every process of this run would train on the same GPU.",
            where="--device",
            expected=f"cuda or auto, which give each of the {processes} processes a GPU of its own",
            got=name,
            todo="--device cuda; CUDA_VISIBLE_DEVICES=2,3 in front of the command chooses among the GPUs",
        )
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        name = f"cuda:{local_rank}"  # asked for at once: a process that looks at another card first holds memory there
    return choose_device(name)
