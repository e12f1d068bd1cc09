"""The report of a training run: curves, scores beside their baselines, and which buttons are not labelled well."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steve1.core.files import atomic_file
from steve1.core.messages import heading, message, translated
from steve1.idm.metrics import Scores
from steve1.idm.score_tables import GOOD_F1, button_table, camera_table, not_labelled_well
from steve1.reporting.charts import grid, line_chart
from steve1.reporting.page import Report, Section, note
from steve1.reporting.tables import Table

PAGE = "report.html"


def write_page(
    run: Path, rows: Sequence[dict[str, float]], found: Scores, settings: dict[str, Any], best_step: int
) -> Path:
    """Write `report.html` into the run's folder; returns its path.

    Args:
        rows: figures by step, as they were logged.
        found: scores of the best weights on the validation episodes.
        settings: the run's record.
    """

    def curve(name: str) -> list[tuple[float, float]]:
        return [(row["step"], row[name]) for row in rows if name in row]

    f1 = sorted({name for row in rows for name in row if name.startswith("val/f1_")})
    turns = {heading(axis): curve(f"val/r2_{axis}") for axis in ("pitch", "yaw")}
    charts = grid(
        [
            line_chart(
                heading("Loss"),
                {heading("training"): curve("train/loss"), heading("validation"): curve("val/loss")},
                values=heading("nats a frame"),
                mark=best_step,
                marked=heading("best"),
            ),
            line_chart(heading("Camera"), turns, values="R²", zero=True),
            line_chart(
                heading("Buttons"), {name.removeprefix("val/f1_"): curve(name) for name in f1}, values="F1", zero=True
            ),
        ]
    )
    bad = not_labelled_well(found)
    shown = {name: value for name, value in settings.items() if name not in ("model", "episodes")}
    table = Table(["setting", "value"], [[name, json.dumps(value)] for name, value in sorted(shown.items())])
    lead = (
        f"On {found.frames:,} frames of episodes that were not trained on: camera R² {found.r2:.3f} (mean of pitch and yaw); "
        f"not labelled well (F1 below {GOOD_F1}, also within one frame), or never pressed there: {', '.join(bad) or message('none')}."
    )
    report = Report(
        heading("Inverse dynamics model"),
        [
            Section(
                "",
                [
                    translated(lead),
                    note(
                        translated(
                            "Labels of those buttons are guesses. Leave the skills that need them to recordings with true actions."
                        )
                    ),
                    charts,
                ],
            ),
            Section(heading("Camera"), [camera_table(found)]),
            Section(
                heading("Buttons"),
                [
                    button_table(found),
                    note(
                        translated(
                            "A guess has the share of presses as its average precision. “The frame before” answers what was pressed one frame earlier, "
                            "which no label may look at. Within one frame: a press counts as found if a label is at most one frame off."
                        )
                    ),
                ],
            ),
            Section(message("settings"), [table.translated()], folded=True),
        ],
    )
    path = run / PAGE
    with atomic_file(path, "w") as handle:
        handle.write(report.html())
    return path
