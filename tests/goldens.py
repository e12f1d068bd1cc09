"""Reads the golden arrays in tests/golden, whose README says what each is and how it was made."""

from __future__ import annotations

from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parent / "golden"
WIDEN = "@float32"


def golden_arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file in tests/golden, in the dtypes in which they were made.

    A key that ends in `@float32` holds float32 values in 16 bits, exactly: uint16 are the upper halves (bfloat16),
    float16 is cast. The suffix is not part of the returned key.
    """
    found = {}
    with np.load(GOLDEN / name, allow_pickle=False) as file:
        for key in file.files:
            array = file[key]
            if key.endswith(WIDEN):
                wide = array.astype(np.uint32) << 16 if array.dtype == np.uint16 else array.astype(np.float32)
                array = wide.view(np.float32)
            found[key.removesuffix(WIDEN)] = array
    return found
