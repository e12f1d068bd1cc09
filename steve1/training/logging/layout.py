"""The charts of a run, for the report and for TensorBoard, and the texts and histograms that TensorBoard shows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from steve1.core.messages import language
from steve1.reporting.tables import Table


@dataclasses.dataclass(frozen=True)
class Chart:
    """Curves in one chart."""

    group: str
    """TensorBoard's heading."""
    title: str
    curves: dict[str, str]
    """{label: curve}, labels as "English · 中文"; a curve that ends in "/" or "_" stands for all that begin so, by the rest of their names."""
    zero: bool = False
    """The value axis includes zero."""
    log: bool = False
    least: int = 1
    """The report leaves the chart out with fewer curves."""
    values: str = ""
    """What the value axis counts."""
    note: str = ""
    """How to read it; may surprise and is no fault."""
    band: tuple[str, str] = ("", "")
    """Curves of the ends of an interval around the first curve."""

    def named(self, known: Sequence[str]) -> dict[str, str]:
        """{label: curve} of those among `known`, in the user's language."""
        found: dict[str, str] = {}
        for label, curve in self.curves.items():
            if curve.endswith(("/", "_")):
                found |= {name.removeprefix(curve): name for name in sorted(known) if name.startswith(curve)}
            else:
                found[in_language(label)] = curve
        return found


_GOAL = {
    "true minus another window's goal · 真实目标减其他窗口的目标": "goal/true_minus_shuffled",
    "true minus no goal · 真实目标减无目标": "goal/true_minus_none",
}
_GOAL_LOSSES = {
    "true goal · 真实目标": "validation/loss",
    "another window's · 其他窗口的目标": "goal/loss_shuffled",
    "none · 无目标": "goal/loss_none",
}
_CAMERA = {
    "all frames · 所有帧": "validation/camera_error_degrees",
    "frames that turn · 转动的帧": "validation/camera_error_turning_degrees",
}
_PENALTIES = {"KL": "train/kl", "L2-SP": "train/l2sp"}
_LOSSES = {
    "training · 训练": "train/loss",
    "validation · 验证": "validation/loss",
    "retention · 旧技能": "retention/loss",
    "validation, averaged weights · 验证（平均权重）": "validation_ema/loss",
}


def _heads(measure: str, *where: str) -> dict[str, str]:
    heads, sets = {"buttons": "按键", "camera": "视角"}, {"train": "训练", "validation": "验证"}
    return {
        f"{head}, {name} · {heads[head]}（{sets[name]}）": f"{name}/{measure}_{head}"
        for name in where
        for head in heads
    }


