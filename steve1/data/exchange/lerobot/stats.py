"""The statistics that LeRobot normalises with: of each episode, and merged over all of them without keeping any.

Quantiles of an episode are exact; those of a dataset are the mean of the episodes', weighted by frames, as LeRobot merges them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Stats = dict[str, NDArray[Any]]
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
NAMES = ("min", "max", "mean", "std", "count", *QUANTILES)
_LEVELS = np.arange(256) / 255
_LARGE = 300  # pixels; a larger picture is thinned out


def of_rows(values: NDArray[Any]) -> Stats:
    """Statistics of a feature's rows (N, …) as float64 (k,), its count int64 (1,)."""
    rows = np.asarray(values, np.float64).reshape(len(values), -1)
    found: Stats = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    found["count"] = np.array([len(rows)])
    return found | dict(zip(QUANTILES, np.quantile(rows, list(QUANTILES.values()), axis=0)))


def sampled(n_frames: int) -> NDArray[np.int64]:
    """The frames of an episode whose pictures count: all of 100, then n^0.75, at most 10,000."""
    count = min(n_frames, max(100, min(int(n_frames**0.75), 10_000)))
    return np.round(np.linspace(0, n_frames - 1, count)).astype(np.int64)


class PictureCounts:
    """Counts the levels of pictures, so that their statistics need no memory."""

    def __init__(self) -> None:
        self._counts = np.zeros((3, 256), np.int64)
        self._pictures = 0

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Count an (H, W, 3) uint8 RGB picture."""
        step = max(1, max(picture.shape[:2]) // _LARGE + (max(picture.shape[:2]) > _LARGE))
        thin = picture[::step, ::step]
        self._counts += np.stack([np.bincount(thin[..., channel].ravel(), minlength=256) for channel in range(3)])
        self._pictures += 1

    def stats(self) -> Stats:
        """Statistics of shape (3, 1, 1), of levels in 0..1."""
        counts, total = self._counts, self._counts[0].sum()
        mean = counts @ _LEVELS / total
        spread = np.sqrt(np.maximum(counts @ _LEVELS**2 / total - mean**2, 0))
        seen = counts > 0
        found: Stats = {
            "min": _LEVELS[seen.argmax(1)],
            "max": _LEVELS[255 - seen[:, ::-1].argmax(1)],
            "mean": mean,
            "std": spread,
        }
        below = np.cumsum(counts, axis=1)
        for name, share in QUANTILES.items():
            found[name] = _LEVELS[(below >= share * total).argmax(1)]
        found = {name: value.reshape(3, 1, 1) for name, value in found.items()}
        return found | {"count": np.array([self._pictures])}


class Merged:
    """The statistics of all episodes so far."""

    def __init__(self) -> None:
        self._found: dict[str, Stats] = {}

    def add(self, episode: dict[str, Stats]) -> None:
        """Take in an episode's statistics, by feature."""
        for name, stats in episode.items():
            known = self._found.get(name)
            self._found[name] = stats if known is None else _merge(known, stats)

    def as_json(self, *, quantiles: bool = True) -> dict[str, dict[str, Any]]:
        """For meta/stats.json."""
        return {name: as_json(stats, quantiles=quantiles) for name, stats in self._found.items()}


def _merge(one: Stats, other: Stats) -> Stats:
    first, second = float(one["count"][0]), float(other["count"][0])
    share = second / (first + second)
    mean = one["mean"] + (other["mean"] - one["mean"]) * share
    variance = (one["std"] ** 2 + (one["mean"] - mean) ** 2) * (1 - share)
    variance = variance + (other["std"] ** 2 + (other["mean"] - mean) ** 2) * share
    found: Stats = {name: one[name] + (other[name] - one[name]) * share for name in QUANTILES}
    return found | {
        "min": np.minimum(one["min"], other["min"]),
        "max": np.maximum(one["max"], other["max"]),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": one["count"] + other["count"],
    }


def as_json(stats: Stats, *, quantiles: bool = True) -> dict[str, Any]:
    """Lists, in LeRobot's order."""
    return {name: stats[name].tolist() for name in NAMES if quantiles or name not in QUANTILES}
