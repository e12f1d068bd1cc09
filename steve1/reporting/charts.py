"""Small charts as inline SVG, drawn from plain numbers. Colours are the style sheet's, so they suit light and dark pages."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from steve1.reporting.html import Html, element, join
from steve1.reporting.numbers import percent, short

Points = Sequence[tuple[float, float]]
_LETTER = 6.0  # width of a letter of 11 px


def colour(index: int) -> str:
    """The colour of the series of that number."""
    return f"var(--c{index % 8})"


def svg(width: float, height: float, label: str, *parts: Html) -> Html:
    """An image with its description for screen readers."""
    box = f"0 0 {width:g} {height:g}"
    return element("svg", *parts, role="img", aria_label=label, viewBox=box, width=width, height=height)


def text(x: float, y: float, words: str, anchor: str = "start", **more: str) -> Html:
    """A line of text; `anchor` says which point of it is at x: start, middle or end."""
    return element("text", words, x=x, y=y, text_anchor=anchor, **more)


def figure(title: str, chart: Html, names: Mapping[str, int] | None = None) -> Html:
    """A chart under its title, with a legend: names beside the colours of their numbers."""
    entries = [
        element("span", element("i", style=f"background:{colour(index)}"), name)
        for name, index in (names or {}).items()
    ]
    legend = element("figcaption", *entries, class_="legend") if entries else ""
    return element("figure", element("h4", title) if title else "", chart, legend)


# ---- lines ----


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
    return [math.log10(value) for value in ticks(10**low, 10**high)]


def smoothed(points: Points, most: int = 200) -> list[tuple[float, float]]:
    """At most `most` points: means over neighbouring ones."""
    size = -(-len(points) // most)
    groups = [points[start : start + size] for start in range(0, len(points), size)] if points else []
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def line_chart(
    title: str,
    series: Mapping[str, Points],
    *,
    label: str = "",
    unit: str = "step",
    mark: float | None = None,
    zero: bool = False,
    log: bool = False,
    span: tuple[float, float] | None = None,
) -> Html:
    """Curves by name with axes and a legend; empty where no curve has a finite point.

    Args:
        label: description for screen readers, the title if "".
        unit: of the horizontal axis.
        mark: a step to draw a vertical line at (the best one).
        zero: the value axis includes zero, with a line there.
        log: logarithmic value axis, for positive values.
        span: lowest and highest value of the axis, if several charts share it.
    """
    width, height, left, right, top, bottom = 400, 210, 48, 10, 8, 34
    finite = {
        name: smoothed([(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not log)])
        for name, points in series.items()
    }
    kept = {name: (index, finite[name]) for index, name in enumerate(finite) if finite[name]}
    if not kept:
        return Html()

    def scale(y: float) -> float:
        return math.log10(y) if log else y

    xs = [x for _, points in kept.values() for x, _ in points]
    ys = [scale(y) for _, points in kept.values() for _, y in points] + ([0.0] if zero else [])
    first, last = min(xs), max(max(xs), min(xs) + 1e-9)
    low, high = span or (min(ys), max(ys))
    if zero and low == high:  # nothing but zeros
        high = 1.0
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin

    def across(x: float) -> float:
        return left + (x - first) / (last - first) * (width - left - right)

    def down(y: float) -> float:
        return top + (high - y) / (high - low) * (height - top - bottom)

    def rule(y: float, kind: str) -> Html:
        return element("line", class_=kind, x1=left, x2=width - right, y1=down(y), y2=down(y))

    parts: list[Html] = []
    for y in log_ticks(low, high) if log else ticks(low, high):
        parts += [rule(y, "grid"), text(left - 5, down(y) + 4, short(10**y if log else y), "end")]
    parts += [text(across(x), height - 16, short(x), "middle") for x in ticks(first, last)]
    parts.append(text(width - right, height - 3, unit, "end"))
    if zero:
        parts.append(rule(0.0, "zero"))
    if mark is not None and first <= mark <= last:
        parts.append(element("line", class_="mark", x1=across(mark), x2=across(mark), y1=top, y2=height - bottom))
    for name, (index, points) in kept.items():
        places = [(across(x), down(scale(y))) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(element("polyline", points=path, fill="none", stroke=colour(index), stroke_width=1.6))
        radius = 2.5 if len(points) < 40 else 1.2
        for (x, y), (cx, cy) in zip(points, places):
            seen = element("title", f"{name}, {unit} {x:g}: {y:.5g}")
            parts.append(element("circle", seen, cx=cx, cy=cy, r=radius, fill=colour(index)))
    chart = svg(width, height, label or title, *parts)
    return figure(title, chart, {name: index for name, (index, _) in kept.items()})


def sparkline(values: Sequence[float] | NDArray[np.float32], label: str) -> Html:
    """A line without axes, from its least to its largest value; empty with fewer than two finite ones."""
    width, height = 120, 26
    data = np.asarray(values, np.float64)
    data = data[np.isfinite(data)]
    if len(data) < 2:
        return Html()
    low, high = float(data.min()), float(data.max())
    scale = (height - 4) / (high - low) if high > low else 0.0
    path = " ".join(
        f"{x:.1f},{height - 2 - (y - low) * scale:.1f}" for x, y in zip(np.linspace(1, width - 1, len(data)), data)
    )
    line = element("polyline", points=path, fill="none", stroke=colour(0), stroke_width=1.3)
    return svg(width, height, label, line)


# ---- bars ----


@dataclasses.dataclass(frozen=True)
class Bar:
    """A share of 1, the text beside its bar (its percentage if ""), the ends of its interval, and its tooltip."""

    share: float
    text: str = ""
    interval: tuple[float, float] | None = None
    tooltip: str = ""


def bar_chart(
    title: str,
    rows: Mapping[str, Sequence[Bar | None]],
    *,
    label: str = "",
    names: Sequence[str] = (),
    axis: bool = False,
    width: int = 340,
) -> Html:
    """Horizontal bars: a group for each row, in it a bar for each name, in that name's colour.

    Args:
        rows: {row: a bar for each name, or None}; without rows there is no chart.
        label: description for screen readers, the title if "".
        names: what the legend says; without names there is none.
        axis: the full width is 100 %, with an axis below; else it is the largest share.
    """
    if not rows:
        return Html()
    bars = [bar for row in rows.values() for bar in row if bar]
    thick, top = 13, 2
    group = thick * max(map(len, rows.values())) + 5
    left = min(190.0, 10 + _LETTER * max(map(len, rows)))
    right = 12 + _LETTER * max((len(bar.text or percent(bar.share)) for bar in bars), default=0)
    scale = (width - left - right) / (1.0 if axis else max([1e-9, *(bar.share for bar in bars)]))
    bottom = top + group * len(rows)
    parts: list[Html] = []
    for tick in (0, 0.25, 0.5, 0.75, 1) if axis else ():
        x = left + scale * tick
        parts.append(element("line", class_="grid", x1=x, x2=x, y1=top, y2=bottom))
        parts.append(text(x, bottom + 12, percent(tick), "middle"))
    for place, (name, row) in enumerate(rows.items()):
        y = top + group * place
        parts.append(text(left - 6, y + (group + 3) / 2, name, "end"))
        parts += [_bar(bar, index, left, y + thick * index, scale) for index, bar in enumerate(row) if bar]
    chart = svg(width, bottom + (18 if axis else 2), label or title, *parts)
    return figure(title, chart, {name: index for index, name in enumerate(names)})


def _bar(bar: Bar, index: int, left: float, y: float, scale: float) -> Html:
    end, middle = left + bar.share * scale, y + 6
    parts = [element("title", bar.tooltip)] if bar.tooltip else []
    parts.append(element("rect", x=left, y=y + 1, width=bar.share * scale, height=10, rx=2, fill=colour(index)))
    if bar.interval:
        low, high = (left + each * scale for each in bar.interval)
        path = f"M{low:.1f} {middle:g}H{high:.1f}M{low:.1f} {middle - 4:g}v8M{high:.1f} {middle - 4:g}v8"
        parts.append(element("path", d=path, class_="range", fill="none"))
        end = max(end, high)
    return element("g", *parts, text(end + 6, y + 10, bar.text or percent(bar.share)))


def histogram(title: str, values: Sequence[float], unit: str, *, bins: int = 16) -> Html:
    """How often which value occurs, with the least and the largest value named below."""
    width, height, top = 340, 122, 16
    data = np.asarray(values, np.float64)
    low, high = float(data.min()), float(data.max())
    counts, _ = np.histogram(data, bins=bins, range=(low, high if high > low else low + 1))
    step, most, floor = width / bins, max(int(counts.max()), 1), height - 18
    parts = [
        text(0, 10, f"at most {most} in a column"),
        element("line", class_="axis", x1=0, x2=width, y1=floor, y2=floor),
        text(0, height - 4, f"{low:,.3g} {unit}"),
    ]
    if high > low:
        parts.append(text(width, height - 4, f"{high:,.3g} {unit}", "end"))
    for number, count in enumerate(counts.tolist()):
        if count:
            tall = (floor - top) * count / most
            place = {"x": number * step + 1, "y": floor - tall, "width": step - 2, "height": tall}
            parts.append(element("rect", element("title", f"{count}"), fill=colour(0), **place))
    return figure(title, svg(width, height, title, *parts))


def heat_map(
    counts: NDArray[np.int64], degrees: Sequence[float], label: str, *, title: str = "", index: int = 0, cell: int = 22
) -> Html:
    """A square map (N, N) of counts [pitch, yaw] on a logarithmic scale; the middle is no movement. Axes are drawn under a title.

    Args:
        degrees: camera movement of each of the N bins.
        index: number of the colour.
        cell: size of a field in pixels.
    """
    left, top = (46, 4) if title else (0, 0)
    side = len(counts) * cell
    strongest, total = math.log1p(max(int(counts.max()), 1)), max(int(counts.sum()), 1)
    marks = [f"{value:+.1f}".replace("+0.0", "0") for value in degrees]
    parts = [element("rect", x=left, y=top, width=side, height=side, fill="var(--card)")]
    for row, column in zip(*np.nonzero(counts)):
        count = int(counts[row, column])
        said = f"pitch {marks[row]}°, yaw {marks[column]}°: {count:,} frames ({percent(count / total)})"
        place = {"x": left + int(column) * cell, "y": top + int(row) * cell, "width": cell - 1, "height": cell - 1}
        shade = f"{max(math.log1p(count) / strongest, 0.08):.2f}"
        parts.append(element("rect", element("title", said), fill=colour(index), fill_opacity=shade, **place))
    if not title:
        return svg(side, side, label, *parts)
    for number in (0, 2, 5, 8, 10):
        middle = number * cell + cell / 2
        parts.append(text(left - 5, top + middle + 4, marks[number], "end"))
        parts.append(text(left + middle, top + side + 13, marks[number], "middle"))
    parts.append(text(left + side / 2, top + side + 28, "yaw, degrees a frame (right is +)", "middle"))
    turned = f"translate(10 {top + side / 2:g}) rotate(-90)"
    parts.append(text(0, 0, "pitch (down is +)", "middle", transform=turned))
    return figure(title, svg(left + side + 8, top + side + 34, label, *parts))


def grid(charts: Sequence[Html]) -> Html:
    """Charts beside each other, as many as there is space for."""
    shown = join(charts)
    return element("div", shown, class_="charts") if shown else Html()
