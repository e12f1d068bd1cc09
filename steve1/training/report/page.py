"""Room `training`, `report.html` of a run: one page for people that needs nothing beside it.

In: the run's folder. Out: curves, what to do next (advice.py), the settings and hashes, the contact sheet of what went in, and videos of
rollouts where there are some. It can be written at any time, also while the run is going on.
"""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any

import cv2

from steve1.core.files import atomic_file
from steve1.core.paths import display
from steve1.training.checkpoint.run_folder import REPORT_FILE
from steve1.training.report.advice import advise
from steve1.training.report.charts import line_chart, number_text, share_bars
from steve1.training.report.findings import Advice, Run, read_run

# Videos beyond this are linked, not embedded: a page of tens of megabytes opens slowly and cannot be mailed.
_EMBED_AT_MOST = 8 * 2**20

_STYLE = """
body{font:15px/1.5 system-ui,"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif;max-width:1000px;margin:24px auto;padding:0 16px;color:#222}
h1{font-size:24px;margin:0 0 4px} h2{font-size:18px;margin:32px 0 8px;border-bottom:1px solid #ddd} .dim{color:#666}
.cards{display:flex;flex-wrap:wrap;gap:12px;margin:12px 0} .card{background:#f4f5f7;border-radius:6px;padding:8px 14px} .card b{display:block;font-size:20px}
.advice{border-left:5px solid;padding:6px 14px;margin:10px 0;background:#fafafa} .act{border-color:#b23a48} .note{border-color:#e0a528} .good{border-color:#3b8f4f}
.advice ul{margin:4px 0} .zh{color:#444} .tag{font-size:12px;text-transform:uppercase;letter-spacing:.05em;color:#666}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(440px,1fr));gap:8px} figure{margin:0} svg{width:100%;height:auto}
svg .title{font-size:13px;font-weight:600} svg .tick{font-size:10px;fill:#666} svg .grid{stroke:#e6e6e6} svg .zero{stroke:#999} svg .mark{stroke:#3b8f4f;stroke-dasharray:4 3}
figcaption{font-size:12px;padding-left:56px} figcaption span{margin-right:14px} figcaption i{display:inline-block;width:10px;height:10px;margin-right:4px;border-radius:2px}
table{border-collapse:collapse;font-size:13px} td{padding:1px 8px 1px 0;vertical-align:top} td.bars{width:190px} .bar{height:7px;margin:1px 0}
.shares{display:inline-block;margin:0 28px 12px 0;vertical-align:top} code{background:#f0f0f2;padding:0 3px;border-radius:3px;word-break:break-all}
img{max-width:100%} .films{display:flex;flex-wrap:wrap;gap:12px} .films div{width:320px;font-size:13px} video{width:320px}
"""


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into the run's folder; returns its path.

    Raises:
        UserError: the folder holds no training run.
    """
    path = run_dir / REPORT_FILE
    page = report_page(read_run(run_dir), run_dir)
    with atomic_file(path) as file:
        file.write(page.encode())
    return path


def report_page(run: Run, run_dir: Path) -> str:
    """The page as HTML."""
    name = html.escape(run_dir.name)
    parts = [
        f"<h1>{name}</h1><div class=dim>{html.escape(_headline(run))}</div>{_cards(run)}",
        "<h2>What to do next · 下一步</h2>" + "".join(_advice(advice) for advice in advise(run)),
        f"<h2>Curves · 曲线</h2><div class=charts>{''.join(_charts(run))}</div>",
        _actions(run),
        _films(run_dir),
        _sheet(run_dir),
        _record(run),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{name}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _headline(run: Run) -> str:
    settings = run.settings
    words = f"{settings.get('in_weights', '?')} → {settings.get('out_weights', '?')}"
    if not run.result:
        words += " · not finished"
    return words


def _cards(run: Run) -> str:
    steps = max((points[-1][0] for points in run.curves.values() if points), default=0)
    cards = [("steps · 步数", f"{run.result.get('step', steps)}")]
    if run.result.get("frames"):
        cards.append(("frames · 帧数", number_text(run.result["frames"])))
    if run.best is not None:
        step = run.result.get("best_step") or run.best[0]
        loss = dict(run.validations).get(step, run.best[1])
        cards.append((f"best validation loss, step {step} · 最佳", f"{loss:.3f}"))
    if run.at_start is not None:
        cards.append(("validation loss before · 训练前", f"{run.at_start:.3f}"))
    speed = run.part("speed/frames_per_second", 0.0, 1.0)
    if speed:
        cards.append(("frames a second · 每秒帧数", f"{speed:.0f}"))
    return (
        "<div class=cards>"
        + "".join(f"<div class=card><b>{html.escape(value)}</b>{name}</div>" for name, value in cards)
        + "</div>"
    )


def _advice(advice: Advice) -> str:
    def words(text: str, todo: tuple[str, ...], kind: str) -> str:
        listed = "".join(f"<li>{html.escape(item)}</li>" for item in todo)
        return f'<div class="{kind}">{html.escape(text)}{f"<ul>{listed}</ul>" if listed else ""}</div>'

    tag = {"act": "act on this · 需要处理", "note": "note · 注意", "good": "good · 良好"}[advice.level]
    both = words(advice.en, advice.do_en, "en") + words(advice.zh, advice.do_zh, "zh")
    return f'<div class="advice {advice.level}" id="{advice.key}"><div class=tag>{tag}</div>{both}</div>'


def _charts(run: Run) -> list[str]:
    best = run.result.get("best_step") or (run.best[0] if run.best else None)

    def chart(title: str, names: dict[str, str], **more: Any) -> str:
        return line_chart(title, {label: run.curves.get(name, []) for label, name in names.items()}, mark=best, **more)

    loss = {
        "training": "train/loss",
        "validation": "validation/loss",
        "retention": "retention/loss",
        "validation, averaged weights": "validation_ema/loss",
    }
    split = {
        f"{part}, {where}": f"{where}/loss_{part}"
        for where in ("train", "validation")
        for part in ("buttons", "camera")
    }
    gaps = {
        "true minus another window's goal": "goal/true_minus_shuffled",
        "true minus no goal": "goal/true_minus_none",
    }
    camera = {
        "all frames": "validation/camera_error_degrees",
        "frames that turn": "validation/camera_error_turning_degrees",
    }
    scores = {name.removeprefix("f1/"): name for name in sorted(run.curves) if name.startswith("f1/")}
    sources = {name.removeprefix("share/"): name for name in sorted(run.curves) if name.startswith("share/")}
    return [
        chart("Loss · 损失", loss),
        chart("Loss of keys and camera · 按键与视角", split),
        chart("Goal: below zero it listens · 目标的作用", gaps, zero=True),
        chart("F1 by button · 各按键 F1", scores),
        chart("Camera error, degrees · 视角误差（度）", camera, zero=True),
        chart("Gradient norm · 梯度范数", {"norm before clipping": "train/gradient_norm"}, log=True),
        chart("Share of steps clipped · 被裁剪的步", {"clipped": "train/clipped_share"}, zero=True),
        chart("Learning rate · 学习率", {"rate": "train/learning_rate"}),
        chart("Speed, frames a second · 速度", {"frames a second": "speed/frames_per_second"}, zero=True),
        chart("Share of each source · 数据来源", sources) if len(sources) > 1 else "",
        chart("Pull towards the start · 约束", {"KL": "train/kl", "L2-SP": "train/l2sp"}, zero=True),
        chart(
            "Rollouts · 试玩",
            {name.removeprefix("rollout/"): name for name in run.curves if name.startswith("rollout/")},
            zero=True,
        ),
    ]


def _actions(run: Run) -> str:
    buttons, camera = run.tables.get("actions/buttons"), run.tables.get("actions/camera")
    if not buttons or not camera:
        return ""
    rows = [(name, shares[0], shares[1]) for name, shares in buttons.items() if max(shares) >= 0.001]
    bars = [share_bars("keys · 按键", rows)]
    for axis, word in (("pitch", "pitch · 俯仰"), ("yaw", "yaw · 偏航")):
        bars.append(share_bars(f"{word}, degrees a tick", [(f"{row[0]:+.1f}", row[1], row[2]) for row in camera[axis]]))
    note = "Share of validation frames: recorded (blue) / as the policy would draw it (orange). 验证帧中的比例：录像（蓝）/ 策略（橙）。"
    return f"<h2>Actions · 动作</h2><p class=dim>{note}</p>{''.join(bars)}"


def _sheet(run_dir: Path) -> str:
    picture = cv2.imread(str(run_dir / "first_batch.png")) if (run_dir / "first_batch.png").is_file() else None
    if picture is None:
        return ""
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    note = (
        "The first batch: each frame with its action, the goal's frame below. 第一个批次：每帧及其动作，下方为目标帧。"
    )
    return f'<h2>What went in · 训练数据</h2><p class=dim>{note}</p><img alt="first batch" src="data:image/jpeg;base64,{_text(data)}">'


def _films(run_dir: Path) -> str:
    """Videos of rollouts, the newest first, embedded as long as there is room."""
    films = sorted((run_dir / "rollouts").glob("step*/*.mp4"), key=lambda film: (film.parent.name, film.name))
    cells, room = [], _EMBED_AT_MOST
    for film in sorted(films, key=lambda film: film.parent.name, reverse=True):
        size = film.stat().st_size
        source = f"rollouts/{film.parent.name}/{film.name}"
        if size <= room:
            room -= size
            source = f"data:video/mp4;base64,{_text(film.read_bytes())}"
        title = f"{film.parent.name}: {film.stem.replace('_', ' ')}"
        cells.append(
            f'<div><video controls loop muted preload="metadata" src="{html.escape(source)}"></video>{html.escape(title)}</div>'
        )
    return f"<h2>Rollouts · 试玩</h2><div class=films>{''.join(cells)}</div>" if cells else ""


def _record(run: Run) -> str:
    sections = []
    for title, values in run.record.items():
        if isinstance(values, dict):
            rows = "".join(
                f"<tr><td>{html.escape(name)}</td><td><code>{html.escape(str(value))}</code></td></tr>"
                for name, value in values.items()
            )
            sections.append(
                f"<details{' open' if title == 'sha256' else ''}><summary>{html.escape(title)}</summary><table>{rows}</table></details>"
            )
    for key in ("out_sha256", "best_sha256"):
        if run.result.get(key):
            sections.append(f"<div>{key}: <code>{html.escape(run.result[key])}</code></div>")
    return "<h2>Settings and hashes · 设置与哈希</h2>" + "".join(sections)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def closing_line(path: Path) -> str:
    """What a run says of its report."""
    return f"Report, with what to do next: {display(path)}"
