"""What to do after a training run, worked out from its numbers.

Input: the run's curves, settings and result. Output: findings with their numbers and what to try, the pressing ones first. A rule without the
numbers that it needs finds nothing. The texts are in advice.yaml; what they suggest are whole commands.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from typing import Any

from steve1.core.checkpoint_metadata import GOAL_SUFFIX, CheckpointMetadata, new_skills, read_checkpoint_metadata
from steve1.core.messages import plural
from steve1.core.paths import display
from steve1.reporting.numbers import percent
from steve1.training.config import TrainSettings
from steve1.training.report.advising import Advice, filled, in_order, texts
from steve1.training.report.findings import Run

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
# A policy that looks at its frames scores far below one that only knows how often each action occurs: a mini policy that aims, by a sixth.
BLIND = 0.95
# Among so few steps a skipped one is an outlier, which the spike filter is for.
FEW_SKIPPED = 0.01
# With half of all steps clipped, the norm is no longer a guard but the rule.
CLIPPED = 0.5
# A fifth of the time without work is worth a setting.
WAITING = 0.2
# Recordings that are seen more often are memorised.
MANY_EPOCHS = 30
# Fewer validation frames than 100 seconds of play decide little.
FEW_FRAMES = 2000
# Losses of fewer steps, or from before the learning rate was up, show no trend.
FEW_STEPS = 50

Findings = Iterator[Advice]


def advise(run: Run) -> list[Advice]:
    """All findings, pressing ones first; none repeats a line, or turns a setting in the way opposite to one before it."""
    rules = (
        (early, goal, measurements, result)
        if is_early(run)
        else (losses, sight, goal, retention, trends, measurements, result)
    )
    return in_order(advice for rule in rules for advice in rule(run))


def is_early(run: Run) -> bool:
    """True where the run is too short for its losses to show a trend."""
    return run.steps < FEW_STEPS or run.frames <= run.setting("warmup_frames", 0)


def finding(key: str, **values: Any) -> Advice:
    """The finding of that key in advice.yaml, with its values filled in."""
    return filled(key, texts(__package__)[key], values)


def _change(ratio: float) -> str:
    return percent(ratio - 1, 1, sign=True)


def _with_rate(run: Run, factor: float) -> str:
    return run.command(learning_rate=float(f"{run.setting('learning_rate', 1e-5) * factor:.1e}"))


def _datasets(run: Run) -> str:
    return " ".join(map(shlex.quote, run.datasets)) or "data/dataset_finetune"


def _samplings(run: Run, option: str) -> str:
    """The option that names the folder of the run's lists, where it is not the usual one."""
    folder = str(run.setting("sampling_dir", ""))
    return f" --{option} {shlex.quote(folder)}" if folder not in ("", TrainSettings.sampling_dir) else ""


def _windows(run: Run) -> str:
    """The options of `interpolate_weights` that cut the windows as the run did, where they are not the usual ones."""
    names = ("T", "trunc_t", "max_btwn_goals", "batch_size", "val_windows")
    usual = {name: getattr(TrainSettings, name) for name in names}
    return "".join(
        f" --{name} {run.setting(name, usual[name])}" for name in names if run.setting(name, usual[name]) != usual[name]
    )


def _mixed(run: Run) -> str:
    """What trains with a larger share of the old episodes that the run replays, or else with some."""
    if run.replays:
        return run.command(replay_share=round(1 - (1 - run.setting("replay_share", 0.5)) / 2, 2))
    new = run.datasets[0] if run.datasets else "data/dataset_finetune"
    lists = f"bash 2_create_sampling.sh mixed --mix {shlex.quote(new)}=0.7 FOLDER_OF_OLD_EPISODES=0.3"
    return (
        f"{lists}{_samplings(run, 'samplings_dir')} && {run.command(sampling_name='mixed', train_list='', val_list='')}"
    )


def _changed(run: Run, **changes: Any) -> str | None:
    """The line that trains again with these settings; None where the run had them."""
    same = all(run.setting(name, getattr(TrainSettings, name)) == value for name, value in changes.items())
    return None if same else run.command(**changes)


