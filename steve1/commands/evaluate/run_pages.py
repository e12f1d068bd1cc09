"""Pages of the runs that made some weights, written anew after their evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from steve1.core.checkpoint_metadata import read_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.paths import resolve
from steve1.core.run_folder import SETTINGS_FILE
from steve1.rl.report.findings import holds_rl_run
from steve1.rl.report.page import write_rl_report
from steve1.training.report.results import write_results


def refresh_pages(weights: Sequence[str]) -> list[Path]:
    """Write results.html (imitation) or report.html (reinforcement learning) of the runs that made these weights; returns the pages' paths."""
    folders = []
    for name in weights:
        file = next(
            (each for each in (resolve(name), resolve(name.rpartition("@")[0] or name)) if each.is_file()), None
        )
        run = read_checkpoint_metadata(file).run if file is not None else ""
        if run and (resolve(run) / SETTINGS_FILE).is_file():
            folders.append(resolve(run))
    found = []
    for folder in dict.fromkeys(folders):
        # A run that recorded nothing, or somebody else's folder: the evaluation stands.
        with contextlib.suppress(UserError, OSError):
            found.append(write_rl_report(folder) if holds_rl_run(folder) else write_results(folder))
    return found
