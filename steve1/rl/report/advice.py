"""What to do after a run of reinforcement learning, worked out from its numbers.

Input: the run's curves, settings and result. Output: findings with their numbers and what to try, the pressing ones first. A rule without the
numbers that it needs finds nothing. The texts are in advice.yaml; what they suggest are whole commands.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steve1.core.checkpoint_metadata import GOAL_SUFFIX
from steve1.core.messages import plural
from steve1.reporting.numbers import percent
from steve1.rl.report.findings import Change, RlRun
from steve1.rl.update import STOP_AT
from steve1.training.report.advising import Advice, filled, in_order, texts

# Fewer iterations have no thirds to compare.
FEW = 3
# Groups without a difference teach nothing where their members are compared, and little elsewhere; with seven of ten of them most of the playing is wasted.
FEW_DIFFER = 0.3
NEARLY_ALL = 0.9
# A tenth of PPO's frames may be clipped in a healthy run; beyond three tenths the clip decides where the policy goes.
MUCH_CLIPPED = 0.3
# In nats a step and iteration: a tenth of TARGET_KL's default.
LITTLE = 0.002
FORGOTTEN = 0.05
EXPLAINS = 0.05
ENTROPY_LEFT = 0.3
DIED = 0.02
# A rise of more than 1.28 standard errors happens by chance in a tenth of the runs.
RISING = 1.28

Findings = Iterator[Advice]


def advise(run: RlRun) -> list[Advice]:
    """All findings, pressing ones first."""
    rules = [signal, outcome, rates, value, retention, playing, result]
    if not run.learned:
        rules = [signal, playing]
    elif run.iterations < FEW:
        rules = [early, retention, playing, result]
    return in_order(advice for rule in rules for advice in rule(run))


def finding(key: str, **values: Any) -> Advice:
    """The finding of that key in advice.yaml, with its values filled in."""
    return filled(key, texts(__package__)[key], values)


def _with_rate(run: RlRun, factor: float) -> str:
    return run.command(learning_rate=float(f"{float(run.setting('learning_rate')) * factor:.1e}"))


def _near(run: RlRun) -> str:
    return run.command(kl_coef=2 * float(run.setting("kl_coef")) or 0.1)


def _check(run: RlRun) -> str:
    reward, weights = (shlex.quote(str(run.setting(name))) for name in ("reward", "in_weights"))
    return f"python -m steve1 check_reward --reward {reward} --weights {weights}"


def _rates(change: Change) -> dict[str, Any]:
    ends = {name: f"{100 * getattr(change, name):+.0f}" for name in ("low", "high")}
    return {"before": percent(change.before, 0), "after": percent(change.after, 0), **ends}


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def early(run: RlRun) -> Findings:
    """Too few iterations for anything that compares."""
    played = run.iterations * run.episodes
    if run.result:
        again = run.command(iterations=12)
    else:
        again = run.command(out_weights=run.setting("out_weights"))
    numbers = {"iterations": plural(run.iterations, "iteration"), "count": run.iterations}
    yield finding("too_early", episodes=plural(played, "episode"), played=played, again=again, **numbers)


def signal(run: RlRun) -> Findings:
    """Was there anything to learn from?"""
    if not run.learned and not _all_succeed(run):
        yield _silent(run)
        return
    differ, success = _mean(run.third("rl/differing_groups", 2)), _mean(run.third("rl/success", 2))
    if differ is None or success is None or differ >= FEW_DIFFER or int(run.setting("group")) < 2:
        return
    values = {"alike": percent(1 - differ, 0), "success": percent(success, 0)}
    if success >= NEARLY_ALL:
        yield finding("all_succeed", **values)
    else:
        yield finding("groups_alike", larger=run.command(group=2 * int(run.setting("group"))), **values)


def _silent(run: RlRun) -> Advice:
    """Why no iteration changed the weights."""
    played = run.iterations * run.episodes
    won = round(sum(share for _, share in run.points("rl/success")) * run.episodes)
    weights, prompt = (shlex.quote(str(each)) for each in (run.setting("in_weights"), run.prompt))
    corrections = f"SOURCE=corrections WEIGHTS={weights} PROMPTS={prompt} bash 1_generate_dataset.sh"
    values = {"episodes": plural(played, "episode"), "played": played, "corrections": corrections}
    if run.setting("method") == "clone" and not won and any(error for _, error in run.points("rl/error_of_return")):
        ppo, weighted = run.command(method="ppo"), run.command(clone_beta=0.3)
        return finding("nothing_to_clone", ppo=ppo, weighted=weighted, **values)
    return finding("no_signal", won=won, check=_check(run), **values)


def outcome(run: RlRun) -> Findings:
    """Did success and return rise, and together?"""
    success, earned = run.success(), run.earned()
    if success is None:
        return
    rates = _rates(success)
    if run.setting("placebo"):
        yield finding("placebo", **rates)
        return
    lower, near = _with_rate(run, 1 / 2), _near(run)
    paid = {"earned_before": earned.before, "earned_after": earned.after, "check": _check(run)} if earned else {}
    if success.fell and earned is not None and earned.rose:
        yield finding("reward_hacked", in_weights=run.setting("in_weights"), **rates, **paid)
    elif success.fell:
        yield finding("success_fell", lower=lower, near=near, **rates)
    elif success.rose:
        yield finding("improved", **rates)
    elif earned is not None and earned.rose and success.after <= success.before:
        yield finding("return_without_success", **rates, **paid)
    elif success.before < NEARLY_ALL:
        yield finding("no_change", longer=run.command(iterations=2 * int(run.setting("iterations"))), **rates)
    late = run.success(1, 2)
    if late is not None and not success.fell and late.after < NEARLY_ALL:
        error = (late.high - late.low) / (2 * 1.96)
        if late.after - late.before > RISING * error:
            yield finding("still_rising", **_rates(late), **_longer(run))


def _far(run: RlRun) -> dict[str, float]:
    """{prompt: KL} of the kept prompts under which the policy has moved too far."""
    return {prompt: kl for prompt, kl in _moved(run).items() if kl > FORGOTTEN}


def _moved(run: RlRun) -> dict[str, float]:
    whole = run.last("rl/keep_kl")
    return run.kept() or ({} if whole is None else {"REPLAY": whole})


def _longer(run: RlRun) -> dict[str, str]:
    if run.weights and run.changes_weights and not _far(run):
        line = run.command(in_weights=run.weights, seed=int(run.setting("seed")) + 1)
        return {"how_en": "Go on from these weights", "how_zh": "从这些权重继续", "longer": line}
    line = run.command(iterations=2 * int(run.setting("iterations")))
    return {"how_en": "More iterations", "how_zh": "增加迭代次数", "longer": line}


def _all_succeed(run: RlRun) -> bool:
    success = _mean(run.third("rl/success", 2))
    return success is not None and success >= NEARLY_ALL


def rates(run: RlRun) -> Findings:
    """Does it learn too fast, or so slowly that nothing comes of it?"""
    moved = [value for _, value in run.points("rl/kl_update")]
    clipped = [value for _, value in run.points("rl/clip_share")]
    target = float(run.setting("target_kl"))
    steps = [value for _, value in run.points("rl/steps")]
    ended = [kl > STOP_AT * target or made < run.planned_steps for kl, made in zip(moved, steps)]
    stopped = sum(ended) / len(ended) if ended else 0.0
    share = run.part("rl/clip_share", 0.5, 1.0)
    lower = _with_rate(run, 1 / 2)
    if stopped > 0.5:
        fewer = run.command(epochs=max(1, int(run.setting("epochs")) // 2))
        values = {"share": percent(stopped, 0), "limit": STOP_AT * target, "most": max(moved)}
        yield finding("stopped_by_kl", lower=lower, fewer=fewer, **values)
    elif share is not None and share > MUCH_CLIPPED:
        clip = float(run.setting("clip"))
        yield finding("clipped_much", share=percent(share, 0), clip=clip, lower=lower)
    elif moved and max(moved) < LITTLE and max(clipped, default=0.0) < 1e-3 and not _all_succeed(run):
        yield finding("maybe_slow", most=max(moved), higher=_with_rate(run, 3))


def value(run: RlRun) -> Findings:
    """Does the value function foresee anything?"""
    explained = run.part("rl/explained_variance", 0.5, 1.0)
    judged = run.setting("method") == "ppo" and run.setting("value") != "none"
    if not judged or explained is None or explained > EXPLAINS or run.setting("centre") == "group":
        return
    success = run.success()
    if int(run.setting("group")) < 2 or (success is not None and success.rose):
        return  # nothing to compare with; or it learns all the same
    places, minibatches = int(run.setting("places")), int(run.setting("minibatches"))
    group = run.command(method="group", minibatches=min(places, minibatches))
    yield finding("value_blind", explained=explained, group=group, centre=run.command(centre="group"))


def retention(run: RlRun) -> Findings:
    """Has it moved under other prompts?"""
    moved = _moved(run)
    if far := _far(run):
        firmer = run.command(keep_coef=3 * float(run.setting("keep_coef")))
        values = {"bound": FORGOTTEN, "prompts": _listed(far), "firmer": firmer, "lower": _with_rate(run, 1 / 2)}
        if run.keeping == "both":
            yield finding("forgetting_imitated", **values)
            return
        kept = {"keep": "both"} if run.setting("replay") else {"replay": "old", "keep": "auto"}
        yield finding("forgetting", replay=run.command(**kept), **values)
    elif moved:
        yield finding("kept", prompts=_listed(moved))
    elif run.changes_weights and not run.points("rl/replay_loss"):
        yield finding(
            "nothing_kept", keep=run.command(keep="auto", keep_prompts="auto", keep_episodes=6, keep_coef=1.0)
        )


def _listed(moved: dict[str, float]) -> str:
    return ", ".join(f"{prompt} {kl:.3f}" for prompt, kl in sorted(moved.items(), key=lambda item: -item[1]))


def playing(run: RlRun) -> Findings:
    """Does it still try things, and do the games hold?"""
    entropy = run.points("rl/entropy_buttons")
    if len(entropy) >= FEW and entropy[-1][1] < ENTROPY_LEFT * entropy[0][1]:
        values = {"first": entropy[0][1], "last": entropy[-1][1], "near": _near(run), "lower": _with_rate(run, 1 / 2)}
        yield finding("entropy_collapsed", **values)
    died = sum(value for _, value in run.points("rl/crashes")) / max(1, run.iterations * run.episodes)
    if died > DIED:
        fewer = run.command(workers=max(1, int(run.setting("workers")) // 2))
        yield finding("games_died", share=percent(died), fewer=fewer)


def result(run: RlRun) -> Findings:
    """How to see what was learned: whatever the training's episodes say, others decide."""
    if not run.weights:
        return
    yield finding("measure_it", evaluate=run.evaluation)
    success = run.success()
    if success is not None and success.rose and not run.setting("placebo"):
        ending = GOAL_SUFFIX if run.weights.endswith(GOAL_SUFFIX) else Path(run.weights).suffix
        other = f"{run.weights.removesuffix(ending)}_placebo{ending}"
        yield finding("control", placebo=run.command(placebo=True, out_weights=other))
