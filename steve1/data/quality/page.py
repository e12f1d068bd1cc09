"""The page that shows a dataset: one HTML file with everything in it.

In: measured datasets and the reasons against their episodes. Out: HTML text; no other file, no network.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steve1 import actions as act
from steve1.data.quality.duplicates import Pair
from steve1.data.quality.measures import Measures
from steve1.data.quality.suspects import Reason
from steve1.reporting.charts import bars, columns, curve, heat, percent

_STYLE = """
:root { color-scheme: light; --ink:#22262b; --soft:#6b7280; --line:#e2ded7; --paper:#faf8f5; --card:#fff; --warn:#a13d2d; --accent:#3c6ca8 }
* { box-sizing: border-box }
body { margin:0; background:var(--paper); color:var(--ink); font:14px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif }
main { max-width:1360px; margin:0 auto; padding:28px 24px 80px }
h1 { font-size:24px; margin:0 0 4px } h2 { font-size:18px; margin:36px 0 10px } h3 { font-size:15px; margin:0 }
p.lead { color:var(--soft); margin:0 0 18px }
.charts { display:flex; flex-wrap:wrap; gap:14px; align-items:stretch }
figure { margin:0; background:var(--card); border:1px solid var(--line); border-radius:8px; padding:12px 14px }
figcaption { color:var(--soft); font-size:12px; margin-bottom:8px }
.wide { overflow-x:auto; background:var(--card); border:1px solid var(--line); border-radius:8px }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums }
th, td { padding:5px 10px; text-align:right; white-space:nowrap; border-bottom:1px solid var(--line) }
tr:last-child td { border-bottom:0 }
th { font-weight:600; color:var(--soft); font-size:12px; cursor:pointer; user-select:none; background:#f4f1ec }
th:first-child, td:first-child, td.text, th.text { text-align:left } td.text { white-space:normal }
tbody tr:hover { background:#f7f4ef }
a { color:var(--accent); text-decoration:none } a:hover { text-decoration:underline }
.bad { color:var(--warn); font-weight:600 }
.tag { display:inline-block; border-radius:10px; padding:0 8px; margin-right:5px; font-size:12px; background:#f3e3df; color:var(--warn) }
.card { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:12px 14px; margin:12px 0 }
.card.suspect { border-left:4px solid var(--warn) }
.meta { color:var(--soft); font-size:12px; margin:2px 0 8px }
.sheet { display:grid; gap:0 3px } .sheet img { grid-column:1/-1; width:100%; display:block; border-radius:4px }
.sheet div { font-size:11px; line-height:1.35; color:var(--soft); padding-top:4px; overflow-wrap:anywhere } .sheet b { color:var(--ink); font-weight:600 }
.roll { display:grid; grid-template-columns:74px 1fr; gap:6px; margin-top:8px; align-items:stretch }
.roll img { width:100%; height:100%; image-rendering:pixelated; border:1px solid var(--line); border-radius:4px }
.roll ol { list-style:none; margin:0; padding:0; height:100%; display:flex; flex-direction:column; font-size:10px; color:var(--soft); text-align:right }
.roll li { flex:1 1 0; line-height:13px; overflow:hidden }
ul.reasons { margin:4px 0 8px; padding-left:18px }
"""

_SCRIPT = """
document.querySelectorAll('table.sort').forEach(function (table) {
  table.querySelectorAll('th').forEach(function (head, column) {
    head.addEventListener('click', function () {
      var down = head.dataset.down = head.dataset.down === '1' ? '0' : '1';
      var rows = Array.prototype.slice.call(table.tBodies[0].rows);
      function key(row) { var cell = row.cells[column]; var v = cell.dataset.v; return v === undefined ? cell.textContent : parseFloat(v); }
      rows.sort(function (a, b) {
        var x = key(a), y = key(b), s = typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y));
        return down === '1' ? -s : s;
      });
      rows.forEach(function (row) { table.tBodies[0].appendChild(row); });
    });
  });
});
"""


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
    body = [
        "<h1>Datasets at a glance</h1>",
        f'<p class="lead">{episodes:,} episodes, {hours:.2f} hours, {suspects} worth a look. {html.escape(made)}</p>',
        _overview(datasets),
    ]
    for number, dataset in enumerate(datasets):
        body.append(_dataset(dataset, f"d{number}", sheets))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Datasets at a glance</title><style>{_STYLE}</style></head><body><main>{''.join(body)}</main>"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def _table(heads: Sequence[str], rows: Sequence[str], text_columns: Sequence[int] = (0,)) -> str:
    cells = "".join(f"<th{' class=text' if n in text_columns else ''}>{head}</th>" for n, head in enumerate(heads))
    return f'<div class="wide"><table class="sort"><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _cell(value: float | None, text: str, kind: str = "") -> str:
    order = -1.0 if value is None or not np.isfinite(value) else value
    return f'<td data-v="{order:.6g}"{f" class={kind}" if kind else ""}>{text}</td>'


def share_text(values: Sequence[float | None]) -> tuple[float | None, str]:
    """Mean of the known shares and its text; "n/a" where none is known."""
    known = [value for value in values if value is not None]
    return (float(np.mean(known)), percent(float(np.mean(known)))) if known else (None, "n/a")


def _overview(datasets: Sequence[Inspected]) -> str:
    rows = []
    for number, dataset in enumerate(datasets):
        whole = [e for e in dataset.episodes if not e.fault]
        frames = sum(e.frames for e in whole)
        null = sum(e.null_share * e.frames for e in whole) / max(frames, 1)
        gui, gui_text = share_text([e.gui_share for e in whole])
        goals = [e.goals for e in whole if e.goals]
        norm = float(np.mean([g.mean_norm for g in goals])) if goals else None
        suspects = len(dataset.ranked())
        rows.append(
            f'<tr><td><a href="#d{number}">{html.escape(dataset.name)}</a></td>'
            + _cell(len(dataset.episodes), f"{len(dataset.episodes):,}")
            + _cell(frames, f"{frames:,}")
            + _cell(frames, f"{frames / 72000:.2f}")
            + _cell(null, percent(null))
            + _cell(gui, gui_text)
            + _cell(norm, "n/a" if norm is None else f"{norm:.2f}")
            + _cell(len(goals), f"{len(goals)} of {len(dataset.episodes)}")
            + _cell(len(dataset.pairs), f"{len(dataset.pairs)}")
            + _cell(suspects, f"{suspects}", "bad" if suspects else "")
            + "</tr>"
        )
    return _table(
        ["dataset", "episodes", "frames", "hours", "null", "menu open", "embedding length", "embedded", "duplicates", "to look at"], rows
    )  # fmt: skip


def _dataset(dataset: Inspected, anchor: str, sheets: int) -> str:
    whole = [e for e in dataset.episodes if not e.fault]
    body = [f'<h2 id="{anchor}">{html.escape(dataset.name)}</h2>']
    if whole:
        body.append(_charts(dataset.name, whole))
    ranked = dataset.ranked()
    shown = _with_sheets(dataset, ranked, sheets)
    if ranked:
        body.append("<h2>Worth a look, worst first</h2>" + _suspects(dataset, anchor, ranked, shown))
    body.append("<h2>Episodes</h2>" + _episodes(dataset, anchor, shown))
    if shown:
        body.append("<h2>Contact sheets</h2>" + "".join(_card(dataset, anchor, n) for n in shown))
    return f"<section>{''.join(body)}</section>"


def _charts(name: str, whole: Sequence[Measures]) -> str:
    frames = max(sum(e.frames for e in whole), 1)
    pressed = np.sum([e.pressed for e in whole], axis=0) / frames
    first = act.BUTTONS.index("hotbar.1")
    ticks = [f"{value:+.1f}".replace("+0.0", "0") for value in np.asarray(act.BIN_DEGREES).tolist()]
    figures = [
        ("Buttons: share of frames in which each is down", bars(act.BUTTONS[:first], pressed[:first].tolist(), f"buttons of {name}")),
        ("Camera: frames by bin, on a logarithmic scale", heat(np.sum([e.camera for e in whole], axis=0), ticks, f"camera of {name}")),
        ("Hotbar: share of frames in which a slot is chosen" + ("" if pressed[first:].any() else " (none ever is)"), bars([f"slot {n}" for n in range(1, 10)], pressed[first:].tolist(), f"hotbar of {name}")),
        ("Episode lengths", columns([e.frames / 20 for e in whole], f"lengths of {name}", "s")),
    ]  # fmt: skip
    goals = [e.goals for e in whole if e.goals]
    if goals:
        figures.append(
            ("Embeddings: mean length of each episode's", columns([g.mean_norm for g in goals], f"norms of {name}", ""))
        )
        figures.append(
            (
                "Embeddings: drift from first to last quarter (cosine distance)",
                columns([g.drift for g in goals], f"drift of {name}", ""),
            )
        )
    return f'<div class="charts">{"".join(f"<figure><figcaption>{caption}</figcaption>{chart}</figure>" for caption, chart in figures)}</div>'


def _with_sheets(dataset: Inspected, ranked: Sequence[int], sheets: int) -> list[int]:
    """Suspicious episodes first; the places that are left go evenly over the rest."""
    chosen = [n for n in ranked if dataset.episodes[n].sheet][:sheets]
    rest = [n for n, episode in enumerate(dataset.episodes) if episode.sheet and n not in chosen]
    left = min(sheets - len(chosen), len(rest))
    if left > 0:
        chosen += [rest[int(at)] for at in np.linspace(0, len(rest) - 1, left).round()]
    return chosen


def _link(dataset: Inspected, anchor: str, number: int, shown: Sequence[int]) -> str:
    name = html.escape(dataset.episodes[number].name)
    return f'<a href="#{anchor}e{number}">{name}</a>' if number in shown else name


def _suspects(dataset: Inspected, anchor: str, ranked: Sequence[int], shown: Sequence[int]) -> str:
    rows = []
    for number in ranked:
        reasons = dataset.reasons[number]
        tags = "".join(f'<span class="tag">{kind}</span>' for kind in dict.fromkeys(r.kind for r in reasons))
        texts = "; ".join(dict.fromkeys(html.escape(r.text) for r in reasons[:5]))
        more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        rows.append(
            f"<tr><td>{_link(dataset, anchor, number, shown)}</td>"
            + _cell(sum(r.weight for r in reasons), f"{sum(r.weight for r in reasons):.1f}")
            + f'<td class="text">{tags}{texts}{more}</td></tr>'
        )
    return _table(["episode", "weight", "reasons"], rows, (0, 2))


def _episodes(dataset: Inspected, anchor: str, shown: Sequence[int]) -> str:
    rows = []
    for number, e in enumerate(dataset.episodes):
        top = sorted(zip(e.pressed.tolist(), act.BUTTONS), reverse=True)[:3]
        busiest = ", ".join(f"{name} {percent(count / max(e.frames, 1))}" for count, name in top if count) or "none"
        g = e.goals
        rows.append(
            f"<tr><td>{_link(dataset, anchor, number, shown)}</td>"
            + _cell(e.frames, f"{e.frames:,}")
            + _cell(e.frames, f"{e.frames / 20:.1f}")
            + _cell(e.null_share, percent(e.null_share))
            + _cell(e.gui_share, "n/a" if e.gui_share is None else percent(e.gui_share))
            + _cell(int(e.hotbar.sum()), f"{int(e.hotbar.sum())}")
            + _cell(e.moving / max(e.frames, 1), percent(e.moving / max(e.frames, 1)))
            + _cell(e.brightness, f"{e.brightness:.0f}")
            + (
                _cell(g.mean_norm, f"{g.mean_norm:.2f}") + _cell(g.drift, f"{g.drift:.3f}")
                if g
                else _cell(None, "n/a") * 2
            )
            + f'<td>{curve(g.norms, f"norms of {e.name}") if g else ""}</td><td class="text">{busiest}</td></tr>'
        )
    return _table(
        ["episode", "frames", "s", "null", "menu open", "slot changes", "camera moves", "brightness", "length", "drift", "length over time", "most pressed"],
        rows, (0, 11),
    )  # fmt: skip


def _card(dataset: Inspected, anchor: str, number: int) -> str:
    e, reasons = dataset.episodes[number], dataset.reasons[number]
    caption = e.metadata.get("captions") or []
    known = [str(e.metadata.get("behaviour") or ""), f"“{caption[0]}”" if isinstance(caption, list) and caption else ""]
    known += [f"{e.frames:,} frames", f"from {e.metadata['source']}" if e.metadata.get("source") else ""]
    listed = "".join(f"<li>{html.escape(reason.text)}</li>" for reason in reasons[:8])
    cells = "".join(f"<div><b>{frame}</b> {html.escape(keys)}</div>" for frame, keys in e.sheet_frames)
    tall = 13 * len(e.roll_names)
    return (
        f'<div class="card{" suspect" if reasons else ""}" id="{anchor}e{number}"><h3>{html.escape(e.name)}</h3>'
        f'<p class="meta">{html.escape(" · ".join(part for part in known if part))}</p>'
        + (f'<ul class="reasons">{listed}</ul>' if reasons else "")
        + f'<div class="sheet" style="grid-template-columns:repeat({len(e.sheet_frames)},1fr)">'
        f'<img alt="frames of {html.escape(e.name, quote=True)}" src="{_data("jpeg", e.sheet)}">{cells}</div>'
        f'<div class="roll" style="height:{tall}px"><ol>{"".join(f"<li>{name}</li>" for name in e.roll_names)}</ol>'
        f'<img alt="keys over time" src="{_data("png", e.roll)}"></div></div>'
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
