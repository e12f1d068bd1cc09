"""Progress bars for long work.

In: an iterable or a total. Out: a tqdm bar on a terminal; in a log file one line now and then instead of control characters.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(
    iterable: Iterable[Any] | None = None, *, total: int | None = None, desc: str = "", unit: str = "it", **more: Any
) -> Any:
    """A tqdm bar on stderr; slow refresh (every 10 s) where stderr is not a terminal."""
    terminal = sys.stderr.isatty()
    settings: dict[str, Any] = {
        "mininterval": 0.2 if terminal else 10.0,
        "maxinterval": 10.0,
        "dynamic_ncols": terminal,
        "leave": True,
    }
    return tqdm(iterable, total=total, desc=desc, unit=unit, **{**settings, **more})
