"""A report: a title and sections, written as one HTML file that needs nothing beside it, or as Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib import resources

from steve1.core.messages import language
from steve1.reporting.html import Html, each, element, join
from steve1.reporting.tables import Table

# A paragraph, a list, a table, or markup, which Markdown leaves out.
Block = str | Sequence[str] | Table | Html


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and what stands below it; empty blocks are left out, and so is a section without blocks.

    Attributes:
        title: "" for what stands before the first heading.
        anchor: the id that links lead to.
        folded: in HTML, the blocks are shown after a click on the heading.
    """

    title: str
    blocks: Sequence[Block]
    anchor: str = ""
    folded: bool = False


@dataclasses.dataclass(frozen=True)
class Report:
    """A title and its sections."""

    title: str
    sections: Sequence[Section]

    def markdown(self) -> str:
        """Paragraphs, lists and tables."""
        parts = [f"# {self.title}"]
        for section in self.sections:
            texts = [markdown(block) for block in section.blocks if block and not isinstance(block, Html)]
            if texts:
                parts += [f"## {section.title}", *texts] if section.title else texts
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """The page."""
        folder = resources.files("steve1.reporting")
        head = join(
            [
                element("meta", charset="utf-8"),
                element("meta", name="viewport", content="width=device-width, initial-scale=1"),
                element("title", self.title),
                element("style", Html((folder / "style.css").read_text("utf-8"))),
            ]
        )
        body = [element("h1", self.title), *(_section(section) for section in self.sections)]
        if any(isinstance(block, Table) and block.sortable for section in self.sections for block in section.blocks):
            body.append(element("script", Html((folder / "sort.js").read_text("utf-8"))))
        page = element("html", element("head", head), element("body", *body), lang=language())
        return f"<!doctype html>\n{page}\n"


def markdown(block: Block) -> str:
    """One block as Markdown."""
    if isinstance(block, Table):
        return block.markdown()
    return block if isinstance(block, str) else "\n".join(f"- {item}" for item in block)


def note(*content: str) -> Html:
    """An explanation in smaller print, in HTML alone."""
    return element("p", *content, class_="hint")


def folded(summary: str, *content: str, unfolded: bool = False) -> Html:
    """Content that is shown after a click on its summary."""
    return element("details", element("summary", summary), *content, open=unfolded)


def _section(section: Section) -> Html:
    blocks = join(_html(block) for block in section.blocks if block)
    if not blocks:
        return Html()
    heading = element("h2", section.title, id=section.anchor) if section.title else Html()
    return folded(heading, blocks) if section.folded else join([heading, blocks])


def _html(block: Block) -> Html:
    if isinstance(block, Html):
        return block
    if isinstance(block, Table):
        return block.html()
    return element("p", block) if isinstance(block, str) else element("ul", each("li", block))
