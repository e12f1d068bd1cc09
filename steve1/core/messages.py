"""What commands show while they work: console lines in English and Chinese, and progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

# The users' guide shows the Chinese lines.
LANGUAGE = "zh"
MESSAGES = {
    "training started": {"en": "Fine-tuning...", "zh": "开始微调..."},
    "training finished": {"en": "Training finished!", "zh": "训练完成!"},
    "final weights": {"en": "Final model: {name}", "zh": "最终模型: {name}"},
    "best weights": {"en": "Best model: {name}", "zh": "最佳模型: {name}"},
}


def message(key: str, **values: str) -> str:
    """A console line of MESSAGES with its values filled in."""
    return MESSAGES[key][LANGUAGE].format(**values)


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    initial: int = 0,
    desc: str = "",
    unit: str = "it",
    unit_scale: bool = False,
) -> tqdm[Any]:
    """A tqdm bar on stderr; slow refresh (every 10 s) where stderr is not a terminal."""
    terminal = sys.stderr.isatty()
    return tqdm(
        iterable,
        total=total,
        initial=initial,
        desc=desc,
        unit=unit,
        unit_scale=unit_scale,
        mininterval=0.2 if terminal else 10.0,
        maxinterval=10.0,
        dynamic_ncols=terminal,
    )
