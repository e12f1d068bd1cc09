"""The page that shows datasets: one HTML file with everything in it.

Input: measured datasets, and the reasons against their episodes. Output: HTML text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steve1 import actions as act
from steve1.data.quality.duplicates import Pair
from steve1.data.quality.measures import Measures
from steve1.data.quality.suspects import Reason
from steve1.reporting.charts import Bar, bar_chart, grid, heat_map, histogram, sparkline
from steve1.reporting.html import Html, data_url, each, element, join
from steve1.reporting.numbers import percent
from steve1.reporting.page import Report, Section, note
from steve1.reporting.tables import Cell, Column, Row, Table


@dataclass(frozen=True)
class Inspected:
    """A dataset's name, its measured episodes, the reasons against each, and its duplicates."""

    name: str
    episodes: Sequence[Measures]
    reasons: Sequence[Sequence[Reason]]
    pairs: Sequence[Pair]

    def ranked(self) -> list[int]:
        """Numbers of the suspicious episodes, worst first."""
        weight = [sum(reason.weight for reason in reasons) for reasons in self.reasons]
        return sorted((n for n in range(len(weight)) if weight[n] > 0), key=lambda n: (-weight[n], n))


def page(datasets: Sequence[Inspected], *, sheets: int, made: str) -> str:
    """The whole report.

    Args:
        datasets: what to show.
        sheets: contact sheets for each dataset: suspicious episodes first, then evenly from the rest.
        made: by which command, when.
    """
    episodes = sum(len(d.episodes) for d in datasets)
    hours = sum(e.hours for d in datasets for e in d.episodes)
    suspects = sum(len(d.ranked()) for d in datasets)
    lead = note(f"{episodes:,} episodes, {hours:.2f} hours, {suspects} worth a look. {made}")
    sections = [Section("", [lead, overview(datasets)])]
    for number, dataset in enumerate(datasets):
        sections += _dataset(dataset, f"d{number}", sheets)
    return Report("Datasets at a glance", sections).html()


