"""What to do after a training run, worked out from its numbers.

Input: the run's curves, settings and result. Output: findings with their numbers and what to try, the pressing ones first. A rule without the
numbers that it needs finds nothing. The texts are in advice.yaml.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import yaml

from steve1.reporting.numbers import percent
from steve1.training.report.findings import Advice, Level, Run, rate

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

Rule = Callable[[Run], Advice | None]


def advise(run: Run) -> list[Advice]:
    """All findings, pressing ones first."""
    found = [advice for rule in RULES if (advice := rule(run)) is not None]
    order: Sequence[Level] = ("act", "note", "good")
    return sorted(found, key=lambda advice: order.index(advice.level))


@functools.cache
def _texts() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(resources.files(__package__).joinpath("advice.yaml").read_text("utf-8"))
    return found


def finding(key: str, **values: Any) -> Advice:
    """The finding of that key in advice.yaml, with its numbers filled in."""
    entry = _texts()[key]
    todo = {name: tuple(line.format(**values) for line in entry.get(name, ())) for name in ("do_en", "do_zh")}
    return Advice(key, entry["level"], entry["en"].format(**values), entry["zh"].format(**values), **todo)


def _change(ratio: float) -> str:
    return percent(ratio - 1, 1, sign=True)


def _learning_rate(run: Run, factor: float) -> str:
    return rate(run.setting("learning_rate", 1e-5) * factor)


# ---- is the training itself healthy? ----


def unstable(run: Run) -> Advice | None:
    """Steps were skipped."""
    skipped = run.last("train/skipped_steps")
    return finding("unstable", skipped=skipped, lower=_learning_rate(run, 1 / 2)) if skipped else None


def rate_too_high(run: Run) -> Advice | None:
    """The training loss rose."""
    early, late = run.part("train/loss", 0.0, 1 / 3), run.part("train/loss", 2 / 3, 1.0)
    if early is None or late is None or late <= early * (1 + WORSE):
        return None
    return finding("rate_too_high", early=early, late=late, lower=_learning_rate(run, 1 / 5))


def clipped(run: Run) -> Advice | None:
    """Most steps were clipped."""
    share = run.part("train/clipped_share", 0.5, 1.0)
    if share is None or share <= CLIPPED:
        return None
    norm, limit = run.part("train/gradient_norm", 0.5, 1.0) or 0.0, run.setting("max_grad_norm", 5.0)
    return finding("clipped", share=100 * share, norm=norm, limit=limit, lower=_learning_rate(run, 1 / 2))


def not_learning(run: Run) -> Advice | None:
    """Neither loss moved."""
    early, late = run.part("train/loss", 0.0, 1 / 3), run.part("train/loss", 2 / 3, 1.0)
    if early is None or late is None or not -WORSE <= (early - late) / early < FLAT:
        return None
    if run.best is not None and run.at_start is not None and run.best[1] < run.at_start * (1 - FLAT):
        return None
    weights = run.setting("in_weights", "")
    return finding("not_learning", early=early, late=late, higher=_learning_rate(run, 5), in_weights=weights)


# ---- what did it learn? ----


def overfitting(run: Run) -> Advice | None:
    """The validation loss rose while the training loss did not."""
    best, validations = run.best, run.validations
    bound = WORSE_ON_FEW if (run.tables.get("data") or {}).get("val_frames", FEW_FRAMES) < FEW_FRAMES else WORSE
    if best is None or len(validations) < 3 or validations[-1][1] <= best[1] * (1 + bound):
        return None
    before = [value for step, value in run.points("train/loss") if step <= best[0]][-3:]
    after = [value for step, value in run.points("train/loss") if step > best[0]]
    if not before or not after:
        return None
    then, now = sum(before) / len(before), sum(after) / len(after)
    if now > then * (1 + WORSE):  # training got worse as well: that is another fault
        return None
    last_step, last = validations[-1]
    frames = max(1, round(best[0] * run.setting("total_frames") / max(1, last_step)))
    numbers = {"step": best[0], "best": best[1], "last": last, "change": _change(last / best[1]), "frames": frames}
    return finding("overfitting", then=then, now=now, **numbers)


def worse_than_start(run: Run) -> Advice | None:
    """No validation was better than the starting weights."""
    if run.best is None or run.at_start is None or run.best[1] < run.at_start:
        return None
    return finding("worse_than_start", start=run.at_start, best=run.best[1], lower=_learning_rate(run, 1 / 5))


def unfinished(run: Run) -> Advice | None:
    """Still falling at the end."""
    validations = run.validations
    if run.best is None or len(validations) < 3 or run.best[0] != validations[-1][0]:
        return None
    before, last = validations[max(0, len(validations) * 2 // 3 - 1)][1], validations[-1][1]
    if 1 - last / before < WORSE:
        return None
    return finding("unfinished", before=before, last=last, frames=2 * int(run.setting("total_frames")))


def learned(run: Run) -> Advice | None:
    """Better than the start."""
    if run.best is None or run.at_start is None or run.best[1] >= run.at_start:
        return None
    step, best = run.best
    return finding("learned", start=run.at_start, best=best, step=step, change=_change(best / run.at_start))


def goal(run: Run) -> Advice | None:
    """Does the goal make a difference?"""
    loss, shuffled, none = (
        run.last(name) for name in ("validation/loss", "goal/true_minus_shuffled", "goal/true_minus_none")
    )
    if loss is None or none is None:
        return None
    errors = {name: run.last(f"goal/error_{name}") or 0.0 for name in ("shuffled", "none")}

    def large(gap: float | None) -> bool:
        return gap is not None and -gap > LISTENS * loss

    def listens(gap: float | None, name: str) -> bool:
        return gap is not None and large(gap) and -gap > 2 * errors[name]

    if shuffled is None:
        gaps, words = f"{none:+.3f}", {"other_en": "none", "other_zh": "无目标"}
    else:
        gaps = f"{shuffled:+.3f} / {none:+.3f}"
        words = {"other_en": "another window's / none", "other_zh": "其他窗口的目标 / 无目标"}
    if listens(shuffled, "shuffled") or (shuffled is None and listens(none, "none")):
        return finding("goal_heard", gaps=gaps, **words)
    if large(none if shuffled is None else shuffled):
        return finding("goal_unclear", gaps=gaps, error=errors["none" if shuffled is None else "shuffled"], **words)
    if shuffled is not None and listens(none, "none"):
        return finding("goals_alike", gaps=gaps, **words)
    return finding("goal_ignored", gaps=gaps, **words)


def retention(run: Run) -> Advice | None:
    """Were old skills kept?"""
    points = run.points("retention/loss")
    if not points:
        return finding("retention_unknown")
    first, last = points[0][1], points[-1][1]
    when = "before training" if points[0][0] == 0 else f"at step {points[0][0]}"
    losses = {"first": first, "when": when, "last": last, "change": _change(last / first)}
    if last / first - 1 <= FORGOTTEN:
        return finding("kept", **losses)
    frames = max(1, int(run.setting("total_frames")) // 2)
    return finding("forgetting", **losses, lower=_learning_rate(run, 1 / 2), frames=frames)


def missed_actions(run: Run) -> Advice | None:
    """Buttons that the policy presses far too seldom."""
    table = run.tables.get("actions/buttons") or {}
    missed = {name: shares for name, shares in table.items() if shares[0] >= 0.02 and shares[1] < shares[0] / 2}
    listed = ", ".join(
        f"{name} {100 * recorded:.1f} → {100 * sampled:.1f} %" for name, (recorded, sampled) in missed.items()
    )
    return finding("missed_actions", buttons=listed) if missed else None


# ---- was it measured well, and fast? ----


def no_validation(run: Run) -> Advice | None:
    """Nothing was validated."""
    return None if run.validations else finding("no_validation")


def little_data(run: Run) -> Advice | None:
    """Many passes over the same frames, or few frames to validate on."""
    data = run.tables.get("data") or {}
    train, val = data.get("train_frames"), data.get("val_frames")
    epochs = run.setting("total_frames") / train if train else 0.0
    en, zh = [], []
    if epochs > MANY_EPOCHS:
        en.append(f"Each of the {train} training frames was seen {epochs:.0f} times.")
        zh.append(f"{train} 个训练帧每个被看了 {epochs:.0f} 遍。")
    if val is not None and val < FEW_FRAMES:
        en.append(f"Only {val} frames to validate on: differences of a few percent may be chance.")
        zh.append(f"验证集只有 {val} 帧：几个百分点的差别可能是偶然。")
    return finding("little_data", sentences_en=" ".join(en), sentences_zh="".join(zh)) if en else None


def waiting(run: Run) -> Advice | None:
    """The network waited for data."""
    share = run.part("speed/data_wait_share", 0.0, 1.0)
    if share is None or share <= WAITING:
        return None
    return finding("waiting", share=100 * share, workers=int(run.setting("num_workers", 1)) + 2)


def play_it(run: Run) -> Advice | None:
    """Whatever the losses say, playing decides."""
    weights = str(run.result.get("out_weights") or run.setting("out_weights", ""))
    if not weights:
        return None
    if run.best is not None and run.validations[-1][0] != run.best[0]:
        stem, dot, ending = weights.rpartition(".")
        weights = f"{stem}_best{dot}{ending}"
    return finding("play_it", weights=weights, base=run.setting("in_weights", ""))


RULES: tuple[Rule, ...] = (
    unstable,
    rate_too_high,
    not_learning,
    overfitting,
    worse_than_start,
    goal,
    retention,
    no_validation,
    clipped,
    unfinished,
    missed_actions,
    little_data,
    waiting,
    learned,
    play_it,
)
