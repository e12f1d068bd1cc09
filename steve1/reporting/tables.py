"""A table as data: titles, rows of values, formats. It renders as HTML, Markdown, CSV and text for a terminal."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Mapping, Sequence

from steve1.core.messages import heading, message, padded, wide
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


Value = str | float | Cell | None
# How numbers are written: a format such as ",.2f", or a function.
Form = str | Callable[[float], str]


@dataclasses.dataclass(frozen=True)
class Table:
    """Titles of columns, and rows of values: text, numbers, None (not known), markup, or a Cell with one of these.

    Attributes:
        forms: {title: how the numbers below it are written}.
        caption: a line above it.
        sortable: in HTML, a click on a column's title sorts by it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    forms: Mapping[str, Form] = dataclasses.field(default_factory=dict)
    caption: str = ""
    sortable: bool = False

    @classmethod
    def of(
        cls, rows: Sequence[Mapping[str, Value]], forms: Mapping[str, Form] | None = None, *, sortable: bool = False
    ) -> Table:
        """The table of rows that name their columns, {title: value}, alike in all rows."""
        return cls(list(rows[0]) if rows else [], [list(row.values()) for row in rows], forms or {}, sortable=sortable)

    def translated(self) -> Table:
        """The table with its titles in the user's language; for tables whose titles are words of this program."""
        forms = {heading(title): form for title, form in self.forms.items()}
        return dataclasses.replace(self, columns=[*map(heading, self.columns)], forms=forms)

    def __bool__(self) -> bool:
        return bool(self.rows)

    def _text(self, title: str, value: str | float | None, missing: str) -> str:
        if value is None or isinstance(value, str):
            return missing if value is None else value
        form = self.forms.get(title, "")
        return form(value) if callable(form) else format(value, form)

    def _cells(self, missing: str = "") -> list[list[tuple[Cell, str]]]:
        """Each row's cells with their texts; `missing` stands for None, by default in the user's language."""
        missing = missing or message("not known")
        cells = [[value if isinstance(value, Cell) else Cell(value) for value in row] for row in self.rows]
        return [
            [(cell, self._text(title, cell.value, missing)) for title, cell in zip(self.columns, row, strict=True)]
            for row in cells
        ]

    def _records(self, missing: str = "") -> list[list[str]]:
        return [list(self.columns), *([text for _, text in row] for row in self._cells(missing))]

    def markdown(self) -> str:
        """The table in Markdown, its caption in bold above it."""
        records = [[" ".join(text.split()).replace("|", "\\|") for text in row] for row in self._records()]
        head, *rows = ["| " + " | ".join(row) + " |" for row in records]
        table = "\n".join([head, "|" + "---|" * len(self.columns), *rows])
        return f"**{self.caption}**\n\n{table}" if self.caption else table

    def console(self) -> str:
        """The table for a terminal: columns as wide as their longest text, numbers to the right."""
        records, cells = self._records(), self._cells()
        columns = []
        for place, texts in enumerate(zip(*records)):
            left = any(isinstance(row[place][0].value, str) for row in cells)
            width = max(map(wide, texts))
            columns.append([padded(text, width) if left else " " * (width - wide(text)) + text for text in texts])
        return "\n".join("  ".join(row).rstrip() for row in zip(*columns))

    def csv(self) -> str:
        """The table as CSV, titles first."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(self._records("n/a"))
        return out.getvalue()

    def html(self) -> Html:
        """The table as HTML, in a box that scrolls sideways where it is too wide. Numbers stand to the right."""
        body = each("tr", (join(self._data(cell, text) for cell, text in row) for row in self._cells()))
        head = element("thead", element("tr", each("th", self.columns))) if any(self.columns) else ""
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