def early(run: Run) -> Findings:
    """Too few steps for anything that is read from curves."""
    frames = run.frames
    again = run.command(total_frames=10 * int(run.setting("total_frames"))) if run.result else run.command(same=True)
    numbers = {"steps_zh": run.steps, "frames_zh": f"{frames:,}"}
    yield finding("too_early", steps=plural(run.steps, "step"), frames=plural(frames, "frame"), again=again, **numbers)


def losses(run: Run) -> Findings:
    """Did the losses fall, and did the validation loss stay down?"""
    if skipped := int(run.last("train/skipped_steps") or 0):
        were = plural(skipped, "step was", "steps were") + " skipped"
        validate = f"python tools/validate_dataset.py {_datasets(run)}"
        if skipped <= FEW_SKIPPED * run.steps:
            steps = {"steps": plural(run.steps, "step"), "steps_zh": f"{run.steps:,}"}
            yield finding("skipped_few", count=skipped, validate=validate, **steps)
        else:
            values = {"validate": validate, "fp32": _changed(run, precision="fp32")}
            yield finding("unstable", skipped=were, count=skipped, lower=_with_rate(run, 1 / 2), **values)
    best, start = run.best, run.at_start
    first, last = run.part("train/loss", 0.0, 1 / 3), run.part("train/loss", 2 / 3, 1.0)
    flat = False
    if first is not None and last is not None:
        improved = best is not None and start is not None and best[1] < start * (1 - FLAT)
        flat = abs(first - last) / first < FLAT and not improved
        if last > first * (1 + WORSE):
            lr_find = run.command(lr_find=True)
            yield finding("rate_too_high", early=first, late=last, lower=_with_rate(run, 1 / 5), lr_find=lr_find)
        elif flat:
            values = {"validate": f"python tools/validate_dataset.py {_datasets(run)}", "higher": _with_rate(run, 5)}
            yield finding("not_learning", early=first, late=last, in_weights=run.setting("in_weights", ""), **values)
    yield from _overfitting(run)
    if best is not None and start is not None and best[1] >= start and not flat:
        val_list = run.list_of("val")
        yield finding("worse_than_start", start=start, best=best[1], lower=_with_rate(run, 1 / 5), val_list=val_list)


def _overfitting(run: Run) -> Findings:
    """The validation loss rose while the training loss did not."""
    best, validations = run.best, run.validations
    bound = WORSE_ON_FEW if run.tables.get("data", {}).get("val_frames", FEW_FRAMES) < FEW_FRAMES else WORSE
    if best is None or len(validations) < 3 or validations[-1][1] <= best[1] * (1 + bound):
        return
    down = [value for step, value in validations if step <= best[0]]
    if validations[-1][1] - best[1] <= max((later - value for value, later in itertools.pairwise(down)), default=0.0):
        return  # it rose as much before, and came back
    before = [value for step, value in run.points("train/loss") if step <= best[0]][-3:]
    after = [value for step, value in run.points("train/loss") if step > best[0]]
    if not before or not after:
        return
    then, now = sum(before) / len(before), sum(after) / len(after)
    if now > then * (1 + WORSE):  # training got worse as well: that is another fault
        return
    last = validations[-1][1]
    frames = max(1, round(best[0] * run.frames / max(1, run.steps)))
    numbers = {"step": best[0], "best": best[1], "last": last, "change": _change(last / best[1])}
    fewer: dict[str, Any] = {"jitter": True}
    if run.setting("finetune_mode", "all") == "all":
        fewer["finetune_mode"] = "lora"
    commands = {"weights": run.weights, "shorter": run.command(total_frames=frames), "fewer": _changed(run, **fewer)}
    yield finding("overfitting", then=then, now=now, **numbers, **commands)


