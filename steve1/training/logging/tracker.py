"""A run's curves in an experiment tracker, Weights & Biases or trackio, beside TensorBoard; off by default.

Both packages have the same three calls: init, log, finish. Whatever goes wrong in them ends the tracking, never the training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from steve1.core.errors import UserError, optional_package

PROJECT = "steve1-finetune"


class Tracker:
    """An open run of a tracker.

    Args:
        kind: "wandb" or "trackio".
        name: the run's name; a resumed run goes on under it.
        warn: told once why tracking ended.

    Raises:
        UserError: the package is not installed.
    """

    def __init__(self, kind: str, name: str, settings: Mapping[str, Any], warn: Callable[[str], None]) -> None:
        self._module, self._kind, self._warn = optional_package(kind, "log", f"--log {kind}"), kind, warn
        # The name identifies a run of Weights & Biases, which allows fewer letters than a file name.
        identity = {"id": "".join(letter if letter.isalnum() else "-" for letter in name)} if kind == "wandb" else {}
        shown = {key: value for key, value in settings.items() if isinstance(value, (bool, int, float, str))}
        self._open = True
        self._call("init", project=PROJECT, name=name, config=shown, resume="allow", **identity)

    def curves(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Points of curves; what is no finite number is left out."""
        known = {
            key: value for key, value in numbers.items() if isinstance(value, (int, float)) and math.isfinite(value)
        }
        if known:
            self._call("log", known, step=step)

    def close(self) -> None:
        """End the run."""
        self._call("finish")
        self._open = False

    def _call(self, name: str, /, *words: Any, **named: Any) -> None:
        if not self._open:
            return
        try:
            getattr(self._module, name)(*words, **named)
        except UserError:
            raise
        except Exception as fault:
            self._open = False
            self._warn(
                f"{self._kind} is not told any more: {type(fault).__name__}: {' '.join(str(fault).split())[:200]}"
            )
