"""Checks a run's settings before anything loads: values, contradictions, missing files; all faults in one message."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

from steve1.core.checkpoint_metadata import REPLAY_SUFFIX
from steve1.core.errors import UserError
from steve1.core.messages import message, translated
from steve1.core.paths import display, download_advice, resolve
from steve1.data.loading.lists import sampling_command
from steve1.training.config import KEEPS_REPLAY, LORA_TARGETS, OLD_LORA_TARGETS, TrainSettings
from steve1.training.finetune_modes import MODES, modes_that

_AT_LEAST: dict[str, float] = {"T": 16, "lr_find_steps": 10}
_AT_LEAST |= dict.fromkeys(
    ("frames_at_once", "batch_size", "gradient_accum_steps", "total_frames", "trunc_t", "min_btwn_goals"), 1
)
_AT_LEAST |= dict.fromkeys(("save_every", "rollout_steps", "log_every", "max_skipped_steps", "lora_rank"), 1)
_AT_LEAST |= dict.fromkeys(("first_frame", "warmup_frames", "weight_decay", "max_grad_norm", "kl_coef", "l2sp_coef"), 0)
_AT_LEAST |= dict.fromkeys(("val_freq", "val_windows", "patience", "rollout_every", "num_workers", "threads"), 0)
_AT_LEAST |= dict.fromkeys(("skip_loss_above", "skip_norm_above"), 0)
_ABOVE_ZERO = ("learning_rate", "turn_loss_weight", "lora_alpha", "lr_find_from", "lr_find_to")


def check(chosen: TrainSettings) -> None:
    """Raise one UserError with every fault, missing files included."""
    found = faults(chosen) + missing_files(chosen)
    if found:
        listed = "".join(f"\n  {number}. {text}" for number, text in enumerate(map(translated, found), 1))
        raise UserError(
            message("settings wrong", count=len(found)) + listed,
            todo="change them in the script, or in front of it: LEARNING_RATE=5e-6 bash 3_train_….sh (--help lists all)",
        )


def faults(chosen: TrainSettings) -> list[str]:
    """Every value that cannot be and every contradiction, as sentences."""
    found = [
        f"{name} must be at least {low:g}, got {getattr(chosen, name)}"
        for name, low in _AT_LEAST.items()
        if getattr(chosen, name) != "auto" and not getattr(chosen, name) >= low
    ]
    found += [
        f"{name} must be a number above 0, got {getattr(chosen, name)}"
        for name in _ABOVE_ZERO
        if not (getattr(chosen, name) > 0 and math.isfinite(getattr(chosen, name)))
    ]
    for name, hint in get_type_hints(TrainSettings).items():
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        if choices and getattr(chosen, name) not in choices:
            found.append(f"{name} must be one of {', '.join(choices)}, got {getattr(chosen, name)!r}")
    # Contradictions follow from the mode, which has to exist for that.
    rules = _rules(chosen) | (_mode_rules(chosen) if chosen.finetune_mode in MODES else {})
    return found + [message for message, broken in rules.items() if broken]


def _rules(chosen: TrainSettings) -> dict[str, bool]:
    """{message: whether it applies}, whatever the mode."""
    mode = MODES.get(chosen.finetune_mode)
    endings = (".weights", ".safetensors", *([".goal.json"] if mode and not mode.changes_weights else []))
    targets = chosen.lora_target_names
    renamed = [f"; {name} is called {OLD_LORA_TARGETS[name]} now" for name in targets if name in OLD_LORA_TARGETS]
    shortest, longest = chosen.min_btwn_goals, chosen.max_btwn_goals
    warmup, total = chosen.warmup_frames, chosen.total_frames
    first_rate, last_rate = chosen.lr_find_from, chosen.lr_find_to
    named, overwrites = chosen.in_weights.strip().lower() not in ("", "none"), mode is not None and chosen.overwrite
    return {
        f"p_uncond is a share between 0 and 1, got {chosen.p_uncond}": not 0 <= chosen.p_uncond <= 1,
        f"ema_decay is a share from 0 to below 1, got {chosen.ema_decay}": not 0 <= chosen.ema_decay < 1,
        f'--log {chosen.log} needs the package {chosen.log}: .venv/bin/python -m pip install -e ".[log]"': (
            chosen.log in ("wandb", "trackio") and importlib.util.find_spec(chosen.log) is None
        ),
        f"device must be auto, cpu, cuda, cuda:N or mps, got {chosen.device!r}": (
            chosen.device not in ("auto", "cpu", "mps", "cuda") and not chosen.device.startswith("cuda:")
        ),
        f"out_weights must end in {' or '.join(endings)}, got {chosen.out_weights!r}": (
            not chosen.out_weights.endswith(endings)
        ),
        f"lora_targets are some of {','.join(LORA_TARGETS)}, got {chosen.lora_targets!r}{''.join(renamed)}": (
            not targets or not set(targets) <= set(LORA_TARGETS)
        ),
        f"min_btwn_goals must be below max_btwn_goals, got {shortest} and {longest}": shortest >= longest,
        f"trunc_t cannot be longer than T, got {chosen.trunc_t} and {chosen.T}: set TRUNC_T={chosen.T}": (
            chosen.trunc_t > chosen.T
        ),
        f"warmup_frames must be below total_frames, got {warmup} and {total}: "
        f"a tenth is usual, WARMUP_FRAMES={max(1, total // 10)}": warmup >= total,
        f"lr_find_from must be below lr_find_to, got {first_rate:g} and {last_rate:g}": (
            chosen.lr_find and first_rate >= last_rate
        ),
        "from_scratch reads no weights, but in_weights names some: set IN_WEIGHTS=none": chosen.from_scratch and named,
        "in_weights is empty: name the weights to start from, or say --from_scratch": (
            not chosen.starts_empty and not named
        ),
        "from_vpt needs VPT's weights in in_weights, and none are to be read": chosen.starts_empty and chosen.from_vpt,
        f"out_weights would replace in_weights ({chosen.in_weights}): choose another OUT_WEIGHTS": (
            named and mode is not None and resolve(chosen.in_weights) == chosen.out_path
        ),
        f"overwrite would delete in_weights ({chosen.in_weights}), which an earlier run of this name wrote: "
        "choose another OUT_WEIGHTS, or copy them to another name first": (
            overwrites and named and resolve(chosen.in_weights) != chosen.out_path and chosen.deletes(chosen.in_weights)
        ),
        f"overwrite would delete fixed_goal_file ({chosen.fixed_goal_file}), which an earlier run of this name wrote: "
        "choose another OUT_WEIGHTS, or copy it to another name first": (
            overwrites and bool(chosen.fixed_goal_file) and chosen.deletes(chosen.fixed_goal_file)
        ),
        "force_resume continues the earlier run and overwrite deletes it: choose one": (
            chosen.force_resume and chosen.overwrite
        ),
        "in_model is empty: name a .model file": not chosen.in_model,
        "fixed_prompt and fixed_goal_file both name the goal: choose one": (
            bool(chosen.fixed_prompt and chosen.fixed_goal_file)
        ),
        "best_by task+retention needs a retention list: set RETENTION_SAMPLING or REPLAY (and VAL_FREQ above 0)": (
            chosen.best_by == "task+retention" and not chosen.watches_retention
        ),
        "best_by task+retention needs a validation list of the task as well": (
            chosen.best_by == "task+retention" and chosen.val_path is None
        ),
        "RETENTION_SAMPLING is for validations, and there are none: set VAL_FREQ, or leave it out": (
            chosen.val_freq == 0 and bool(chosen.retention_sampling or chosen.retention_list)
        ),
        f"keep {chosen.keeping} needs old episodes: set REPLAY to a replay pack or the name of a sampling": (
            chosen.keep in KEEPS_REPLAY and not chosen.replay
        ),
        f"keep none leaves out old episodes, but REPLAY names some ({chosen.replay}): set KEEP=replay, KEEP=kl or KEEP=both": (
            chosen.keep == "none" and bool(chosen.replay)
        ),
        f"replay_share is a share above 0 and below 1, got {chosen.replay_share}": not 0 < chosen.replay_share < 1,
        "kl_frames replay needs old episodes: set REPLAY": chosen.kl_frames == "replay" and not chosen.replay_source,
        "a fixed goal would also be the goal of the old episodes, and they reach others: leave REPLAY or FIXED_PROMPT out": (
            bool(chosen.replay_source and (chosen.fixed_prompt or chosen.fixed_goal_file))
        ),
        "patience counts validations, and there are none: set VAL_FREQ, or PATIENCE=0": (
            chosen.patience > 0 and chosen.val_path is None
        ),
    }


def _mode_rules(chosen: TrainSettings) -> dict[str, bool]:
    """{message: whether it applies} of the fine-tuning mode."""
    name, mode = f"finetune_mode {chosen.finetune_mode}", chosen.mode
    pulls = [pull for pull in ("kl_coef", "l2sp_coef", "ema_decay") if getattr(chosen, pull) > 0]
    return {
        f"{name} keeps most weights as they are, but there are none to start from: set IN_WEIGHTS": (
            chosen.finetune_mode != "all" and chosen.starts_empty
        ),
        "kl_coef and l2sp_coef pull towards the starting weights, and there are none: set IN_WEIGHTS": (
            chosen.starts_empty and (chosen.kl_weight > 0 or chosen.l2sp_coef > 0)
        ),
        f"feature_cache needs a CNN that stays as it is, and {name} trains it: set FINETUNE_MODE to {modes_that('keep_cnn')}": chosen.feature_cache
        and mode.trains_cnn,
        f"from_vpt starts with an empty goal layer, which {name} does not train: use {modes_that('train_goal_layer')}": chosen.from_vpt
        and not mode.trains_goal_layer,
        f"{name} makes a goal, and rollouts play prompts: set ROLLOUT_EVERY=0": (
            not mode.changes_weights and chosen.rollout_every > 0
        ),
        f"{name} changes no weights, so there is nothing for {', '.join(pulls)} to do: set them to 0": (
            not mode.changes_weights and bool(pulls)
        ),
        f"{name} changes no weights, so old skills cannot be lost: leave RETENTION_SAMPLING, BEST_BY and REPLAY out": (
            not mode.changes_weights
            and (chosen.retention_path is not None or bool(chosen.replay_source) or chosen.best_by != "task")
        ),
    }


def missing_files(chosen: TrainSettings) -> list[str]:
    """Files that settings name and that are not there."""
    files = {
        "in_model": chosen.in_model,
        "in_weights": "" if chosen.starts_empty else chosen.in_weights,
        "fixed_goal_file": chosen.fixed_goal_file,
    }
    lists = (
        ("training", chosen.train_path, ""),
        ("validation", chosen.val_path, "; VAL_FREQ=0 trains without validation"),
        ("retention", chosen.retention_path, ""),
        ("replay", chosen.replay_path, ""),
    )
    return [
        f"{name} does not exist: {display(resolve(file))}"
        + (f" ({advice})" if (advice := download_advice(file)) else "")
        for name, file in files.items()
        if file and not resolve(file).is_file()
    ] + [
        _missing_list(chosen, path, kind) + hint
        for kind, path, hint in lists
        if path is not None and not path.is_file()
    ]


def _missing_list(chosen: TrainSettings, path: Path, kind: str) -> str:
    if path.name.endswith(REPLAY_SUFFIX):
        return f"the replay pack {display(path)} does not exist; python -m steve1 make_replay makes one"
    if kind == "replay" and chosen.keeping == "self":
        return (
            f"keep self needs episodes that the starting policy played itself, and {display(path)} does not exist: "
            f"SOURCE=policy WEIGHTS={chosen.in_weights} OUTPUT_DIR=data/dataset_self bash 1_generate_dataset.sh, then "
            "bash 2_create_sampling.sh self --dataset_dir data/dataset_self"
        )
    folder = resolve(chosen.sampling_dir)
    names = sorted(item.name[: -len("_train.txt")] for item in folder.glob("*_train.txt"))
    known = f"samplings there: {', '.join(names)}" if names else f"no samplings in {display(folder)} yet"
    name = {"retention": chosen.retention_sampling, "replay": chosen.replay_source}.get(kind, chosen.sampling_name)
    return f"the {kind} list {display(path)} does not exist ({known}); {sampling_command(name)} makes one"
