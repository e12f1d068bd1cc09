"""Scores of an inverse dynamics model as tables."""

from __future__ import annotations

import math

from steve1.core.messages import heading
from steve1.idm.metrics import Scores
from steve1.reporting.numbers import percent
from steve1.reporting.tables import Cell, Table, Value

GOOD_F1 = 0.8
"""From which a button is called well labelled."""


def button_table(found: Scores) -> Table:
    """A row for each button that is ever pressed, the best first."""
    rows: list[dict[str, Value]] = []
    for each in sorted(
        found.buttons, key=lambda button: (math.isnan(button.f1), -button.f1 if button.f1 == button.f1 else 0)
    ):
        if not each.pressed:
            continue
        good = max(each.f1, each.f1_within_one) >= GOOD_F1
        rows.append(
            {
                "button": each.name,
                "pressed": each.share,
                "average precision": each.precision_average,
                "of a guess": each.share,
                "F1": Cell(each.f1, kind="good" if good else "bad"),
                "F1 within one frame": each.f1_within_one,
                "F1 of the frame before": each.f1_before,
                "threshold": each.threshold,
            }
        )
    scores = ("average precision", "of a guess", "F1", "F1 within one frame", "F1 of the frame before", "threshold")
    return Table.of(rows, {"pressed": percent, **dict.fromkeys(scores, ".2f")}, sortable=True).translated()


def camera_table(found: Scores) -> Table:
    """A row for each axis."""
    rows: list[dict[str, Value]] = [
        {
            "axis": heading(axis.name),
            "moves": axis.moving,
            "R²": axis.r2,
            "right bin": axis.bins,
            "of “not moved”": axis.bins_still,
            "right bin where it moves": axis.bins_moving,
            "right direction": axis.sign,
            "labelled degrees for a true one": axis.gain,
        }
        for axis in found.camera
    ]
    shares = ("moves", "right bin", "of “not moved”", "right bin where it moves", "right direction")
    return Table.of(
        rows, {**dict.fromkeys(shares, percent), "R²": ".3f", "labelled degrees for a true one": ".2f"}
    ).translated()


def not_labelled_well(found: Scores) -> list[str]:
    """Buttons whose labels are not to be relied on, those that are never pressed included."""
    return [each.name for each in found.buttons if not max(each.f1, each.f1_within_one) >= GOOD_F1]
