"""Averages of training since the last console line, skipped steps, speed and memory; the sums stay on the device until they are read."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from steve1.training.distributed import Ranks
from steve1.training.step import StepOutput

_MORE = ("gradient_norm", "clipped_share")


class MetricsAccumulator:
    """Sums over steps.

    Args:
        measures: names of what each step measures.
        limit: the gradient norm above which steps are clipped; 0: none is.
        sums: of a resume point, taken up where it stopped.
        skipped: steps skipped so far: those in a row, all, and those of them that were spikes.
    """

    def __init__(
        self,
        ranks: Ranks,
        measures: tuple[str, ...],
        limit: float = 0.0,
        sums: list[float] | None = None,
        skipped: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        self._ranks, self._limit = ranks, limit or float("inf")
        self._names = (*measures, *_MORE)
        names = len(self._names)
        if sums and len(sums) == names + 1:  # of an earlier version, which counted all alike
            sums = sums[:names] + names * sums[names:]
        start = sums if sums and len(sums) == 2 * names else [0.0] * (2 * names)  # of each how much and how often
        self._sums = torch.tensor(start, device=ranks.device)
        self._skipped = torch.tensor(skipped, device=ranks.device, dtype=torch.int64)

    def add(self, output: StepOutput) -> None:
        """Count a step; the skipped ones count as skipped only, and those without a frame that counts for a measure not for it."""
        good = (~(output.skipped | output.idle)).float().reshape(1)
        norm = output.gradient_norm.reshape(1).float()
        clipped = (norm > self._limit).float()
        self._sums += torch.cat([output.measures, norm, clipped, good * output.measured, good, good])
        in_a_row = (self._skipped[0] + 1) * output.skipped
        self._skipped = torch.stack([in_a_row, self._skipped[1] + output.skipped, self._skipped[2] + output.spike])

    def skipped(self) -> tuple[int, int, int]:
        """Skipped steps: those in a row up to now, all, and those of them that were spikes; waits for the device."""
        in_a_row, total, spikes = self._skipped.tolist()
        return int(in_a_row), int(total), int(spikes)

    def averages(self) -> dict[str, float]:
        """Means over good steps that measured it and over processes since the last call; NaN where there was none. All processes call it."""
        found = self._ranks.sum(self._sums).tolist()
        self._sums.zero_()
        sums, counts = found[: len(self._names)], found[len(self._names) :]
        return {name: value / count if count else float("nan") for name, value, count in zip(self._names, sums, counts)}

    def to_list(self) -> list[float]:
        return list(self._sums.tolist())


class Clock:
    """Where a run's time goes: steps, of them waiting for data, and what comes between (validations, checkpoints).

    Args:
        seconds: what the run took before it was stopped and resumed.
        now: the time in seconds.
    """

    def __init__(self, seconds: float = 0.0, now: Callable[[], float] = time.perf_counter) -> None:
        self.frames = 0
        """Trained on since the last `read`."""
        self._now = now
        self._began = now() - seconds
        self._since, self._waited, self._between = now(), 0.0, 0.0
        self._trained = [0.0, 0.0]  # seconds and frames; older ones count less and less
        self._took: dict[str, float] = {}  # seconds of each kind of pause, smoothed

    @property
    def seconds(self) -> float:
        """The whole run so far, without the time between stop and resume."""
        return self._now() - self._began

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time in the body is waiting for data."""
        began = self._now()
        try:
            yield
        finally:
            self._waited += self._now() - began

    @contextmanager
    def pause(self, kind: str) -> Iterator[None]:
        """Time in the body is not training."""
        began = self._now()
        yield
        took = self._now() - began
        self._between += took
        self._took[kind] = (self._took.get(kind, took) + took) / 2

    def read(self) -> dict[str, float]:
        """Since the last call, pauses left out: frames_per_second and data_wait_share; and the run's seconds so far, all of them."""
        now = self._now()
        training = max(now - self._since - self._between, 1e-9)
        share = min(1.0, self._waited / training)
        found = {"frames_per_second": self.frames / training, "data_wait_share": share, "seconds": self.seconds}
        if self.frames:
            self._trained = [0.9 * mean + new for mean, new in zip(self._trained, (training, self.frames))]
        self.frames, self._since, self._waited, self._between = 0, now, 0.0, 0.0
        return found

    def left(self, frames: int, **pauses: int) -> float:
        """Seconds that these numbers of frames and pauses of each kind will take."""
        seconds, trained = self._trained
        between = sum(count * self._took.get(kind, 0.0) for kind, count in pauses.items())
        return frames * seconds / max(trained, 1.0) + between


def peak_memory_mb(device: torch.device) -> float:
    """Most memory that this process has held: what PyTorch took of the card, or in the machine where the device is the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
