"""Room `training`, what to do next, worked out from a run's numbers.

In: the run's curves, settings and result. Out: findings, each with the numbers that it follows from and what to try, in English and
Chinese, the pressing ones first. A rule that lacks its numbers stays silent; every threshold stands below with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from steve1.training.report.findings import Advice, Level, Run, percent, rate

# A validation loss is repeatable (fixed goals, all windows): one percent is far above its rounding, and visible in play.
WORSE = 0.01
# On few validation frames a rise of one percent is a handful of actions.
WORSE_ON_FEW = 0.03
# Less than this share of the loss for a whole run is no learning.
FLAT = 0.01
# The goal's worth: below half a percent of the loss it is nothing; within two standard errors it may be chance.
LISTENS = 0.005
# Old skills: losses of other recordings move a little with any training; two percent is more than that.
FORGOTTEN = 0.02
# Half of all steps clipped: the norm is no longer a guard but the rule.
CLIPPED = 0.5
# A fifth of the time without work is worth a setting.
WAITING = 0.2
# So often seen, recordings are learned by heart rather than understood.
MANY_EPOCHS = 30
# Fewer validation frames than 100 seconds of play decide little.
FEW_FRAMES = 2000


Rule = Callable[[Run], Advice | None]


def advise(run: Run) -> list[Advice]:
    """All findings, pressing ones first."""
    found = [advice for rule in RULES if (advice := rule(run)) is not None]
    order: Sequence[Level] = ("act", "note", "good")
    return sorted(found, key=lambda advice: order.index(advice.level))


# ---- is the training itself healthy? ----


def unstable(run: Run) -> Advice | None:
    """Steps were skipped."""
    skipped = run.last("train/skipped_steps") or 0.0
    if not skipped:
        return None
    lower = rate(run.setting("learning_rate", 1e-5) / 2)
    return Advice(
        "unstable",
        "act",
        f"{skipped:.0f} steps were skipped because loss or gradient was not finite, or far above what came before.",
        f"有 {skipped:.0f} 步因损失或梯度异常（非有限数或突增）而被跳过。",
        (
            f"Lower the rate: LEARNING_RATE={lower}.",
            "Try --precision fp32.",
            "Look for damaged episodes: python tools/validate_dataset.py",
        ),
        (
            f"降低学习率：LEARNING_RATE={lower}。",
            "尝试 --precision fp32。",
            "检查数据：python tools/validate_dataset.py",
        ),
    )


def rate_too_high(run: Run) -> Advice | None:
    """The training loss rose."""
    early, late = run.part("train/loss", 0.0, 1 / 3), run.part("train/loss", 2 / 3, 1.0)
    if early is None or late is None or late <= early * (1 + WORSE):
        return None
    lower = rate(run.setting("learning_rate", 1e-5) / 5)
    return Advice(
        "rate_too_high",
        "act",
        f"The training loss rose: {early:.3f} in the first third, {late:.3f} in the last. The learning rate is too high.",
        f"训练损失上升：前三分之一平均 {early:.3f}，后三分之一平均 {late:.3f}。学习率过高。",
        (f"LEARNING_RATE={lower}, from the starting weights again.", "See where the loss is steepest: --lr_find"),
        (f"LEARNING_RATE={lower}，从初始权重重新开始。", "用 --lr_find 寻找合适的学习率。"),
    )


def clipped(run: Run) -> Advice | None:
    """Most steps were clipped."""
    share = run.part("train/clipped_share", 0.5, 1.0)
    if share is None or share <= CLIPPED:
        return None
    norm, limit = run.part("train/gradient_norm", 0.5, 1.0), run.setting("max_grad_norm", 5.0)
    lower = rate(run.setting("learning_rate", 1e-5) / 2)
    return Advice(
        "clipped",
        "note",
        f"{100 * share:.0f} % of the steps in the second half were clipped (mean norm {norm or 0.0:.1f}, limit {limit:g}): every step has about the "
        "same length, whatever the gradient.",
        f"后半程有 {100 * share:.0f} % 的步被裁剪（平均梯度范数 {norm or 0.0:.1f}，上限 {limit:g}），步长几乎恒定。",
        (f"Lower the rate (LEARNING_RATE={lower}) or make the batch larger (GRADIENT_ACCUM_STEPS).",
         "Small networks and short TRUNC_T have larger norms by nature; if the losses fall well, MAX_GRAD_NORM may be raised."),
        (f"降低学习率（LEARNING_RATE={lower}）或增大有效批量（GRADIENT_ACCUM_STEPS）。",
         "小网络或较短的 TRUNC_T 的范数本来就大；如果损失下降正常，可提高 MAX_GRAD_NORM。"),
    )  # fmt: skip


def not_learning(run: Run) -> Advice | None:
    """Neither loss moved."""
    early, late = run.part("train/loss", 0.0, 1 / 3), run.part("train/loss", 2 / 3, 1.0)
    if early is None or late is None or not -WORSE <= (early - late) / early < FLAT:
        return None
    if run.best is not None and run.at_start is not None and run.best[1] < run.at_start * (1 - FLAT):
        return None
    higher = rate(run.setting("learning_rate", 1e-5) * 5)
    return Advice(
        "not_learning",
        "act",
        f"The training loss hardly moved: {early:.3f} in the first third, {late:.3f} in the last.",
        f"训练损失几乎不下降：前三分之一 {early:.3f}，后三分之一 {late:.3f}。",
        (f"Raise the rate: LEARNING_RATE={higher}.",
         "Are frames, actions and goals right? See the contact sheet below; python tools/validate_dataset.py",
         f"Are these the weights you mean to start from? IN_WEIGHTS={run.setting('in_weights', '')}",
         "Less than an hour of recordings (5 episodes) is too little for a new skill."),
        (f"提高学习率：LEARNING_RATE={higher}。",
         "检查数据与 MineCLIP 嵌入：看下面的图，运行 python tools/validate_dataset.py",
         f"确认初始权重：IN_WEIGHTS={run.setting('in_weights', '')}",
         "数据太少：至少需要 1-2 小时录像（5 个以上 episode）。"),
    )  # fmt: skip


# ---- what did it learn? ----


def overfitting(run: Run) -> Advice | None:
    """Validation turned while training went on falling."""
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
    rise = validations[-1][1] / best[1] - 1
    per_step = run.setting("total_frames") / max(1, validations[-1][0])
    frames = max(1, round(best[0] * per_step))
    return Advice(
        "overfitting",
        "act",
        f"Over-fitting: the validation loss was lowest at step {best[0]} ({best[1]:.3f}) and rose to {validations[-1][1]:.3f} ({percent(rise)}), "
        f"the training loss did not ({then:.3f} to {now:.3f}).",
        f"过拟合：验证损失在第 {best[0]} 步最低（{best[1]:.3f}），之后升到 {validations[-1][1]:.3f}（{percent(rise)}），而训练损失没有上升（{then:.3f} 到 {now:.3f}）。",
        ("Use the _best weights of this run.", f"Train shorter: TOTAL_FRAMES={frames}; or stop by itself: --patience 3",
         "Mix in old episodes (3_train_finetune_mixed.sh), record more, or --jitter.", "WEIGHT_DECAY=0.05, or train less of it: FINETUNE_MODE=lora"),
        ("使用本次的 _best 权重。", f"减少训练帧数：TOTAL_FRAMES={frames}；或自动早停：--patience 3",
         "混合旧数据（3_train_finetune_mixed.sh）、增加录像，或使用 --jitter。", "WEIGHT_DECAY=0.05，或只训练一部分：FINETUNE_MODE=lora"),
    )  # fmt: skip


def worse_than_start(run: Run) -> Advice | None:
    """No validation was better than the starting weights."""
    if run.best is None or run.at_start is None or run.best[1] < run.at_start:
        return None
    lower = rate(run.setting("learning_rate", 1e-5) / 5)
    return Advice(
        "worse_than_start",
        "act",
        f"On the validation episodes the starting weights ({run.at_start:.3f}) were never beaten (best {run.best[1]:.3f}).",
        f"在验证集上从未超过初始权重（初始 {run.at_start:.3f}，最好 {run.best[1]:.3f}）。",
        (
            f"LEARNING_RATE={lower}, or train less of it (FINETUNE_MODE=lora).",
            "Do the validation episodes show the same task as the training episodes?",
        ),
        (f"LEARNING_RATE={lower}，或只训练一部分（FINETUNE_MODE=lora）。", "确认验证集与训练集是同一任务。"),
    )


def unfinished(run: Run) -> Advice | None:
    """Still falling at the end."""
    validations = run.validations
    if run.best is None or len(validations) < 3 or run.best[0] != validations[-1][0]:
        return None
    before = validations[max(0, len(validations) * 2 // 3 - 1)][1]
    fall = 1 - validations[-1][1] / before
    if fall < WORSE:
        return None
    frames = 2 * int(run.setting("total_frames"))
    return Advice(
        "unfinished",
        "note",
        f"The validation loss was still falling at the end ({before:.3f} to {validations[-1][1]:.3f} in the last third).",
        f"验证损失在结束时仍在下降（最后三分之一从 {before:.3f} 到 {validations[-1][1]:.3f}）。",
        (f"Train longer: TOTAL_FRAMES={frames}, with another OUT_WEIGHTS.",),
        (f"训练更久：TOTAL_FRAMES={frames}，并换一个 OUT_WEIGHTS。",),
    )


def learned(run: Run) -> Advice | None:
    """Better than the start."""
    if run.best is None or run.at_start is None or run.best[1] >= run.at_start:
        return None
    change = percent(run.best[1] / run.at_start - 1)
    return Advice(
        "learned",
        "good",
        f"Validation loss {run.at_start:.3f} before training, {run.best[1]:.3f} at best (step {run.best[0]}): {change}.",
        f"验证损失：训练前 {run.at_start:.3f}，最好 {run.best[1]:.3f}（第 {run.best[0]} 步）：{change}。",
    )


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

    gaps = f"{none:+.3f}" if shuffled is None else f"{shuffled:+.3f} / {none:+.3f}"
    of_en = "none" if shuffled is None else "another window's / none"
    of_zh = "无目标" if shuffled is None else "其他窗口的目标 / 无目标"
    if listens(shuffled, "shuffled") or (shuffled is None and listens(none, "none")):
        return Advice(
            "goal_heard",
            "good",
            f"The policy listens to its goal: loss with the true goal minus that with {of_en}: {gaps}.",
            f"策略会听从目标：真实目标的损失减去{of_zh}的损失：{gaps}。",
        )
    if large(none if shuffled is None else shuffled):
        error = errors["none" if shuffled is None else "shuffled"]
        return Advice(
            "goal_unclear",
            "note",
            f"Whether the policy listens to its goal cannot be told: true minus {of_en}: {gaps}, with a standard error of {error:.3f}.",
            f"无法判断策略是否听从目标：真实减去{of_zh}：{gaps}，标准误差为 {error:.3f}。",
            ("Validate on more windows: --val_windows 0, and more validation episodes.",),
            ("使用更多验证窗口：--val_windows 0，并增加验证 episode。",),
        )
    if shuffled is not None and listens(none, "none"):
        return Advice(
            "goals_alike",
            "note",
            f"A goal helps, but another window's goal helps as much (true minus {of_en}: {gaps}): the episodes' goals are alike, as with a single task.",
            f"有目标比没有好，但换成别的窗口的目标也一样（真实减去{of_zh}：{gaps}）：各 episode 的目标太相似，例如只有一个任务。",
            ("Fine for one task. To keep telling tasks apart, mix in other episodes (3_train_finetune_mixed.sh).",),
            ("单一任务没有问题；若要区分多个任务，请混合其他数据（3_train_finetune_mixed.sh）。",),
        )
    return Advice(
        "goal_ignored",
        "act",
        f"The goal is ignored: loss with the true goal minus that with {of_en} is {gaps}, no more than chance. A prompt will change little.",
        f"目标被忽略：真实目标的损失减去{of_zh}的损失为 {gaps}，与随机无异。换提示词几乎不会改变行为。",
        ("Mix episodes of several tasks: with one task alone nothing has to be told apart.",
         "Are the embeddings right? python tools/validate_dataset.py",
         "Goals nearer to what is done: MAX_BTWN_GOALS=100 or less; keep P_UNCOND at 0.1."),
        ("混合多个任务的数据：只有一个任务时，策略不需要看目标。",
         "检查 MineCLIP 嵌入：python tools/validate_dataset.py",
         "让目标更近：MAX_BTWN_GOALS=100 或更小；P_UNCOND 保持 0.1。"),
    )  # fmt: skip


def retention(run: Run) -> Advice | None:
    """Were old skills kept?"""
    points = run.points("retention/loss")
    if not points:
        return Advice(
            "retention_unknown",
            "note",
            "Whether old skills were kept was not measured.",
            "没有测量旧技能是否保留。",
            ("Name a sampling of old episodes: RETENTION_SAMPLING=<name> (bash 2_create_sampling.sh makes it).",),
            ("给出旧数据的采样：RETENTION_SAMPLING=<名称>（用 bash 2_create_sampling.sh 生成）。",),
        )
    first, last = points[0][1], points[-1][1]
    change = last / first - 1
    where = "before training" if points[0][0] == 0 else f"at step {points[0][0]}"
    if change <= FORGOTTEN:
        return Advice(
            "kept",
            "good",
            f"Old skills were kept: retention loss {first:.3f} {where}, {last:.3f} at the end ({percent(change)}).",
            f"旧技能得到保留：保留集损失从 {first:.3f} 到 {last:.3f}（{percent(change)}）。",
        )
    lower = rate(run.setting("learning_rate", 1e-5) / 2)
    frames = max(1, int(run.setting("total_frames")) // 2)
    return Advice(
        "forgetting",
        "act",
        f"Forgetting: retention loss {first:.3f} {where}, {last:.3f} at the end ({percent(change)}).",
        f"旧技能退化：保留集损失从 {first:.3f} 升到 {last:.3f}（{percent(change)}）。",
        ("Mix in old episodes, 70/30 (3_train_finetune_mixed.sh): the surest way.", f"LEARNING_RATE={lower} or TOTAL_FRAMES={frames}.",
         "Hold it back: --kl_coef 0.1 or --l2sp_coef 0.01; or choose weights by both: BEST_BY=task+retention.",
         "Go half the way back: python tools/interpolate_weights.py"),
        ("混合 70/30 的旧数据（3_train_finetune_mixed.sh），最可靠。", f"LEARNING_RATE={lower} 或 TOTAL_FRAMES={frames}。",
         "加约束：--kl_coef 0.1 或 --l2sp_coef 0.01；或按两者选最佳：BEST_BY=task+retention。",
         "在新旧权重之间插值：python tools/interpolate_weights.py"),
    )  # fmt: skip


def missed_actions(run: Run) -> Advice | None:
    """Keys that the policy presses far too seldom."""
    table = run.tables.get("actions/buttons") or {}
    missed = {name: shares for name, shares in table.items() if shares[0] >= 0.02 and shares[1] < shares[0] / 2}
    if not missed:
        return None
    listed = ", ".join(
        f"{name} {100 * recorded:.1f} → {100 * drawn:.1f} %" for name, (recorded, drawn) in missed.items()
    )
    return Advice(
        "missed_actions",
        "note",
        f"Pressed less than half as often as in the recordings: {listed}.",
        f"按键频率不到录像中的一半：{listed}。",
        (
            "Train longer or with a higher rate; see whether these keys appear in the training episodes as often: python tools/inspect_dataset.py",
        ),
        ("训练更久或提高学习率；并检查训练集中这些按键是否同样常见：python tools/inspect_dataset.py",),
    )


# ---- was it measured well, and fast? ----


def no_validation(run: Run) -> Advice | None:
    """Nothing was validated."""
    if run.validations:
        return None
    return Advice(
        "no_validation",
        "act",
        "There was no validation: nobody knows whether it learned or memorised.",
        "没有验证：无法判断是学会了还是死记硬背。",
        ("VAL_FREQ=1000, with a validation list (bash 2_create_sampling.sh makes one).",),
        ("设置 VAL_FREQ=1000，并准备验证列表（bash 2_create_sampling.sh 会生成）。",),
    )


def little_data(run: Run) -> Advice | None:
    """Many passes over the same frames, or few frames to validate on."""
    data = run.tables.get("data") or {}
    train, val = data.get("train_frames"), data.get("val_frames")
    epochs = run.setting("total_frames") / train if train else 0.0
    if epochs <= MANY_EPOCHS and (val is None or val >= FEW_FRAMES):
        return None
    en, zh = [], []
    if epochs > MANY_EPOCHS:
        en.append(f"Each of the {train} training frames was seen {epochs:.0f} times.")
        zh.append(f"{train} 个训练帧每个被看了 {epochs:.0f} 遍。")
    if val is not None and val < FEW_FRAMES:
        en.append(f"Only {val} frames to validate on: differences of a few percent may be chance.")
        zh.append(f"验证集只有 {val} 帧：几个百分点的差别可能是偶然。")
    return Advice(
        "little_data", "note", " ".join(en), "".join(zh),
        ("Record more episodes: five hours are a good beginning, quality before quantity.",), ("增加录像：5 小时左右，质量优先。",),
    )  # fmt: skip


def waiting(run: Run) -> Advice | None:
    """The network waited for data."""
    share = run.part("speed/data_wait_share", 0.0, 1.0)
    if share is None or share <= WAITING:
        return None
    more = int(run.setting("num_workers", 1)) + 2
    return Advice(
        "waiting", "note", f"{100 * share:.0f} % of the time was spent waiting for data.", f"有 {100 * share:.0f} % 的时间在等待数据。",
        (f"NUM_WORKERS={more}",), (f"NUM_WORKERS={more}",),
    )  # fmt: skip


def play_it(run: Run) -> Advice | None:
    """Whatever the losses say, playing decides."""
    weights = str(run.result.get("out_weights") or run.setting("out_weights", ""))
    if not weights:
        return None
    if run.best is not None and run.validations[-1][0] != run.best[0]:
        stem, dot, ending = weights.rpartition(".")
        weights = f"{stem}_best{dot}{ending}"
    base = run.setting("in_weights", "")
    return Advice(
        "play_it", "note", "Losses say how well key presses are predicted, not how well it plays: let it play.", "损失只说明按键预测得好不好，最终要看实际表现。",
        (f'bash 2_gen_vid_for_text_prompt.sh --weights {weights} --prompt "…"', f"bash 5_evaluate.sh --weights {base} {weights}"),
        (f'bash 2_gen_vid_for_text_prompt.sh --weights {weights} --prompt "…"', f"bash 5_evaluate.sh --weights {base} {weights}"),
    )  # fmt: skip


RULES: tuple[Rule, ...] = (
    unstable, rate_too_high, not_learning, overfitting, worse_than_start, goal, retention, no_validation, clipped,
    unfinished, missed_actions, little_data, waiting, learned, play_it,
)  # fmt: skip
