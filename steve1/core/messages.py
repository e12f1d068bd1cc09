"""What commands show while they work: console lines in the user's language, English or Chinese, and progress bars.

Lines that several places print have keys, in MESSAGES. Help texts, errors and the other console lines stand in English where they belong;
`translated` finds their Chinese in core/chinese/*.json, {English: Chinese}, in which {0}, {1} … are what is filled in. Titles of columns and
words of tables go through `heading`: their Chinese, in headings.json, is never used for what is filled into a sentence.

The shell scripts run this file too, before anything is installed: `python steve1/core/messages.py KEY name=value …` prints a line,
`--script-help` the lines that it reads, in the user's language.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import json
import logging
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

LANGUAGES = ("en", "zh")
# To add a message: a key, and its text in both languages with the same {names}. "{n:step}" is "1 step" or "2 steps".
MESSAGES = {
    # prompts
    "prompt read as": {
        "en": 'MineCLIP reads "{prompt}" as "{english}".',
        "zh": "MineCLIP 将“{prompt}”读作“{english}”。",
    },
    "prompt partly read": {
        "en": "not understood, and left out of the goal: {words} (STEVE1_TRANSLATOR names a translator)",
        "zh": "未能理解、目标中略去的部分：{words}（可用 STEVE1_TRANSLATOR 指定翻译程序）",
    },
    "prompt not read": {
        "en": 'MineCLIP reads English; "{prompt}" was not understood, and its goal will mean little (the nearest known prompt: {nearest}; '
        "STEVE1_TRANSLATOR names a translator)",
        "zh": "MineCLIP 只读英文；“{prompt}”未能理解，其目标意义不大（最接近的已知提示词：{nearest}；可用 STEVE1_TRANSLATOR 指定翻译程序）",
    },
    # training: the users' guide shows the first four, so they are Chinese in every language
    "training started": {"en": "开始微调...", "zh": "开始微调..."},
    "training finished": {"en": "训练完成!", "zh": "训练完成!"},
    "final weights": {"en": "最终模型: {name}", "zh": "最终模型: {name}"},
    "best weights": {"en": "最佳模型: {name}", "zh": "最佳模型: {name}"},
    "training from": {"en": "fine-tuning {start} into {out}", "zh": "微调 {start}，输出到 {out}"},
    "training from nothing": {"en": "training new weights into {out}", "zh": "从随机初始化训练，输出到 {out}"},
    "training memory": {
        "en": "about {gib} GiB of memory for a step (estimate; python -m steve1 plan finds what fits)",
        "zh": "每步约需 {gib} GiB 内存（用 GPU 时为显存；估计值；python -m steve1 plan 可找出合适的设置）",
    },
    "training data": {
        "en": "{windows:window} of T={T} from {episodes:episode} ({frames:frame}), {validation}",
        "zh": "{episodes} 个片段（{frames} 帧）中的 {windows} 个窗口，T={T}；{validation}",
    },
    "validation windows": {"en": "{count:validation window}", "zh": "{count} 个验证窗口"},
    "no validation": {"en": "no validation", "zh": "不做验证"},
    "no validation list": {"en": "no validation ({path} does not exist)", "zh": "不做验证（{path} 不存在）"},
    "training steps": {
        "en": "{steps:step} of {frames:frame} = {factors}",
        "zh": "共 {steps} 步，每步 {frames} 帧 = {factors}",
    },
    "factors": {"en": "{windows:window} × {frames:frame}", "zh": "{windows} 个窗口 × {frames} 帧"},
    "accumulated": {"en": "× {count} accumulated", "zh": "× {count} 次梯度累积"},
    "processes": {"en": "× {count} processes", "zh": "× {count} 个进程"},
    "one factor": {"en": "(no accumulation, 1 process)", "zh": "（无梯度累积，1 个进程）"},
    "last step of a window": {
        "en": "; {frames:frame} in the last step of a window",
        "zh": "；每个窗口的最后一步只有 {frames} 帧",
    },
    "training place": {
        "en": "on {device} in {precision}; folder {folder}",
        "zh": "设备 {device}，精度 {precision}；文件夹 {folder}",
    },
    "training no bf16": {
        "en": "this GPU has no bf16 of its own (compute capability below 8.0), so float32 is used",
        "zh": "此 GPU 没有原生的 bf16 支持（计算能力低于 8.0），因此使用 float32",
    },
    "gpu unused": {
        "en": "warning: there is an {kind} GPU, but PyTorch cannot use it ({why}); the CPU is used, which is many times slower. python -m steve1 doctor names the build that fits; --device cpu hides this warning",
        "zh": "警告：检测到 {kind} GPU，但 PyTorch 无法使用（{why}）；改用 CPU，会慢很多倍。运行 python -m steve1 doctor 可查看合适的 PyTorch 版本；加 --device cpu 则不再提示",
    },
    "training watch": {"en": "watch: {command}", "zh": "查看曲线：{command}"},
    "training disk": {
        "en": "{count:step checkpoint} will take {gigabytes} GB (--no_keep_checkpoints: none)",
        "zh": "{count} 个检查点将占 {gigabytes} GB（--no_keep_checkpoints 可不保留）",
    },
    "training averaged": {
        "en": "validations take twice as long: the averaged weights are validated too (validation_ema/loss)",
        "zh": "验证时间加倍：平均权重也要验证（validation_ema/loss）",
    },
    "training foreign goals": {
        "en": "the goals of some episodes were made with another MineCLIP than {mineclip}, which belongs to the starting weights: prompts may not lead to what is learned from them; embed them anew with that one",
        "zh": "部分片段的目标不是用起始权重所属的 {mineclip} 生成的，而是用另一个 MineCLIP：提示词可能引不出由它们学到的内容；请用该 MineCLIP 重新生成目标",
    },
    "training no guidance": {
        "en": "every window has a goal, so these weights will be played without guidance (cond_scale 0)",
        "zh": "每个窗口都有目标，因此这些权重试玩时不用引导（cond_scale 0）",
    },
    "tuned": {
        "en": "fastest of what was timed: {frames:frame} at once on {threads:thread}, {speed} frames/s (default: {plain_frames} on {plain_threads}, {plain_speed} frames/s)",
        "zh": "实测最快：每次 {frames} 帧、{threads} 个线程，每秒 {speed} 帧（默认：{plain_frames} 帧、{plain_threads} 个线程，每秒 {plain_speed} 帧）",
    },
    "training resumed": {"en": "continuing after step {step}", "zh": "从第 {step} 步之后继续"},
    "training first batch": {"en": "first batch: {shapes}", "zh": "第一个批次：{shapes}"},
    "training before": {
        "en": "before training: loss {loss} on {count:validation window}",
        "zh": "训练前：{count} 个验证窗口上的损失为 {loss}",
    },
    "training wrote": {
        "en": "final weights: {path} (step {step}, {frames:frame})",
        "zh": "最终权重：{path}（第 {step} 步，{frames} 帧）",
    },
    "training wrote best": {
        "en": "best weights: {path} (step {step}, {measure} {score})",
        "zh": "最佳权重：{path}（第 {step} 步，{measure} {score}）",
    },
    "validation loss": {"en": "validation loss", "zh": "验证损失"},
    "validation and retention loss": {"en": "validation and retention loss", "zh": "验证损失与旧技能损失之和"},
    "training wrote averaged": {"en": "averaged weights: {path}", "zh": "平均权重：{path}"},
    "training wrote adapter": {
        "en": "adapter: {path} (already merged into the weights)",
        "zh": "LoRA 适配器：{path}（已合并进权重）",
    },
    "training skipped": {
        "en": "{count:step was|steps were} skipped, {spikes} of them by the spike filter",
        "zh": "跳过了 {count} 步，其中 {spikes} 步由尖峰过滤器跳过",
    },
    "training speed": {
        "en": "took {time}: {speed} frames/s, validations and checkpoints included",
        "zh": "用时 {time}：每秒 {speed} 帧（含验证与保存）",
    },
    "training pace": {
        "en": "{speed} frames/s with validations, gradient norm {norm}, about {left} left",
        "zh": "每秒 {speed} 帧（含验证），梯度范数 {norm}，约剩 {left}",
    },
    "training settings": {"en": "also set: {settings}", "zh": "其他设置：{settings}"},
    "training all settings": {"en": "all settings: {path}", "zh": "全部设置：{path}"},
    "no record of episodes": {
        "en": "The run was made by a version that kept no record of its episodes.",
        "zh": "这次训练由没有记录片段的旧版本完成。",
    },
    "training results": {
        "en": "dataset, training and evaluation on one page: {path}",
        "zh": "数据集、训练与评估汇总：{path}",
    },
    "time left": {"en": "about {left} left", "zh": "约剩 {left}"},
    "training out of patience": {
        "en": "No better validation in {tries:try|tries}: stopping early.",
        "zh": "连续 {tries} 次验证没有变好：提前停止。",
    },
    "training best anew": {
        "en": "Validation is not the one that chose the best weights so far: they are chosen anew.",
        "zh": "验证方式与之前选出最佳权重时不同：重新选择最佳权重。",
    },
    "training was finished": {
        "en": "This run is finished: nothing is left to train. To train anew: --overwrite, or another OUT_WEIGHTS.",
        "zh": "这次训练已经完成，没有剩余步数。要重新训练：--overwrite，或换一个 OUT_WEIGHTS。",
    },
    "training report": {"en": "report, with what to do next: {path}", "zh": "报告与下一步建议：{path}"},
    "rollout measure": {"en": ", {name} {value}", "zh": "，{name} {value}"},
    "play it": {"en": "play it: {command}", "zh": "试玩：{command}"},
    # studies and benchmarks
    "measurement budget": {
        "en": "{screened:policy|policies} to screen and up to {more} with other seeds, about {cells:cell} of {episodes:episode}; {done:cell} finished; about {hours} hours are left on two quiet cores",
        "zh": "先筛选 {screened} 个策略，再以其他种子测量至多 {more} 个，约 {cells} 个单元，每个 {episodes} 局；已完成 {done} 个；在两个空闲的核心上约还需 {hours} 小时",
    },
    "measured with one seed": {
        "en": "With one seed, {episodes:episode} a task:",
        "zh": "单个种子，每个任务 {episodes} 局：",
    },
    "from to": {"en": "{start} to {end}", "zh": "{start} 至 {end}"},
    "measured grounds": {
        "en": "{cells:cell}, {episodes} episodes of fine-tuned weights on the places and seeds of the base's, {days}, base {bases}. "
        "One cell: exact paired test with its 95 % interval. Several cells: 95 % cluster bootstrap, in which seeds (the episodes of one share their weights) "
        "and start places are drawn with replacement, and skills and tasks are not; with one seed the interval says nothing about other seeds. "
        "Not corrected for the number of methods. Score: change of the trained skills plus mean change of the old ones, fixed before the measurement.",
        "zh": "共 {cells} 个单元，微调后的权重用与基础策略相同的起点和种子玩了 {episodes} 局，{days}，基础权重 {bases}。单个单元：精确的配对检验及其 95% 区间。多个单元：95% 整群自助法，"
        "对种子（同一种子的各局共用权重）和起点有放回抽样，技能和任务不抽样；只有一个种子时，区间不反映其他种子的情况。未按方法数量作校正。"
        "得分：所训练的技能的变化加上旧技能的平均变化，测量前已定。",
    },
    "nearest moment": {"en": "{source} frame {frame} ({cosine})", "zh": "{source} 第 {frame} 帧（{cosine}）"},
    "rank among": {"en": "{cosine}, {rank}. of {count}", "zh": "{cosine}，{count} 个中第 {rank}"},
    "count of": {"en": "{right} of {count}", "zh": "{right}/{count}"},
    "share of": {"en": "{share} % ({count}; {low} to {high} %)", "zh": "{share}%（{count}；{low}% 至 {high}%）"},
    # progress bars
    "bar labelling": {"en": "labelling", "zh": "标注"},
    "bar calibrating": {"en": "calibrating", "zh": "校准"},
    "bar episodes": {"en": "episodes", "zh": "片段"},
    "bar training": {"en": "training", "zh": "训练"},
    "bar features": {"en": "features", "zh": "特征"},
    "bar converting": {"en": "converting", "zh": "转换"},
    "bar downloading and converting": {"en": "downloading and converting", "zh": "下载并转换"},
    "bar replay pack": {"en": "replay pack", "zh": "回放包"},
    "bar prior": {"en": "prior", "zh": "先验模型"},
    "bar trimming": {"en": "trimming", "zh": "剪辑"},
    "bar recording": {"en": "recording", "zh": "录制"},
    "bar exporting": {"en": "exporting", "zh": "导出"},
    "bar embedding": {"en": "embedding", "zh": "计算嵌入"},
    "bar reading ticks": {"en": "reading ticks", "zh": "读取动作"},
    "bar copying": {"en": "copying", "zh": "复制"},
    "bar repairing": {"en": "repairing", "zh": "修复"},
    "bar pushing": {"en": "pushing", "zh": "推送"},
    "bar pulling": {"en": "pulling", "zh": "拉取"},
    # errors
    "error": {"en": "error", "zh": "错误"},
    "warning": {"en": "warning", "zh": "警告"},
    "where": {"en": "where", "zh": "位置"},
    "expected": {"en": "expected", "zh": "应为"},
    "got": {"en": "got", "zh": "实际"},
    "next": {"en": "next", "zh": "下一步"},
    "fault part": {"en": "{name}: {text}", "zh": "{name}：{text}"},
    "interrupted": {
        "en": "stopped by {signal}; run the same command again to continue.",
        "zh": "已被 {signal} 中断；重新运行同一命令即可继续。",
    },
    "did you mean": {"en": "Did you mean {names}?", "zh": "是不是想写 {names}？"},
    "or": {"en": " or ", "zh": " 或 "},
    "one of": {"en": "one of {names}", "zh": "{names} 之一"},
    "one of many": {"en": "one of {names} and {count} more", "zh": "{names} 之一，另有 {count} 个"},
    "variable": {"en": "the variable {name}", "zh": "变量 {name}"},
    # options and --help
    "option unknown": {"en": "There is no option {flag}.", "zh": "没有 {flag} 这个选项。"},
    "option needs value": {"en": "{flag} needs a value.", "zh": "{flag} 需要一个值。"},
    "option count": {"en": "{flag} takes {count} values.", "zh": "{flag} 需要 {count} 个值。"},
    "option whole number": {"en": "{flag} takes a whole number.", "zh": "{flag} 必须是整数。"},
    "rl replay share": {
        "en": "Reinforcement learning has no REPLAY_SHARE: each update has as many old episodes as new ones, and KEEP_COEF weighs them. Leave it out.",
        "zh": "强化学习没有 REPLAY_SHARE：每次更新的旧片段与新片段一样多，由 KEEP_COEF 加权。请去掉它。",
    },
    "option number": {"en": "{flag} takes a number.", "zh": "{flag} 必须是数字。"},
    "option choice": {"en": "{flag} does not know this value.", "zh": "{flag} 没有这个取值。"},
    "option switch": {"en": "{flag} is a switch and takes no value.", "zh": "{flag} 是开关，后面不带值。"},
    "option stray": {"en": "This word belongs to no option: {word}", "zh": "这个词不属于任何选项：{word}"},
    "options missing": {"en": "These options are required: {flags}.", "zh": "必须给出：{flags}。"},
    "options wrong": {"en": "{count} options are wrong:", "zh": "有 {count} 个选项不对："},
    "settings wrong": {"en": "{count:training setting} cannot work:", "zh": "有 {count} 项训练设置不可行："},
    "usage": {"en": "usage", "zh": "用法"},
    "options": {"en": "options", "zh": "选项"},
    "data": {"en": "data", "zh": "数据"},
    "goals": {"en": "goals", "zh": "目标"},
    "what is trained": {"en": "what is trained", "zh": "训练哪些部分"},
    "optimisation": {"en": "optimisation", "zh": "优化"},
    "validation": {"en": "validation", "zh": "验证"},
    "saving": {"en": "saving and resuming", "zh": "保存与续训"},
    "playing": {"en": "playing", "zh": "游玩"},
    "learning": {"en": "learning", "zh": "学习"},
    "keeping old skills": {"en": "keeping old skills", "zh": "保住原有技能"},
    "learning-rate finder": {"en": "learning-rate finder", "zh": "学习率搜索"},
    "machine": {"en": "machine", "zh": "机器"},
    "policy": {"en": "policy", "zh": "策略"},
    "tasks": {"en": "tasks", "zh": "任务"},
    "output": {"en": "output", "zh": "输出"},
    "diagnosis": {"en": "diagnosis", "zh": "诊断"},
    "recording": {"en": "recording in a game", "zh": "在游戏里录制"},
    "page": {"en": "page", "zh": "页面"},
    "corrections": {"en": "corrections", "zh": "纠正"},
    "comparing": {"en": "comparing", "zh": "比较"},
    "contractor": {"en": "contractor data", "zh": "contractor 数据"},
    "converting and embedding": {"en": "converting and embedding", "zh": "转换与嵌入"},
    "network": {"en": "network", "zh": "网络"},
    "videos": {"en": "videos", "zh": "视频"},
    "labels": {"en": "labels", "zh": "标注"},
    "data commands": {"en": "data", "zh": "数据"},
    "train commands": {"en": "train", "zh": "训练"},
    "play commands": {"en": "play", "zh": "游玩"},
    "evaluate commands": {"en": "evaluate", "zh": "评估"},
    "tools commands": {"en": "tools", "zh": "工具"},
    "help required": {"en": " (required)", "zh": "（必填）"},
    "help default": {"en": " (default: {value})", "zh": "（默认：{value}）"},
    "switched on": {"en": "on", "zh": "开"},
    # making datasets
    "recording demonstrations": {"en": "recording demonstrations: {what}", "zh": "录制演示：{what}"},
    "recordings exist": {
        "en": "{count} of {total} recordings exist already.",
        "zh": "{total} 段录像中已有 {count} 段。",
    },
    "recorded": {
        "en": "{name}: {kept} recorded ({good} of {tried} attempts succeeded)",
        "zh": "{name}：录制 {kept} 段（{tried} 次尝试中成功 {good} 次）",
    },
    "recordings": {
        "en": "recordings: {folder} ({count} of {total})",
        "zh": "录像：{folder}（{count}/{total} 段）",
    },
    "not recorded": {
        "en": "given up after {attempts} attempts: {names}",
        "zh": "尝试 {attempts} 次后放弃：{names}",
    },
    "converting": {"en": "converting to {folder}", "zh": "转换到 {folder}"},
    "converting part": {
        "en": "converting to {folder}, part {number} of {count}",
        "zh": "转换到 {folder}，第 {number} 部分，共 {count} 部分",
    },
    "converted": {
        "en": "{converted} converted, {exists} skipped (already done), {refused} rejected{more}: {frames} frames ({minutes} minutes) in {folder}",
        "zh": "转换 {converted} 段，跳过 {exists} 段（已完成），拒绝 {refused} 段{more}：{folder} 中共 {frames} 帧（{minutes} 分钟）",
    },
    "converted missing": {"en": ", {count} not downloaded", "zh": "，未能下载 {count} 段"},
    "converted failed": {"en": ", {count} failed", "zh": "，失败 {count} 段"},
    "note": {"en": "note", "zh": "注意"},
    "status converted": {"en": "converted", "zh": "已转换"},
    "status exists": {"en": "skipped", "zh": "跳过"},
    "status refused": {"en": "rejected", "zh": "拒绝"},
    "status missing": {"en": "missing", "zh": "缺失"},
    "status failed": {"en": "failed", "zh": "失败"},
    "report": {"en": "report: {path}", "zh": "报告：{path}"},
    "labelling": {"en": "labelling {videos} into {folder}", "zh": "标注 {videos} 的动作，写入 {folder}"},
    "labelled": {
        "en": "{labelled:part} of videos labelled (five minutes each at most), {done} already done: {episodes:episode}, {frames} frames ({minutes} minutes) in {folder}",
        "zh": "已标注 {labelled} 段视频（每段至多五分钟），{done} 段之前已标注：{folder} 中共 {episodes} 个片段，{frames} 帧（{minutes} 分钟）",
    },
    "count videos": {"en": "{count:video}", "zh": "{count} 个视频"},
    "count episodes": {"en": "{count:episode}", "zh": "{count} 个片段"},
    "no part for this shard": {
        "en": "there are fewer parts than shards: this one has nothing to label",
        "zh": "部分比分片少：本分片没有要标注的内容",
    },
    "labelled before": {
        "en": "{name} was labelled with other settings and stays as it is; --overwrite labels it again",
        "zh": "{name} 是用其他设置标注的，保持不变；加 --overwrite 可重新标注",
    },
    "embedding goals": {"en": "computing goal embeddings", "zh": "计算目标嵌入"},
    "embedding": {
        "en": "embedding {episodes} episodes ({frames} frames); {done} already done; {device}, {precision}, E={size}",
        "zh": "计算 {episodes} 个片段（{frames} 帧）的嵌入；{done} 个已完成；{device}，{precision}，E={size}",
    },
    "embedded": {
        "en": "{episodes} episodes embedded ({frames} frames{rate}), {done} already done, {failed} failed",
        "zh": "已计算 {episodes} 个片段的嵌入（{frames} 帧{rate}），{done} 个之前已完成，{failed} 个失败",
    },
    "dataset": {"en": "dataset: {folder}", "zh": "数据集：{folder}"},
    "once all parts are done": {"en": "once all {count} parts are done", "zh": "全部 {count} 部分完成后"},
    "sampling source": {
        "en": "{folder}: {train_episodes} train + {val_episodes} val episodes, {train_frames} + {val_frames} frames{share}",
        "zh": "{folder}：训练 {train_episodes} 个、验证 {val_episodes} 个片段，{train_frames} + {val_frames} 帧{share}",
    },
    "sampling share": {"en": ", {share} of training", "zh": "，占训练窗口的 {share}"},
    "sampling total": {
        "en": "total: {train_episodes} + {val_episodes} episodes, {train_frames} + {val_frames} frames{fixed}",
        "zh": "合计：{train_episodes} + {val_episodes} 个片段，{train_frames} + {val_frames} 帧{fixed}",
    },
    "sampling fixed": {"en": " (validation as in {path})", "zh": "（验证集与 {path} 相同）"},
    "wrote": {"en": "wrote {path}", "zh": "已写入 {path}"},
    # evaluation: verdicts
    "better": {"en": "better", "zh": "更好"},
    "worse": {"en": "worse", "zh": "更差"},
    "looks better": {"en": "looks better, not sure yet ({more})", "zh": "看起来更好，还不能确定（{more}）"},
    "looks worse": {"en": "looks worse, not sure yet ({more})", "zh": "看起来更差，还不能确定（{more}）"},
    "no difference": {"en": "no difference larger than {points} points", "zh": "差别不超过 {points} 个百分点"},
    "no difference yet": {
        "en": "no difference larger than {points} points ({more} would narrow that to {margin})",
        "zh": "差别不超过 {points} 个百分点（{more}，才能缩小到 {margin} 个）",
    },
    "kept": {"en": "kept", "zh": "保持"},
    "lost": {"en": "lost", "zh": "退化"},
    "gained": {"en": "gained", "zh": "有提高"},
    "cannot tell": {"en": "cannot tell ({more})", "zh": "还看不出（{more}）"},
    "neither": {"en": "neither can do it", "zh": "都不会"},
    "no pairs": {"en": "no episodes to compare", "zh": "没有可比较的局"},
    "more episodes": {"en": "about {count} more episodes", "zh": "大约还要 {count} 局"},
    "one more episode": {"en": "about one more episode", "zh": "大约还要 1 局"},
    "many more episodes": {"en": "over {count} more episodes", "zh": "还要 {count} 局以上"},
    "verdict sentence": {
        "en": "{task}: {verdict}; {base} {first}, {other} {second} ({change} points, 95 % interval {interval}, p {p}).",
        "zh": "{task}：{verdict}；{base} {first}，{other} {second}（{change} 个百分点，95% 区间 {interval}，p {p}）。",
    },
    "answer better": {
        "en": "Better at {task}: {change} points (95 % interval {interval}).",
        "zh": "{task}变好了：{change} 个百分点（95% 区间 {interval}）。",
    },
    "answer worse": {
        "en": "Worse at {task}: {change} points (95 % interval {interval}).",
        "zh": "{task}变差了：{change} 个百分点（95% 区间 {interval}）。",
    },
    "answer open": {
        "en": "Not yet clear whether it got better at {task}: {change} points (95 % interval {interval}); {more} would settle it.",
        "zh": "{task}是否变好还不能确定：{change} 个百分点（95% 区间 {interval}）；{more}才能确定。",
    },
    "answer same": {
        "en": "No better at {task}: no difference larger than {points} points.",
        "zh": "{task}没有变好：差别不超过 {points} 个百分点。",
    },
    "answer neither too": {
        "en": "No better at {task}: neither can do it.",
        "zh": "{task}没有变好：微调前后都不会。",
    },
    "answer no target": {
        "en": "Which task was to be learned is not known (--target TASK names it).",
        "zh": "不知道要学的是哪个任务（可用 --target TASK 指定）。",
    },
    "answer unplayed": {
        "en": "To be learned, but not played: {tasks}.",
        "zh": "要学但没有玩的任务：{tasks}。",
    },
    "answer old": {
        "en": "Old skills, with a margin of {margin} points: {told}.",
        "zh": "原有技能（允许相差 {margin} 个百分点）：{told}。",
    },
    "answer and": {"en": "; ", "zh": "；"},
    "answer lost": {"en": "lost {tasks}", "zh": "退化：{tasks}"},
    "answer cannot tell": {
        "en": "cannot tell yet for {tasks} ({more} would settle it)",
        "zh": "还看不出：{tasks}（{more}才能确定）",
    },
    "answer kept": {"en": "kept {tasks}", "zh": "保持：{tasks}"},
    "answer gained": {"en": "gained at {tasks}", "zh": "有提高：{tasks}"},
    "answer neither": {"en": "neither can do {tasks}", "zh": "都不会：{tasks}"},
    "answer no old": {
        "en": "No old skill was played, so whether old skills were kept is not known.",
        "zh": "没有玩原有技能，所以不知道它们是否保持。",
    },
    "leak": {
        "en": "It leaks into other prompts: {task} in {second} episodes, {base} {first} ({change} points, 95 % interval {interval}).",
        "zh": "它泄漏到了其他提示词下：{task} {second} 局，{base} {first}（{change} 个百分点，95% 区间 {interval}）。",
    },
    "no leak": {
        "en": "Under other prompts: {task} in {second} episodes, {base} {first} ({change} points, 95 % interval {interval}).",
        "zh": "在其他提示词下：{task} {second} 局，{base} {first}（{change} 个百分点，95% 区间 {interval}）。",
    },
    "verdict short": {"en": "{task}: {verdict}.", "zh": "{task}：{verdict}。"},
    "range": {"en": "{low} to {high}", "zh": "{low} 到 {high}"},
    "of": {"en": "{successes} of {episodes}", "zh": "{successes}/{episodes}"},
    "measure better": {
        "en": "Better by the mean of its measure, {measure}: {change} (95 % interval {interval}).",
        "zh": "按指标“{measure}”的平均值，变好了：{change}（95% 区间 {interval}）。",
    },
    "measure worse": {
        "en": "But worse by the mean of its measure, {measure}: {change} (95 % interval {interval}).",
        "zh": "但按指标“{measure}”的平均值，变差了：{change}（95% 区间 {interval}）。",
    },
    "base": {"en": "base", "zh": "微调前"},
    "fine-tuned": {"en": "fine-tuned", "zh": "微调后"},
    "against": {"en": "{who} against {base}", "zh": "{who} 与 {base} 相比"},
    "target given": {
        "en": "New skill: {tasks}. The other tasks are old skills.",
        "zh": "要学的任务：{tasks}。其余任务是原有技能。",
    },
    "target found": {
        "en": "New skill: {tasks}, because only the fine-tuned weights were trained on it (--target names another).",
        "zh": "要学的任务：{tasks}（只有微调后的权重用它训练过；可用 --target 另行指定）。",
    },
    "all old": {"en": "All tasks that were played are old skills.", "zh": "玩过的任务都是原有技能。"},
    "target missing": {
        "en": "Every task counts as an old skill. If one was to be learned, name it: --target TASK.",
        "zh": "所有任务都按原有技能处理。如果其中有要学的任务，请指定：--target TASK。",
    },
    # playing
    "achieved": {"en": "{task}: success ({measure}: {value})", "zh": "{task}：成功（{measure}：{value}）"},
    "not achieved": {"en": "{task}: no success ({measure}: {value})", "zh": "{task}：没有成功（{measure}：{value}）"},
    # a session in a browser
    "live page": {"en": "page: {url}", "zh": "页面：{url}"},
    "live public": {
        "en": "warning: other machines reach this at {url}, and nothing is encrypted: whoever listens on the network learns the token and can do what you can. Do not pass the address on; an SSH tunnel is safer.",
        "zh": "警告：其他机器可以通过 {url} 访问，且传输没有加密：网络上的窃听者能得到令牌，拥有与你相同的权限。请不要转发网址；SSH 隧道更安全。",
    },
    "live tunnel": {
        "en": "from another machine: ssh -L {port}:localhost:{port} THIS_MACHINE, then open the same address there",
        "zh": "从另一台机器访问：在那台机器上运行 ssh -L {port}:localhost:{port} 这台机器的地址，再打开同一网址",
    },
    "live kept": {"en": "recorded {path}: {ticks:tick}, {result}", "zh": "已录制 {path}：{ticks} 个游戏刻，{result}"},
    "live filmed": {"en": "filmed {path}", "zh": "视频已保存：{path}"},
    "live film empty": {
        "en": "The film has no frame, since no tick was played: nothing was saved.",
        "zh": "没有执行任何游戏刻，视频里没有画面，未保存。",
    },
    "live success": {"en": "success ({measure}: {value})", "zh": "成功（{measure}：{value}）"},
    "live no success": {"en": "no success ({measure}: {value})", "zh": "没有成功（{measure}：{value}）"},
    "live not judged": {"en": "of no known task, so not judged", "zh": "不属于已知任务，未评判"},
    "live over": {
        "en": "{ticks:tick} played; ticks began {middle} ms late (median), {worst} ms (99 %)",
        "zh": "共 {ticks} 个游戏刻；每刻开始的延迟：中位数 {middle} 毫秒，99% 在 {worst} 毫秒以内",
    },
    "live log": {"en": "session: {path}", "zh": "会话：{path}"},
    "live made": {"en": "{count:recording} made", "zh": "录制了 {count} 段"},
    "live game died": {
        "en": "The game crashed. What was recorded is kept, and a new game starts.",
        "zh": "游戏崩溃。已录制的内容会保留，正在启动新的游戏。",
    },
    "live player died": {"en": "The player died: another world begins.", "zh": "角色死亡：进入另一个世界。"},
    "live episode ended": {
        "en": "The game ended the episode: another world begins.",
        "zh": "游戏结束了这一局：进入另一个世界。",
    },
    "live similarity slow": {
        "en": "This machine is too slow to compare every frame with the goal. The similarity is no longer shown.",
        "zh": "这台机器太慢，无法把每一帧与目标比较。相似度不再显示。",
    },
    "live similarity fault": {
        "en": "The similarity to the goal is no longer shown: {fault}",
        "zh": "与目标的相似度不再显示：{fault}",
    },
    "live disk full": {
        "en": "The disk is nearly full: the recording was ended here and kept.",
        "zh": "磁盘快满了：录制到此为止，录好的部分已保留。",
    },
    "live film disk full": {
        "en": "The disk is nearly full: the film was ended here and kept.",
        "zh": "磁盘快满了：视频到此为止，录好的部分已保留。",
    },
    "live recording failed": {
        "en": "Writing failed; the recording stops here.",
        "zh": "写入失败，录制到此为止。",
    },
    "live recording lost": {"en": "The recording could not be finished.", "zh": "录像未能完成。"},
    "dagger stage": {"en": "round {round}: {what}", "zh": "第 {round} 轮：{what}"},
    "dagger corrections": {"en": "corrections of {weights}", "zh": "纠正 {weights}"},
    "dagger training": {"en": "fine-tuning on {sources}", "zh": "在 {sources} 上微调"},
    "dagger comparing": {"en": "comparing with the start", "zh": "与起始权重比较"},
    "dagger next": {
        "en": "the next round: the same command again. Weights so far: {path}",
        "zh": "下一轮：再次运行同一命令。目前的权重：{path}",
    },
    "serve page": {"en": "{weights} answers at {url}", "zh": "{weights} 的服务地址：{url}"},
    "serve latency": {
        "en": "{games:game}, {rate} frames/s: {latency}",
        "zh": "{games} 个游戏，每秒 {rate} 帧：{latency}",
    },
    "serve over": {"en": "{frames:frame} answered: {latency}", "zh": "共回答 {frames} 帧：{latency}"},
    "condition gained": {"en": "{amount} {item} gained", "zh": "得到 {amount} 个 {item}"},
    "condition mined": {"en": "{amount} {item} mined", "zh": "挖掉 {amount} 个 {item}"},
    "condition travelled": {"en": "{amount} blocks travelled", "zh": "走 {amount} 格"},
    # evaluation: success rules
    "needs": {"en": "needs {rule}", "zh": "需要{rule}"},
    "at least": {"en": "at least {number}", "zh": "至少 {number}"},
    "at most": {"en": "at most {number}", "zh": "至多 {number}"},
    "all": {"en": " and ", "zh": "，并且"},
    "any": {"en": " or ", "zh": "，或者"},
    "others": {"en": "{names} or {count} others", "zh": "{names} 等 {count} 种"},
    "rule item_gained": {"en": "{bound} {names} gained", "zh": "得到{bound} 个 {names}"},
    "rule dug": {"en": "{bound} {names} dug", "zh": "挖掉{bound} 个 {names}"},
    "rule placed": {"en": "{bound} {names} placed", "zh": "放置{bound} 个 {names}"},
    "rule crafted": {"en": "{bound} {names} crafted", "zh": "合成{bound} 个 {names}"},
    "rule displacement": {"en": "{bound} nodes from the start", "zh": "离起点{bound} 格"},
    "rule path_length": {"en": "{bound} nodes travelled", "zh": "走{bound} 格"},
    "rule distance_in_water": {"en": "{bound} nodes travelled in water", "zh": "在水中前进{bound} 格"},
    "rule steps_in_water": {"en": "{bound} steps in water", "zh": "在水中{bound} 步"},
    "rule steps_under_water": {"en": "{bound} steps under water", "zh": "在水下{bound} 步"},
    "rule steps_in_menu": {"en": "{bound} steps with the inventory open", "zh": "打开背包{bound} 步"},
    "rule standing": {"en": "{bound} {names} standing at once", "zh": "同时存在{bound} 个 {names}"},
    "rule shape": {
        "en": "{bound} own blocks at once in a box of {size}",
        "zh": "在 {size} 的范围内同时有{bound} 个自己放的方块",
    },
    "rule depth": {"en": "{bound} nodes below the start", "zh": "比起点低{bound} 格"},
    "rule height": {"en": "{bound} nodes above the start", "zh": "比起点高{bound} 格"},
    "rule height_on_blocks": {"en": "{bound} nodes up on own blocks", "zh": "站在自己放的方块上升高{bound} 格"},
    "rule fulfilled": {"en": "{bound} of {count} steps done", "zh": "{count} 个步骤中完成{bound} 个"},
    "rule pitch_in_last_part": {
        "en": "a mean pitch of {bound} degrees in the last {percent} % (negative is up)",
        "zh": "最后 {percent}% 时间的平均俯仰角{bound} 度（负为向上）",
    },
    # evaluation: the page and the console
    "evaluation title": {"en": "Did fine-tuning help?", "zh": "微调有没有用？"},
    "evaluation of": {"en": "Evaluation: {names}", "zh": "评估：{names}"},
    "film": {"en": "{task}, episode {number}", "zh": "{task}，第 {number} 局"},
    "chart rates": {
        "en": "Successes of episodes, with 95 % intervals. Same seeds and start places for all.",
        "zh": "成功局数与 95% 置信区间。各权重的随机种子和起点相同。",
    },
    "success rate": {"en": "success rate (%)", "zh": "成功率（%）"},
    "played": {
        "en": "{episodes} episodes, {steps} steps. Successes of episodes with Wilson's 95 % interval; same seeds and start states for all.",
        "zh": "共 {episodes} 局，{steps} 步。成功局数附 Wilson 95% 置信区间；各权重的随机种子和起点相同。",
    },
    "statistics": {"en": "The numbers, and how sure they are", "zh": "数据与可靠程度"},
    "statistics explained": {
        "en": "Pairs are episodes with the same seed and start place. p is an exact test of paired rates, and the interval holds the differences that this test does not "
        "reject. A target is better or worse if p is below 0.05, and so is another task gained or lost. Kept: the whole interval lies above -10 points. "
        "p (Holm) allows for the number of tasks. More episodes: after that many, the verdict is settled with a probability of 80 %, if they go like those played.",
        "zh": "一对是种子和起点相同的两局。p 来自成对成功率的精确检验，区间包含该检验不拒绝的所有差值。p 小于 0.05 时，目标任务判为更好或更差，其他任务判为有提高或退化。"
        "保持：整个区间高于 -10 个百分点。p (Holm) 已按任务数校正。还要多少局：如果后面的局和已玩的差不多，玩完这么多局后有 80% 的把握得出结论。",
    },
    "which part fails": {"en": "Which part fails?", "zh": "是哪一部分的问题？"},
    "similarity": {"en": "Goal similarity over time", "zh": "与目标的相似度"},
    "similarity explained": {
        "en": "Cosine of MineCLIP's embedding of the last 16 frames with the goal that the prior makes of the task's prompt, mean over the first {count} episodes of each. "
        "One MineCLIP measures all; baselines are compared with the same goals.",
        "zh": "最后 16 帧的 MineCLIP 嵌入与先验模型由任务提示词得到的目标的余弦，取各权重前 {count} 局的平均。所有策略用同一个 MineCLIP 测量；基线也与同样的目标比较。",
    },
    "cosine": {"en": "cosine", "zh": "余弦"},
    "failures": {"en": "Failures worth watching", "zh": "值得看的失败"},
    "failure not filmed": {
        "en": "One more failure was not filmed. The same command with --record_failures {some} films the first {some}.",
        "zh": "另有 1 局失败没有录像。在同一命令后加 --record_failures {some}，可录下前 {some} 局。",
    },
    "failures not filmed": {
        "en": "{count} more failures were not filmed. The same command with --record_failures {some} plays the first {some} again and films them.",
        "zh": "另有 {count} 局失败没有录像。在同一命令后加 --record_failures {some}，可重玩并录下前 {some} 局。",
    },
    "actions": {"en": "Actions", "zh": "动作"},
    "actions explained": {
        "en": "Share of steps with each button pressed, under the task's own prompt; below, camera movements in the policy's 11 by 11 bins (up is up, the middle is no movement).",
        "zh": "在任务自己的提示词下，按下各按键的步数占比；下面是策略 11×11 档的视角转动（上为向上，中间为不动）。",
    },
    "seconds": {"en": "seconds", "zh": "秒"},
    "share of steps": {"en": "share of steps (%)", "zh": "步数占比（%）"},
    "camera": {"en": "{who}: camera", "zh": "{who}：视角"},
    "cross": {"en": "What each prompt does for every task", "zh": "每个提示词对每个任务的效果"},
    "cross caption": {
        "en": "{who}: prompt (row), success of each task (column)",
        "zh": "{who}：提示词（行），各任务的成功局数（列）",
    },
    "settings": {"en": "Settings", "zh": "设置"},
    "known results": {
        "en": "{count} of the episodes are earlier results of the same weights at the same places ({folder}).",
        "zh": "其中 {count} 局是相同权重在相同起点的已有结果（{folder}）。",
    },
    "no known results": {
        "en": "The results in {folder} are of other weights, places or settings, so every episode was played.",
        "zh": "{folder} 中的结果来自其他权重、起点或设置，所以每一局都重新玩了。",
    },
    "looks": {
        "en": "Played until the answer was clear, with looks after {looks} pairs. Each interval is one of {percent} %, and each p is multiplied by {count}, so that "
        "together, wherever it stopped, they hold at 95 %.",
        "zh": "一直玩到有结论为止，在 {looks} 对之后各检查一次。每个区间是 {percent}% 的区间，每个 p 乘以 {count}，因此无论停在哪里，合起来都有 95% 的把握。",
    },
    "video": {"en": "video:  {path}", "zh": "视频：{path}"},
    "no video": {
        "en": "video:  none; these episodes were not filmed (--videos 1 under another --name films them)",
        "zh": "视频：无；这些局没有录像（换一个 --name 并加 --videos 1 即可录像）",
    },
    "failure base": {"en": "{base} succeeded on the same seed", "zh": "{base}在相同种子上成功"},
    "failure died": {"en": "died after {steps} steps", "zh": "{steps} 步后死亡"},
    "failure nearest": {"en": "came nearest", "zh": "最接近成功"},
    "failed again": {"en": "failed again", "zh": "重玩时再次失败"},
    "succeeded again": {"en": "succeeded when played again", "zh": "重玩时成功"},
    # evaluation: columns
    "weights": {"en": "weights", "zh": "权重"},
    "episode": {"en": "episode", "zh": "局"},
    "measure": {"en": "measure", "zh": "指标"},
    "why": {"en": "why", "zh": "原因"},
    "film of it": {"en": "video", "zh": "视频"},
    "task": {"en": "task", "zh": "任务"},
    "mean": {"en": "{rate}, mean {mean}", "zh": "{rate}，平均 {mean}"},
    "compared": {"en": "compared", "zh": "比较"},
    "pairs": {"en": "pairs (gained / lost)", "zh": "配对数（得 / 失）"},
    "change": {"en": "change", "zh": "变化"},
    "points": {"en": "{change} points", "zh": "{change} 个百分点"},
    "interval": {"en": "95 % interval", "zh": "95% 区间"},
    "p": {"en": "p (exact paired)", "zh": "p（成对精确检验）"},
    "measure change": {"en": "mean measure", "zh": "指标变化"},
    "verdict": {"en": "verdict", "zh": "结论"},
    # datasets: the page that shows them
    "datasets": {"en": "Datasets at a glance", "zh": "数据集一览"},
    "datasets lead": {
        "en": "{episodes:episode}, {hours} hours, {suspects} worth a look. {made}",
        "zh": "共 {episodes} 个片段，{hours} 小时，{suspects} 个值得一看。{made}",
    },
    "no episode": {"en": "No episode can be read.", "zh": "没有可读的片段。"},
    "suspects": {"en": "Worth a look, worst first", "zh": "值得一看的片段，最可疑的在前"},
    "episodes": {"en": "Episodes", "zh": "片段"},
    "sheets": {"en": "Contact sheets", "zh": "画面总览"},
    "more reasons": {"en": "; and {count} more", "zh": "；另有 {count} 条"},
    "more episodes in": {"en": "and {count} more in {name}: {kinds}", "zh": "{name} 中另有 {count} 个：{kinds}"},
    "report size": {"en": "report: {path} ({megabytes} MB)", "zh": "报告：{path}（{megabytes} MB）"},
    "looking at": {"en": "looking at {name}", "zh": "查看 {name}"},
    "frames so far": {"en": "{frames:frame}", "zh": "{frames} 帧"},
    "from source": {"en": "from {source}", "zh": "来自 {source}"},
    "frames of": {"en": "frames of {name}", "zh": "{name} 的画面"},
    "buttons over time": {"en": "buttons over time", "zh": "按键随时间的变化"},
    "no button": {"en": "nothing", "zh": "无"},
    "turn": {"en": "camera {pitch} {yaw}", "zh": "视角 {pitch} {yaw}"},
    "none": {"en": "none", "zh": "无"},
    "chart buttons": {"en": "Buttons", "zh": "按键"},
    "chart buttons of": {"en": "buttons of {name}", "zh": "{name} 的按键"},
    "chart buttons values": {"en": "share of frames in which it is down", "zh": "按下的帧所占比例"},
    "chart camera": {"en": "Camera: frames by bin, logarithmic", "zh": "视角：各档的帧数（对数）"},
    "chart camera of": {"en": "camera of {name}", "zh": "{name} 的视角"},
    "chart hotbar": {"en": "Hotbar", "zh": "快捷栏"},
    "chart hotbar none": {"en": "Hotbar (no slot is ever chosen)", "zh": "快捷栏（从未选择）"},
    "chart hotbar of": {"en": "hotbar of {name}", "zh": "{name} 的快捷栏"},
    "chart hotbar values": {"en": "share of frames in which a slot is chosen", "zh": "选择该栏位的帧所占比例"},
    "slot": {"en": "slot {number}", "zh": "栏位 {number}"},
    "chart lengths": {"en": "Episode lengths", "zh": "片段长度"},
    "chart goals": {"en": "Goal embeddings", "zh": "目标嵌入"},
    "chart goals values": {"en": "mean length of an episode's embeddings", "zh": "片段内嵌入的平均范数"},
    "chart drift": {"en": "Drift of embeddings", "zh": "嵌入的漂移"},
    "chart drift values": {"en": "cosine distance of first and last quarter", "zh": "首尾四分之一之间的余弦距离"},
    "embedding lengths of": {"en": "embedding lengths of {name}", "zh": "{name} 的嵌入范数"},
    # datasets: reasons to look at an episode
    "kind broken": {"en": "broken", "zh": "损坏"},
    "kind NaN": {"en": "NaN", "zh": "NaN"},
    "kind short": {"en": "short", "zh": "过短"},
    "kind menu": {"en": "menu", "zh": "菜单"},
    "kind idle": {"en": "idle", "zh": "不动"},
    "kind black": {"en": "black", "zh": "黑屏"},
    "kind frozen": {"en": "frozen", "zh": "画面冻结"},
    "kind still": {"en": "still", "zh": "静止"},
    "kind desync": {"en": "desync", "zh": "不同步"},
    "kind stuck key": {"en": "stuck key", "zh": "按键卡住"},
    "kind embedding": {"en": "embedding", "zh": "嵌入"},
    "kind duplicate": {"en": "duplicate", "zh": "重复"},
    "reason duplicate": {"en": "{share} recurs in {name}: {kind}", "zh": "{share} 在 {name} 中重复出现：{kind}"},
    "same pictures and actions": {"en": "same pictures and actions", "zh": "画面与动作都相同"},
    "same actions, other pictures": {"en": "same actions, other pictures", "zh": "动作相同，画面不同"},
    "same pictures, other actions": {"en": "same pictures, other actions", "zh": "画面相同，动作不同"},
    "reason NaN": {
        "en": "{count:goal embedding is|goal embeddings are} not finite",
        "zh": "{count} 个目标嵌入不是有限数",
    },
    "reason short": {
        "en": "{count:frame is|frames are} hardly enough for one goal",
        "zh": "{count} 帧，几乎不够一个目标",
    },
    "reason menu": {"en": "a menu is open in {share} of it", "zh": "{share} 的时间开着菜单"},
    "reason idle": {"en": "nothing is done in {share} of its frames", "zh": "{share} 的帧没有任何动作"},
    "reason black": {"en": "{share} of its frames are black", "zh": "{share} 的帧是黑的"},
    "reason frozen": {
        "en": "the picture stands still in {share} of the frames in which the camera turns",
        "zh": "视角转动的帧中，{share} 的画面没有变化",
    },
    "reason still": {
        "en": "the picture does not change for {seconds} s from frame {frame}",
        "zh": "从第 {frame} 帧起，画面 {seconds} 秒没有变化",
    },
    "reason late": {
        "en": "the picture moves {frames:frame} after the camera does (correlation {best}; at the same frame {near})",
        "zh": "画面比视角晚 {frames} 帧移动（相关系数 {best}；同一帧为 {near}）",
    },
    "reason early": {
        "en": "the picture moves {frames:frame} before the camera does (correlation {best}; at the same frame {near})",
        "zh": "画面比视角早 {frames} 帧移动（相关系数 {best}；同一帧为 {near}）",
    },
    "reason unrelated": {
        "en": "the picture does not follow the camera (correlation {near})",
        "zh": "画面不随视角移动（相关系数 {near}）",
    },
    "reason held": {
        "en": "{button} is held for {seconds} s without a break from frame {frame}",
        "zh": "从第 {frame} 帧起，{button} 连续按住 {seconds} 秒",
    },
    "reason length": {
        "en": "its embeddings' length is {length}, that of the others {middle}",
        "zh": "嵌入范数为 {length}，其他片段为 {middle}",
    },
    # charts and tables of every page
    "logarithmic": {"en": "{values}, logarithmic", "zh": "{values}（对数）"},
    "in a column": {"en": "episodes, at most {count} in a column", "zh": "片段数，每列最多 {count} 个"},
    "camera field": {
        "en": "pitch {pitch}°, yaw {yaw}°: {count:frame} ({share})",
        "zh": "俯仰 {pitch}°，偏航 {yaw}°：{count} 帧（{share}）",
    },
    "yaw axis": {"en": "yaw, degrees a frame (right is +)", "zh": "偏航，度/帧（向右为正）"},
    "pitch axis": {"en": "pitch (down is +)", "zh": "俯仰（向下为正）"},
    "not known": {"en": "n/a", "zh": "无"},
    # the hub
    "pull kept": {
        "en": "{name} was written or changed here and stays; --overwrite replaces it with the one from there",
        "zh": "{name} 是在本地编写或改过的，予以保留；加 --overwrite 可用远端的文件替换",
    },
    # quickstart.sh
    "quickstart words": {
        "en": "quickstart.sh takes no options but --help; its variables stand in front: SKILL=build_pillar bash quickstart.sh. Got: {word}",
        "zh": "quickstart.sh 除 --help 外没有选项；变量要写在命令前面：SKILL=build_pillar bash quickstart.sh。实际：{word}",
    },
    "quickstart install": {"en": "installing missing packages", "zh": "安装缺少的软件包"},
    "quickstart checked": {
        "en": "checked: the mini weights, the game and the disk space are fine",
        "zh": "检查完毕：mini 权重、游戏和磁盘空间都没有问题",
    },
    "quickstart seed": {
        "en": "{name} was begun with SEED={kept} and goes on with it; SEED={asked} is not used. For other demonstrations choose another name: NAME={name}_{asked} SEED={asked} bash quickstart.sh",
        "zh": "{name} 开始时用的是 SEED={kept}，将继续使用；SEED={asked} 不起作用。要换一批演示，请换一个名称：NAME={name}_{asked} SEED={asked} bash quickstart.sh",
    },
    "quickstart skill": {
        "en": "{name} was begun with SKILL={kept}. For {asked} choose another name: NAME={asked} SKILL={asked} bash quickstart.sh",
        "zh": "{name} 开始时的技能是 SKILL={kept}。要学 {asked}，请换一个名称：NAME={asked} SKILL={asked} bash quickstart.sh",
    },
    "quickstart record": {
        "en": "recording {count} demonstrations of {skill} (seed {seed}), converting and embedding them",
        "zh": "录制 {count} 段“{skill}”的演示（种子 {seed}），转换并计算嵌入",
    },
    "quickstart sampling": {"en": "choosing training and validation episodes", "zh": "选择训练集与验证集"},
    "quickstart train": {
        "en": "fine-tuning on {frames} frames: {new} % the new skill, the rest old skills from {replay}",
        "zh": "用 {frames} 帧微调：新技能占 {new}%，其余是 {replay} 中的旧技能",
    },
    "quickstart compare": {
        "en": "playing: {skill} before and after fine-tuning, and old skills after it ({old}), {count} episodes each at the same places",
        "zh": "试玩：“{skill}”用微调前后的权重各玩一遍，旧技能（{old}）只用微调后的权重玩；起点相同，各 {count} 局",
    },
    "quickstart expected": {"en": "about {time} on this machine now", "zh": "这台机器现在大约需要 {time}"},
    "quickstart took": {"en": "took {time}, expected {expected}", "zh": "用时 {time}，预计 {expected}"},
    "quickstart done": {
        "en": "done in {time} (expected {expected}), without installing packages",
        "zh": "共用时 {time}（预计 {expected}），不含安装软件包",
    },
    "skill new": {
        "en": "The base was not trained on {skill}; MineCLIP and the prior know it. Expect it to go from never or seldom to often.",
        "zh": "基础策略没有学过“{skill}”，但 MineCLIP 和先验模型认识它。预计会从几乎不成功变为经常成功。",
    },
    "skill trained": {
        "en": "The base was trained on {skill}: expect a small change, which a few episodes may not show.",
        "zh": "基础策略学过“{skill}”：预计变化不大，只玩几局可能看不出来。",
    },
    "skill known": {
        "en": "The base was trained on {skill} and succeeded in {successes} of {episodes} episodes: expect a small change, which a few episodes may not show.",
        "zh": "基础策略学过“{skill}”，{episodes} 局中成功 {successes} 局：预计变化不大，只玩几局可能看不出来。",
    },
    "skill weak": {
        "en": "The base was trained on {skill} and still succeeded in only {successes} of {episodes} episodes: a few more demonstrations may change little.",
        "zh": "基础策略学过“{skill}”，但 {episodes} 局中只成功 {successes} 局：再加几段演示，变化可能不大。",
    },
    "skill foreign": {
        "en": "Neither the base nor its MineCLIP was trained on {skill}: its prompt may not call it, and it may be learned seldom or not at all.",
        "zh": "基础策略和它的 MineCLIP 都没有学过“{skill}”：提示词可能触发不了这项技能，微调也可能很难教会它，甚至教不会。",
    },
}

#: a place or a count, "frame {0}", "{0} frames": only a number is filled in, so no prompt "frame a picture" is taken for one
_PLACE = re.compile(r"(\{0\}, )?(tick|step|frame|prompt|epoch|row|line|episode) \{\d\}")
_COUNT = re.compile(r"\{0\} (episode|frame|game)s")
_MORE = "{0} and {1} more"
_OWN_SCRIPT = re.compile(r"(?<!\S)(bash |python )((?:\w+/)*\w+\.(?:sh|py))(?!\S)")
_LATIN, _HAN = r"[0-9A-Za-z]", r"[\u4e00-\u9fff]"
_CHINESE = Path(__file__).with_name("chinese")
_HEADINGS = _CHINESE / "headings.json"


_ENGLISH = contextvars.ContextVar("in English", default=False)


@contextlib.contextmanager
def in_english(page: object = True) -> Iterator[None]:
    """What is written inside is English where `page` is truthy: an English page of the documentation that it goes into."""
    before = _ENGLISH.set(bool(page))
    try:
        yield
    finally:
        _ENGLISH.reset(before)


def language() -> str:
    """The user's language, "en" or "zh": STEVE1_LANG, else what the locale says."""
    if _ENGLISH.get():
        return "en"
    names = ("STEVE1_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
    given = next(filter(None, map(os.environ.get, names)), "")
    return "zh" if given.lower().startswith("zh") else "en"


def message(key: str, **values: object) -> str:
    """A line of MESSAGES in the user's language, with its values filled in."""
    counts = {name: _Count(value) for name, value in values.items() if type(value) is int}
    return MESSAGES[key][language()].format(**{**values, **counts})


def translated(text: str) -> str:
    """An English text of the program in the user's language; unchanged where it is English or no translation is there."""
    return _in_chinese(text) if language() == "zh" else text


def heading(text: str) -> str:
    """A title of a column or chart, or a word of a table, in the user's language; unchanged where no translation is there.

    Only for the program's own words. They are often names as well (`task`, `weights`), which errors must not translate.
    """
    return _headings().get(text, text) if language() == "zh" else text


@functools.cache
def _headings() -> dict[str, str]:
    found: dict[str, str] = json.loads(_HEADINGS.read_text(encoding="utf-8"))
    return found


def _in_chinese(text: str) -> str:
    whole, forms = _chinese()
    if text in whole:
        return whole[text]
    for form, chinese in forms:
        if found := form.fullmatch(text):
            return _filled(chinese, found.groups())
    return text


def _filled(chinese: str, values: Sequence[str]) -> str:
    """A Chinese form with its values, these in Chinese too: a blank beside one that begins or ends in Latin, none between Chinese letters."""
    parts = re.split(r"\{(\d)\}", chinese)
    line = parts[0]
    for number, after in zip(map(int, parts[1::2]), parts[2::2]):
        value = _in_chinese(values[number])
        if value != values[number]:
            line, value = _beside(line, value)
            value, after = _beside(value, after)
        line += value + after
    return line


def _beside(before: str, after: str) -> tuple[str, str]:
    """Two texts that will be joined, with one blank between Latin and Chinese and none between Chinese letters."""
    if re.search(f"{_HAN}$", before) and re.match(f" {_HAN}", after):
        return before, after[1:]
    if re.search(f"{_HAN} $", before) and re.match(_HAN, after):
        return before[:-1], after
    apart = (re.search(f"{_HAN}$", before) and re.match(_LATIN, after)) or (
        re.search(f"{_LATIN}$", before) and re.match(_HAN, after)
    )
    return before + " " * bool(apart), after


def script_line(line: str) -> str:
    """A line of a script's help in the user's language: "  needs: …", "    VARIABLE=value   # …", or plain text."""
    found = re.fullmatch(
        r"(    \w+=.*?   # |(?P<label> *(?P<key>needs|makes|takes|usage|watch)): +| *)(?P<text>.*)", line
    )
    if language() == "en" or not found:
        return line
    start, text = found[1], _in_chinese(found["text"])
    if found["key"]:
        start = f"{found['label'].removesuffix(found['key'])}{_in_chinese(found['key'])}: "
        start = padded(start, len(found[1]))
    return start + text


@functools.cache
def _chinese() -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]]]:
    """The translations: of whole texts; and of texts with something filled in, those with the most words of their own first."""
    whole: dict[str, str] = {}
    forms: list[tuple[int, re.Pattern[str], str]] = []
    for file in sorted(set(_CHINESE.glob("*.json")) - {_HEADINGS}):
        for english, chinese in json.loads(file.read_text(encoding="utf-8")).items():
            whole[english] = chinese
            own = re.split(r"\{\d\}", english)
            if len(own) > 1:
                pattern = "(.*?)".join(map(re.escape, own))
                if _PLACE.fullmatch(english):
                    pattern = pattern.removesuffix("(.*?)") + r"([\d,.]+)"
                elif noun := _COUNT.fullmatch(english):
                    pattern = rf"([\d,.]+) {noun[1]}s?"
                elif english == _MORE:
                    pattern = r"(.+) and ([\d,]+) more"
                forms.append((-sum(map(len, own)), re.compile(pattern, re.DOTALL), chinese))
    return whole, [form[1:] for form in sorted(forms, key=lambda form: form[0])]


