"""Small charts as inline SVG, drawn from plain numbers.

Colours are the style sheet's (Okabe and Ito's, for every kind of colour vision, light and dark). Series differ in dashes and markers too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from steve1.core.messages import heading, message, wide
from steve1.reporting.html import Html, element, join
from steve1.reporting.numbers import percent, short

Points = Sequence[tuple[float, float]]
_LETTER = 6.0  # width of a letter of 11 px
# Eight lines that differ without colour; the next eight have other markers.
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2", "1 2 6 2", "12 4", "3 6")
_MARKERS = (
    "M{x:.1f} {y:.1f}m-{r},0a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0-{d} 0",
    "M{x:.1f} {y:.1f}m-{r}-{r}h{d}v{d}h-{d}z",
    "M{x:.1f} {y:.1f}m0-{d}l{d} {d}l-{d} {d}l-{d}-{d}z",
    "M{x:.1f} {y:.1f}m0-{r}l{d} {d}h-{d}h-{d}z",
)
# Bars of the second and third series are lighter, within a full outline.
_SOLID = (1.0, 0.25, 0.6)


def colour(index: int) -> str:
    """The colour of the series of that number."""
    return f"var(--c{index % 8})"


def _marker(index: int, x: float, y: float, *title: Html, radius: float = 2.5, seen: bool = True) -> Html:
    """A point of the series of that number; not `seen`, it only shows its title under the mouse."""
    path = _MARKERS[(index + index // 8) % 4].format(x=x, y=y, r=radius, d=2 * radius)
    return element("path", *title, d=path, fill=colour(index), class_="dot", fill_opacity="" if seen else "0")


def _sample(index: int, lines: bool) -> Html:
    """How a legend shows the series of that number."""
    if not lines:
        bar = element("rect", x=1, y=1, width=10, height=8, **_filling(index))
        return element("svg", bar, width=12, height=10, aria_hidden="true")
    line = element("line", x1=0, x2=30, y1=6, y2=6, **_stroke(index))
    return element("svg", line, _marker(index, 15, 6), width=30, height=12, aria_hidden="true")


def _stroke(index: int) -> dict[str, str | float]:
    return {"stroke": colour(index), "stroke_width": 1.6, "stroke_dasharray": _DASHES[index % 8]}


def _filling(index: int) -> dict[str, str]:
    return {"fill": colour(index), "fill_opacity": f"{_SOLID[index % 3]:g}", "stroke": colour(index)}


def svg(width: float, height: float, label: str, *parts: Html) -> Html:
    """An image with its description for screen readers."""
    box = f"0 0 {width:g} {height:g}"
    return element("svg", *parts, role="img", aria_label=label, viewBox=box, width=width, height=height)


def text(x: float, y: float, words: str, anchor: str = "start", **more: str) -> Html:
    """A line of text; `anchor` says which point of it is at x: start, middle or end."""
    return element("text", words, x=x, y=y, text_anchor=anchor, **more)


def figure(
    title: str, chart: Html, names: Mapping[str, int] | None = None, *, caption: str = "", lines: bool = False
) -> Html:
    """A chart under its title, with a legend (names beside the samples of their numbers) and a caption."""
    entries = [element("span", _sample(index, lines), name) for name, index in (names or {}).items()]
    below = [element("div", *entries, class_="legend") if entries else "", caption]
    words = element("figcaption", *below) if any(below) else ""
    return element("figure", element("h4", title) if title else "", chart, words)


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
    unit: str = "",
    values: str = "",
    caption: str = "",
    mark: float | None = None,
    marked: str = "",
    zero: bool = False,
    log: bool = False,
    span: tuple[float, float] | None = None,
    band: Sequence[tuple[float, float, float]] = (),
) -> Html:
    """Curves by name with axes and a legend; empty where no curve has a finite point.

    Args:
        label: description for screen readers, the title if "".
        unit: of the horizontal axis; steps if "".
        values: what the vertical axis counts, with its unit.
        caption: what the chart shows, below it.
        mark: a step to draw a vertical line at (the best one), which is called `marked`.
        zero: the value axis includes zero, with a line there.
        log: logarithmic value axis, for positive values.
        span: lowest and highest value of the axis, if several charts share it.
        band: (x, low, high) of an interval around the first curve, drawn behind it.
    """
    width, height, left, right, top, bottom = 400, 224, 48, 10, 22, 34
    finite = {
        name: smoothed([(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not log)])
        for name, points in series.items()
    }
    kept = {name: (index, finite[name]) for index, name in enumerate(finite) if finite[name]}
    if not kept:
        return Html()

    def scale(y: float) -> float:
        return math.log10(y) if log else y

    unit = unit or heading("step")
    xs = [x for _, points in kept.values() for x, _ in points]
    sides = [(x, low) for x, low, _ in band] + [(x, high) for x, _, high in reversed(band)]
    ends = [(x, scale(y)) for x, y in sides]
    ys = [scale(y) for _, points in kept.values() for _, y in points] + [y for _, y in ends] + ([0.0] if zero else [])
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

    parts: list[Html] = [text(0, 11, message("logarithmic", values=values) if log else values)]
    for y in log_ticks(low, high) if log else ticks(low, high):
        parts += [rule(y, "grid"), text(left - 5, down(y) + 4, short(10**y if log else y), "end")]
    parts += [text(across(x), height - 16, short(x), "middle") for x in ticks(first, last)]
    parts.append(text(width - right, height - 3, unit, "end"))
    if zero:
        parts.append(rule(0.0, "zero"))
    if mark is not None and first <= mark <= last:
        place, right_half = across(mark), mark > (first + last) / 2
        parts.append(element("line", class_="mark", x1=place, x2=place, y1=top, y2=height - bottom))
        parts.append(text(place + (-4 if right_half else 4), top + 8, marked, "end" if right_half else "start"))
    if ends:
        around = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in ends)
        parts.append(element("polygon", points=around, fill=colour(0), fill_opacity="0.15"))
    for name, (index, points) in kept.items():
        places = [(across(x), down(scale(y))) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(element("polyline", points=path, fill="none", **_stroke(index)))
        every = -(-len(points) // 24)  # more markers would hide the line
        for number, ((x, y), (cx, cy)) in enumerate(zip(points, places)):
            said = element("title", f"{name}, {unit} {x:g}: {y:.5g}")
            parts.append(_marker(index, cx, cy, said, seen=number % every == 0))
    chart = svg(width, height, label or title, *parts)
    shown = {name: index for name, (index, _) in kept.items()}
    return figure(title, chart, shown, caption=caption, lines=True)


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
    values: str = "",
    caption: str = "",
    width: int = 340,
) -> Html:
    """Horizontal bars: a group for each row, in it a bar for each name, in that name's colour.

    Args:
        rows: {row: a bar for each name, or None}; without rows there is no chart.
        label: description for screen readers, the title if "".
        names: what the legend says; without names there is none.
        axis: the full width is 100 %, with an axis below; else it is the largest share.
        values: what the bars' length counts.
        caption: what the chart shows, below it.
    """
    if not rows:
        return Html()
    bars = [bar for row in rows.values() for bar in row if bar]
    thick, top = 13, 2
    group = thick * max(map(len, rows.values())) + 5
    left = min(190.0, 10 + _LETTER * max(map(wide, rows)))
    right = 12 + _LETTER * max((wide(bar.text or percent(bar.share)) for bar in bars), default=0)
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
    end = bottom + (16 if axis else 2)
    if values:
        parts.append(text(left, end + 11, values))
        end += 16
    chart = svg(width, end, label or title, *parts)
    return figure(title, chart, {name: index for index, name in enumerate(names)}, caption=caption)


def _bar(bar: Bar, index: int, left: float, y: float, scale: float) -> Html:
    end, middle = left + bar.share * scale, y + 6
    parts = [element("title", bar.tooltip)] if bar.tooltip else []
    parts.append(element("rect", x=left, y=y + 1, width=bar.share * scale, height=10, rx=2, **_filling(index)))
    if bar.interval:
        low, high = (left + each * scale for each in bar.interval)
        path = f"M{low:.1f} {middle:g}H{high:.1f}M{low:.1f} {middle - 4:g}v8M{high:.1f} {middle - 4:g}v8"
        parts.append(element("path", d=path, class_="range", fill="none"))
        end = max(end, high)
    return element("g", *parts, text(end + 6, y + 10, bar.text or percent(bar.share)))


def histogram(title: str, values: Sequence[float], unit: str, *, bins: int = 16) -> Html:
    """How many episodes have which value (in `unit`), with the least and the largest value named below."""
    width, height, top = 340, 136, 16
    data = np.asarray(values, np.float64)
    low, high = float(data.min()), float(data.max())
    counts, _ = np.histogram(data, bins=bins, range=(low, high if high > low else low + 1))
    step, most, floor = width / bins, max(int(counts.max()), 1), height - 32
    parts = [
        text(0, 10, message("in a column", count=most)),
        element("line", class_="axis", x1=0, x2=width, y1=floor, y2=floor),
        text(0, floor + 14, f"{low:,.3g}"),
        text(width / 2, height - 4, unit, "middle"),
    ]
    if high > low:
        parts.append(text(width, floor + 14, f"{high:,.3g}", "end"))
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
        said = message("camera field", pitch=marks[row], yaw=marks[column], count=count, share=percent(count / total))
        place = {"x": left + int(column) * cell, "y": top + int(row) * cell, "width": cell - 1, "height": cell - 1}
        shade = f"{max(math.log1p(count) / strongest, 0.08):.2f}"
        parts.append(element("rect", element("title", said), fill=colour(index), fill_opacity=shade, **place))
    if not title:
        return svg(side, side, label, *parts)
    for number in (0, 2, 5, 8, 10):
        middle = number * cell + cell / 2
        parts.append(text(left - 5, top + middle + 4, marks[number], "end"))
        parts.append(text(left + middle, top + side + 13, marks[number], "middle"))
    parts.append(text(left + side / 2, top + side + 28, message("yaw axis"), "middle"))
    turned = f"translate(10 {top + side / 2:g}) rotate(-90)"
    parts.append(text(0, 0, message("pitch axis"), "middle", transform=turned))
    return figure(title, svg(left + side + 8, top + side + 34, label, *parts))


def grid(charts: Sequence[Html]) -> Html:
    """Charts beside each other, as many as there is space for."""
    shown = join(charts)
    return element("div", shown, class_="charts") if shown else Html()
