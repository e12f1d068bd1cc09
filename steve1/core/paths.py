"""Where things are.

In: a path as a person typed it. Out: a Path that exists if it can: relative paths are tried from the current folder,
then from the project's root. Dots, spaces and `./` are all fine.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def resolve(path: str | os.PathLike[str]) -> Path:
    """Absolute path of `path`: as it is from the current folder if that exists, else below the project's root."""
    given = Path(path).expanduser()
    if given.is_absolute():
        return given
    here = Path.cwd() / given
    return here if here.exists() else ROOT / given


def display(path: str | os.PathLike[str]) -> str:
    """`path` relative to the project's root where it lies below it, as people write it in lists and messages."""
    full = Path(path).absolute()
    try:
        return str(full.relative_to(ROOT))
    except ValueError:
        return str(full)