def mean_share(values: Sequence[float | None]) -> float | None:
    """Mean of the known shares; None where none is known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def overview(datasets: Sequence[Inspected]) -> Table:
    """A row for each dataset: how much there is, and how much of it needs a look."""
    rows: list[Row] = []
    for number, dataset in enumerate(datasets):
        whole = [e for e in dataset.episodes if not e.fault]
        frames = sum(e.frames for e in whole)
        norms = [e.goals.mean_norm for e in whole if e.goals]
        suspects = len(dataset.ranked())
        rows.append(
            [
                Cell(dataset.name, href=f"#d{number}"),
                len(dataset.episodes),
                frames,
                frames / 72000,
                sum(e.null_share * e.frames for e in whole) / max(frames, 1),
                mean_share([e.gui_share for e in whole]),
                float(np.mean(norms)) if norms else None,
                len(norms),
                len(dataset.pairs),
                Cell(suspects, kind="bad" if suspects else ""),
            ]
        )
    columns: list[Column | str] = [
        "dataset", Column("episodes", ","), Column("frames", ","), Column("hours", ".2f"), Column("null actions", percent),
        Column("menu open", percent), Column("embedding length", ".2f"), "embedded", "duplicates", "to look at",
    ]  # fmt: skip
    return Table(columns, rows, sortable=True)


def _dataset(dataset: Inspected, anchor: str, sheets: int) -> list[Section]:
    shown = _with_sheets(dataset, sheets)
    return [
        Section(dataset.name, [_charts(dataset) or note("No episode can be read.")], anchor),
        Section("Worth a look, worst first", [_suspects(dataset, anchor, shown)]),
        Section("Episodes", [_episodes(dataset, anchor, shown)]),
        Section("Contact sheets", [join(_card(dataset, anchor, n) for n in shown)]),
    ]


def _charts(dataset: Inspected) -> Html:
    whole = [e for e in dataset.episodes if not e.fault]
    if not whole:
        return Html()
    pressed = np.sum([e.pressed for e in whole], axis=0) / max(sum(e.frames for e in whole), 1)
    shares = {name: [Bar(share)] for name, share in zip(act.BUTTONS, pressed.tolist())}
    slots = {f"slot {n}": shares.pop(f"hotbar.{n}") for n in range(1, 10)}
    chosen = "" if any(row[0].share for row in slots.values()) else " (none ever is)"
    degrees = np.asarray(act.BIN_DEGREES).tolist()
    camera = np.sum([e.camera for e in whole], axis=0)
    figures = [
        bar_chart("Frames in which each button is down", shares, label=f"buttons of {dataset.name}"),
        heat_map(camera, degrees, f"camera of {dataset.name}", title="Camera: frames by bin, logarithmic"),
        bar_chart(f"Frames in which a slot is chosen{chosen}", slots, label=f"hotbar of {dataset.name}"),
        histogram("Episode lengths", [e.frames / 20 for e in whole], "s"),
    ]
    goals = [e.goals for e in whole if e.goals]
    if goals:
        figures.append(histogram("Mean length of an episode's embeddings", [g.mean_norm for g in goals], ""))
        figures.append(
            histogram("Drift of embeddings, first to last quarter (cosine distance)", [g.drift for g in goals], "")
        )
    return grid(figures)


def _with_sheets(dataset: Inspected, sheets: int) -> list[int]:
    """Suspicious episodes first; the places that are left go evenly over the rest."""
    chosen = [n for n in dataset.ranked() if dataset.episodes[n].sheet][:sheets]
    rest = [n for n, episode in enumerate(dataset.episodes) if episode.sheet and n not in chosen]
    left = min(sheets - len(chosen), len(rest))
    if left > 0:
        chosen += [rest[int(at)] for at in np.linspace(0, len(rest) - 1, left).round()]
    return chosen


def _link(dataset: Inspected, anchor: str, number: int, shown: Sequence[int]) -> Cell:
    return Cell(dataset.episodes[number].name, href=f"#{anchor}e{number}" if number in shown else "")


def _suspects(dataset: Inspected, anchor: str, shown: Sequence[int]) -> Table:
    rows = []
    for number in dataset.ranked():
        reasons = dataset.reasons[number]
        tags = [element("span", kind, class_="tag") for kind in dict.fromkeys(r.kind for r in reasons)]
        texts = "; ".join(dict.fromkeys(r.text for r in reasons[:5]))
        more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        weight = sum(r.weight for r in reasons)
        rows.append([_link(dataset, anchor, number, shown), weight, join([*tags, texts, more])])
    return Table(["episode", Column("weight", ".1f"), "reasons"], rows, sortable=True)


def _episodes(dataset: Inspected, anchor: str, shown: Sequence[int]) -> Table:
    rows: list[Row] = []
    for number, e in enumerate(dataset.episodes):
        frames, goals = max(e.frames, 1), e.goals
        top = sorted(zip(e.pressed.tolist(), act.BUTTONS), reverse=True)[:3]
        rows.append(
            [
                _link(dataset, anchor, number, shown),
                e.frames,
                e.frames / 20,
                e.null_share,
                e.gui_share,
                int(e.hotbar.sum()),
                e.moving / frames,
                e.brightness,
                goals.mean_norm if goals else None,
                goals.drift if goals else None,
                sparkline(goals.norms, f"embedding lengths of {e.name}") if goals else "",
                ", ".join(f"{name} {percent(count / frames)}" for count, name in top if count) or "none",
            ]
        )
    columns: list[Column | str] = [
        "episode", Column("frames", ","), Column("s", ".1f"), Column("null actions", percent), Column("menu open", percent),
        "slot changes", Column("camera moves", percent), Column("brightness", ".0f"), Column("embedding length", ".2f"),
        Column("drift", ".3f"), "length over time", "most pressed",
    ]  # fmt: skip
    return Table(columns, rows, sortable=True)


def _card(dataset: Inspected, anchor: str, number: int) -> Html:
    e, reasons = dataset.episodes[number], dataset.reasons[number]
    captions = e.metadata.get("captions") or []
    known = [
        str(e.metadata.get("behaviour") or ""),
        f"“{captions[0]}”" if isinstance(captions, list) and captions else "",
    ]
    known += [f"{e.frames:,} frames", f"from {e.metadata['source']}" if e.metadata.get("source") else ""]
    cells = [element("div", element("b", str(frame)), f" {keys}") for frame, keys in e.sheet_frames]
    frames = element("img", alt=f"frames of {e.name}", src=data_url("image/jpeg", e.sheet))
    roll = element("img", alt="buttons over time", src=data_url("image/png", e.roll))
    sheet_style = f"grid-template-columns:repeat({len(e.sheet_frames)},1fr)"
    strip = join(
        [
            element("div", frames, *cells, class_="sheet", style=sheet_style),
            element(
                "div",
                element("ol", each("li", e.roll_names)),
                roll,
                class_="roll",
                style=f"height:{13 * len(e.roll_names)}px",
            ),
        ]
    )
    return element(
        "div",
        element("h3", e.name),
        element("p", " · ".join(part for part in known if part), class_="meta"),
        element("ul", each("li", (reason.text for reason in reasons[:8]))) if reasons else "",
        element("div", strip, class_="scroll"),
        class_="card act" if reasons else "card",
        id=f"{anchor}e{number}",
    )
