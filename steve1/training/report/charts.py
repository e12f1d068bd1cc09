"""Room `training`, charts of a run's report.

In: curves. Out: SVG text that needs nothing beside it: lines with axes, a legend, and the value under the pointer.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

Points = Sequence[tuple[float, float]]
COLOURS = ("#2f5d9b", "#e07b28", "#3b8f4f", "#b23a48", "#7a5aa6", "#8a6d3b", "#4a9ba8", "#77787b")
_WIDTH, _HEIGHT = 460, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 30, 34


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers from low to high."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round((first + number) * step, 12) for number in range(int((high - first * step) / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Logarithms of 1, 2, 5, 10, 20, ... between two logarithms, or of every digit where these are few; round steps on a narrow axis."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    for digits in ((1, 2, 5), range(1, 10)):
        marks = [math.log10(digit) + decade for decade in decades for digit in digits]
        found = [mark for mark in marks if low <= mark <= high]
        if len(found) > 2:
            return found
    return ticks(low, high)


def number_text(value: float) -> str:
    """A number as short as its size allows: 12k, 0.35, 1e-05."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return f"{value / 1000:.4g}k"
    return f"{value:.1e}" if abs(value) < 1e-3 else f"{value:.4g}"


def smoothed(points: Points, most: int = 200) -> list[tuple[float, float]]:
    """At most `most` points: means over neighbouring ones."""
    size = -(-len(points) // most)
    groups = [points[start : start + size] for start in range(0, len(points), size)] if points else []
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def line_chart(
    title: str, series: dict[str, Points], *, mark: float | None = None, zero: bool = False, log: bool = False
) -> str:
    """An SVG of curves by name; "" where no curve has a finite point.

    Args:
        mark: a step to draw a vertical line at (the best one).
        zero: the value axis includes zero, with a line there.
        log: logarithmic value axis, for positive values.
    """
    kept = {
        name: [(x, y) for x, y in smoothed(points) if math.isfinite(y) and (y > 0 or not log)]
        for name, points in series.items()
    }
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return ""
    scale = (lambda y: math.log10(y)) if log else (lambda y: y)
    xs = [x for points in kept.values() for x, _ in points]
    ys = [scale(y) for points in kept.values() for _, y in points] + ([0.0] if zero else [])
    left, right = min(xs), max(max(xs), min(xs) + 1e-9)
    low, high = min(ys), max(ys)
    if zero and low == high:  # nothing but zeros
        high = 1.0
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin

    def at(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)
        return across, _TOP + (high - y) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text class="title" x="{_LEFT}" y="16">{html.escape(title)}</text>']
    for y in log_ticks(low, high) if log else ticks(low, high):
        height = at(left, y)[1]
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 5}" y="{height + 4:.1f}" text-anchor="end">{number_text(10**y if log else y)}</text>'
        )
    for x in ticks(left, right):
        across = at(x, low)[0]
        parts.append(
            f'<text class="tick" x="{across:.1f}" y="{_HEIGHT - 16}" text-anchor="middle">{number_text(x)}</text>'
        )
    parts.append(f'<text class="tick" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 3}" text-anchor="end">step</text>')
    if zero:
        height = at(left, 0.0)[1]
        parts.append(f'<line class="zero" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
    if mark is not None and left <= mark <= right:
        across = at(mark, low)[0]
        parts.append(f'<line class="mark" x1="{across:.1f}" x2="{across:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    for (name, points), colour in zip(kept.items(), COLOURS * (1 + len(kept) // len(COLOURS))):
        parts.append(_curve(name, [(x, y, *at(x, scale(y))) for x, y in points], colour))
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>{_legend(list(kept))}</figure>'
    )


def _curve(name: str, points: list[tuple[float, float, float, float]], colour: str) -> str:
    path = " ".join(f"{across:.1f},{height:.1f}" for _, _, across, height in points)
    dots = "".join(
        f'<circle cx="{across:.1f}" cy="{height:.1f}" r="{2.5 if len(points) < 40 else 1.2}" fill="{colour}">'
        f"<title>{html.escape(name)}, step {x:g}: {y:.5g}</title></circle>"
        for x, y, across, height in points
    )
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>{dots}'


def _legend(names: list[str]) -> str:
    entries = [
        f'<span><i style="background:{colour}"></i>{html.escape(name)}</span>'
        for name, colour in zip(names, COLOURS * (1 + len(names) // len(COLOURS)))
    ]
    return f"<figcaption>{''.join(entries)}</figcaption>"


def share_bars(title: str, rows: Sequence[tuple[str, float, float]]) -> str:
    """An HTML table of bars: (name, share recorded, share that the policy would draw)."""
    largest = max([1e-9, *(max(recorded, drawn) for _, recorded, drawn in rows)])
    lines = []
    for name, recorded, drawn in rows:
        bars = "".join(
            f'<div class="bar" style="width:{100 * value / largest:.1f}%;background:{colour}"></div>'
            for value, colour in ((recorded, COLOURS[0]), (drawn, COLOURS[1]))
        )
        lines.append(
            f"<tr><td>{html.escape(name)}</td><td class=bars>{bars}</td><td>{100 * recorded:.1f} / {100 * drawn:.1f} %</td></tr>"
        )
    return f"<div class=shares><b>{html.escape(title)}</b><table>{''.join(lines)}</table></div>"
