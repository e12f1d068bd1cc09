"""Random streams keyed by names: the same for the same seed and items, in any process, in any order, on any platform."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *items: int | str) -> np.random.Generator:
    """A PCG64 generator keyed by (seed, *items); e.g. `generator(0, "goals", epoch, window)`."""
    text = "\x1f".join(f"{type(item).__name__}:{item}" for item in (int(seed), *items))
    words = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words.tolist())))


def integer(seed: int, *items: int | str) -> int:
    """A 31-bit seed for libraries that want a number."""
    return int(generator(seed, *items).integers(0, 2**31 - 1))
