"""`report.html` of a run: curves, what to do next, settings and hashes, the first batch, and videos of rollouts.

Input: the run's folder, while it trains or after. Output: one HTML file for people.
"""

from __future__ import annotations

from pathlib import Path

import cv2

from steve1.core.files import atomic_file
from steve1.reporting.charts import Bar, bar_chart, grid, line_chart
from steve1.reporting.html import Html, data_url, each, element, join, tiles, video
from steve1.reporting.numbers import short
from steve1.reporting.page import Report, Section, folded, note
from steve1.reporting.tables import Table
from steve1.training.checkpoint.run_folder import REPORT_FILE
from steve1.training.logging.layout import CHARTS
from steve1.training.report.advice import advise
from steve1.training.report.findings import Advice, Run, read_run

# Videos beyond this are linked, not embedded: a page of tens of megabytes opens slowly and cannot be mailed.
_EMBED_AT_MOST = 8 * 2**20


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into the run's folder; returns its path.

    Raises:
        UserError: the folder holds no training run.
    """
    run, path = read_run(run_dir), run_dir / REPORT_FILE
    weights = f"{run.setting('in_weights', '?')} → {run.setting('out_weights', '?')}"
    report = Report(
        run_dir.name,
        [
            Section("", [note(weights if run.result else f"{weights} · not finished"), _cards(run)]),
            Section("What to do next · 下一步", [join(_advice(advice) for advice in advise(run))]),
            Section("Curves · 曲线", [grid(_charts(run))]),
            Section("Actions · 动作", _actions(run)),
            Section("Rollouts · 试玩", [_films(run_dir)]),
            Section("First batch · 第一个批次", _sheet(run_dir)),
            Section("Settings and hashes · 设置与哈希", _record(run)),
        ],
    )
    with atomic_file(path, "w") as file:
        file.write(report.html())
    return path


def _cards(run: Run) -> Html:
    steps = max((points[-1][0] for points in run.curves.values() if points), default=0)
    cards = [("steps · 步数", f"{run.result.get('step', steps)}")]
    if run.result.get("frames"):
        cards.append(("frames · 帧数", short(run.result["frames"])))
    if run.best is not None:
        step = run.result.get("best_step") or run.best[0]
        loss = dict(run.validations).get(step, run.best[1])
        cards.append((f"best validation loss, step {step} · 最佳", f"{loss:.3f}"))
    if run.at_start is not None:
        cards.append(("validation loss before · 训练前", f"{run.at_start:.3f}"))
    speed = run.part("speed/frames_per_second", 0.0, 1.0)
    if speed:
        cards.append(("frames a second · 每秒帧数", f"{speed:.0f}"))
    return element("div", *(element("div", element("b", value), name) for name, value in cards), class_="cards")


def _advice(advice: Advice) -> Html:
    def words(text: str, todo: tuple[str, ...], language: str) -> Html:
        return element("div", text, element("ul", each("li", todo)) if todo else "", lang=language)

    tag = {"act": "act on this · 需要处理", "note": "note · 注意", "good": "good · 良好"}[advice.level]
    both = words(advice.en, advice.do_en, "en"), words(advice.zh, advice.do_zh, "zh")
    return element("div", element("div", tag, class_="tag"), *both, class_=f"advice {advice.level}", id=advice.key)


def _charts(run: Run) -> list[Html]:
    best = run.result.get("best_step") or (run.best[0] if run.best else None)
    charts = []
    for chart in CHARTS:
        series = {label: run.curves.get(name, []) for label, name in chart.named(list(run.curves)).items()}
        if len(series) >= chart.least:
            charts.append(line_chart(chart.title, series, mark=best, zero=chart.zero, log=chart.log))
    return charts


def _actions(run: Run) -> list[Html]:
    buttons, camera = run.tables.get("actions/buttons"), run.tables.get("actions/camera")
    if not buttons or not camera:
        return []

    def chart(title: str, shares: dict[str, tuple[float, float]]) -> Html:
        rows = {name: [Bar(share) for share in pair] for name, pair in shares.items()}
        return bar_chart(title, rows, names=("recorded · 录像", "policy · 策略"))

    charts = [chart("buttons · 按键", {name: pair for name, pair in buttons.items() if max(pair) >= 0.001})]
    for axis, word in (("pitch", "pitch · 俯仰"), ("yaw", "yaw · 偏航")):
        charts.append(chart(f"{word}, degrees a frame", {f"{row[0]:+.1f}": (row[1], row[2]) for row in camera[axis]}))
    return [note("Share of validation frames, recorded and as the policy samples. 验证帧中的比例。"), grid(charts)]


def _sheet(run_dir: Path) -> list[Html]:
    path = run_dir / "first_batch.png"
    picture = cv2.imread(str(path)) if path.is_file() else None
    if picture is None:
        return []
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    words = "Each frame with its action, the goal's frame below. 每帧及其动作，下方为目标帧。"
    return [note(words), element("img", alt="first batch", src=data_url("image/jpeg", data))]


def _films(run_dir: Path) -> Html:
    """Videos of rollouts, the newest first, embedded up to `_EMBED_AT_MOST` bytes together."""
    films = sorted((run_dir / "rollouts").glob("step*/*.mp4"), key=lambda film: (film.parent.name, film.name))
    videos, left = [], _EMBED_AT_MOST
    for film in sorted(films, key=lambda film: film.parent.name, reverse=True):
        size = film.stat().st_size
        source = f"rollouts/{film.parent.name}/{film.name}"
        if size <= left:
            left -= size
            source = data_url("video/mp4", film.read_bytes())
        videos.append(video(source, f"{film.parent.name}: {film.stem.replace('_', ' ')}"))
    return tiles(videos)


def _record(run: Run) -> list[Html]:
    blocks = []
    for title, values in run.record.items():
        if isinstance(values, dict):
            rows = [[name, element("code", str(value))] for name, value in values.items()]
            blocks.append(folded(title, Table(["", ""], rows).html(), unfolded=title == "sha256"))
    for key in ("out_sha256", "best_sha256"):
        if run.result.get(key):
            blocks.append(element("div", f"{key}: ", element("code", run.result[key])))
    return blocks
