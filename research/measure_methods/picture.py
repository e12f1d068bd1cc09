"""The picture of methods: change of the new skills against change of the old ones, with intervals and the Pareto front; one SVG file."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from html import escape

from research.measure_methods.cells import Estimate

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 440, 64, 20, 170, 52
_STYLE = (
    "svg{background:#fff}text{font:12px sans-serif;fill:#333}.a{stroke:#888;stroke-width:1}.g{stroke:#e3e3e3;stroke-width:1}"
    ".i{stroke:#9db4cc;stroke-width:1.2}.p{fill:#0072b2}.f{fill:none;stroke:#d55e00;stroke-width:1.6;stroke-dasharray:5 3}.n{font-weight:bold}"
)


@dataclasses.dataclass(frozen=True)
class Point:
    """A method: change of the old skills and of the new ones, as shares."""

    name: str
    old: Estimate
    new: Estimate

    def beats(self, other: Point) -> bool:
        """Whether it is at least as good in both, and better in one."""
        a, b = (self.old.mean, self.new.mean), (other.old.mean, other.new.mean)
        return a != b and a[0] >= b[0] and a[1] >= b[1]


def picture(points: Sequence[Point]) -> str:
    """The points as an SVG document; those on the Pareto front are joined."""
    lows = [min(point.old.low for point in points), min(point.new.low for point in points)]
    highs = [max(point.old.high for point in points), max(point.new.high for point in points)]
    (x0, x1), (y0, y1) = (_span(low, high) for low, high in zip(lows, highs))

    def x(value: float) -> float:
        return LEFT + (100 * value - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (100 * value - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in range(x0, x1 + 1, 20):
        parts += [
            _line("g", x(tick / 100), y(y0 / 100), x(tick / 100), y(y1 / 100)),
            _text(x(tick / 100), HEIGHT - BOTTOM + 18, f"{tick:+d}", "middle"),
        ]
    for tick in range(y0, y1 + 1, 20):
        parts += [
            _line("g", x(x0 / 100), y(tick / 100), x(x1 / 100), y(tick / 100)),
            _text(LEFT - 8, y(tick / 100) + 4, f"{tick:+d}", "end"),
        ]
    parts.append(_line("a", x(0), y(y0 / 100), x(0), y(y1 / 100)))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "change of the old skills (points)", "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text x="16" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 16 {middle:.1f})">change of the new skills (points)</text>'
    )
    front = sorted((p for p in points if not any(o.beats(p) for o in points)), key=lambda point: point.old.mean)
    path = " ".join(f"{x(point.old.mean):.1f},{y(point.new.mean):.1f}" for point in front)
    parts.append(f'<polyline class="f" points="{path}"/>')
    labels = _apart([y(point.new.mean) for point in points])
    for point, at in zip(points, labels):
        px, py = x(point.old.mean), y(point.new.mean)
        parts += [
            _line("i", x(point.old.low), py, x(point.old.high), py),
            _line("i", px, y(point.new.low), px, y(point.new.high)),
            f'<circle class="p" cx="{px:.1f}" cy="{py:.1f}" r="4"/>',
            _line("g", px + 5, py, WIDTH - RIGHT + 8, at),
            f'<text x="{WIDTH - RIGHT + 12}" y="{at + 4:.1f}"{" class=" + chr(34) + "n" + chr(34) if point in front else ""}>{escape(point.name)}</text>',
        ]
    said = escape("New skill against retention; " + ", ".join(point.name for point in points))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{said}">\n'
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _span(low: float, high: float) -> tuple[int, int]:
    """The axis in points, multiples of 20 around both ends and 0."""
    first, last = int(min(0, 100 * low) // 20 * 20), int(-(-max(0, 100 * high) // 20) * 20)
    return first, max(last, first + 20)


def _apart(heights: Sequence[float], least: float = 16.0) -> list[float]:
    """The heights of labels, moved down where they would lie on one another."""
    order = sorted(range(len(heights)), key=lambda number: heights[number])
    placed = list(heights)
    for before, after in itertools.pairwise(order):
        placed[after] = max(placed[after], placed[before] + least)
    over = max(0.0, max(placed, default=0.0) - (HEIGHT - BOTTOM))
    return [height - over for height in placed]


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
