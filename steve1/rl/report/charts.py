"""The charts of a run, for its report and for TensorBoard. Texts are "English · 中文"."""

from __future__ import annotations

from typing import Any

from steve1.training.logging.layout import Chart, custom_scalars

UNIT = "iteration · 迭代"
_NATS = "nats a step · 每步 nat"
_SHARE = "share of groups · 组的占比"
CHARTS = (
    Chart(
        "1 reward", "Success · 成功率", {"success · 成功率": "rl/success"}, zero=True, values="share of episodes · 局数占比",
        band=("rl/success_low", "rl/success_high"),
        note="Episodes that were played to learn from, before each iteration's learning; the band is the 95 % interval of one iteration (Wilson; episodes from the same start are not independent, which widens it). · "
        "用来学习的各局，均为该次迭代学习之前所玩；色带为单次迭代的 95% 置信区间（Wilson；同一起点的各局并不独立，区间因此更宽）。",
    ),
    Chart(
        "1 reward", "Return by term · 各项回报", {"total · 合计": "rl/return", "": "rl/return_"}, zero=True, values="paid in an episode · 每局得分",
        note="What the terms of the reward paid, as a mean over episodes. If the total rises and success does not, the reward is won in another way. · "
        "奖励各项每局的平均得分。合计上升而成功率不升，说明得分靠的是别的做法。",
    ),
    Chart(
        "1 reward", "Groups with a difference · 有差别的组", {"in return · 回报不同": "rl/differing_groups", "in success · 有成有败": "rl/mixed_groups"}, zero=True, values=_SHARE,
        note="Start states whose episodes did not all end alike; the others teach little, and nothing where episodes are compared. · 同一起点的各局结果不全相同的组；其余的组学不到多少，相互比较时则学不到东西。",
    ),
    Chart(
        "2 drift", "KL to the start on what is visited · 在经历的状态上与起始策略的 KL", {"visited · 经历的状态": "rl/kl_start"}, zero=True, values=_NATS,
        note="It grows while the policy learns; KL_COEF pulls it down. · 随学习增大；KL_COEF 会把它拉低。",
    ),
    Chart(
        "2 drift", "KL to the start on kept prompts · 在保留的提示词上与起始策略的 KL", {"": "rl/keep_kl/"}, zero=True, values=_NATS,
        note="On all episodes that the starting policy played, after the iteration. Above 0.05 expect that the skill suffers. · "
        "在起始策略所玩的全部各局上，每次迭代之后测量。超过 0.05 时，该技能多半会受损。",
    ),
    Chart(
        "2 drift", "What is kept, in training · 训练中的保持", {"KL to the start, in training · 与起始策略的 KL（训练中）": "rl/keep_kl", "loss of imitated ones · 模仿的损失": "rl/replay_loss"}, values="nats a frame · 每帧 nat",
        note="Mean over an iteration's steps. · 一次迭代各步的平均。",
    ),
    Chart(
        "3 learning", "Moved in an iteration · 每次迭代的移动", {"KL(before, after) · KL（之前，之后）": "rl/kl_update"}, zero=True, values=_NATS,
        note="At 1.5 times TARGET_KL an iteration's learning ends. · 达到 TARGET_KL 的 1.5 倍时，本次迭代的学习结束。",
    ),
    Chart(
        "3 learning", "Clip share · 裁剪占比", {"clipped · 被裁剪": "rl/clip_share"}, zero=True, values="share of frames · 帧数占比",
        note="Frames whose probability has moved by more than CLIP, so that they no longer count. · 概率变化超过 CLIP、因而不再计入的帧。",
    ),
    Chart(
        "3 learning", "Largest probability ratio · 最大概率比", {"largest · 最大": "rl/ratio_max"}, values="ratio · 比值",
        note="Of one frame in an iteration. · 一次迭代中单帧的最大值。",
    ),
    Chart(
        "3 learning", "Explained variance · 价值函数解释的方差", {"value function · 价值函数": "rl/explained_variance"}, zero=True, values="1: all, 0: none · 1 全部，0 没有",
        note="How much of the returns the value function foresees on start states that it was not fitted on; below zero it is worse than a constant. · "
        "价值函数在没有参与拟合的起点上能预见多少回报；低于 0 说明还不如常数。",
    ),
    Chart(
        "3 learning", "Entropy · 熵", {"buttons · 按键": "rl/entropy_buttons", "camera · 视角": "rl/entropy_camera"}, zero=True, values="nats · nat",
        note="How undecided the policy is where it plays; near zero it tries nothing new. · 策略的不确定程度；接近 0 时不再尝试新动作。",
    ),
    Chart(
        "3 learning", "Gradient norm · 梯度范数", {"before clipping · 裁剪前": "rl/gradient_norm"}, log=True, values="norm · 范数",
    ),
    Chart(
        "4 playing", "Episode length · 每局长度", {"steps · 步数": "rl/episode_steps"}, zero=True, values="steps · 步",
        note="20 steps a second. · 每秒 20 步。",
    ),
    Chart(
        "4 playing", "Steps played · 玩的速度", {"all games together · 所有游戏合计": "rl/steps_per_second"}, zero=True, values="steps/s · 步/秒",
        note="Resets included. · 含重置。",
    ),
    Chart(
        "4 playing", "Games played · 每秒局数", {"all games together · 所有游戏合计": "rl/games_per_second"}, zero=True, values="episodes/s · 局/秒",
    ),
    Chart(
        "4 playing", "Shares of the time · 时间占比", {"learning · 学习": "rl/share_learning", "resets, of the playing · 重置（占玩的时间）": "rl/share_resets"}, zero=True, values="share · 占比",
    ),
    Chart(
        "4 playing", "Games that died · 中途退出的游戏", {"died · 退出": "rl/crashes"}, zero=True, values="in an iteration · 每次迭代",
    ),
)  # fmt: skip


def layout() -> dict[str, dict[str, list[Any]]]:
    """The charts as TensorBoard takes them."""
    return custom_scalars(CHARTS)
