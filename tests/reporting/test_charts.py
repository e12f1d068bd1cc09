"""Charts: round ticks, short numbers, and curves where their numbers say."""

from __future__ import annotations

import math
import re

import pytest

from steve1.core.paths import ROOT
from steve1.reporting.charts import line_chart, log_ticks, smoothed, ticks
from steve1.reporting.numbers import percent, short


def test_ticks_are_round_and_within() -> None:
    assert ticks(0.0, 10.0) == [0, 2, 4, 6, 8, 10]
    assert ticks(2.03, 2.61) == [2.2, 2.4, 2.6]
    assert ticks(3.0, 3.0) == [3.0]
    assert [round(10**tick, 9) for tick in log_ticks(math.log10(30), math.log10(600))] == [50, 100, 200, 500]
    assert [round(10**tick, 9) for tick in log_ticks(math.log10(29), math.log10(61))] == [30, 40, 50, 60]
    assert len(log_ticks(math.log10(31), math.log10(35))) > 1


def test_numbers_as_short_as_they_can_be() -> None:
    assert [short(value) for value in (0, 60_032, 1e-5, 0.35, 2.0)] == ["0", "60.03k", "1.0e-05", "0.35", "2"]
    assert [short(value) for value in (9_999.6, 999_999, 2e7, -1.2e8)] == ["10k", "1000k", "20M", "-120M"]


def test_shares_are_written_as_people_write_them() -> None:
    shares = (1.0, 0.9999, 0.9994, 0.5, 0.0868, 1.23e-5)
    assert [percent(share) for share in shares] == ["100 %", "100 %", "99.9 %", "50 %", "8.68 %", "0.00123 %"]
    assert [percent(0.031, 1, sign=True), percent(-0.2, 1, sign=True), percent(1 / 3, 0)] == [
        "+3.1 %",
        "-20.0 %",
        "33 %",
    ]


def test_many_points_become_means() -> None:
    points = [(float(step), float(step % 2)) for step in range(1000)]
    few = smoothed(points, most=100)
    assert len(few) == 100
    assert {value for _, value in few} == {0.5}
    assert few[-1][0] == 999.0


def test_a_curve_lies_where_its_numbers_say() -> None:
    chart = line_chart("a <b>", {"x": [(0, 1.0), (50, float("nan")), (100, 3.0)]}, mark=50)
    assert "a &lt;b&gt;" in chart
    path = re.search(r'polyline points="([^"]+)"', chart)
    assert path is not None
    (left, low), (right, high) = (tuple(map(float, point.split(","))) for point in path[1].split())
    heights = {text: float(y) - 4 for y, text in re.findall(r'y="([\d.]+)" text-anchor="end">([\d.]+)<', chart)}
    per_unit = (
        (heights["1"] - heights["3"]) / 2
        if "1" in heights and "3" in heights
        else (heights["2.5"] - heights["1.5"]) * -1
    )
    assert low - high == pytest.approx(2 * per_unit, abs=0.3)
    mark = re.search(r'class="mark" x1="([\d.]+)"', chart)
    assert mark is not None
    assert float(mark[1]) == pytest.approx((left + right) / 2, abs=0.1)
    assert chart.count('class="dot"') == 3  # two points and the legend's


def test_a_band_lies_around_its_curve_and_within_the_chart() -> None:
    chart = line_chart("t", {"rate": [(1, 0.5), (2, 0.6)]}, band=[(1, 0.3, 0.7), (2, 0.4, 0.9)])

    def places(name: str) -> list[tuple[float, ...]]:
        (found,) = re.findall(rf'<{name} points="([^"]+)"', chart)
        return [tuple(map(float, place.split(","))) for place in found.split()]

    first, second = places("polyline")
    low_1, low_2, high_2, high_1 = places("polygon")
    assert [low_1[0], low_2[0], high_2[0], high_1[0]] == [first[0], second[0], second[0], first[0]]
    assert high_1[1] < first[1] < low_1[1]
    assert high_2[1] < second[1] < low_2[1]
    assert all(22 < y < 190 for _, y in places("polygon"))
    assert "<polygon" not in line_chart("t", {"rate": [(1, 0.5), (2, 0.6)]})


def test_nothing_to_draw_is_no_chart() -> None:
    assert line_chart("a", {"x": [], "y": [(1, float("nan"))]}) == ""
    assert line_chart("a", {"x": [(1, -1.0)]}, log=True) == ""
    assert "-1" not in re.findall(
        r'text-anchor="end">([^<]+)<', line_chart("a", {"x": [(1, 0.0), (2, 0.0)]}, zero=True)
    )


def test_sixteen_series_differ_without_colour() -> None:
    chart = line_chart("t", {f"{n}": [(0, n), (1, n)] for n in range(16)})
    lines = [re.sub(r'points="[^"]*"|stroke="[^"]*"', "", line) for line in re.findall(r"<polyline[^>]*>", chart)]
    markers = re.findall(r'd="M[\d.]+ [\d.]+(m[^"]+)"', chart)[::2][:16]  # two points a series
    assert len({*zip(lines, markers)}) == 16
    numbers_of = {"M": 2, "m": 2, "l": 2, "h": 1, "v": 1, "a": 7, "z": 0}
    for path in re.findall(r' d="(M[^"]+)"', chart):
        for letter, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", path):
            assert len(re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)", numbers)) == numbers_of[letter], path


def test_axes_say_what_they_count() -> None:
    chart = line_chart(
        "t", {"a": [(0, 1.0), (1, 2.0)]}, unit="step", values="nats a frame", caption="lower is better", log=True
    )
    assert {"step", "nats a frame, logarithmic"} <= set(re.findall(r">([^<]+)</text>", chart))
    assert "lower is better</figcaption>" in chart


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_okabe_and_itos(scheme: str) -> None:
    okabe_ito = {
        "#000000",
        "#e69f00",
        "#56b4e9",
        "#009e73",
        "#f0e442",
        "#0072b2",
        "#d55e00",
        "#cc79a7",
        "#999999",
        "#ffffff",
    }
    blocks = re.findall(r":root \{(.*?)\}", (ROOT / "steve1/reporting/style.css").read_text(), re.DOTALL)
    colours = dict(re.findall(r"(--c\d): (#\w+)", " ".join(blocks if scheme == "dark" else blocks[:1])))
    assert len(colours) == 8
    assert set(colours.values()) <= okabe_ito
    assert len(set(colours.values())) == 8
