"""The page that says how far the labels of videos can be trusted.

Input: the records of labelled parts. Output: HTML text.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from steve1.actions.buttons import BUTTONS
from steve1.core.messages import heading, message, translated
from steve1.data.media.motion import LAGS
from steve1.data.quality.measures import action_text
from steve1.idm.labelling.calibration import Calibration
from steve1.idm.labelling.checks import LabelMeasures, Thresholds, field_of_view
from steve1.idm.score_tables import button_table, camera_table, not_labelled_well
from steve1.reporting.charts import Bar, bar_chart, grid, line_chart
from steve1.reporting.html import Html, data_url, element, join
from steve1.reporting.numbers import percent
from steve1.reporting.page import Report, Section, note
from steve1.reporting.tables import Cell, Form, Table, Value

_MOST_CURVES = 6
_MOST_SHEETS = 12
_UNUSUAL = 3.0  # times as often as in the known recording, or a third of it
_FORMS: dict[str, Form] = {
    "minutes": ".1f",
    **dict.fromkeys(
        ("kept", "buttons differ", "camera differs", "mirrored", "impossible", "largest bin", "null", "doubled"),
        percent,
    ),
    **dict.fromkeys(("follows: pitch", "yaw", "pixels per degree: pitch", "yaw, pixels", "confidence"), ".2f"),
    "field of view": ".0f",
}

_MEASURED = (
    "follows: pitch", "yaw", "best lag", "pixels per degree: pitch", "yaw, pixels", "field of view", "buttons differ", "camera differs", "confidence",
    "mirrored", "impossible", "largest bin", "null", "doubled",
)  # fmt: skip

Record = dict[str, Any]


def page(records: Sequence[Record], calibration: Calibration | None, name: str) -> str:
    """The whole report, over all parts of all videos.

    Args:
        calibration: what is known from a recording with known actions.
        name: of the dataset.
    """
    frames = sum(record["frames"] for record in records)
    kept = sum(episode["frames"] + episode["null"] for record in records for episode in record["episodes"])
    videos = len({record["video"] for record in records})
    episodes = sum(len(record["episodes"]) for record in records)
    lead = translated(
        f"{message('count videos', count=videos)}, {frames / 1200:.1f} minutes labelled, {percent(kept / max(frames, 1))} of it kept "
        f"in {message('count episodes', count=episodes)} of {name}."
    )
    how = "Thresholds are the defaults: calibrate them with a recording whose actions are known (--calibrate recording.mp4)."
    if calibration is not None:
        how = f"Thresholds are calibrated with {calibration.recording}."
    measures = {id(record): LabelMeasures(**record["measures"]) for record in records if record["measures"]}
    with_measures = [record for record in records if id(record) in measures]
    return Report(
        heading("Can these labels be trusted?"),
        [
            Section("", [lead, note(translated(how)), _overview(records, measures, calibration)]),
            Section(heading("What the columns say"), [[*map(translated, _EXPLAINED)]], folded=True),
            Section(heading("Rejected"), [_rejected(records) or note(translated("Nothing is rejected."))]),
            Section(heading("Notes"), [_notes(records)]),
            Section(heading("Labels at a glance"), [_charts(with_measures, measures, calibration)]),
            Section(heading("The least sure frames"), [_sheets(with_measures)]),
            *_calibrated(calibration),
        ],
    ).html()


_EXPLAINED = [
    "follows: correlation of the picture's motion with the labelled camera movements, for pitch and yaw. Good labels have 0.5 and more; "
    "none says that this is no game, or another than the model's, a negative one that the sign is wrong.",
    "best lag: where that correlation is highest. Anything but 0 is a shifted label.",
    "pixels per degree: the picture's motion for a labelled degree, in a picture of 128x128 pixels. At Minecraft's 70° it is 1.60 of pitch and "
    "0.90 of yaw. A video whose value differs from the calibration's was played at another field of view, or its labels are too small.",
    "field of view: what that difference would mean, in degrees from top to bottom, if the known recording was played at the model's field of view. A model that "
    "goes by displacement alone shows the known recording's, whatever the video's is: name that with --fov.",
    "differ: share of frames on which the two windows that a frame is in disagree. A rise marks hard stretches.",
    "confidence: mean log-probability of a frame's label, 0 at best.",
    "mirrored: share of turns that turn the other way in mirrored frames. With a calibration, 5 points less than on the known recording are noted.",
    "impossible: frames with buttons that exclude each other, or that flicker. largest bin: share of the camera's moves at ±10°, which are cut off there.",
]


def _time(frame: int) -> str:
    return f"{frame // 1200}:{frame // 20 % 60:02d}"


def _title(record: Record) -> str:
    return f"{record['video']} {_time(record['first'])}"


def _overview(records: Sequence[Record], measures: dict[int, LabelMeasures], calibration: Calibration | None) -> Table:
    rows: list[dict[str, Value]] = []
    for record in records:
        found = measures.get(id(record))
        kept = sum(episode["frames"] + episode["null"] for episode in record["episodes"])
        share = kept / record["frames"] if record["frames"] else 0.0
        rows.append(
            {
                "video": _title(record),
                "minutes": record["frames"] / 1200,
                "kept": Cell(share, kind="bad" if share < 0.5 else ""),
                **_columns(found, calibration),
                "source": translated(
                    f"{record['source_size'][0]}x{record['source_size'][1]}, {record['source_fps']:g} frames/s"
                )
                if found
                else "",
            }
        )
    return Table.of(rows, _FORMS, sortable=True).translated()


def _columns(found: LabelMeasures | None, calibration: Calibration | None) -> dict[str, Value]:
    """The measures of a part; n/a where it could not be labelled."""
    if found is None:
        return dict.fromkeys(_MEASURED)
    fov = field_of_view(found, calibration.measures, calibration.fov) if calibration else None
    values = (
        found.follow_pitch, found.follow_yaw, found.lag, *found.pixels_per_degree, fov, found.overlap_buttons, found.overlap_camera, found.sure,
        found.mirror, found.impossible, found.saturated, found.null, found.doubled,
    )  # fmt: skip
    return dict(zip(_MEASURED, values, strict=True))


def _rejected(records: Sequence[Record]) -> Table:
    rows: list[dict[str, Value]] = []
    for record in records:
        if record["fault"]:
            reason = translated(record["fault"])
            rows.append({"video": _title(record), "from": "", "to": "", "seconds": None, "reason": reason})
        for each in _merged(record["rejected"]):
            first, frames = each["first"], each["frames"]
            row: dict[str, Value] = {"video": record["video"], "from": _time(first), "to": _time(first + frames)}
            rows.append({**row, "seconds": frames / 20, "reason": translated(each["reason"])})
    return Table.of(rows, {"seconds": ".0f"}, sortable=True).translated()


def _merged(rejected: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Neighbouring sections with one reason as one."""
    found: list[dict[str, Any]] = []
    for each in sorted(rejected, key=lambda one: one["first"]):
        if (
            found
            and found[-1]["reason"] == each["reason"]
            and found[-1]["first"] + found[-1]["frames"] == each["first"]
        ):
            found[-1]["frames"] += each["frames"]
        else:
            found.append(dict(each))
    return found


