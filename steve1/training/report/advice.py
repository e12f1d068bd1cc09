"""What to do after a training run, worked out from its numbers.

Input: the run's curves, settings and result. Output: findings with their numbers and what to try, the pressing ones first. A rule without the
numbers that it needs finds nothing. The texts are in advice.yaml.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

import yaml

from steve1.reporting.numbers import percent
from steve1.training.logging.reporter import rate_text
from steve1.training.report.findings import Advice, Level, Run

# A validation loss is repeatable (fixed goals, all windows): one percent is far above its rounding, and visible in play.
WORSE = 0.01
# On few validation frames a rise of one percent is a handful of actions.
WORSE_ON_FEW = 0.03
# A loss that falls by less over a whole run shows no learning.
FLAT = 0.01
# Effect of the goal: below half a percent of the loss it is nothing; within two standard errors it may be chance.
LISTENS = 0.005
# Old skills: losses of other recordings move a little with any training; two percent is more than that.
FORGOTTEN = 0.02
# With half of all steps clipped, the norm is no longer a guard but the rule.
CLIPPED = 0.5
# A fifth of the time without work is worth a setting.
WAITING = 0.2
# Recordings that are seen more often are memorised.
MANY_EPOCHS = 30
# Fewer validation frames than 100 seconds of play decide little.
FEW_FRAMES = 2000

Findings = Iterator[Advice]


def advise(run: Run) -> list[Advice]:
    """All findings, pressing ones first."""
    order: Sequence[Level] = ("act", "note", "good")
    found = (advice for rule in (losses, goal, retention, measurements, result) for advice in rule(run))
    return sorted(found, key=lambda advice: order.index(advice.level))


@functools.cache
def texts() -> dict[str, Any]:
    """What advice.yaml says, by the finding's key."""
    found: dict[str, Any] = yaml.safe_load(resources.files(__package__).joinpath("advice.yaml").read_text("utf-8"))
    return found


def finding(key: str, **values: Any) -> Advice:
    """The finding of that key in advice.yaml, with its numbers filled in."""
    entry = texts()[key]
    todo = {name: tuple(line.format(**values) for line in entry.get(name, ())) for name in ("do_en", "do_zh")}
    return Advice(key, entry["level"], entry["en"].format(**values), entry["zh"].format(**values), **todo)


def _change(ratio: float) -> str:
    return percent(ratio - 1, 1, sign=True)


def _learning_rate(run: Run, factor: float) -> str:
    return rate_text(run.setting("learning_rate", 1e-5) * factor).replace(".0e", "e")


def losses(run: Run) -> Findings:
    """Did the losses fall, and did the validation loss stay down?"""
    if skipped := run.last("train/skipped_steps"):
        yield finding("unstable", skipped=skipped, lower=_learning_rate(run, 1 / 2))
    best, start = run.best, run.at_start
    early, late = run.part("train/loss", 0.0, 1 / 3), run.part("train/loss", 2 / 3, 1.0)
    if early is not None and late is not None:
        improved = best is not None and start is not None and best[1] < start * (1 - FLAT)
        if late > early * (1 + WORSE):
            yield finding("rate_too_high", early=early, late=late, lower=_learning_rate(run, 1 / 5))
        elif (early - late) / early < FLAT and not improved:
            weights = run.setting("in_weights", "")
            yield finding("not_learning", early=early, late=late, higher=_learning_rate(run, 5), in_weights=weights)
    yield from _overfitting(run)
    if best is not None and start is not None and best[1] >= start:
        yield finding("worse_than_start", start=start, best=best[1], lower=_learning_rate(run, 1 / 5))


def _overfitting(run: Run) -> Findings:
    """The validation loss rose while the training loss did not."""
    best, validations = run.best, run.validations
    bound = WORSE_ON_FEW if run.tables.get("data", {}).get("val_frames", FEW_FRAMES) < FEW_FRAMES else WORSE
    if best is None or len(validations) < 3 or validations[-1][1] <= best[1] * (1 + bound):
        return
    before = [value for step, value in run.points("train/loss") if step <= best[0]][-3:]
    after = [value for step, value in run.points("train/loss") if step > best[0]]
    if not before or not after:
        return
    then, now = sum(before) / len(before), sum(after) / len(after)
    if now > then * (1 + WORSE):  # training got worse as well: that is another fault
        return
    last_step, last = validations[-1]
    frames = max(1, round(best[0] * run.setting("total_frames") / max(1, last_step)))
    numbers = {"step": best[0], "best": best[1], "last": last, "change": _change(last / best[1]), "frames": frames}
    yield finding("overfitting", then=then, now=now, **numbers)


