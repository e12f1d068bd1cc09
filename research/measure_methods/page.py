"""The table and the picture of the finished cells, and what follows from them; nothing that was not measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from research.measure_methods import learning
from research.measure_methods.cells import Cell, Estimate, best, change, score
from research.measure_methods.picture import Point, picture
from research.measure_methods.recipes import RECIPES
from research.measure_methods.settings import Settings
from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.messages import heading, in_english, message, translated
from steve1.core.paths import display, output_path, resolve
from steve1.evaluation.statistics.tests import paired_test
from steve1.reporting.numbers import p_value, points_range
from steve1.reporting.tables import Table

BEGIN, END = "<!-- measured methods: begin -->", "<!-- measured methods: end -->"


def write_page(cells: Sequence[Cell], settings: Settings) -> str:
    """The text, which is also put into the page, with the picture beside; both from the cells alone.

    In English where a page is named, since those of the documentation are; else in the user's language.

    Raises:
        UserError: no finished cell, or a page without marks.
    """
    if not cells:
        raise UserError("No cell has been measured.", where=settings.cells, todo="python -m research.measure_methods")
    with in_english(settings.page):
        text = _text(cells, settings)
    if settings.page:
        insert(resolve(settings.page), text)
    return text


def _text(cells: Sequence[Cell], settings: Settings) -> str:
    """The tables and what follows from them; the picture is written."""
    points = points_of(cells, settings)
    text = "\n\n".join(filter(None, [*tables(cells, settings), advice(points), against_placebo(cells)]))
    if points and settings.picture:
        path = output_path(settings.picture)
        with atomic_file(path) as file:
            file.write(picture(points))
        shown = translated(f"Trained skill against retention: {', '.join(point.name for point in points)}")
        text += f"\n\n![{shown}]({_link(path, settings)})"
    if settings.learning and (
        iterations := learning.read_iterations(output_path(settings.learning).with_suffix(".csv"))
    ):
        path = output_path(settings.learning)
        with atomic_file(path) as file:
            file.write(learning.picture(iterations))
        methods = ", ".join(dict.fromkeys(heading(RECIPES[each.method].words) for each in iterations))
        shown = translated(f"Success while practising, by iteration: {methods}")
        text += f"\n\n![{shown}]({_link(path, settings)})"
    return text + "\n\n" + grounds(cells) + "\n"


def _link(path: Path, settings: Settings) -> str:
    """A picture's address seen from the page."""
    page = resolve(settings.page or ".")
    folder = page.parent if settings.page else page
    ups = 0
    while not path.is_relative_to(folder):
        folder, ups = folder.parent, ups + 1
    return "../" * ups + path.relative_to(folder).as_posix()


def tables(cells: Sequence[Cell], settings: Settings) -> list[str]:
    """The screening, the methods with several seeds, goal tuning of badly called skills; only what is measured."""
    screened = [cell for cell in cells if cell.seed == 0 and cell.role != "called"]
    found = [_screening(screened, settings)] if screened else []
    seeds = [method for method in RECIPES if len({c.seed for c in cells if c.method == method and c.role == "new"}) > 1]
    if seeds:
        found.append(_over_seeds([cell for cell in cells if cell.method in seeds and cell.role != "called"], seeds))
    called = [cell for cell in cells if cell.role == "called"]
    if called:
        found.append(_called(called))
    return found


def _screening(cells: Sequence[Cell], settings: Settings) -> str:
    skills = [skill for skill in settings.skills if any(cell.skill == skill for cell in cells)]
    ranked, with_old = best(cells, list(RECIPES), len(RECIPES)), any(cell.role == "old" for cell in cells)
    rows = []
    for method in ranked:
        mine = [cell for cell in cells if cell.method == method]
        new = [_one([cell for cell in mine if cell.skill == skill and cell.role == "new"]) for skill in skills]
        # Without its loss of old skills a score would lie above those of methods that were asked for theirs.
        partly = with_old and RECIPES[method].changes_weights and not any(cell.role == "old" for cell in mine)
        found = None if partly else score(cells, method)
        rows.append(
            [heading(RECIPES[method].words), *new, _kept(mine, method), "–" if found is None else f"{100 * found:+.0f}"]
        )
    trained = [translated(f"{_words(skill)} (trained)") for skill in skills]
    head = [heading("method"), *trained, heading("old skills together"), heading("score")]
    caption = message("measured with one seed", episodes=max(len(cell.tuned) for cell in cells))
    return caption + "\n\n" + Table(head, rows).markdown()


def _over_seeds(cells: Sequence[Cell], methods: Sequence[str]) -> str:
    tasks = list(dict.fromkeys(cell.task for cell in cells if cell.role == "old"))
    rows = []
    for method in methods:
        mine = [cell for cell in cells if cell.method == method]
        new = [cell for cell in mine if cell.role == "new"]
        wins = sum(cell.tuned.count("1") for cell in new)
        old = [
            change_text(change([cell for cell in mine if cell.role == "old" and cell.task == task])) for task in tasks
        ]
        rows.append(
            [
                heading(RECIPES[method].words),
                f"{len({cell.seed for cell in mine})}",
                f"{wins}/{sum(len(cell.tuned) for cell in new)}",
                change_text(change(new)),
                _kept(mine, method),
                *old,
            ]
        )
    of_skills = [heading("trained skills"), heading("against the base"), heading("old skills together")]
    head = [heading("method"), heading("seeds"), *of_skills, *map(_words, tasks)]
    return translated("Over seeds:") + "\n\n" + Table(head, rows).markdown()


