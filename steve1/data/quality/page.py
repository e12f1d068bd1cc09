"""The page that shows datasets: one HTML file with everything in it.

Input: measured datasets, and the reasons against their episodes. Output: HTML text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steve1 import actions as act
from steve1.core.messages import message
from steve1.data.episodes.listing import find_datasets
from steve1.data.quality.duplicates import Pair, find_duplicates
from steve1.data.quality.each import each_episode
from steve1.data.quality.measures import Measures, measure
from steve1.data.quality.suspects import Reason, judge
from steve1.reporting.charts import Bar, bar_chart, grid, heat_map, histogram, sparkline
from steve1.reporting.html import Html, data_url, each, element, join
from steve1.reporting.numbers import percent
from steve1.reporting.page import Report, Section, note
from steve1.reporting.tables import Cell, Form, Table, Value

# How the numbers of the tables are written, by title.
_FORMS: dict[str, Form] = {
    **dict.fromkeys(("episodes", "frames"), ","),
    **dict.fromkeys(("null actions", "menu open", "camera moves"), percent),
    **dict.fromkeys(("s", "weight"), ".1f"),
    **dict.fromkeys(("hours", "embedding length"), ".2f"),
    "brightness": ".0f",
    "drift": ".3f",
}


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


def inspect(paths: Sequence[str], *, workers: int = 1) -> list[Inspected]:
    """Measure and judge the datasets at these paths. Duplicates are searched across all; each pair is listed with its first episode.

    Raises:
        UserError: a path does not exist or holds no episode.
    """
    datasets = find_datasets(paths)
    measured = [
        each_episode(
            measure,
            dataset,
            workers,
            message("looking at", name=dataset.path.name),
            lambda found: message("frames so far", frames=sum(one.frames for one in found)),
        )
        for dataset in datasets
    ]
    everything = [one for found in measured for one in found]
    pairs = find_duplicates(everything)
    reasons = judge(everything, pairs)
    inspected, begin = [], 0
    for dataset, found in zip(datasets, measured):
        end = begin + len(found)
        own = [pair for pair in pairs if begin <= pair.one < end]
        inspected.append(Inspected(dataset.name, found, reasons[begin:end], own))
        begin = end
    return inspected


def page(datasets: Sequence[Inspected], *, sheets: int, made: str) -> str:
    """The whole report.

    Args:
        datasets: what to show.
        sheets: contact sheets for each dataset: suspicious episodes first, then evenly from the rest.
        made: by which command, when.
    """
    episodes = sum(len(d.episodes) for d in datasets)
    hours = sum(e.frames for d in datasets for e in d.episodes) / 72000  # rounded as in the table
    suspects = sum(len(d.ranked()) for d in datasets)
    lead = note(message("datasets lead", episodes=episodes, hours=f"{hours:.2f}", suspects=suspects, made=made))
    sections = [Section("", [lead, overview(datasets)])]
    for number, dataset in enumerate(datasets):
        sections += _dataset(dataset, f"d{number}", sheets)
    return Report(message("datasets"), sections).html()


def overview(datasets: Sequence[Inspected]) -> Table:
    """A row for each dataset: how much there is, and how much of it needs a look."""
    rows: list[dict[str, Value]] = []
    for number, dataset in enumerate(datasets):
        whole = [e for e in dataset.episodes if not e.fault]
        frames = sum(e.frames for e in whole)
        norms = [e.goals.mean_norm for e in whole if e.goals]
        suspects = len(dataset.ranked())
        rows.append(
            {
                "dataset": Cell(dataset.name, href=f"#d{number}"),
                "episodes": len(dataset.episodes),
                "frames": frames,
                "hours": frames / 72000,
                "null actions": sum(e.null_share * e.frames for e in whole) / max(frames, 1),
                "menu open": _mean([e.gui_share for e in whole if e.gui_share is not None]),
                "embedding length": _mean(norms),
                "embedded": len(norms),
                "duplicates": len(dataset.pairs),
                "to look at": Cell(suspects, kind="bad" if suspects else ""),
            }
        )
    return Table.of(rows, _FORMS, sortable=True).translated()


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _dataset(dataset: Inspected, anchor: str, sheets: int) -> list[Section]:
    shown = _with_sheets(dataset, sheets)
    return [
        Section(dataset.name, [_charts(dataset) or note(message("no episode"))], anchor),
        Section(message("suspects"), [_suspects(dataset, anchor, shown)]),
        Section(message("episodes"), [_episodes(dataset, anchor, shown)]),
        Section(message("sheets"), [join(_card(dataset, anchor, n) for n in shown)]),
    ]


def _charts(dataset: Inspected) -> Html:
    whole = [e for e in dataset.episodes if not e.fault]
    if not whole:
        return Html()
    pressed = np.sum([e.pressed for e in whole], axis=0) / max(sum(e.frames for e in whole), 1)
    shares = {name: [Bar(share)] for name, share in zip(act.BUTTONS, pressed.tolist())}
    slots = {message("slot", number=n): shares.pop(f"hotbar.{n}") for n in range(1, 10)}
    chosen = any(row[0].share for row in slots.values())
    degrees = np.asarray(act.BIN_DEGREES).tolist()
    camera = np.sum([e.camera for e in whole], axis=0)
    figures = [
        bar_chart(
            message("chart buttons"),
            shares,
            label=message("chart buttons of", name=dataset.name),
            values=message("chart buttons values"),
        ),
        heat_map(camera, degrees, message("chart camera of", name=dataset.name), title=message("chart camera")),
        bar_chart(
            message("chart hotbar" if chosen else "chart hotbar none"),
            slots,
            label=message("chart hotbar of", name=dataset.name),
            values=message("chart hotbar values"),
        ),
        histogram(message("chart lengths"), [e.frames / 20 for e in whole], message("seconds")),
    ]
    goals = [e.goals for e in whole if e.goals]
    if goals:
        for name, values in (("goals", [g.mean_norm for g in goals]), ("drift", [g.drift for g in goals])):
            figures.append(histogram(message(f"chart {name}"), values, message(f"chart {name} values")))
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
    rows: list[dict[str, Value]] = []
    for number in dataset.ranked():
        reasons = dataset.reasons[number]
        tags = [element("span", tag, class_="tag") for tag in dict.fromkeys(r.tag for r in reasons)]
        texts = "; ".join(dict.fromkeys(r.text for r in reasons[:5]))
        more = message("more reasons", count=len(reasons) - 5) if len(reasons) > 5 else ""
        episode, weight = _link(dataset, anchor, number, shown), sum(r.weight for r in reasons)
        rows.append({"episode": episode, "weight": weight, "reasons": join([*tags, texts, more])})
    return Table.of(rows, _FORMS, sortable=True).translated()


def _episodes(dataset: Inspected, anchor: str, shown: Sequence[int]) -> Table:
    rows: list[dict[str, Value]] = []
    for number, e in enumerate(dataset.episodes):
        frames, goals = max(e.frames, 1), e.goals
        top = sorted(zip(e.pressed.tolist(), act.BUTTONS), reverse=True)[:3]
        rows.append(
            {
                "episode": _link(dataset, anchor, number, shown),
                "frames": e.frames,
                "s": e.frames / 20,
                "null actions": e.null_share,
                "menu open": e.gui_share,
                "slot changes": int(e.pressed[act.BUTTONS.index("hotbar.1") :].sum()),
                "camera moves": e.moving / frames,
                "brightness": e.brightness,
                "embedding length": goals.mean_norm if goals else None,
                "drift": goals.drift if goals else None,
                "length over time": sparkline(goals.norms, message("embedding lengths of", name=e.name))
                if goals
                else "",
                "most pressed": ", ".join(f"{name} {percent(n / frames)}" for n, name in top if n) or message("none"),
            }
        )
    return Table.of(rows, _FORMS, sortable=True).translated()


def _card(dataset: Inspected, anchor: str, number: int) -> Html:
    e, reasons = dataset.episodes[number], dataset.reasons[number]
    captions = e.metadata.get("captions") or []
    known = [
        str(e.metadata.get("behaviour") or ""),
        f"“{captions[0]}”" if isinstance(captions, list) and captions else "",
        message("frames so far", frames=e.frames),
        message("from source", source=e.metadata["source"]) if e.metadata.get("source") else "",
    ]
    frames = element("img", alt=message("frames of", name=e.name), src=data_url("image/jpeg", e.sheet))
    below = [element("div", element("b", str(frame)), f" {buttons}") for frame, buttons in e.sheet_frames]
    columns, height = f"grid-template-columns:repeat({len(below)},1fr)", f"height:{13 * len(e.roll_names)}px"
    names = element("ol", each("li", e.roll_names))
    roll = element("img", alt=message("buttons over time"), src=data_url("image/png", e.roll))
    strips = [
        element("div", frames, *below, class_="sheet", style=columns),
        element("div", names, roll, class_="roll", style=height),
    ]
    return element(
        "div",
        element("h3", e.name),
        element("p", " · ".join(part for part in known if part), class_="meta"),
        element("ul", each("li", (reason.text for reason in reasons[:8]))) if reasons else "",
        element("div", *strips, class_="scroll"),
        class_="card act" if reasons else "card",
        id=f"{anchor}e{number}",
    )