def goal(run: Run) -> Findings:
    """Does the goal make a difference?"""
    loss, shuffled, none = (
        run.last(name) for name in ("validation/loss", "goal/true_minus_shuffled", "goal/true_minus_none")
    )
    if loss is None or none is None:
        return
    errors = {name: run.last(f"goal/error_{name}") or 0.0 for name in ("shuffled", "none")}

    def large(gap: float) -> bool:
        return -gap > LISTENS * loss

    def listens(gap: float, name: str) -> bool:
        return large(gap) and -gap > 2 * errors[name]

    if shuffled is None:
        gap, name, gaps = none, "none", f"{none:+.3f}"
        words = {"other_en": "none", "other_zh": "无目标"}
    else:
        gap, name, gaps = shuffled, "shuffled", f"{shuffled:+.3f} / {none:+.3f}"
        words = {"other_en": "another window's / none", "other_zh": "其他窗口的目标 / 无目标"}
    if listens(gap, name):
        yield finding("goal_heard", gaps=gaps, **words)
    elif large(gap):
        yield finding("goal_unclear", gaps=gaps, error=errors[name], **words)
    elif listens(none, "none"):
        yield finding("goals_alike", gaps=gaps, **words)
    else:
        yield finding("goal_ignored", gaps=gaps, **words)


def retention(run: Run) -> Findings:
    """Were old skills kept?"""
    points = run.points("retention/loss")
    if not points:
        yield finding("retention_unknown")
        return
    first, last = points[0][1], points[-1][1]
    when = "before training" if points[0][0] == 0 else f"at step {points[0][0]}"
    numbers = {"first": first, "when": when, "last": last, "change": _change(last / first)}
    if last / first - 1 <= FORGOTTEN:
        yield finding("kept", **numbers)
    else:
        frames = max(1, int(run.setting("total_frames")) // 2)
        yield finding("forgetting", **numbers, lower=_learning_rate(run, 1 / 2), frames=frames)


def measurements(run: Run) -> Findings:
    """Was it measured well, did it run long enough, and fast?"""
    validations, best = run.validations, run.best
    if not validations:
        yield finding("no_validation")
    share = run.part("train/clipped_share", 0.5, 1.0)
    if share is not None and share > CLIPPED:
        norm, limit = run.part("train/gradient_norm", 0.5, 1.0) or 0.0, run.setting("max_grad_norm", 5.0)
        yield finding("clipped", share=100 * share, norm=norm, limit=limit, lower=_learning_rate(run, 1 / 2))
    if best is not None and len(validations) >= 3 and best[0] == validations[-1][0]:
        before, last = validations[max(0, len(validations) * 2 // 3 - 1)][1], validations[-1][1]
        if 1 - last / before >= WORSE:
            yield finding("unfinished", before=before, last=last, frames=2 * int(run.setting("total_frames")))
    buttons = run.tables.get("actions/buttons", {})
    missed = [
        f"{name} {100 * recorded:.1f} → {100 * sampled:.1f} %"
        for name, (recorded, sampled) in buttons.items()
        if recorded >= 0.02 and sampled < recorded / 2
    ]
    if missed:
        yield finding("missed_actions", buttons=", ".join(missed))
    data = run.tables.get("data", {})
    train, val = data.get("train_frames"), data.get("val_frames")
    epochs = run.setting("total_frames") / train if train else 0.0
    en, zh = [], []
    if epochs > MANY_EPOCHS:
        en.append(f"Each of the {train} training frames was seen {epochs:.0f} times.")
        zh.append(f"{train} 个训练帧每个被看了 {epochs:.0f} 遍。")
    if val is not None and val < FEW_FRAMES:
        en.append(f"Only {val} frames to validate on: differences of a few percent may be chance.")
        zh.append(f"验证集只有 {val} 帧：几个百分点的差别可能是偶然。")
    if en:
        yield finding("little_data", sentences_en=" ".join(en), sentences_zh="".join(zh))
    wait = run.part("speed/data_wait_share", 0.0, 1.0)
    if wait is not None and wait > WAITING:
        yield finding("waiting", share=100 * wait, workers=int(run.setting("num_workers", 1)) + 2)


def result(run: Run) -> Findings:
    """What was learned, and how to see it in play: whatever the losses say, playing decides."""
    best, start = run.best, run.at_start
    if best is not None and start is not None and best[1] < start:
        yield finding("learned", start=start, best=best[1], step=best[0], change=_change(best[1] / start))
    weights = str(run.result.get("out_weights") or run.setting("out_weights", ""))
    if weights:
        if best is not None and run.validations[-1][0] != best[0]:
            stem, dot, ending = weights.rpartition(".")
            weights = f"{stem}_best{dot}{ending}"
        yield finding("play_it", weights=weights, base=run.setting("in_weights", ""))
