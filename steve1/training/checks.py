"""Finds what settings cannot be: values out of range, choices that contradict one another, missing files.

Every fault is found before anything loads, and all come in one message.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

from steve1.core.errors import UserError
from steve1.core.paths import display, resolve
from steve1.training.config import LORA_TARGETS, OLD_LORA_TARGETS, TrainSettings
from steve1.training.finetune_modes import MODES, modes_that

_AT_LEAST: dict[str, float] = {"T": 16, "lr_find_steps": 10}
_AT_LEAST |= dict.fromkeys(("batch_size", "gradient_accum_steps", "total_frames", "trunc_t", "min_btwn_goals"), 1)
_AT_LEAST |= dict.fromkeys(("save_every", "rollout_steps", "log_every", "max_skipped_steps", "lora_rank"), 1)
_AT_LEAST |= dict.fromkeys(("first_frame", "warmup_frames", "weight_decay", "max_grad_norm", "kl_coef", "l2sp_coef"), 0)
_AT_LEAST |= dict.fromkeys(("val_freq", "val_windows", "patience", "rollout_every", "num_workers", "threads"), 0)
_AT_LEAST |= dict.fromkeys(("skip_loss_above", "skip_norm_above"), 0)
_ABOVE_ZERO = ("learning_rate", "turn_loss_weight", "lora_alpha", "lr_find_from", "lr_find_to")


def check(chosen: TrainSettings) -> None:
    """Raise one UserError with every fault, missing files included; nothing is loaded for it."""
    found = faults(chosen) + missing_files(chosen)
    if found:
        listed = "".join(f"\n  {number}. {text}" for number, text in enumerate(found, 1))
        raise UserError(
            f"{len(found)} training setting(s) cannot work:{listed}",
            todo="change them in the script, or in front of it: LEARNING_RATE=5e-6 bash 3_train_….sh (--help lists all)",
        )


def faults(chosen: TrainSettings) -> list[str]:
    """Every value that cannot be and every contradiction, as sentences."""
    found = _values(chosen)
    # Contradictions are worked out from the mode, which has to exist for that.
    return [*found, *_lengths(chosen), *_weights(chosen), *(_modes(chosen) if chosen.finetune_mode in MODES else [])]


def _values(chosen: TrainSettings) -> list[str]:
    found = [
        f"{name} must be at least {low:g}, got {getattr(chosen, name)}"
        for name, low in _AT_LEAST.items()
        if not getattr(chosen, name) >= low
    ]
    found += [
        f"{name} must be a number above 0, got {getattr(chosen, name)}"
        for name in _ABOVE_ZERO
        if not (getattr(chosen, name) > 0 and math.isfinite(getattr(chosen, name)))
    ]
    if not 0 <= chosen.p_uncond <= 1:
        found.append(f"p_uncond is a share between 0 and 1, got {chosen.p_uncond}")
    if not 0 <= chosen.ema_decay < 1:
        found.append(f"ema_decay is a share from 0 to below 1, got {chosen.ema_decay}")
    for name, hint in get_type_hints(TrainSettings).items():
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        if choices and getattr(chosen, name) not in choices:
            found.append(f"{name} must be one of {', '.join(choices)}, got {getattr(chosen, name)!r}")
    if chosen.device not in ("auto", "cpu", "mps", "cuda") and not chosen.device.startswith("cuda:"):
        found.append(f"device must be auto, cpu, cuda, cuda:N or mps, got {chosen.device!r}")
    mode = MODES.get(chosen.finetune_mode)
    endings = (".weights", ".safetensors", *([".goal.json"] if mode and not mode.changes_weights else []))
    if not chosen.out_weights.endswith(endings):
        found.append(f"out_weights must end in {' or '.join(endings)}, got {chosen.out_weights!r}")
    targets = chosen.lora_target_names
    if not targets or not set(targets) <= set(LORA_TARGETS):
        renamed = [f"; {name} is called {OLD_LORA_TARGETS[name]} now" for name in targets if name in OLD_LORA_TARGETS]
        found.append(
            f"lora_targets are some of {','.join(LORA_TARGETS)}, got {chosen.lora_targets!r}{''.join(renamed)}"
        )
    return found


def _lengths(chosen: TrainSettings) -> list[str]:
    found = []
    if chosen.min_btwn_goals >= chosen.max_btwn_goals:
        found.append(
            f"min_btwn_goals must be below max_btwn_goals, got {chosen.min_btwn_goals} and {chosen.max_btwn_goals}"
        )
    if chosen.trunc_t > chosen.T:
        found.append(f"trunc_t cannot be longer than T, got {chosen.trunc_t} and {chosen.T}: set TRUNC_T={chosen.T}")
    if chosen.warmup_frames >= chosen.total_frames:
        found.append(
            f"warmup_frames must be below total_frames, got {chosen.warmup_frames} and {chosen.total_frames}: "
            f"a tenth is usual, WARMUP_FRAMES={max(1, chosen.total_frames // 10)}"
        )
    if chosen.lr_find and chosen.lr_find_from >= chosen.lr_find_to:
        found.append(f"lr_find_from must be below lr_find_to, got {chosen.lr_find_from:g} and {chosen.lr_find_to:g}")
    return found


def _weights(chosen: TrainSettings) -> list[str]:
    found = []
    given = chosen.in_weights.strip().lower() not in ("", "none")
    if chosen.from_scratch and given:
        found.append("from_scratch reads no weights, but in_weights names some: set IN_WEIGHTS=none")
    if not chosen.starts_empty and not given:
        found.append("in_weights is empty: name the weights to start from, or say --from_scratch")
    if chosen.starts_empty and chosen.from_vpt:
        found.append("from_vpt needs VPT's weights in in_weights, and none are to be read")
    if given and resolve(chosen.in_weights) == chosen.out_path:
        found.append(f"out_weights would replace in_weights ({chosen.in_weights}): choose another OUT_WEIGHTS")
    if chosen.force_resume and chosen.overwrite:
        found.append("force_resume goes on with the earlier run and overwrite deletes it: choose one")
    if not chosen.in_model:
        found.append("in_model is empty: name a .model file")
    return found


def _modes(chosen: TrainSettings) -> list[str]:
    name, mode = chosen.finetune_mode, chosen.mode
    pulls = [name for name in ("kl_coef", "l2sp_coef", "ema_decay") if getattr(chosen, name) > 0]
    found = []
    if name != "all" and chosen.starts_empty:
        found.append(
            f"finetune_mode {name} keeps most weights as they are, but there are none to start from: set IN_WEIGHTS"
        )
    if chosen.starts_empty and {"kl_coef", "l2sp_coef"} & set(pulls):
        found.append("kl_coef and l2sp_coef pull towards the starting weights, and there are none: set IN_WEIGHTS")
    if chosen.feature_cache and mode.trains_cnn:
        found.append(
            f"feature_cache needs a CNN that stays as it is, and finetune_mode {name} trains it: set FINETUNE_MODE to "
            + modes_that("keep_cnn")
        )
    if chosen.activation_checkpointing and not mode.trains_cnn:
        found.append(
            f"activation_checkpointing saves nothing with finetune_mode {name}: a CNN that is not trained keeps nothing between"
        )
    if chosen.from_vpt and not mode.trains_goal_layer:
        found.append(
            f"from_vpt starts with an empty goal layer, which finetune_mode {name} does not train: use "
            + modes_that("train_goal_layer")
        )
    if not mode.changes_weights and pulls:
        found.append(
            f"finetune_mode {name} changes no weights, so there is nothing for {', '.join(pulls)} to do: set them to 0"
        )
    if not mode.changes_weights and (chosen.retention_path is not None or chosen.best_by != "task"):
        found.append(
            f"finetune_mode {name} changes no weights, so old skills cannot be lost: leave RETENTION_SAMPLING and BEST_BY out"
        )
    if chosen.fixed_prompt and chosen.fixed_goal_file:
        found.append("fixed_prompt and fixed_goal_file both name the goal: choose one")
    if chosen.best_by == "task+retention" and chosen.retention_path is None:
        found.append("best_by task+retention needs a retention list: set RETENTION_SAMPLING (and VAL_FREQ above 0)")
    if chosen.best_by == "task+retention" and chosen.val_path is None:
        found.append("best_by task+retention needs a validation list of the task as well")
    if chosen.patience and chosen.val_path is None:
        found.append("patience counts validations, and there are none: set VAL_FREQ, or PATIENCE=0")
    return found


def missing_files(chosen: TrainSettings) -> list[str]:
    """Files that settings name and that are not there."""
    found = []
    fetch = "(bash 0_download_weights.sh)"
    if chosen.in_model and not resolve(chosen.in_model).is_file():
        found.append(f"in_model does not exist: {display(resolve(chosen.in_model))} {fetch}")
    if not chosen.starts_empty and chosen.in_weights and not resolve(chosen.in_weights).is_file():
        found.append(f"in_weights does not exist: {display(resolve(chosen.in_weights))} {fetch}")
    if chosen.fixed_goal_file and not resolve(chosen.fixed_goal_file).is_file():
        found.append(f"fixed_goal_file does not exist: {display(resolve(chosen.fixed_goal_file))}")
    if not chosen.train_path.is_file():
        found.append(no_list(chosen, chosen.train_path, "training"))
    if chosen.val_path is not None and not chosen.val_path.is_file():
        found.append(no_list(chosen, chosen.val_path, "validation") + "; VAL_FREQ=0 trains without validation")
    if chosen.retention_path is not None and not chosen.retention_path.is_file():
        found.append(no_list(chosen, chosen.retention_path, "retention"))
    return found


def no_list(chosen: TrainSettings, path: Path, kind: str) -> str:
    """What to say of a sampling list that is missing."""
    folder = resolve(chosen.sampling_dir)
    names = sorted(item.name[: -len("_train.txt")] for item in folder.glob("*_train.txt"))
    known = f"samplings there: {', '.join(names)}" if names else f"no samplings in {display(folder)} yet"
    name = chosen.retention_sampling if kind == "retention" else chosen.sampling_name
    make = f" {name}"
    if name == "finetune_task":
        make = ""
    elif name.startswith("finetune_"):
        make += f" --dataset_dir data/dataset_{name.removeprefix('finetune_')}"
    return f"the {kind} list {display(path)} does not exist ({known}); bash 2_create_sampling.sh{make} makes one"