_LOSS = "nats a frame · 每帧损失（nat）"
# Texts are "English · 中文".
CHARTS = (
    Chart(
        "1 loss", "Loss · 损失", _LOSSES, values=_LOSS,
        note="How badly the recorded actions are predicted: lower is better. A training point is the mean of all steps since the last one. · "
        "预测录像中动作的误差，越低越好。训练曲线的每个点是自上一个点以来各步的平均。",
    ),
    Chart(
        "1 loss", "Loss of buttons and camera · 按键与视角的损失", _heads("loss", "train", "validation"), values=_LOSS,
        note="The two parts of the loss. · 损失的两个部分。",
    ),
    Chart(
        "1 loss", "Accuracy · 准确率", _heads("accuracy", "validation"), values="share of frames · 帧数占比",
        note="Frames whose most probable class is the recorded one. The camera rests in most frames, so its share is high from the start. · "
        "概率最大的类别与录像一致的帧所占比例。多数帧视角不动，因此视角的准确率一开始就很高。",
    ),
    Chart(
        "2 goal", "Effect of the goal; below zero it is followed · 目标的作用（低于 0 表示策略听从目标）", _GOAL, zero=True, values=_LOSS,
        note="Loss with the right goal minus loss with another. · 用正确目标时的损失减去用其他目标时的损失。",
    ),
    Chart(
        "2 goal", "Loss under each goal · 各目标的损失", _GOAL_LOSSES, values=_LOSS,
        note="The same validation windows with the right goal, another window's and none. · 同一批验证窗口分别用正确目标、其他窗口的目标和无目标。",
    ),
    Chart(
        "3 actions", "F1 by button · 各按键 F1", {"": "f1/"}, values="F1, 0 to 1 · F1（0 到 1）",
        note="1: pressed in the recorded frames and in no others. Buttons that are never pressed are left out. · 1 表示按键与录像完全一致。录像中没按过的键不显示。",
    ),
    Chart(
        "3 actions", "Camera error · 视角误差", _CAMERA, zero=True, values="degrees · 度",
        note="Distance of the most probable movement from the recorded one. · 概率最大的视角转动与录像的差距。",
    ),
    Chart(
        "3 actions", "Entropy · 熵", _heads("entropy", "validation"), values="nats · nat",
        note="How undecided the policy is; it falls as the policy becomes surer. · 策略的不确定程度；越有把握越低。",
    ),
    Chart(
        "3 actions", "Rollouts · 试玩", {"": "rollout/"}, zero=True, values="distance in blocks, or the task's measure · 移动距离（格）或任务指标",
        note="One played episode a checkpoint: single results vary. · 每个检查点只玩一局，单次结果波动较大。",
    ),
    Chart(
        "4 steps", "Gradient norm · 梯度范数", {"before clipping · 裁剪前": "train/gradient_norm"}, log=True, values="norm · 范数",
        note="In the published unit: of a loss summed over TRUNC_T frames. Small networks have larger norms. · 以 TRUNC_T 帧损失之和计（与官方代码一致）。小网络的范数更大。",
    ),
    Chart(
        "4 steps", "Share of steps clipped · 梯度被裁剪的步所占比例", {"clipped · 被裁剪": "train/clipped_share"}, zero=True, values="share of steps · 步数占比",
        note="Steps whose gradient norm was above MAX_GRAD_NORM. · 梯度范数超过 MAX_GRAD_NORM 的步。",
    ),
    Chart(
        "4 steps", "Learning rate · 学习率", {"learning rate · 学习率": "train/learning_rate"}, values="rate · 学习率",
        note="Rises over WARMUP_FRAMES, then falls as a cosine to zero. · 在 WARMUP_FRAMES 内上升，然后按余弦降到 0。",
    ),
    Chart(
        "4 steps", "Penalties towards the starting weights · 偏离起始权重的惩罚", _PENALTIES, zero=True, values="loss added · 附加损失",
        note="They begin at zero and grow as the weights move away. · 从 0 开始，随权重偏离而增大。",
    ),
    Chart(
        "4 steps", "Share of each source · 数据来源", {"": "share/"}, least=2, values="share of windows · 窗口占比",
        note="Windows drawn so far from each dataset. · 至今从各数据集取出的窗口。",
    ),
    Chart(
        "5 speed", "Speed of the training steps · 训练速度", {"training · 训练": "speed/frames_per_second"}, zero=True, values="frames/s · 帧/秒",
        note="Without validations and checkpoints; the first point includes warming up. Dips: something else used the machine. · "
        "不含验证与保存；第一个点包含预热。下降说明机器上还有其他任务。",
    ),
    Chart(
        "5 speed", "Time spent waiting for data · 等待数据的时间", {"waiting · 等待": "speed/data_wait_share"}, zero=True, values="share of the time · 时间占比",
        note="Near zero the network is the limit. · 接近 0 说明瓶颈在网络计算。",
    ),
    Chart(
        "5 speed", "Peak memory · 内存峰值", {"memory · 内存": "speed/peak_memory_mb"}, zero=True, values="MB",
        note="The most held so far, so it never falls. · 迄今的最大值，因此不会下降。",
    ),
)  # fmt: skip

