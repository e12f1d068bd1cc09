"""Charts of a report as inline SVG, drawn from plain numbers.

In: rates, curves, shares by policy. Out: SVG text that needs nothing beside it. One colour for each policy on the whole page.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = ("#4878a8", "#e08a3c", "#5a9e6f", "#b65d5d", "#8770a8", "#7a7a7a", "#b0903a", "#4aa3a3")


def colour(index: int) -> str:
    """The colour of the policy of that number."""
    return COLOURS[index % len(COLOURS)]


def _svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg role="img" aria-label="{html.escape(label)}" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{html.escape(text)}</text>'


def legend(names: Sequence[str]) -> str:
    """Names beside their colours."""
    marks = (
        f'<span><i style="background:{colour(index)}"></i>{html.escape(name)}</span>'
        for index, name in enumerate(names)
    )
    return f'<p class="legend">{"".join(marks)}</p>'


def rate_bars(rates: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    """Success rates with their intervals: {task: {policy: rate or None}}."""
    thick, gap, left, width, y = 15, 12, 190, 560, 8
    rows: list[str] = []
    bottom = y + len(rates) * (thick * len(names) + gap)
    for tick in (0, 25, 50, 75, 100):
        x = left + width * tick / 100
        rows.append(f'<path d="M{x} 4V{bottom}" stroke="#e4e4e4"/>' + _text(x, bottom + 14, f"{tick} %", "middle"))
    for task, cells in rates.items():
        rows.append(_text(left - 8, y + thick * len(names) / 2 + 4, task, "end"))
        for index, name in enumerate(names):
            cell = cells.get(name)
            if cell:
                bar, low, high = (left + width * cell[key] for key in ("rate", "low", "high"))
                middle = y + thick / 2 - 1
                title = f"{name}: {cell['successes']} of {cell['episodes']}, {100 * cell['low']:.0f} to {100 * cell['high']:.0f} %"
                rows.append(
                    f'<g><title>{html.escape(title)}</title><rect x="{left}" y="{y}" width="{bar - left:.1f}" height="{thick - 3}" fill="{colour(index)}"/>'
                    f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8" stroke="#222" fill="none"/>'
                    + _text(max(bar, high) + 8, middle + 4, f"{cell['successes']}/{cell['episodes']}")
                    + "</g>"
                )
            y += thick
        y += gap
    return _svg(left + width + 70, bottom + 20, rows, "success rates with 95 % intervals")


def curves(
    series: Mapping[str, NDArray[np.float32]], names: Sequence[str], title: str, low: float, high: float, fps: int = 20
) -> str:
    """Lines over time, one for each policy; the horizontal axis is in seconds, the vertical one from `low` to `high`."""
    width, height, left, top = 330, 170, 44, 24
    length = max((len(row) for row in series.values()), default=2)
    span = max(high - low, 1e-6)
    rows = [_text(left, 15, title, extra=' font-weight="600"')]
    for step in range(5):
        value = low + span * step / 4
        y = top + height * (1 - step / 4)
        rows.append(
            f'<path d="M{left} {y:.1f}h{width}" stroke="#e8e8e8"/>' + _text(left - 5, y + 4, f"{value:.2f}", "end")
        )
    for second in range(0, length // fps + 1, 5):
        rows.append(_text(left + width * second * fps / max(length - 1, 1), top + height + 14, f"{second} s", "middle"))
    for index, name in enumerate(names):
        row = series.get(name)
        if row is None:
            continue
        points = [
            f"{left + width * n / max(length - 1, 1):.1f},{top + height * (1 - (float(row[n]) - low) / span):.1f}"
            for n in range(len(row))
            if np.isfinite(row[n]) and (n % 2 == 0 or n == len(row) - 1)
        ]
        rows.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour(index)}" stroke-width="1.8"><title>{html.escape(name)}</title></polyline>'
        )
    return _svg(left + width + 12, top + height + 20, rows, f"{title}: goal similarity over time")


def button_bars(shares: Mapping[str, Mapping[str, float]], names: Sequence[str], title: str) -> str:
    """Share of steps with each button pressed: {policy: {button: 0..1}}."""
    buttons = list(next(iter(shares.values()), {}))
    width, height, left, top = 330, 120, 36, 24
    rows = [_text(left, 15, title, extra=' font-weight="600"')]
    for step in (0, 0.5, 1):
        y = top + height * (1 - step)
        rows.append(
            f'<path d="M{left} {y:.1f}h{width}" stroke="#e8e8e8"/>'
            + _text(left - 4, y + 4, f"{100 * step:.0f} %", "end")
        )
    slot = width / max(len(buttons), 1)
    thick = (slot - 6) / max(len(names), 1)
    for place, button in enumerate(buttons):
        x = left + slot * place + 3
        for index, name in enumerate(names):
            share = shares.get(name, {}).get(button, 0.0)
            tall = height * min(share, 1.0)
            note = html.escape(f"{name}: {button} {100 * share:.0f} %")
            rows.append(
                f'<rect x="{x + thick * index:.1f}" y="{top + height - tall:.1f}" width="{max(thick - 0.5, 1):.1f}" height="{tall:.1f}" fill="{colour(index)}"><title>{note}</title></rect>'
            )
        middle = x + slot / 2 - 3
        rows.append(
            _text(
                middle, top + height + 11, button, "end", f' transform="rotate(-35 {middle:.1f} {top + height + 11})"'
            )
        )
    return _svg(left + width + 8, top + height + 42, rows, f"{title}: buttons")


def camera_grid(counts: NDArray[np.float64], index: int, label: str) -> str:
    """How often each camera movement (11 pitches by 11 yaws, shares) was made; darker is more often, on a logarithmic scale."""
    size = 9
    rows = [f'<rect width="{11 * size}" height="{11 * size}" fill="#f4f4f4"/>']
    shades = np.log1p(1000 * counts) / np.log1p(1000)
    for y in range(11):
        for x in range(11):
            if counts[y, x] > 0:
                rows.append(
                    f'<rect x="{x * size}" y="{y * size}" width="{size}" height="{size}" fill="{colour(index)}" opacity="{max(shades[y, x], 0.06):.2f}"/>'
                )
    note = f"<title>{html.escape(label)}: looking up is up, turning right is right</title>"
    return _svg(11 * size, 11 * size, [note, *rows], f"{label}: camera movements")
