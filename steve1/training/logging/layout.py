"""The charts of a run, for the report and for TensorBoard, and the texts and histograms that TensorBoard shows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from steve1.reporting.tables import Table


@dataclasses.dataclass(frozen=True)
class Chart:
    """Curves in one chart."""

    group: str
    """TensorBoard's heading."""
    title: str
    curves: dict[str, str]
    """{label: curve}; a curve that ends in "/" stands for all below it, by their own names."""
    zero: bool = False
    """The value axis includes zero."""
    log: bool = False
    least: int = 1
    """The report leaves the chart out with fewer curves."""

    def named(self, known: Sequence[str]) -> dict[str, str]:
        """{label: curve} of those among `known`."""
        found: dict[str, str] = {}
        for label, curve in self.curves.items():
            if curve.endswith("/"):
                found |= {name.removeprefix(curve): name for name in sorted(known) if name.startswith(curve)}
            else:
                found[label] = curve
        return found


_GOAL = {"true minus another window's goal": "goal/true_minus_shuffled", "true minus no goal": "goal/true_minus_none"}
_GOAL_LOSSES = {"true goal": "validation/loss", "another window's": "goal/loss_shuffled", "none": "goal/loss_none"}
_CAMERA = {
    "all frames": "validation/camera_error_degrees",
    "frames that turn": "validation/camera_error_turning_degrees",
}
_PENALTIES = {"KL": "train/kl", "L2-SP": "train/l2sp"}
_LOSSES = {
    "training": "train/loss",
    "validation": "validation/loss",
    "retention": "retention/loss",
    "validation, averaged weights": "validation_ema/loss",
}


def _heads(measure: str, *where: str) -> dict[str, str]:
    return {f"{head}, {name}": f"{name}/{measure}_{head}" for name in where for head in ("buttons", "camera")}


CHARTS = (
    Chart("1 loss", "Loss · 损失", _LOSSES),
    Chart("1 loss", "Loss of buttons and camera · 按键与视角的损失", _heads("loss", "train", "validation")),
    Chart("1 loss", "Accuracy · 准确率", _heads("accuracy", "validation")),
    Chart("2 goal", "Effect of the goal; below zero it is followed · 目标的作用", _GOAL, zero=True),
    Chart("2 goal", "Loss under each goal · 各目标的损失", _GOAL_LOSSES),
    Chart("3 actions", "F1 by button · 各按键 F1", {"": "f1/"}),
    Chart("3 actions", "Camera error, degrees · 视角误差（度）", _CAMERA, zero=True),
    Chart("3 actions", "Entropy · 熵", _heads("entropy", "validation")),
    Chart("3 actions", "Rollouts · 试玩", {"": "rollout/"}, zero=True),
    Chart("4 steps", "Gradient norm · 梯度范数", {"before clipping": "train/gradient_norm"}, log=True),
    Chart("4 steps", "Share of steps clipped · 被裁剪的步", {"clipped": "train/clipped_share"}, zero=True),
    Chart("4 steps", "Learning rate · 学习率", {"learning rate": "train/learning_rate"}),
    Chart("4 steps", "Penalties towards the starting weights · 约束", _PENALTIES, zero=True),
    Chart("4 steps", "Share of each source · 数据来源", {"": "share/"}, least=2),
    Chart("5 speed", "Frames a second · 每秒帧数", {"training": "speed/frames_per_second"}, zero=True),
    Chart("5 speed", "Share of time waiting for data · 等待数据", {"waiting": "speed/data_wait_share"}, zero=True),
    Chart("5 speed", "Peak memory, MB · 内存峰值", {"memory": "speed/peak_memory_mb"}, zero=True),
)


def custom_scalars() -> dict[str, dict[str, list[Any]]]:
    """The charts as TensorBoard's `add_custom_scalars` takes them: {group: {title: ["Multiline", [pattern, ...]]}}."""
    layout: dict[str, dict[str, list[Any]]] = {}
    for chart in CHARTS:
        patterns = [f"^{re.escape(curve)}" + ("" if curve.endswith("/") else "$") for curve in chart.curves.values()]
        layout.setdefault(chart.group, {})[chart.title] = ["Multiline", patterns]
    return layout


def settings_table(record: dict[str, Any]) -> str:
    """Everything that the run depends on, as Markdown tables."""
    tables = []
    for title, values in record.items():
        shown = {name: "" if value in ("", None) else str(value).replace("`", "'") for name, value in values.items()}
        rows = [[name, f"`{text}`" if text else ""] for name, text in shown.items()]
        tables.append(Table(["", ""], rows, caption=title).markdown())
    return "\n\n".join(tables)


def histogram(bins: Sequence[tuple[float, float]], total: int = 10_000) -> dict[str, Any]:
    """Arguments of `add_histogram_raw` for shares at given values: bins of (value, share), by value."""
    values = np.array([value for value, _ in bins], dtype=np.float64)
    counts = np.array([share for _, share in bins], dtype=np.float64) * total
    edges = (values[1:] + values[:-1]) / 2
    half = (values[-1] - values[-2]) / 2
    return {
        "min": float(values[0]),
        "max": float(values[-1]),
        "num": float(counts.sum()),
        "sum": float(counts @ values),
        "sum_squares": float(counts @ values**2),
        "bucket_limits": [*edges.tolist(), float(values[-1] + half)],
        "bucket_counts": counts.tolist(),
    }
