"""Camera bins: degrees per tick <-> one of 11 bins per axis.

Movements are clipped to ±10 degrees and squeezed by a mu-law (mu = 10), so that small movements get the finer bins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_DEGREES = 10.0
MU = 10.0
BIN_SIZE = 2.0
N_BINS = int(2 * MAX_DEGREES / BIN_SIZE) + 1
NULL_BIN = N_BINS // 2


def to_bins(degrees: ArrayLike) -> NDArray[np.int64]:
    """Bins (any shape, i64, 0..10) of camera movements in degrees; NaN is refused by the callers that read files."""
    x = np.clip(np.asarray(degrees, dtype=np.float64), -MAX_DEGREES, MAX_DEGREES) / MAX_DEGREES
    squeezed = np.sign(x) * np.log(1.0 + MU * np.abs(x)) / np.log(1.0 + MU) * MAX_DEGREES
    return np.round((squeezed + MAX_DEGREES) / BIN_SIZE).astype(np.int64)


def _centres() -> NDArray[np.float64]:
    x = (np.arange(N_BINS) * BIN_SIZE - MAX_DEGREES) / MAX_DEGREES
    return np.sign(x) * ((1.0 + MU) ** np.abs(x) - 1.0) / MU * MAX_DEGREES


BIN_DEGREES: NDArray[np.float64] = _centres()


def to_degrees(bins: ArrayLike) -> NDArray[np.float64]:
    """Centres in degrees (any shape, f64) of bins 0..10."""
    return BIN_DEGREES[np.asarray(bins, dtype=np.int64)]
