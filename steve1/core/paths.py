"""Where files are: what is read is looked for in a few places, what is written goes to the current folder.

The scripts change to the checkout first, so that every path in the documents counts from there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

# The folder that holds the package: the checkout, or site-packages where it was installed by pip.
ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = ROOT if (ROOT / "pyproject.toml").is_file() else None


def resolve(path: str | os.PathLike[str], near: Path | None = None) -> Path:
    """Absolute path of something to be read: the first that exists, else as it would be below the current folder.

    Looks in the current folder, in STEVE1_HOME and in the checkout; with `near`, a folder, also there, in the folders above it,
    and there by the bare name (weights that were copied together with what belongs to them).
    """
    given = Path(path).expanduser()
    folders = [Path.cwd(), *filter(None, (_home(), CHECKOUT)), *((near, *near.parents) if near else ())]
    places = [folder / given for folder in folders] + ([near / given.name] if near else [])
    return next((place for place in places if place.exists()), places[0])


def output_path(path: str | os.PathLike[str]) -> Path:
    """Absolute path of something to be written: relative ones count from the current folder."""
    return Path.cwd() / Path(path).expanduser()


def display(path: str | os.PathLike[str]) -> str:
    """`path` for messages and lists: relative in the checkout, if that is the current folder, else the whole path."""
    full = Path(path).absolute()
    if CHECKOUT and full.is_relative_to(CHECKOUT) and Path.cwd() == CHECKOUT:
        return str(full.relative_to(CHECKOUT))
    return str(full)


def python_path() -> str:
    """PYTHONPATH for a child process that imports this package from any folder."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def _home() -> Path | None:
    given = os.environ.get("STEVE1_HOME", "")
    return Path(given).expanduser().absolute() if given else None


def slug(text: str) -> str:
    """`text` as part of a file name: letters of any script, digits, dots, dashes and @."""
    return re.sub(r"[^\w.@]+", "-", text).strip("-.").lower()[:80] or "x"
