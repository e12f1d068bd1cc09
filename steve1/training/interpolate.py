"""Room `training`, between two policies: weights on the straight line from the base to the fine-tuned ones.

In: two weights files of one network, shares, and the lists of the task and of old skills. Out: a weights file for each share and both
losses of each, as a table and a curve. Often a point between keeps most of the old and most of the new.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from steve1.core.checkpoint_metadata import read_checkpoint_metadata, write_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.files import atomic_file, atomic_path, sha256_file, write_json
from steve1.core.paths import display, resolve
from steve1.data.loading.sampling import read_list
from steve1.data.loading.windows import WindowDataset
from steve1.policy import GoalPolicy, load_policy, save_weights
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks, choose_device, choose_precision
from steve1.training.validate import validate


def shares(text: str) -> list[float]:
    """ "0:1:0.25" (from, to, step, the end included) or "0.3,0.7" as numbers.

    Raises:
        UserError: neither, or nothing in it.
    """
    try:
        if ":" in text:
            first, last, step = (float(part) for part in text.split(":"))
            count = round((last - first) / step) if step > 0 else -1
            found = [first + step * number for number in range(count + 1)]
        else:
            found = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or len(found) > 200:
        raise UserError(
            "These are no shares.", expected="from:to:step as in 0:1:0.25, or a list as in 0.3,0.7", got=text
        )
    return [round(share, 6) for share in found]


def mixed_state(base: GoalPolicy, tuned: GoalPolicy, share: float) -> dict[str, torch.Tensor]:
    """(1 - share) of the base's tensors and `share` of the tuned ones'; exactly the one or the other at 0 and 1."""
    other = tuned.state_dict()
    if share in (0.0, 1.0):
        return dict((tuned if share else base).state_dict())
    return {name: torch.lerp(value, other[name], share) for name, value in base.state_dict().items()}


@dataclasses.dataclass(frozen=True)
class Point:
    """One policy on the line."""

    share: float
    weights: Path | None
    task_loss: float | None = None
    retention_loss: float | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to mix and measure."""

    model: Path
    base: Path
    tuned: Path
    shares: Sequence[float]
    folder: Path
    task_list: Path | None = None
    """Validation list of the task; None: its loss is not measured."""
    retention_list: Path | None = None
    settings: TrainSettings = dataclasses.field(default_factory=TrainSettings)
    """T, trunc_t, goals, batch, val_windows, device and precision of the losses."""
    keep_weights: bool = True


def interpolate(plan: Plan) -> list[Point]:
    """Mix, measure, write; returns the points in order.

    Raises:
        UserError: weights of different networks; lists that cannot be used.
    """
    device = choose_device(plan.settings.device)
    base, tuned = (load_policy(plan.model, path, device=device) for path in (plan.base, plan.tuned))
    if {n: v.shape for n, v in base.state_dict().items()} != {n: v.shape for n, v in tuned.state_dict().items()}:
        raise UserError(
            "These weights are of different networks.", where=f"{display(plan.base)} and {display(plan.tuned)}"
        )
    lists = {"task": plan.task_list, "retention": plan.retention_list}
    windows = {name: _windows(plan.settings, path) for name, path in lists.items() if path is not None}
    plan.folder.mkdir(parents=True, exist_ok=True)
    mixture = load_policy(plan.model, plan.base, device=device)
    points = []
    for share in plan.shares:
        mixture.load_state_dict(mixed_state(base, tuned, share))
        losses = {name: _loss(mixture, dataset, plan.settings, device) for name, dataset in windows.items()}
        path = _write(mixture, plan, share) if plan.keep_weights else None
        points.append(Point(share, path, losses.get("task"), losses.get("retention")))
        print(
            "  ".join([f"alpha {share:g}:", *[f"{name} loss {loss:.4f}" for name, loss in losses.items()]]), flush=True
        )
    _report(plan, points)
    return points


def _windows(settings: TrainSettings, path: Path) -> WindowDataset:
    return WindowDataset(
        read_list(path), settings.T, min_btwn_goals=settings.min_btwn_goals, max_btwn_goals=settings.max_btwn_goals,
        seed=settings.seed, goal_switch=settings.goal_switch, fixed=True, first_frame=settings.first_frame,
    )  # fmt: skip


def _loss(policy: GoalPolicy, dataset: WindowDataset, settings: TrainSettings, device: torch.device) -> float:
    ranks = Ranks(0, 1, device)
    return validate(policy, dataset, settings, ranks, choose_precision(settings.precision, device))["loss"]


def _write(policy: GoalPolicy, plan: Plan, share: float) -> Path:
    path = plan.folder / f"{plan.tuned.stem}_alpha{share:g}{plan.tuned.suffix}"
    with atomic_path(path) as part:
        save_weights(policy, part)
    metadata = read_checkpoint_metadata(plan.tuned)
    hashes = {"base": sha256_file(plan.base), "tuned": sha256_file(plan.tuned), "weights": sha256_file(path)}
    write_checkpoint_metadata(path, dataclasses.replace(metadata, hashes=hashes))
    return path


def _report(plan: Plan, points: Sequence[Point]) -> None:
    """interpolation.json, .md and, where something was measured, .png."""
    rows = [
        {**dataclasses.asdict(point), "weights": display(point.weights) if point.weights else None} for point in points
    ]
    facts: dict[str, object] = {"base": display(plan.base), "tuned": display(plan.tuned), "points": rows}
    for name, path in (("task_list", plan.task_list), ("retention_list", plan.retention_list)):
        facts[name] = display(resolve(path)) if path else None
    write_json(plan.folder / "interpolation.json", facts)
    number = lambda loss: "" if loss is None else f"{loss:.4f}"
    lines = ["| alpha | task loss | retention loss | weights |", "|---|---|---|---|"]
    lines += [
        f"| {point.share:g} | {number(point.task_loss)} | {number(point.retention_loss)} | {point.weights.name if point.weights else ''} |"
        for point in points
    ]
    with atomic_file(plan.folder / "interpolation.md") as file:
        file.write(("\n".join(lines) + "\n").encode())
    if plan.task_list or plan.retention_list:
        _draw(plan.folder / "interpolation.png", points)


def _draw(path: Path, points: Sequence[Point]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, colour in (("task", "#3c6ca8"), ("retention", "#b04a3a")):
        seen = [
            (point.share, getattr(point, f"{name}_loss"))
            for point in points
            if getattr(point, f"{name}_loss") is not None
        ]
        if seen:
            axes.plot(*zip(*seen), marker="o", color=colour, label=f"{name} loss")
    axes.set(
        xlabel="alpha: 0 the base, 1 the fine-tuned weights",
        ylabel="validation loss",
        title="Between base and fine-tuned",
    )
    axes.legend()
    figure.tight_layout()
    with atomic_path(path) as part:
        figure.savefig(part, dpi=120)
    pyplot.close(figure)
