"""The picture of methods: change of the trained skills against change of the old ones, with intervals and the Pareto front; one SVG file."""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from research.measure_methods.cells import Estimate
from steve1.reporting.lettering import label, lettering

_COLOUR, _FRONT, _INTERVAL = "#0072b2", "#d55e00", "#9db4cc"
_APART = 0.042  # least distance of two names, as a share of the axes' height


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


@lettering()
def picture(points: Sequence[Point]) -> bytes:
    """The points as an SVG document, the same for the same points; those on the Pareto front are joined and their names bold."""
    figure, axes = drawing("change of the old skills (points)", "change of the trained skills (points)", height=4.6)
    axes.axvline(0, color="#888888", linewidth=1)
    for number, point in enumerate(points):
        (x, y), (low_x, high_x), (low_y, high_y) = _middle(point), _ends(point.old), _ends(point.new)
        axes.plot([low_x, high_x], [y, y], color=_INTERVAL, linewidth=1.2)
        axes.plot([x, x], [low_y, high_y], color=_INTERVAL, linewidth=1.2)
        axes.plot(x, y, "o", color=_COLOUR, markersize=6, gid=f"method-{number}", zorder=3)
    front = sorted((p for p in points if not any(o.beats(p) for o in points)), key=lambda point: point.old.mean)
    axes.plot(*zip(*map(_middle, front)), color=_FRONT, linestyle=(0, (5, 3)), linewidth=1.6)
    low, high = axes.get_ylim()
    heights = _apart([(_middle(point)[1] - low) / (high - low) for point in points])
    for point, height in zip(points, heights):
        axes.annotate(
            point.name,
            _middle(point),
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            fontweight="bold" if point in front else "normal",
            arrowprops={"arrowstyle": "-", "color": "#cccccc", "relpos": (0, 0.5)},
        )
    names = ", ".join(point.name for point in points)
    return document(figure, f"Trained skill against retention: {names}")


def drawing(across: str, up: str, height: float) -> tuple[Figure, Axes]:
    """An empty figure with a grid and labelled axes; its height in inches."""
    figure = Figure(figsize=(7.5, height), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.set_xlabel(label(across))
    axes.set_ylabel(label(up))
    axes.grid(color="#e3e3e3")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def document(figure: Figure, title: str) -> bytes:
    """The figure as SVG, the same bytes for the same drawing."""
    with mpl.rc_context({"svg.hashsalt": "methods", "svg.fonttype": "none"}), io.BytesIO() as out:
        figure.savefig(out, format="svg", metadata={"Date": None, "Title": label(title)})
        return out.getvalue()


def _middle(point: Point) -> tuple[float, float]:
    """Where a point lies, in percentage points."""
    return 100 * point.old.mean, 100 * point.new.mean


def _ends(estimate: Estimate) -> tuple[float, float]:
    return 100 * estimate.low, 100 * estimate.high


def _apart(heights: Sequence[float]) -> list[float]:
    """The heights of names, moved down where they would lie on one another, and up again where they leave the axes."""
    order = sorted(range(len(heights)), key=lambda number: -heights[number])
    placed = list(heights)
    for before, after in itertools.pairwise(order):
        placed[after] = min(placed[after], placed[before] - _APART)
    lift = max(0.0, -min(placed, default=0.0))
    return [height + lift for height in placed]
