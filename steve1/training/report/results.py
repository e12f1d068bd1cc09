"""`results.html` of a run: its dataset, training and evaluations on one page, each with what it showed and a link.

Input: the run's folder, `data/evaluations/` and `data/comparisons/`. What is missing is said with the command that makes it.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from steve1.core.files import atomic_file
from steve1.core.messages import message
from steve1.core.paths import display, resolve
from steve1.data.quality.page import inspect, page
from steve1.reporting.html import Html, element
from steve1.reporting.numbers import short
from steve1.reporting.page import Block, Report, Section
from steve1.training.checkpoint.run_folder import REPORT_FILE
from steve1.training.logging.layout import in_language
from steve1.training.logging.reporter import clock_text
from steve1.training.report.advice import advise
from steve1.training.report.evaluations import evaluation_blocks, link, missing
from steve1.training.report.findings import Run, read_run

RESULTS_FILE, DATASET_FILE = "results.html", "dataset.html"
# Larger datasets take more than a few seconds to look through: their page is made on demand.
_INSPECT_AT_MOST = 20_000  # frames


def write_results(run_dir: Path) -> Path:
    """Write the page, and the dataset's page where it is missing and quickly made; returns the path.

    Raises:
        UserError: the folder holds no training run.
    """
    run, path = read_run(run_dir), run_dir / RESULTS_FILE
    said = in_language
    training: list[Block] = [
        element("p", run.setting("in_weights", "?"), " → ", run.setting("out_weights", "?")),
        cards(run),
        link(run_dir, run_dir / REPORT_FILE, said("curves, and what to do next · 曲线与下一步建议")),
    ]
    report = Report(
        f"{run_dir.name}: " + said("results · 结果"),
        [
            Section(said("Evaluation · 评估"), _evaluation(run, run_dir)),
            Section(said("Training · 训练"), training),
            Section(said("Dataset · 数据集"), _dataset(run, run_dir)),
        ],
    )
    with atomic_file(path, "w") as file:
        file.write(report.html())
    return path


def cards(run: Run) -> Html:
    """The run in a few numbers."""
    shown = [(f"{run.steps:,}", "steps · 步数")]
    frames, seconds = run.frames_and_seconds
    if frames:
        shown.append((short(frames), "frames · 帧数"))
    if run.kept is not None:
        step, loss = run.kept
        shown.append((f"{loss:.3f}", f"best validation loss (step {step}) · 最佳验证损失（第 {step} 步）"))
    if run.at_start is not None:
        shown.append((f"{run.at_start:.3f}", "validation loss before training · 训练前的验证损失"))
    if seconds:
        shown.append((clock_text(seconds), "time · 用时"))
        shown.append((f"{frames / seconds:.0f}", "frames/s, validations included · 每秒帧数（含验证）"))
    boxes = [element("div", element("b", value), in_language(name)) for value, name in shown]
    return element("div", *boxes, class_="cards")


def _evaluation(run: Run, run_dir: Path) -> list[Block]:
    commands = [line for advice in advise(run) if advice.key == "play_it" for line in advice.said("en")[1][1:]]
    own = {str(run.result[name]) for name in ("out_sha256", "best_sha256") if run.result.get(name)}
    return evaluation_blocks(run_dir, own, commands)


def _dataset(run: Run, run_dir: Path) -> list[Block]:
    """What the episodes are, and their page."""
    path, data = run_dir / DATASET_FILE, run.tables.get("data", {})
    blocks: list[Block] = [list(run.datasets)] if run.datasets else []
    command = f"python tools/inspect_dataset.py {' '.join(map(shlex.quote, run.datasets))} --output {shlex.quote(display(path))}"
    there = bool(run.datasets) and all(resolve(name).is_dir() for name in run.datasets)
    if not path.is_file() and there and data.get("train_frames", _INSPECT_AT_MOST + 1) <= _INSPECT_AT_MOST:
        with atomic_file(path, "w") as file:
            file.write(page(inspect(run.datasets), sheets=12, made=command))
    if path.is_file():
        words = "episodes, what they show, and which of them to look at · 各片段的内容，以及需要检查的片段"
        return [*blocks, link(run_dir, path, in_language(words))]
    if run.datasets:
        return [*blocks, missing("The dataset's page has not been made yet: · 数据集页面尚未生成：", command)]
    return [message("no record of episodes")]
