"""A table as data: columns with formats, rows of values. It renders as HTML, Markdown, CSV and text for a terminal."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from steve1.reporting.html import Html, each, element, join


@dataclasses.dataclass(frozen=True)
class Cell:
    """A value with what only HTML shows.

    Attributes:
        value: as in a row.
        href: what the text links to.
        kind: a class of the style sheet: good, bad or open.
    """

    value: str | float | None
    href: str = ""
    kind: str = ""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column's title, and how its values are written: a format such as ",.2f", or a function."""

    title: str
    form: str | Callable[[Any], str] = ""

    def text(self, value: str | float | None) -> str:
        """A value as text; strings stay as they are, and None is "n/a"."""
        if value is None:
            return "n/a"
        if isinstance(value, str):
            return value
        return self.form(value) if callable(self.form) else format(value, self.form)


Row = Sequence[str | float | Cell | None]


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of values (str, number, None, markup, or a Cell with one of these) under columns; a plain string is a column without format.

    Attributes:
        caption: a line above it.
        sortable: in HTML, a click on a column's title sorts by it.
    """

    columns: Sequence[Column | str]
    rows: Sequence[Row]
    caption: str = ""
    sortable: bool = False

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def _columns(self) -> list[Column]:
        return [Column(column) if isinstance(column, str) else column for column in self.columns]

    def _cells(self) -> list[list[tuple[Cell, str]]]:
        """Each row's cells with their texts."""
        cells = [[value if isinstance(value, Cell) else Cell(value) for value in row] for row in self.rows]
        return [
            [(cell, column.text(cell.value)) for column, cell in zip(self._columns, row, strict=True)] for row in cells
        ]

    def _records(self) -> list[list[str]]:
        return [[column.title for column in self._columns], *([text for _, text in row] for row in self._cells())]

    def markdown(self) -> str:
        """The table in Markdown, its caption in bold above it."""
        records = [[text.replace("|", "\\|") for text in row] for row in self._records()]
        head, *rows = ["| " + " | ".join(row) + " |" for row in records]
        table = "\n".join([head, "|" + "---|" * len(self.columns), *rows])
        return f"**{self.caption}**\n\n{table}" if self.caption else table

    def console(self) -> str:
        """The table for a terminal: columns as wide as their longest text, numbers to the right."""
        records, cells = self._records(), self._cells()
        columns = []
        for place, texts in enumerate(zip(*records)):
            side = "<" if any(isinstance(row[place][0].value, str) for row in cells) else ">"
            width = max(map(len, texts))
            columns.append([f"{text:{side}{width}}" for text in texts])
        return "\n".join("  ".join(row).rstrip() for row in zip(*columns))

    def csv(self) -> str:
        """The table as CSV, titles first."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(self._records())
        return out.getvalue()

    def html(self) -> Html:
        """The table as HTML, in a box that scrolls sideways where it is too wide. Numbers stand to the right."""
        body = each("tr", (join(self._data(cell, text) for cell, text in row) for row in self._cells()))
        titles = [column.title for column in self._columns]
        head = element("thead", element("tr", each("th", titles))) if any(titles) else ""
        table = element("table", head, element("tbody", body), class_="sort" if self.sortable else "")
        caption = element("p", element("b", self.caption)) if self.caption else ""
        return join([caption, element("div", table, class_="scroll")])

    def _data(self, cell: Cell, text: str) -> Html:
        content = Html(text) if isinstance(cell.value, Html) else text
        order, kinds = "", [cell.kind]
        if not isinstance(cell.value, str):
            kinds.append("number")
            if self.sortable:
                order = f"{cell.value:.6g}" if cell.value is not None and math.isfinite(cell.value) else "-1"
        link = element("a", content, href=cell.href) if cell.href else content
        return element("td", link, class_=" ".join(filter(None, kinds)), data_v=order)