def _called(cells: Sequence[Cell]) -> str:
    rows = [
        [_words(cell.skill), *(f"{bits.count('1')}/{len(bits)}" for bits in (cell.base, cell.tuned)), _pairs(cell)]
        for cell in cells
    ]
    head = ["skill of the base", "by its prompt", "by the tuned goal", "difference"]
    caption = translated("Goal tuning of skills that the base was trained on:")
    return caption + "\n\n" + Table(head, rows).translated().markdown()


def _one(cells: Sequence[Cell]) -> str:
    """Successes and paired change of one cell, or a dash."""
    if not cells:
        return "–"
    (cell,) = cells
    return f"{cell.tuned.count('1')}/{len(cell.tuned)}, {_pairs(cell)}"


def _pairs(cell: Cell) -> str:
    differences = cell.differences
    test = paired_test(len(differences), int((differences > 0).sum()), int((differences < 0).sum()))
    return f"{100 * differences.mean():+.0f} ({points_range(test.low, test.high)}), p {p_value(test.p)}"


def _kept(cells: Sequence[Cell], method: str) -> str:
    if not RECIPES[method].changes_weights:
        return heading("cannot be lost")
    return change_text(change([cell for cell in cells if cell.role == "old"]))


def change_text(found: Estimate | None) -> str:
    """A mean change in points with its interval."""
    return "–" if found is None else f"{100 * found.mean:+.0f} ({points_range(found.low, found.high)})"


def points_of(cells: Sequence[Cell], settings: Settings) -> list[Point]:
    """The picture's points: each method's change of the trained skills against that of the old ones, over all its seeds."""
    points = []
    for method in RECIPES:
        mine = [cell for cell in cells if cell.method == method]
        new = change([cell for cell in mine if cell.role == "new"])
        old = change([cell for cell in mine if cell.role == "old"])
        if old is None and not RECIPES[method].changes_weights:
            old = Estimate(0.0, 0.0, 0.0, (1, 1, 1))
        if new is not None and old is not None:
            points.append(Point(heading(RECIPES[method].words), old, new))
    return points


def advice(points: Sequence[Point]) -> str:
    """What follows: which methods no other beats in both, which learned for sure, and which lost old skills for sure."""
    if not points:
        return ""
    front = [point.name for point in points if not any(other.beats(point) for other in points)]
    learned = [point.name for point in points if point.new.low > 0]
    lost = [point.name for point in points if point.old.high < 0]
    said = [translated(f"Not beaten in both respects by any other method: {', '.join(front)}.")]
    said.append(
        translated(f"Better at the trained skills (interval above 0): {', '.join(learned) or heading('none')}.")
    )
    said.append(translated(f"Lost old skills (interval below 0): {', '.join(lost) or heading('none')}."))
    if choice := [point.name for point in points if point.name in learned and point.name not in lost]:
        said.append(translated(f"Better without a loss that can be seen: {', '.join(choice)}."))
    return " ".join(said)


def against_placebo(cells: Sequence[Cell]) -> str:
    """Each method of reinforcement learning against the one whose rewards were permuted, on the same places; "" where that is not measured."""
    first = [cell for cell in cells if cell.seed == 0 and cell.role == "new"]
    placebo = {cell.skill: cell.tuned for cell in first if cell.method == "placebo"}

    def against(cell: Cell) -> Cell:
        """The cell on the places that both have played."""
        base = placebo[cell.skill][: len(cell.tuned)]
        return dataclasses.replace(cell, base=base, tuned=cell.tuned[: len(base)])

    said = [
        f"{heading(RECIPES[cell.method].words)} {_pairs(against(cell))}"
        for cell in first
        if RECIPES[cell.method].rl is not None and cell.method != "placebo" and cell.skill in placebo
    ]
    return translated(f"Against the placebo, points: {'; '.join(said)}.") if said else ""


def grounds(cells: Sequence[Cell]) -> str:
    """What the numbers rest on."""
    episodes = sum(len(cell.tuned) for cell in cells)
    dates = sorted({cell.date for cell in cells})
    bases = ", ".join(sorted({cell.base_sha256 for cell in cells}))
    days = dates[0] if len(dates) == 1 else message("from to", start=dates[0], end=dates[-1])
    return message("measured grounds", cells=len(cells), episodes=episodes, days=days, bases=bases)


def _words(task: str) -> str:
    return task.replace("_", " ")


def insert(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put the text between the page's marks.

    Raises:
        UserError: the page has no such marks.
    """
    old = path.read_text(encoding="utf-8")
    before, begun, rest = old.partition(begin)
    _, ended, after = rest.partition(end)
    if not begun or not ended:
        raise UserError("This page has no place for the table.", where=display(path), expected=f"{begin} … {end}")
    with atomic_file(path) as file:
        file.write(f"{before}{begin}\n{text}{end}{after}".encode())
