"""Batches for training, endless, loaded in this process or by workers.

Batch k is a function of its source and k (windows: of dataset, batch size, rank, k): any number of workers gives the same batches,
and a resumed run begins at any k without reading what came before.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import logging
import math
import os
import shutil
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
import torch
import torch.utils.data as torch_data
from numpy.typing import NDArray
from torch.utils.data import _utils, dataloader

from steve1.core.errors import UserError
from steve1.data.loading.windows import WindowDataset
from steve1.data.minecraft_dataset import empty_chunk

Batch = dict[str, Any]
_SHARED_MEMORY = Path("/dev/shm")
_log = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")
LoadedOut = TypeVar("LoadedOut", covariant=True)


class Source(Protocol[LoadedOut]):
    """Number → what is loaded; the same for the same number."""

    def load(self, number: int) -> LoadedOut: ...


class BatchSource:
    """Batch number → collated batch, in this process or in a worker.

    The windows of all epochs form one stream; batch k of rank r begins at (k * world + r) * batch_size, so no window is
    dropped at the end of an epoch.
    """

    def __init__(self, dataset: WindowDataset, batch_size: int, rank: int, world: int) -> None:
        self._dataset, self._batch_size, self._rank, self._world = dataset, batch_size, rank, world
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._frames = _Recycled()

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            self._orders = {key: order for key, order in self._orders.items() if key == epoch - 1}
            self._orders[epoch] = self._dataset.epoch_order(epoch)
        return self._orders[epoch]

    def load(self, number: int) -> Batch:
        """Read the windows of one batch."""
        dataset, source = self._dataset, self._dataset.frame_source
        shape = (self._batch_size, dataset.T, *source.shape)
        # A worker decodes into the memory that the training process reads, so that nothing large is copied.
        shared = _shared(shape, source.dtype) if torch_data.get_worker_info() else None
        frames = self._frames.take(shape, source.dtype) if shared is None else shared.numpy()
        arrays = empty_chunk(
            self._batch_size,
            dataset.T,
            embed_dim=dataset.embed_dim,
            source=source,
            masked=dataset.masked,
            frames=frames,
        )
        batch: Batch = {"episode": [], "start": [], "window": [], "epoch": []}
        replayed = np.zeros((self._batch_size, dataset.T), np.bool_)
        first = (number * self._world + self._rank) * self._batch_size
        for row in range(self._batch_size):
            epoch, offset = divmod(first + row, len(dataset))
            index = int(self._order(epoch)[offset])
            window = dataset.window(epoch, index, out={key: array[row] for key, array in arrays.items()})
            batch["episode"].append(window["episode"])
            batch["start"].append(window["start"])
            batch["window"].append(index)
            batch["epoch"].append(epoch)
            replayed[row] = dataset.replayed[index]
        if dataset.replayed.any():
            arrays["replayed"] = replayed
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
        return (tensors if shared is None else tensors | {source.key: shared}) | batch


class _InWorkers(Generic[Loaded]):
    """A source for torch's workers: a user's error is returned, because torch would wrap it in the worker's traceback."""

    def __init__(self, source: Source[Loaded]) -> None:
        self._source = source

    def __getitem__(self, number: int) -> Loaded | UserError:
        try:
            return self._source.load(number)
        except UserError as fault:
            return fault


def _shared(shape: tuple[int, ...], dtype: np.dtype[Any]) -> torch.Tensor:
    """An uninitialised tensor in shared memory."""
    kind = torch.from_numpy(np.empty(0, dtype)).dtype
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize, device="cpu")
    return torch.empty(0, dtype=kind).set_(storage).view(shape)  # type: ignore[call-overload]


class _Recycled:
    """Large arrays that are reused once nothing refers to them: new memory costs a quarter of the loading time."""

    _KEPT = 4

    def __init__(self) -> None:
        self._arrays: list[NDArray[Any]] = []

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An uninitialised array; a tensor made of it, or any view of that, keeps it from being reused."""
        for number in range(len(self._arrays)):
            # Two references: this list's and getrefcount's own.
            if sys.getrefcount(self._arrays[number]) == 2 and self._arrays[number].shape == shape:
                return self._arrays[number]
        fresh = np.empty(shape, dtype)
        self._arrays = [*self._arrays[-self._KEPT + 1 :], fresh]
        return fresh


def _shared_memory_holds(need: int) -> bool:
    """Whether shared memory can hold the workers' batches. Containers often have 64 MB, and overrunning it kills a worker."""
    free = shutil.disk_usage(_SHARED_MEMORY).free if _SHARED_MEMORY.is_dir() else need
    if free < need:
        message = (
            "loading in one process: workers would need %.1f GB of shared memory and %s has %.1f GB free; "
            "give the container more (docker run --shm-size), or use fewer workers or a smaller batch"
        )
        _log.warning(message, need / 1e9, _SHARED_MEMORY, free / 1e9)
    return free >= need