def _notes(records: Sequence[Record]) -> list[str]:
    return [f"{_title(record)}: {translated(text)}" for record in records for text in record["notes"]]


def _charts(records: Sequence[Record], measures: dict[int, LabelMeasures], calibration: Calibration | None) -> Html:
    if not records:
        return note(translated("No video could be labelled."))
    chosen = [records[int(at)] for at in np.unique(np.linspace(0, len(records) - 1, _MOST_CURVES).round())]
    curves = {
        _title(record): [
            (float(lag), value) for lag, value in zip(LAGS, measures[id(record)].follow) if value is not None
        ]
        for record in chosen
    }
    frames = np.array([measures[id(record)].frames for record in records], float)
    shares = {
        name: float(np.average([measures[id(record)].pressed[name] for record in records], weights=frames))
        for name in BUTTONS
    }
    bars, unusual = _button_bars(shares, calibration)
    names = (heading("labels of the videos"), heading("known recording")) if calibration else ()
    figures = [
        line_chart(
            heading("Does the picture follow the labels?"),
            curves,
            unit=heading("lag in frames"),
            values=heading("correlation"),
            zero=True,
            caption=translated("Good labels peak at lag 0."),
        ),
        bar_chart(heading("Buttons"), bars, names=names, values=message("chart buttons values"), caption=unusual),
    ]
    return grid(figures)


def _button_bars(shares: dict[str, float], calibration: Calibration | None) -> tuple[dict[str, list[Bar | None]], str]:
    """A bar for each button that occurs, beside the known recording's; and which are unusual."""
    known = calibration.pressed if calibration else {}
    bars: dict[str, list[Bar | None]] = {}
    unusual = []
    for name, share in shares.items():
        usual = known.get(name, 0.0)
        if share or usual:
            bars[name] = [Bar(share), Bar(usual)] if known else [Bar(share)]
        if known and max(share, usual) > 0.005 and not usual / _UNUSUAL <= share <= usual * _UNUSUAL:
            unusual.append(translated(f"{name} ({percent(share)}, there {percent(usual)})"))
    said = f"Over three times as often as in the known recording, or less than a third: {', '.join(unusual)}."
    return bars, translated(said) if unusual else ""


def _sheets(records: Sequence[Record]) -> Html:
    """The least sure frames with their labels, of the parts with the least sure labels."""
    ranked = sorted(
        (record for record in records if record.get("sheet")), key=lambda record: record["sheet"][0]["sure"]
    )
    cards = []
    for record in ranked[:_MOST_SHEETS]:
        pictures = [
            element(
                "figure",
                element(
                    "img", alt=f"frame {each['frame']}", src=data_url("image/jpeg", base64.b64decode(each["jpeg"]))
                ),
                element("figcaption", f"{_time(each['frame'])}: {action_text(each['action'])} ({each['sure']:.1f})"),
                style="max-width:180px",
            )
            for each in record["sheet"]
        ]
        cards.append(
            element("div", element("h3", _title(record)), element("div", *pictures, class_="tiles"), class_="card")
        )
    return join(cards)


def _calibrated(calibration: Calibration | None) -> list[Section]:
    if calibration is None:
        return []
    usual, now = dataclasses.asdict(Thresholds()), dataclasses.asdict(calibration.thresholds)
    limits = Table.of([{"threshold": name, "calibrated": now[name], "default": usual[name]} for name in now])
    limits = limits.translated()
    bad = not_labelled_well(calibration.scores)
    return [
        Section(
            heading("On the known recording"),
            [
                translated(
                    f"{calibration.recording}: {calibration.scores.frames:,} frames, labelled the same way and compared with what was pressed."
                ),
                camera_table(calibration.scores),
                button_table(calibration.scores),
                note(translated(f"Not labelled well, or never pressed there: {', '.join(bad) or message('none')}.")),
                limits,
            ],
        )
    ]