def sight(run: Run) -> Findings:
    """Does it turn by what it sees?"""
    loss, guess = run.last("validation/loss_camera"), run.tables.get("data", {}).get("guessed_camera_loss")
    # With turns that count more, it is not trained to guess well.
    if loss is None or not guess or loss < BLIND * guess or run.setting("turn_loss_weight", 1.0) != 1:
        return
    shorter = max(1, int(run.setting("trunc_t", 64)) // 4)
    steps, turns = run.command(trunc_t=shorter), run.command(turn_loss_weight=3.0)
    longer = run.command(total_frames=2 * int(run.setting("total_frames")))
    yield finding("blind", loss=loss, guess=guess, steps=steps, turns=turns, longer=longer)


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

    def than(gap: float) -> tuple[str, str]:
        return (f"{-gap:.3f} lower", f"低 {-gap:.3f}") if gap < 0 else (f"{gap:.3f} higher", f"高 {gap:.3f}")

    en, zh = than(none)
    if shuffled is None:
        gap, name = none, "none"
        said, said_zh = f"with it the loss is {en} than with no goal", f"有目标时损失比没有目标{zh}"
    else:
        gap, name = shuffled, "shuffled"
        other_en, other_zh = than(shuffled)
        said = f"with the right goal the loss is {other_en} than with a wrong one and {en} than with none"
        said_zh = f"用正确目标时，损失比换成别的目标{other_zh}，比没有目标{zh}"
    values = {"gaps": said, "gaps_zh": said_zh}
    if listens(gap, name):
        yield finding("goal_heard", **values)
    elif large(gap) or (large(none) and not listens(none, "none")):
        unsure = name if large(gap) else "none"
        count = run.tables.get("data", {}).get("val_frames", 0)
        values |= {"windows": plural(count, "frame"), "windows_zh": f"{count:,}"}
        yield finding("goal_unclear", error=errors[unsure], **values)
    elif listens(none, "none"):
        if run.replays:
            yield finding("goals_alike_replayed", **values)
        else:
            yield finding("goals_alike", mixed=_mixed(run), **values)
    else:
        if run.replays:  # it was validated on the new episodes alone
            yield finding("goal_ignored_replayed", **values)
            return
        validate = f"python tools/validate_dataset.py {_datasets(run)}"
        yield finding("goal_ignored", mixed=_mixed(run), validate=validate, **values)


def retention(run: Run) -> Findings:
    """Were old skills kept?"""
    points = run.points("retention/loss")
    if not points:
        if run.has_old_skills:
            again = run.command(retention_sampling="old", val_freq=run.validate_every)
            yield finding("retention_unknown", retention=again, samplings=_samplings(run, "samplings_dir"))
        return
    first, last = points[0][1], points[-1][1]
    when = "before training" if points[0][0] == 0 else f"at step {points[0][0]}"
    numbers = {"first": first, "when": when, "last": last, "change": _change(last / first)}
    if last / first - 1 <= FORGOTTEN:
        yield finding("kept", **numbers)
        return
    base, tuned, old = (
        shlex.quote(str(each))
        for each in (run.setting("in_weights"), run.weights, run.setting("retention_sampling", ""))
    )
    sampling = (
        f" --sampling {shlex.quote(str(run.setting('sampling_name', '')))} --retention_sampling {old}{_samplings(run, 'sampling_dir')}{_windows(run)}"
        if old != "''"
        else ""
    )
    commands = {
        "mixed": _mixed(run),
        "near": run.command(kl_coef=2 * run.kl_weight or 0.1),
        "interpolate": f"python tools/interpolate_weights.py --base {base} --tuned {tuned}{sampling}",
        "lower": _with_rate(run, 1 / 2),
    }
    yield finding("forgetting", **numbers, **commands)


def trends(run: Run) -> Findings:
    """Does the second half of the run show that another run should be longer, or clipped less?"""
    validations, best, total = run.validations, run.best, int(run.setting("total_frames"))
    share = run.part("train/clipped_share", 0.5, 1.0)
    if share is not None and share > CLIPPED:
        norm, limit = run.part("train/gradient_norm", 0.5, 1.0) or 0.0, run.setting("max_grad_norm", 5.0)
        commands = {"raised": run.command(max_grad_norm=float(f"{2 * norm:.1g}")), "lower": _with_rate(run, 1 / 2)}
        yield finding("clipped", share=100 * share, norm=norm, limit=limit, **commands)
    if best is not None and len(validations) >= 3 and best[0] == validations[-1][0]:
        before, last = validations[max(0, len(validations) * 2 // 3 - 1)][1], validations[-1][1]
        if 1 - last / before >= WORSE:
            yield finding("unfinished", before=before, last=last, longer=run.command(total_frames=2 * total))
    buttons = run.tables.get("actions/buttons", {})
    missed = [
        f"{name} {100 * recorded:.1f} → {100 * sampled:.1f} %"
        for name, (recorded, sampled) in buttons.items()
        if recorded >= 0.02 and sampled < recorded / 2
    ]
    if missed:
        commands = {
            "longer": run.command(total_frames=2 * total),
            "inspect": f"python tools/inspect_dataset.py {_datasets(run)}",
        }
        yield finding("missed_actions", buttons=", ".join(missed), **commands)


def measurements(run: Run) -> Findings:
    """Was it measured well, on enough data, and fast?"""
    if not run.points("validation/loss"):
        yield finding("no_validation", validated=run.command(val_freq=run.validate_every))
    data = run.tables.get("data", {})
    train, val = data.get("train_frames"), data.get("val_frames")
    epochs = run.frames / train if train else 0.0
    en, zh = [], []
    if epochs > MANY_EPOCHS:
        # On average: replay and shares show some sources more often than others.
        which = "The one training frame was" if train == 1 else f"On average, each of the {train:,} training frames was"
        en.append(f"{which} seen {epochs:.0f} times.")
        zh.append(f"训练数据共 {train:,} 帧，平均每帧看了 {epochs:.0f} 遍。")
    if val is not None and val < FEW_FRAMES:
        en.append(f"Only {plural(val, 'frame')} to validate on: differences of a few percent may be chance.")
        zh.append(f"验证集只有 {val:,} 帧：几个百分点的差别可能是偶然。")
    if en:
        yield finding("little_data", sentences_en=" ".join(en), sentences_zh="".join(zh))
    wait = run.part("speed/data_wait_share", 0.0, 1.0)
    if wait is not None and wait > WAITING:
        set_to = run.setting("num_workers", "auto")  # auto is at most 2
        workers = run.command(num_workers=4 if set_to == "auto" else int(set_to) + 2)
        yield finding("waiting", share=100 * wait, workers=workers)


def result(run: Run) -> Findings:
    """What was learned, and how to see it in play: whatever the losses say, playing decides."""
    best, start = run.kept, run.at_start
    if best is not None and start is not None and best[1] < start and not is_early(run):
        yield finding("learned", start=start, best=best[1], step=best[0], change=_change(best[1] / start))
    if run.weights:
        played = display(run.goal_file) if run.goal_file is not None else run.weights
        data, weights, base = run.tables.get("data", {}), shlex.quote(played), run.setting("in_weights", "")
        prompt = run.setting("fixed_prompt", "") or data.get("prompt") or "what the recordings show"
        play = f"bash 2_gen_vid_for_text_prompt.sh --weights {weights} --prompt {shlex.quote(prompt)}"
        if played.endswith(GOAL_SUFFIX):
            play = f"python run_agent/run_agent.py --goal_file {weights}"
        from_nothing = base in ("", "none")
        before = CheckpointMetadata() if from_nothing else read_checkpoint_metadata(base)
        learned = new_skills(read_checkpoint_metadata(run.weights), before) or data.get("behaviours", ())
        targets = " ".join(map(shlex.quote, learned)) or "TASK"
        versus = weights if from_nothing else f"{shlex.quote(base)} {weights}"
        yield finding("play_it", play=play, evaluate=f"bash 5_evaluate.sh --weights {versus} --target {targets}")
