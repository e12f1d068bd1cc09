"""Small charts as inline SVG, for pages that must carry everything in one file.

In: numbers. Out: SVG text. Colours come from the page's style sheet where it has them.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_INK, _SOFT, _LINE = "#3c6ca8", "#6b7280", "#d8d4cd"


def _svg(width: float, height: float, body: str, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{html.escape(label, quote=True)}" font-family="inherit" font-size="11">{body}</svg>'
    )


def bars(names: Sequence[str], shares: Sequence[float], label: str, *, width: int = 340) -> str:
    """A horizontal bar for each name, with its share in percent; the longest fills the width."""
    left, right, row = 78, 52, 16
    most = max([*shares, 1e-9])
    parts = []
    for number, (name, share) in enumerate(zip(names, shares)):
        y = number * row
        length = (width - left - right) * share / most
        parts.append(
            f'<text x="{left - 6}" y="{y + 12}" text-anchor="end" fill="{_SOFT}">{html.escape(name)}</text>'
            f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="10" rx="2" fill="{_INK}"/>'
            f'<text x="{left + length + 5:.1f}" y="{y + 12}" fill="{_SOFT}">{percent(share)}</text>'
        )
    return _svg(width, len(names) * row + 4, "".join(parts), label)


def percent(share: float) -> str:
    """0.0312 → "3.1 %"; small shares do not become 0."""
    if 0 < share < 0.0005:
        return "&lt;0.1 %"
    return f"{share * 100:.1f} %" if share < 0.0995 else f"{share * 100:.0f} %"


def heat(counts: NDArray[np.int64], ticks: Sequence[str], label: str) -> str:
    """A square map (11, 11) of counts [pitch, yaw] on a logarithmic scale; the middle is no movement."""
    cell, left, top = 22, 46, 6
    size = len(counts)
    most = math.log1p(max(int(counts.max()), 1))
    total = max(int(counts.sum()), 1)
    parts = []
    for row in range(size):
        for column in range(size):
            value = int(counts[row, column])
            shade = math.log1p(value) / most
            title = f"pitch {ticks[row]}°, yaw {ticks[column]}°: {value:,} frames ({value / total:.2%})"
            parts.append(
                f'<rect x="{left + column * cell}" y="{top + row * cell}" width="{cell - 1}" height="{cell - 1}" rx="2" '
                f'fill="{_shade(shade)}"><title>{title}</title></rect>'
            )
    for number in (0, 2, 5, 8, 10):
        parts.append(
            f'<text x="{left - 5}" y="{top + number * cell + 15}" text-anchor="end" fill="{_SOFT}">{ticks[number]}</text>'
            f'<text x="{left + number * cell + 11}" y="{top + size * cell + 13}" text-anchor="middle" fill="{_SOFT}">{ticks[number]}</text>'
        )
    edge = top + size * cell
    parts.append(
        f'<text x="{left + size * cell / 2}" y="{edge + 28}" text-anchor="middle" fill="{_SOFT}">yaw, degrees a frame (right is +)</text>'
    )
    parts.append(
        f'<text transform="translate(10 {top + size * cell / 2}) rotate(-90)" text-anchor="middle" fill="{_SOFT}">pitch (down is +)</text>'
    )
    return _svg(left + size * cell + 8, edge + 34, "".join(parts), label)


def _shade(share: float) -> str:
    low, high = (242, 239, 233), (32, 73, 128)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(low, high))


def columns(
    values: Sequence[float], label: str, unit: str, *, bins: int = 16, width: int = 300, height: int = 120
) -> str:
    """A histogram of values, with the least and the largest named below."""
    data = np.asarray(values, np.float64)
    low, high = float(data.min()), float(data.max())
    counts, _ = np.histogram(data, bins=bins, range=(low, high if high > low else low + 1))
    step = width / bins
    most = max(int(counts.max()), 1)
    parts = [f'<line x1="0" y1="{height - 18}" x2="{width}" y2="{height - 18}" stroke="{_LINE}"/>']
    for number, count in enumerate(counts.tolist()):
        tall = (height - 36) * count / most
        if count:
            parts.append(
                f'<rect x="{number * step + 1:.1f}" y="{height - 18 - tall:.1f}" width="{step - 2:.1f}" height="{tall:.1f}" fill="{_INK}">'
                f"<title>{count} episodes</title></rect>"
            )
    parts.append(f'<text x="0" y="{height - 4}" fill="{_SOFT}">{low:,.3g} {unit}</text>')
    if high > low:
        parts.append(f'<text x="{width}" y="{height - 4}" text-anchor="end" fill="{_SOFT}">{high:,.3g} {unit}</text>')
    parts.append(f'<text x="0" y="12" fill="{_SOFT}">at most {most} in a column</text>')
    return _svg(width, height, "".join(parts), label)


def curve(values: Sequence[float] | NDArray[Any], label: str, *, width: int = 120, height: int = 26) -> str:
    """A line without axes, from its least to its largest value."""
    data = np.asarray(values, np.float64)
    data = data[np.isfinite(data)]
    if len(data) < 2:
        return ""
    low, high = float(data.min()), float(data.max())
    scale = (height - 4) / (high - low) if high > low else 0.0
    points = " ".join(
        f"{x:.1f},{height - 2 - (y - low) * scale:.1f}" for x, y in zip(np.linspace(1, width - 1, len(data)), data)
    )
    return _svg(width, height, f'<polyline points="{points}" fill="none" stroke="{_INK}" stroke-width="1.3"/>', label)
