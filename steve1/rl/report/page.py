"""`report.html` of a run of reinforcement learning: what to do next, curves, films of the best-paid and worst-paid episodes, settings and hashes.

Input: the run's folder, while it plays or after. Output: one HTML file for people, in their language.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steve1.core.files import atomic_file
from steve1.reporting.charts import grid
from steve1.reporting.html import Html, element, join
from steve1.reporting.numbers import percent, percent_range
from steve1.reporting.page import Report, Section, note
from steve1.rl.report.advice import advise
from steve1.rl.report.charts import CHARTS, UNIT
from steve1.rl.report.films import Film, films_of
from steve1.rl.report.findings import RlRun, read_rl_run
from steve1.training.checkpoint.run_folder import REPORT_FILE
from steve1.training.logging.layout import in_language
from steve1.training.logging.reporter import clock_text
from steve1.training.report.evaluations import evaluation_blocks
from steve1.training.report.page import advice_block, charts_of, film_tiles, record_blocks


def write_rl_report(run_dir: Path) -> Path:
    """Write `report.html` into the run's folder; returns its path.

    Raises:
        UserError: the folder holds no run of reinforcement learning, or one that has finished no iteration.
    """
    run, path, said = read_rl_run(run_dir), run_dir / REPORT_FILE, in_language
    weights = f"{run.setting('in_weights')} → {run.setting('out_weights')}"
    unfinished = said(" (not finished) · （未完成）") if not run.result else ""
    films = list(reversed(films_of(run_dir)))
    report = Report(
        run_dir.name,
        [
            Section("", [note(weights + unfinished), note(_asked(run)), _cards(run)]),
            Section(said("What to do next · 下一步"), [join(map(advice_block, advise(run)))]),
            Section(said("Curves · 曲线"), [grid(charts_of(CHARTS, run.curves, UNIT))]),
            Section(
                said("Best-paid and worst-paid episodes · 得分最高与最低的局"),
                [film_tiles(run_dir, ((film.path, _caption(film)) for film in films))],
            ),
            *_evaluation(run, run_dir),
            Section(said("Settings and hashes · 设置与哈希"), record_blocks(run.record, run.result)),
        ],
    )
    with atomic_file(path, "w") as file:
        file.write(report.html())
    return path


def _asked(run: RlRun) -> str:
    """One line: the prompt, the reward and the method."""
    words = in_language("“{prompt}”, reward {reward}, method {method} · “{prompt}”，奖励 {reward}，方法 {method}")
    placebo = in_language(", placebo · ，安慰剂对照") if run.setting("placebo") else ""
    said = {"prompt": run.prompt, "reward": run.setting("reward"), "method": run.setting("method")}
    return words.format(**said) + placebo


def _evaluation(run: RlRun, run_dir: Path) -> list[Section]:
    """What the run's weights did at other places; no section before they are written."""
    if not run.result.get("out_sha256"):
        return []
    blocks = evaluation_blocks(run_dir, {str(run.result["out_sha256"])}, [run.evaluation])
    return [Section(in_language("Evaluation · 评估"), blocks)]


def _cards(run: RlRun) -> Html:
    """The run in a few numbers."""
    shown = [
        (f"{run.iterations:,}", "iterations · 迭代次数"),
        (f"{run.iterations * run.episodes:,}", "episodes · 局"),
    ]
    for when, words in (
        (0, "success in iteration 1 · 第 1 次迭代的成功率"),
        (-1, "success in the last · 最后一次迭代的成功率"),
    ):
        rates, lows, highs = (run.points(f"rl/{name}") for name in ("success", "success_low", "success_high"))
        if rates and (when == 0 or run.iterations > 1):
            interval = f" ({percent_range(lows[when][1], highs[when][1])})" if lows and highs else ""
            shown.append((percent(rates[when][1], 0) + interval, words))
    if run.seconds:
        shown.append((clock_text(run.seconds), "playing and learning · 游玩与学习用时"))
    boxes = [element("div", element("b", number), in_language(name)) for number, name in shown]
    return element("div", *boxes, class_="cards")


def _caption(film: Film) -> str:
    said = [in_language(f"iteration {film.iteration} · 第 {film.iteration} 次迭代")]
    for name, words in (("best", "best · 最高"), ("worst", "worst · 最低")):
        if name in film.earned:
            said.append(f"{in_language(words)}: {_earned(film.earned[name])}")
    return "; ".join(said)


def _earned(paid: Mapping[str, Any]) -> str:
    parts = " + ".join(f"{name} {value:.2f}" for name, value in paid["parts"].items())
    ended = in_language("succeeded · 成功" if paid["success"] else "failed · 失败")
    return f"{paid['return']:.2f} = {parts} ({ended})" if parts else f"{paid['return']:.2f} ({ended})"
