"""Pages and tables: one description, three formats, and text escaped exactly once."""

from __future__ import annotations

from steve1.reporting.charts import Bar, bar_chart, heat_map, histogram, sparkline
from steve1.reporting.html import Html, element, join
from steve1.reporting.page import Report, Section, note
from steve1.reporting.tables import Cell, Table

TABLE = Table(
    ["name", "share", "n"],
    [["a <b|", 0.25, 12_345], [Cell("c", href="#c", kind="bad"), None, 2]],
    {"share": ".1f", "n": lambda n: f"{n:,}"},
    caption="two & more",
)


def test_a_table_is_the_same_in_all_formats() -> None:
    assert TABLE.markdown() == (
        "**two & more**\n\n| name | share | n |\n|---|---|---|\n| a <b\\| | 0.2 | 12,345 |\n| c | n/a | 2 |"
    )
    assert TABLE.csv() == 'name,share,n\na <b|,0.2,"12,345"\nc,n/a,2\n'
    assert TABLE.console() == "name   share       n\na <b|    0.2  12,345\nc        n/a       2"
    page = TABLE.html()
    assert "<td>a &lt;b|</td>" in page
    assert '<td class="bad"><a href="#c">c</a></td>' in page
    assert '<td class="number">12,345</td>' in page
    assert "<b>two &amp; more</b>" in page


def test_numbers_sort_by_value_not_by_text() -> None:
    page = Report("t", [Section("", [Table.of([{"n": 1200}, {"n": None}], sortable=True)])]).html()
    assert 'data-v="1200"' in page
    assert 'data-v="-1"' in page
    assert page.count("<script>") == 1
    assert "<script>" not in Report("t", [Section("", [TABLE])]).html()


def test_text_is_escaped_once_and_markup_is_kept() -> None:
    link = element("a", "x < y", href='"#"')
    assert link == '<a href="&quot;#&quot;">x &lt; y</a>'
    assert join([link, "&"]) == link + "&amp;"
    assert element("p", link, class_="k", hidden=True, id="") == f'<p class="k" hidden>{link}</p>'


def test_a_report_leaves_out_what_is_empty() -> None:
    sections = [
        Section("", ["one & two", ("first", "second"), note("for the page")]),
        Section("Nothing", ["", Html(), Table(["x"], [])]),
        Section("Only a picture", [sparkline([1, 2], "s")]),
        Section("Later", [TABLE], folded=True),
    ]
    report = Report("title <1>", sections)
    text = report.markdown()
    assert text.startswith("# title <1>\n\none & two\n\n- first\n- second\n\n## Later\n\n**two")
    assert "for the page" not in text
    page = report.html()
    assert "<h1>title &lt;1&gt;</h1><p>one &amp; two</p><ul><li>first</li>" in page
    assert "Nothing" not in page
    assert "<h2>Only a picture</h2>" in page
    assert "<details><summary><h2>Later</h2></summary>" in page


def test_bars_are_as_long_as_their_shares() -> None:
    chart = bar_chart("t", {"row": [Bar(0.5, "1/2", (0.2, 0.8)), None, Bar(0.25)]}, names=("a", "b", "c"), axis=True)
    widths = [float(part.split('"')[0]) for part in chart.split(' width="')[2:]]
    assert widths[0] == 2 * widths[1]
    assert "1/2" in chart
    assert "25 %" in chart
    assert 'fill="var(--c2)"' in chart, "a missing bar does not shift colours"
    assert bar_chart("t", {}) == ""


def test_histograms_and_maps_show_counts() -> None:
    import numpy as np

    assert "<title>3</title>" in histogram("t", [1, 1, 1, 9], "s")
    assert histogram("t", [4, 4], "s").count("<rect") == 1
    counts = np.zeros((11, 11), np.int64)
    counts[5, 6] = 30
    chart = heat_map(counts, [float(n) for n in range(-5, 6)], "map", title="camera")
    assert "pitch 0°, yaw +1.0°: 30 frames (100 %)" in chart
    assert chart.count("<rect") == 2