class _Count(int):
    """A number that a message writes with a noun: {n:step}, {n:step was|steps were}."""

    def __format__(self, noun: str) -> str:
        return plural(int(self), *noun.split("|")) if noun else f"{int(self):,}"


def plural(count: int, noun: str, many: str = "") -> str:
    """A count with its noun: "1 step", "12,000 frames", "0 processes" (many="processes")."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def wide(text: str) -> int:
    """How many columns a text takes: Chinese letters take two."""
    return len(text) + sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)


def padded(text: str, columns: int) -> str:
    """A text with blanks behind it, so that it takes that many columns."""
    return text + " " * (columns - wide(text))


def wrap(text: str, columns: int) -> list[str]:
    """The lines of a text on that many columns. A line ends at a blank or between Chinese letters; none begins with a Chinese comma or full stop."""
    lines, line = [], ""
    for piece in _pieces(text):
        if line and wide(line) + wide(piece.rstrip()) > columns:
            lines.append(line.rstrip())
            line = ""
        line += piece if line else piece.lstrip()
    return [*lines, line.rstrip()] if line.strip() else lines


def _pieces(text: str) -> Iterator[str]:
    """What a line may not break: words with the blanks behind them, and single Chinese letters with the signs beside them."""
    return iter(
        re.findall(
            r"[（“《(]*(?:[^\s\u2e80-\uffee]+|[\u2e80-\uffee])[，。；：、！？）”》…]*\s*", " ".join(text.split())
        )
    )


class _Warnings(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return translated(super().format(record))


def translate_warnings() -> None:
    """Print what this process logs in the user's language, where nobody has set up logging."""
    if logging.lastResort:
        logging.lastResort.setFormatter(_Warnings())


