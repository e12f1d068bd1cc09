"""`report.html` of a run: curves, what to do next, settings and hashes, the first batch, and videos of rollouts.

Input: the run's folder, while it trains or after. Output: one HTML file for people, in their language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from steve1.core.files import atomic_file
from steve1.core.frames import jpeg_bytes, read_picture
from steve1.core.messages import language
from steve1.data.media.video import poster
from steve1.reporting.charts import Bar, bar_chart, grid, line_chart
from steve1.reporting.html import Html, data_url, each, element, join, tiles, video
from steve1.reporting.numbers import percent
from steve1.reporting.page import Report, Section, folded, note
from steve1.reporting.tables import Table
from steve1.training.checkpoint.run_folder import REPORT_FILE
from steve1.training.logging.layout import CHARTS, Chart, in_language
from steve1.training.logging.scalars import Curves
from steve1.training.report.advice import advise
from steve1.training.report.advising import Advice
from steve1.training.report.findings import Run, read_run
from steve1.training.report.results import RESULTS_FILE, cards, write_results

# Videos beyond this are linked, not embedded: a page of tens of megabytes opens slowly and cannot be mailed.
_EMBED_AT_MOST = 8 * 2**20


def write_report(run_dir: Path) -> Path:
    """Write `report.html` and `results.html` into the run's folder; returns the path of the former.

    Raises:
        UserError: the folder holds no training run.
    """
    run, path = read_run(run_dir), run_dir / REPORT_FILE
    weights = f"{run.setting('in_weights', '?')} → {run.setting('out_weights', '?')}"
    unfinished = in_language(" (not finished) · （未完成）") if not run.result else ""
    said = in_language
    results = element(
        "a", said("dataset, training and evaluation on one page · 数据集、训练与评估汇总"), href=RESULTS_FILE
    )
    report = Report(
        run_dir.name,
        [
            Section("", [note(weights + unfinished), cards(run), element("p", results)]),
            Section(said("What to do next · 下一步"), [join(map(advice_block, advise(run)))]),
            Section(said("Curves · 曲线"), [grid(_charts(run))]),
            Section(said("Actions · 动作"), _actions(run)),
            Section(said("Rollouts · 试玩"), [_films(run_dir)]),
            Section(said("First batch · 第一个批次"), _sheet(run_dir)),
            Section(said("Settings and hashes · 设置与哈希"), record_blocks(run.record, run.result)),
        ],
    )
    with atomic_file(path, "w") as file:
        file.write(report.html())
    write_results(run_dir)
    return path


def advice_block(advice: Advice) -> Html:
    """A finding with what to try."""
    text, todo = advice.said(language())
    tag = {"act": "act on this · 需要处理", "note": "note · 注意", "good": "good · 良好"}[advice.level]
    words = element("div", text, element("ul", each("li", todo)) if todo else "")
    return element(
        "div",
        element("div", in_language(tag), class_="tag"),
        words,
        class_=f"advice {advice.level}",
        id=advice.key,
    )


def _charts(run: Run) -> list[Html]:
    best = run.kept[0] if run.kept else None
    return charts_of(
        CHARTS, run.curves, "optimizer step · 优化步", caption=lambda chart: _caption(chart, run), best=best
    )


def charts_of(
    charts: Sequence[Chart],
    curves: Curves,
    unit: str,
    *,
    caption: Callable[[Chart], str] = lambda chart: in_language(chart.note),
    best: float | None = None,
) -> list[Html]:
    """The charts of which there are curves.

    Args:
        unit: of the horizontal axis, as "English · 中文".
        best: the step to mark.
    """
    found = []
    for chart in charts:
        series = {label: curves.get(name, []) for label, name in chart.named(list(curves)).items()}
        if len(series) >= chart.least:
            low, high = (curves.get(name, []) for name in chart.band)
            found.append(
                line_chart(
                    in_language(chart.title),
                    series,
                    unit=in_language(unit),
                    values=in_language(chart.values),
                    caption=caption(chart),
                    mark=best,
                    marked=in_language("best · 最佳"),
                    zero=chart.zero,
                    log=chart.log,
                    band=[(step, least, most) for (step, least), (_, most) in zip(low, high)],
                )
            )
    return found


def _caption(chart: Chart, run: Run) -> str:
    """How to read the chart, and why it may look odd in this run."""
    said = in_language(chart.note)
    train, val = run.last("train/loss"), run.last("validation/loss")
    if chart is not CHARTS[0] or train is None or val is None or train <= val:
        return said
    why = []
    turns, without = run.setting("turn_loss_weight", 1.0), run.setting("p_uncond", 0.0)
    if turns > 1:
        why.append(
            f"frames that turn the view, which are hard, count {turns:g} times there · 转动视角的帧较难，在训练损失里按 {turns:g} 倍计入"
        )
    if without and not (run.setting("fixed_prompt", "") or run.setting("fixed_goal_file", "")):
        why.append(f"{percent(without)} of its windows have no goal · {percent(without)} 的训练窗口没有目标")
    if len([name for name in run.curves if name.startswith("share/")]) > 1:
        why.append("it mixes datasets in other shares · 训练时各数据集的比例与验证时不同")
    why.append("it is a mean over steps with the weights of then · 训练损失是各步的平均，每步用的是当时的权重")
    begin = in_language("Training lies above validation here: · 这里训练损失高于验证损失：")
    between, stop = ("; ", ".") if language() == "en" else ("；", "。")
    return f"{said} {begin} {between.join(map(in_language, why))}{stop}"


def _actions(run: Run) -> list[Html]:
    buttons, camera = run.tables.get("actions/buttons"), run.tables.get("actions/camera")
    if not buttons or not camera:
        return []

    def chart(title: str, shares: dict[str, tuple[float, float]]) -> Html:
        rows = {name: [Bar(share) for share in pair] for name, pair in shares.items()}
        names = (in_language("recorded · 录像"), in_language("policy · 策略"))
        return bar_chart(title, rows, names=names, values=in_language("share of validation frames · 验证帧占比"))

    charts = [
        chart(in_language("buttons · 按键"), {name: pair for name, pair in buttons.items() if max(pair) >= 0.001})
    ]
    for axis, word in (("pitch", "pitch · 俯仰"), ("yaw", "yaw · 偏航")):
        title = in_language(word) + in_language(", degrees a frame · （每帧度数）")
        charts.append(chart(title, {f"{row[0]:+.1f}": (row[1], row[2]) for row in camera[axis]}))
    words = "What validation frames recorded, and what the policy presses when it samples. · 验证帧里录像的动作，以及策略抽样得到的动作。"
    return [note(in_language(words)), grid(charts)]


def _sheet(run_dir: Path) -> list[Html]:
    path = run_dir / "first_batch.png"
    picture = read_picture(path) if path.is_file() else None
    if picture is None:
        return []
    words = "Each frame with its action, and below it the frame that its goal came from. · 每帧及其动作，下方为目标所在的帧。"
    sheet = element("img", alt="first batch", src=data_url("image/jpeg", jpeg_bytes(picture)), class_="wide")
    return [note(in_language(words)), element("div", sheet, class_="scroll")]


def _films(run_dir: Path) -> Html:
    """Videos of rollouts, the newest first."""
    films = sorted((run_dir / "rollouts").glob("step*/*.mp4"), key=lambda film: (film.parent.name, film.name))
    shown = []
    for film in sorted(films, key=lambda film: film.parent.name, reverse=True):
        step = film.parent.name.removeprefix("step").lstrip("0")
        words = in_language(f"step {step} · 第 {step} 步")
        shown.append((film, f"{words}: {film.stem.replace('_', ' ')}"))
    return film_tiles(run_dir, shown)


def film_tiles(run_dir: Path, films: Iterable[tuple[Path, str]]) -> Html:
    """Videos below the run's folder with their captions, the first of them embedded, up to `_EMBED_AT_MOST` bytes together."""
    videos, left = [], _EMBED_AT_MOST
    for film, caption in films:
        size = film.stat().st_size
        source = film.relative_to(run_dir).as_posix()
        if size <= left:
            left -= size
            source = data_url("video/mp4", film.read_bytes())
        videos.append(video(source, caption, poster(film)))
    return tiles(videos)


def record_blocks(record: dict[str, Any], result: dict[str, Any]) -> list[Html]:
    """A run's settings and hashes, folded."""
    blocks = []
    for title, values in record.items():
        if isinstance(values, dict):
            rows = [[name, element("code", str(value))] for name, value in values.items()]
            blocks.append(folded(title, Table(["", ""], rows).html(), unfolded=title == "sha256"))
    for key in ("out_sha256", "best_sha256"):
        if result.get(key):
            blocks.append(element("div", f"{key}: ", element("code", result[key])))
    return blocks