def _quiet_worker(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(5)  # a thread of the trainer's that a worker keeps from its core keeps all of them waiting
    # Ctrl-C and a batch system's SIGTERM reach the whole process group. The training process saves a checkpoint and then kills
    # its workers (_kill_workers); if they died first, saving would fail.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def batches(
    dataset: WindowDataset,
    batch_size: int,
    *,
    workers: int = 0,
    start_batch: int = 0,
    rank: int = 0,
    world: int = 1,
    prefetch: int = 2,
) -> Generator[Batch, None, None]:
    """Endless batches from number `start_batch` on; closing the generator ends the workers.

    Args:
        dataset: windows; a `fixed` one gives them in order, epoch after epoch.
        batch_size: windows in a batch of one rank.
        workers: processes that load; 0 loads in this one. The batches are the same.
        start_batch: where to go on after a restart.
        rank, world: this process and how many share the data.
        prefetch: batches each worker keeps ready.

    Returns:
        generator of dicts: the arrays of `WindowDataset.window` stacked to torch tensors (B, T, …), and lists `episode`,
        `start`, `window`, `epoch`.

    Raises:
        UserError: a batch takes more windows than there are; while reading, an episode that cannot be read.
    """
    if batch_size < 1 or batch_size * world > len(dataset):
        raise UserError(
            "A batch needs more windows than there are.",
            expected=f"batch size x processes <= {len(dataset)} windows of T={dataset.T}",
            got=f"{batch_size} x {world}",
            todo="lower BATCH_SIZE (GRADIENT_ACCUM_STEPS makes up for it) or T, or record more",
        )
    pixels = dataset.frame_source
    return loaded(
        BatchSource(dataset, batch_size, rank, world),
        workers=workers,
        start=start_batch,
        prefetch=prefetch,
        batch_bytes=batch_size * dataset.T * math.prod(pixels.shape) * pixels.dtype.itemsize,
    )


def loaded(
    source: Source[Loaded], *, workers: int, start: int, batch_bytes: int, prefetch: int = 2
) -> Generator[Loaded, None, None]:
    """What a source loads for the numbers from `start` on, endlessly; closing the generator ends the workers.

    Args:
        workers: processes that load; 0 loads in this one, and so does any number where shared memory is too small.
        batch_bytes: size of what one number loads.
        prefetch: batches that each worker keeps ready.

    Raises:
        UserError: while reading, as the source raises it.
    """
    if workers == 0 or not _shared_memory_holds(workers * prefetch * batch_bytes):
        return (source.load(number) for number in itertools.count(start))
    loader: torch_data.DataLoader[Loaded | UserError] = torch_data.DataLoader(
        _InWorkers(source),  # type: ignore[arg-type]
        batch_size=None,
        sampler=itertools.count(start),
        num_workers=workers,
        prefetch_factor=prefetch,
        worker_init_fn=_quiet_worker,
    )
    return _from_workers(loader)


@contextlib.contextmanager
def explain_dead_workers() -> Iterator[None]:
    """UserError in place of torch's RuntimeError for a worker that was killed, which can come anywhere: a signal raises it.

    Raises:
        UserError: a worker is dead.
    """
    try:
        yield
    except RuntimeError as fault:
        if not str(fault).startswith("DataLoader worker"):
            raise
        raise UserError(
            "A process that loads data died (out of memory?).",
            got=str(fault).splitlines()[0],
            todo="run the same command again, with NUM_WORKERS=0 if memory is short; it goes on after the last checkpoint",
        ) from None


def _from_workers(loader: torch_data.DataLoader[Loaded | UserError]) -> Generator[Loaded, None, None]:
    """The loader's batches; its workers are killed when the generator ends, by an exception too, or when Python exits."""
    stream = _Stream(loader)
    kill = functools.partial(_kill_workers, stream)
    # Exit handlers run in reverse order: before multiprocessing's own, which waits for workers that ignore its SIGTERM.
    atexit.register(kill)
    try:
        for found in stream:
            if isinstance(found, UserError):
                raise found
            yield found
    finally:
        kill()
        atexit.unregister(kill)


class _Stream(dataloader._MultiProcessingDataLoaderIter):
    """torch's iterator; where a worker dies while they are started, the others are killed.

    torch leaves such an iterator half made: its workers live, and it raises when it is collected.
    """

    def __init__(self, loader: torch_data.DataLoader[Any]) -> None:
        self._shutdown, self._workers = True, []  # torch sets them later; a lack of files or memory can come first
        try:
            super().__init__(loader)
        except BaseException:
            _kill_workers(self)
            raise


def _kill_workers(stream: Any) -> None:
    """Kill the workers of a DataLoader's iterator: they hold nothing worth saving and ignore SIGTERM.

    torch's own shutdown gives each worker five seconds to finish its batch, then sends SIGTERM and waits for five more.
    """
    if stream._shutdown:
        return
    stream._shutdown = True
    with contextlib.suppress(ValueError):  # torch does not know them yet
        _utils.signal_handling._remove_worker_pids(id(stream))  # from here on it does not report their deaths as faults
    stream._worker_pids_set = False
    for worker in stream._workers:
        worker.kill()
    for worker in stream._workers:
        worker.join()