def say(line: str) -> None:
    """Print a line, above the progress bar where one is shown."""
    from tqdm import tqdm  # here: the scripts print messages before any package is installed

    tqdm.write(line)
    sys.stdout.flush()


def say_next(command: str) -> None:
    """Print what to run next, unless a script runs it itself (STEVE1_GOES_ON)."""
    if not os.environ.get("STEVE1_GOES_ON"):
        print(f"{message('next')}: {_from_where_it_was_typed(command)}")


def _from_where_it_was_typed(command: str) -> str:
    """A command of the checkout as it runs in the user's folder: where that is another one, its script by the whole path."""
    root = Path(__file__).resolve().parents[2]
    here = Path(os.environ.get("STEVE1_FROM") or os.getcwd()).resolve()
    if here == root or not (root / "pyproject.toml").is_file():
        return command
    return _OWN_SCRIPT.sub(lambda found: found[1] + shlex.quote(str(root / found[2])), command)


def some(names: Sequence[str], most: int = 3) -> str:
    """The first names of a list, and how many more there are; `translated` knows its form."""
    first, more = ", ".join(names[:most]), len(names) - most
    return f"{first} and {more} more" if more > 0 else first


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    initial: int = 0,
    desc: str = "",
    unit: str = "it",
    unit_scale: bool = False,
    bar_format: str | None = None,
) -> tqdm[Any]:
    """A tqdm bar on stderr; slow refresh (every 10 s) where stderr is not a terminal."""
    from tqdm import tqdm  # here: the scripts print messages before any package is installed

    terminal = sys.stderr.isatty()
    return tqdm(
        iterable,
        total=total,
        initial=initial,
        desc=desc,
        unit=heading(unit),
        unit_scale=unit_scale,
        bar_format=bar_format,
        mininterval=0.2 if terminal else 10.0,
        maxinterval=10.0,
        dynamic_ncols=terminal,
    )


if __name__ == "__main__" and sys.argv[1:] == ["--script-help"]:
    for written in sys.stdin:
        print(script_line(written.rstrip("\n")))
elif __name__ == "__main__":
    print(message(sys.argv[1], **dict(word.split("=", 1) for word in sys.argv[2:])))