# What TensorBoard says of a tag; of several that fit, the longest.
DESCRIPTIONS = {
    **{
        f"{where}{name}": f"{words} {of}"
        for where, of in (("train/", "Mean of the training steps since the last point."), ("validation/", "Mean over the frames of the fixed validation windows."))
        for name, words in {
            "loss": "Behaviour cloning loss: cross-entropy of the recorded actions, in nats a frame.",
            "loss_buttons": "The buttons' part of the loss, in nats a frame.",
            "loss_camera": "The camera's part of the loss, in nats a frame.",
            "accuracy_buttons": "Share of frames whose most probable button class is the recorded one.",
            "accuracy_camera": "Share of frames whose most probable camera class is the recorded one; the camera rests in most frames.",
            "entropy_buttons": "Entropy of the predicted button classes, in nats.",
            "entropy_camera": "Entropy of the predicted camera classes, in nats.",
        }.items()
    },
    "train/": "Mean of the training steps since the last point.",
    "train/gradient_norm": "Norm of the gradient before clipping, of a loss summed over TRUNC_T frames.",
    "train/clipped_share": "Share of the steps whose gradient norm was above MAX_GRAD_NORM.",
    "train/learning_rate": "The optimizer's learning rate.",
    "train/skipped_steps": "Steps skipped so far: loss or gradient was not finite, or a spike.",
    "train/kl": "KL divergence of the policy from the starting policy, in nats a frame.",
    "train/l2sp": "Half the squared distance from the starting weights.",
    "validation/camera_error_degrees": "Distance of the most probable camera movement from the recorded one, in degrees.",
    "validation/camera_error_turning_degrees": "The same over frames that turn.",
    "validation/f1_mean": "Mean F1 of the buttons that were pressed.",
    "validation_ema/": "Validation loss of the averaged weights, in nats a frame.",
    "retention/": "The same measure on the validation episodes of old skills.",
    "goal/": "Validation loss with another goal, in nats a frame.",
    "goal/true_minus_": "Loss with the right goal minus loss with this one: below zero the policy follows its goal.",
    "goal/error_": "Standard error of that difference over windows.",
    "f1/": "F1 of the button, 0 to 1, taking the most probable action.",
    "share/": "Share of the training windows that came from this dataset so far.",
    "speed/frames_per_second": "Training frames by the time since the last point, validations and checkpoints left out.",
    "speed/data_wait_share": "Share of that time spent waiting for data.",
    "speed/seconds": "How long the run has taken so far, validations included, without the time between stop and resume.",
    "speed/peak_memory_mb": "Most memory held so far, in MB.",
    "rollout/": "A checkpoint's played episode: distance walked in blocks, or the task's measure; as a picture, its film.",
    "camera_": "Camera movements of validation frames in degrees: as recorded, and as the policy samples them.",
    "buttons_by_number": "Share of validation frames with each button pressed: as recorded, and as the policy samples them.",
    "actions": "Buttons and camera movements of validation frames, recorded and sampled.",
    "first_batch": "Frames of the first training window with their actions, and the frames that their goals came from.",
    "settings": "Everything that the run depends on, as in settings.json.",
}  # fmt: skip
# The first group that TensorBoard shows: tags that repeat curves, since groups are sorted by name.
FIRST = {
    "train/loss": "1 loss/training",
    "validation/loss": "1 loss/validation",
    "validation_ema/loss": "1 loss/validation of averaged weights",
    "retention/loss": "1 loss/validation on old skills",
}


def description(tag: str) -> str:
    """What a tag of TensorBoard shows; "" for one that nobody described."""
    name = {shown: curve for curve, shown in FIRST.items()}.get(tag, tag)
    return DESCRIPTIONS.get(max((each for each in DESCRIPTIONS if name.startswith(each)), key=len, default=""), "")


def in_language(both: str) -> str:
    """The part of "English · 中文" in the user's language."""
    english, _, chinese = both.partition(" · ")
    return chinese if chinese and language() == "zh" else english


def custom_scalars(charts: Sequence[Chart] = CHARTS) -> dict[str, dict[str, list[Any]]]:
    """The charts as TensorBoard's `add_custom_scalars` takes them: {group: {title: ["Multiline", [pattern, ...]]}}; with a band ["Margin", [curve, low, high]]."""
    layout: dict[str, dict[str, list[Any]]] = {}
    for chart in charts:
        curves = list(chart.curves.values())
        patterns = [f"^{re.escape(curve)}" + ("" if curve.endswith(("/", "_")) else "$") for curve in curves]
        drawn = ["Margin", [curves[0], *chart.band]] if any(chart.band) else ["Multiline", patterns]
        layout.setdefault(chart.group, {})[in_language(chart.title)] = drawn
    return layout


def settings_table(record: dict[str, Any]) -> str:
    """Everything that the run depends on, as Markdown tables."""
    tables = []
    for title, values in record.items():
        if title == "episodes":  # a hash of each; settings.json has them
            continue
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
