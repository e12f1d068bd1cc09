"""What to do next: each finding from a run whose numbers call for it, and from no healthy one."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steve1.commands.train.interpolate_weights import Args as InterpolationArgs
from steve1.core.options import CommandLine
from steve1.core.paths import ROOT
from steve1.training.config import TrainSettings
from steve1.training.logging.scalars import Curves
from steve1.training.report.advice import advise
from steve1.training.report.advising import Advice, texts
from steve1.training.report.findings import VARIABLES, Run

SETTINGS = {
    "learning_rate": 1e-5, "total_frames": 10_000, "max_grad_norm": 5.0, "num_workers": 1,
    "in_weights": "a.weights", "out_weights": "b.weights",
}  # fmt: skip
BUTTONS = {"attack": [0.4, 0.38], "drop": [0.001, 0.0]}


def curve(*values: float, every: int = 100, first: int = 0) -> list[tuple[int, float]]:
    return [(first + every * index, value) for index, value in enumerate(values)]


def healthy() -> Curves:
    """Both losses fall and level off, the goal is heard, old skills are kept."""
    return {
        "train/loss": curve(2.4, 2.2, 2.1, 2.0, 1.96, 1.95, 1.94, 1.935, 1.93, first=100),
        "validation/loss": curve(2.5, 2.2, 2.1, 2.05, 2.03, 2.025, 2.022, 2.02),
        "retention/loss": curve(2.0, 2.0, 2.01),
        "goal/true_minus_shuffled": curve(-0.05, -0.1),
        "goal/true_minus_none": curve(-0.06, -0.12),
        "goal/error_shuffled": curve(0.01, 0.01),
        "goal/error_none": curve(0.01, 0.01),
        "train/gradient_norm": curve(2.0, 2.0, 2.0, first=100),
        "train/clipped_share": curve(0.05, 0.02, 0.02, 0.01, first=100),
        "speed/data_wait_share": curve(0.02, 0.02, 0.02, first=100),
    }


def found(
    changes: dict[str, Any] | None = None,
    *,
    settings: dict[str, Any] | None = None,
    tables: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Findings by key; a change of None takes a curve away."""
    curves = {name: points for name, points in {**healthy(), **(changes or {})}.items() if points is not None}
    known = {"data": {"train_frames": 9000, "val_frames": 4000}, "actions/buttons": BUTTONS, **(tables or {})}
    run = Run(curves, {**SETTINGS, **(settings or {})}, {"out_weights": "b.weights"}, known)
    return {advice.key: advice for advice in advise(run)}


def said(advice: Advice, language: str = "en") -> str:
    text, todo = advice.said(language)
    return "\n".join([text, *todo])


def test_a_healthy_run_is_told_so() -> None:
    assert set(found()) == {"learned", "goal_heard", "kept", "play_it"}
    assert said(found()["play_it"]).endswith("--weights a.weights b.weights --target TASK")


def test_the_target_is_what_the_weights_were_trained_on(tmp_path: Path) -> None:
    for name, skills in (("a", ["explore"]), ("b", ["dig_dirt", "explore", "look at the sky"])):
        (tmp_path / f"{name}.weights.json").write_text(json.dumps({"model": "m.model", "trained_on": skills}))
    words = {name: str(tmp_path / f"{letter}.weights") for name, letter in (("in_weights", "a"), ("out_weights", "b"))}
    run = Run(healthy(), {**SETTINGS, **words}, {"out_weights": words["out_weights"]}, {})
    (play_it,) = [advice for advice in advise(run) if advice.key == "play_it"]
    assert said(play_it).endswith("--target dig_dirt 'look at the sky'")


SHAPES: dict[str, dict[str, Any]] = {
    "unstable": {"changes": {"train/skipped_steps": curve(1, 30)}},
    "skipped_few": {"changes": {"train/skipped_steps": curve(1, 3)}},
    "rate_too_high": {"changes": {"train/loss": curve(2.0, 2.1, 2.2, 2.4, 2.6, 2.7)}},
    "not_learning": {"changes": {"train/loss": curve(2.0, 2.01, 2.0, 1.99, 2.0, 1.995), "validation/loss": curve(2.0, 1.999, 1.998)}},
    "overfitting": {"changes": {"validation/loss": curve(2.5, 2.1, 2.0, 2.05, 2.1, 2.2)}},
    "worse_than_start": {"changes": {"validation/loss": curve(1.9, 2.0, 1.99, 1.99)}},
    "blind": {"changes": {"validation/loss_camera": curve(1.2, 1.0)}, "tables": {"data": {"train_frames": 9000, "val_frames": 4000, "guessed_camera_loss": 1.02}}},
    "goal_ignored": {"changes": {"goal/true_minus_shuffled": curve(-0.001), "goal/true_minus_none": curve(0.002)}},
    "too_early": {"changes": {"train/loss": curve(2.0, 3.0, 4.0, every=1), "validation/loss": curve(2.5, 2.6, every=3), "retention/loss": None, "train/gradient_norm": None, "train/clipped_share": None, "speed/data_wait_share": None, **{f"goal/{name}": None for name in ("true_minus_shuffled", "true_minus_none", "error_shuffled", "error_none")}}},
    "goals_alike": {"changes": {"goal/true_minus_shuffled": curve(-0.001)}},
    "goals_alike_replayed": {"changes": {"goal/true_minus_shuffled": curve(-0.001)}, "settings": {"replay": "old.replay.safetensors"}},
    "goal_ignored_replayed": {"changes": {"goal/true_minus_shuffled": curve(-0.001), "goal/true_minus_none": curve(0.002)}, "settings": {"replay": "old.replay.safetensors"}},
    "goal_unclear": {"changes": {"goal/error_shuffled": curve(0.3), "goal/error_none": curve(0.3)}},
    "forgetting": {"changes": {"retention/loss": curve(2.0, 2.02, 2.1)}},
    "retention_unknown": {"changes": {"retention/loss": None}},
    "no_validation": {"changes": {"validation/loss": None}},
    "clipped": {"changes": {"train/clipped_share": curve(0.1, 0.9, 1.0, 0.95)}},
    "unfinished": {"changes": {"validation/loss": curve(2.5, 2.4, 2.3, 2.2, 2.1, 2.0)}},
    "missed_actions": {"tables": {"actions/buttons": {**BUTTONS, "jump": [0.1, 0.04]}}},
    "little_data": {"tables": {"data": {"train_frames": 20, "val_frames": 4000}}},
    "waiting": {"changes": {"speed/data_wait_share": curve(0.3, 0.4, 0.5)}},
}  # fmt: skip


@pytest.mark.parametrize("key", SHAPES)
def test_each_finding_and_what_it_says(key: str) -> None:
    advice = found(**SHAPES[key])
    assert key in advice
    assert advice[key].todo
    assert any("一" <= letter <= "鿿" for letter in said(advice[key], "zh"))


def test_nothing_is_advised_that_the_run_had() -> None:
    worse = {"validation/loss": curve(2.5, 2.1, 2.0, 2.05, 2.1, 2.2)}
    fewer = "Vary the windows"
    assert fewer in said(found(worse, settings={"finetune_mode": "frozen_cnn"})["overfitting"])
    assert fewer in said(found(worse, settings={"jitter": True})["overfitting"])
    assert fewer not in said(found(worse, settings={"finetune_mode": "frozen_cnn", "jitter": True})["overfitting"])
    skipped = {"train/skipped_steps": curve(1, 30)}
    assert "bfloat16" in said(found(skipped)["unstable"])
    assert "bfloat16" not in said(found(skipped, settings={"precision": "fp32"})["unstable"])


def test_every_finding_is_among_these() -> None:
    assert set(SHAPES) | set(found()) == set(texts("steve1.training.report"))


@pytest.mark.parametrize(
    ("shape", "key", "words"),
    [
        ({"changes": {"validation/loss": curve(2.5, 2.1, 2.0, 2.05, 2.1, 2.2)}, "settings": {"batch_size": 4, "trunc_t": 5, "total_frames": 60_000}}, "overfitting", ["step 200", "2.000", "2.200", "+10.0 %", "TOTAL_FRAMES=4000 ", "b_best.weights"]),
        ({"changes": {"retention/loss": curve(2.0, 2.02, 2.1)}}, "forgetting", ["2.000", "2.100", "+5.0 %", "LEARNING_RATE=5e-06", "--kl_coef 0.1", "--base a.weights --tuned b.weights"]),
        ({"changes": {"goal/true_minus_shuffled": curve(-0.001), "goal/true_minus_none": curve(0.002)}}, "goal_ignored", ["0.001 lower than with a wrong one and 0.002 higher than with none"]),
        ({"tables": {"data": {"train_frames": 100, "val_frames": 640}}, "settings": {"batch_size": 2, "trunc_t": 5}}, "little_data", ["On average, each", "90 times", "640 frames"]),
        ({"changes": {"train/loss": curve(2.0, 2.1, 2.2, 2.4, 2.6, 2.7)}}, "rate_too_high", ["2.050", "2.650", "LEARNING_RATE=2e-06"]),
        ({"changes": {"train/clipped_share": curve(0.1, 0.9, 1.0, 0.9)}}, "clipped", ["95 %", "limit 5"]),
        ({"changes": {"validation/loss": curve(2.5, 2.1, 2.0, 2.05, 2.1, 2.2)}}, "play_it", ["b_best.weights"]),
    ],
)  # fmt: skip
def test_the_numbers_in_it(shape: dict[str, Any], key: str, words: list[str]) -> None:
    advice = found(**shape)[key]
    text = said(advice)
    assert [word for word in words if word not in text] == []


BOUNDS: dict[str, Callable[[float], dict[str, Any]]] = {
    "blind": lambda far: {
        "changes": {"validation/loss_camera": curve(1.9 * far)},
        "tables": {"data": {"val_frames": 4000, "guessed_camera_loss": 2.0}},
    },
    "overfitting": lambda far: {"changes": {"validation/loss": curve(2.5, 2.0, 2.0, 2.0 * (1 + 0.01 * far))}},
    "forgetting": lambda far: {"changes": {"retention/loss": curve(2.0, 2.0 * (1 + 0.02 * far))}},
    "clipped": lambda far: {"changes": {"train/clipped_share": curve(*[0.5 * far] * 4)}},
    "waiting": lambda far: {"changes": {"speed/data_wait_share": curve(*[0.2 * far] * 4)}},
    "missed_actions": lambda far: {"tables": {"actions/buttons": {"jump": [0.1, 0.05 / far]}}},
    "little_data": lambda far: {"settings": {"batch_size": round(30 * 9000 * far / 900)}},
}


@pytest.mark.parametrize("key", BOUNDS)
def test_just_below_a_bound_nothing_is_said(key: str) -> None:
    assert key in found(**BOUNDS[key](1.05))
    assert key not in found(**BOUNDS[key](0.95))


def test_on_few_validation_frames_a_small_rise_is_no_overfitting() -> None:
    few = {"data": {"train_frames": 9000, "val_frames": 900}}
    assert "overfitting" not in found({"validation/loss": curve(2.5, 2.0, 2.0, 2.03)}, tables=few)
    assert "overfitting" in found({"validation/loss": curve(2.5, 2.0, 2.0, 2.08)}, tables=few)


def test_a_gap_within_its_own_error_is_chance() -> None:
    noisy = {"goal/true_minus_shuffled": curve(-0.1), "goal/true_minus_none": curve(-0.1)}
    assert "goal_heard" in found(noisy)
    wide = {"goal/error_shuffled": curve(0.06), "goal/error_none": curve(0.06)}
    assert "goal_unclear" in found({**noisy, **wide})
    assert "standard error of 0.060" in found({**noisy, **wide})["goal_unclear"].en


def test_a_goal_is_ignored_only_where_it_surely_gains_next_to_nothing() -> None:
    small = {"goal/true_minus_shuffled": curve(-0.009), "goal/error_shuffled": curve(0.001)}
    ignored = found({**small, "goal/true_minus_none": curve(-0.008)})["goal_ignored"]
    assert "chance" not in ignored.en
    assert "less than half a percent of the loss" in ignored.en
    unsure = found({**small, "goal/true_minus_none": curve(-0.12), "goal/error_none": curve(0.07)})
    assert "goal_ignored" not in unsure
    assert "standard error of 0.070" in unsure["goal_unclear"].en


@pytest.mark.parametrize("pair", itertools.combinations(SHAPES, 2), ids=" and ".join)
def test_no_two_lines_contradict_each_other(pair: tuple[str, str]) -> None:
    """Whatever goes together: no rate up and down, no run longer and shorter, no line twice, no blank to fill in."""
    changes, tables, settings = ({} for _ in range(3))
    for key in pair:
        changes |= SHAPES[key].get("changes", {})
        tables |= SHAPES[key].get("tables", {})
        settings |= SHAPES[key].get("settings", {})
    advice = found(changes, tables=tables, settings=settings)
    turns = {todo.turn for each in advice.values() for todo in each.todo}
    assert not {"rate up", "rate down"} <= turns
    assert not {"longer", "shorter"} <= turns
    lines = [todo.en for each in advice.values() for todo in each.todo]
    assert len(lines) == len(set(lines))
    for tool in ("validate_dataset.py", "inspect_dataset.py"):
        assert all(f"python tools/{tool} data/" in line for line in lines if tool in line)


FEW = [(1, 0, True), (49, 0, True), (50, 0, False), (900, 0, False), (900, 200_000, True)]


@pytest.mark.parametrize(("steps", "warmup", "early"), FEW)
def test_a_run_of_few_steps_is_not_judged_by_its_curves(steps: int, warmup: int, early: bool) -> None:
    rising = dict.fromkeys(healthy())
    rising |= {"train/loss": [(max(1, steps * part // 9), 2.0 + part) for part in range(1, 10)]}
    keys = found(rising, settings={"warmup_frames": warmup, "batch_size": 8, "trunc_t": 16})
    assert ("too_early" in keys) is early
    assert ("rate_too_high" in keys) is not early
    assert not {"clipped", "unfinished", "missed_actions", "forgetting"} & set(keys)


def test_a_run_without_weights_yet_is_not_played(tmp_path: Path) -> None:
    settings = {**SETTINGS, "checkpoint_dir": str(tmp_path)}
    run = Run(healthy(), settings, {}, {})
    assert "play_it" not in {advice.key for advice in advise(run)}
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "b_latest.weights").touch()
    assert str(tmp_path / "b" / "b_latest.weights") in said({a.key: a for a in advise(run)}["play_it"])


def test_what_was_recorded_names_prompt_and_target() -> None:
    tables = {"data": {"behaviours": ["dig_dirt"], "prompt": "dig dirt"}}
    lines = said(found(tables=tables)["play_it"])
    assert "--prompt 'dig dirt'" in lines
    assert "--target dig_dirt" in lines


WEIGHTS = {"x/b.weights": "x/b_best.weights", "b.v2.safetensors": "b.v2_best.safetensors", "x/b.goal.json": "x/b_best.goal.json"}  # fmt: skip


@pytest.mark.parametrize("final", WEIGHTS)
def test_the_best_weights_are_named_as_training_names_them(final: str) -> None:
    settings = TrainSettings(out_weights=final, finetune_mode="goal" if final.endswith("json") else "all")
    assert settings.beside("best").name == Path(WEIGHTS[final]).name
    rising = {**healthy(), "validation/loss": curve(2.5, 2.1, 2.0, 2.2)}
    run = Run(rising, SETTINGS, {"out_weights": final}, {})
    assert run.weights == WEIGHTS[final]
    play = said({advice.key: advice for advice in advise(run)}["play_it"])
    goal_file = f"python run_agent/run_agent.py --goal_file {run.weights}\n"
    assert (goal_file if final.endswith("json") else f" --weights {run.weights} --prompt ") in play


def test_the_best_weights_are_those_that_training_kept() -> None:
    """best_by task+retention can choose another step than that of the lowest validation loss."""
    curves = {**healthy(), "validation/loss": curve(2.5, 2.1, 2.0, 1.9)}
    run = Run(curves, SETTINGS, {"out_weights": "b.weights", "best_step": 100, "best_sha256": "ab"}, {})
    by_key = {advice.key: advice for advice in advise(run)}
    assert run.weights == "b_best.weights"
    assert "2.100 at best (step 100): -16.0 %" in said(by_key["learned"])
    last = Run(curves, SETTINGS, {"out_weights": "b.weights", "best_step": 300, "best_sha256": "ab"}, {})
    assert last.weights == "b.weights"


def test_a_command_repeats_the_run_with_what_changes() -> None:
    settings = {
        "in_model": "my models/a.model", "out_weights": "x/b.weights", "T": 64, "jitter": True, "keep_checkpoints": False,
        "overwrite": True, "total_frames": 5000, "warmup_frames": 100, "kl_coef": 0.1, "learning_rate": 1e-5,
    }  # fmt: skip
    run = Run({}, settings, {}, {})
    line = run.command(learning_rate=5e-6, total_frames=50)
    variables, _, flags = line.partition(" bash 3_train_finetune_template.sh ")
    assert dict(word.split("=") for word in shlex.split(variables)) == {
        "LEARNING_RATE": "5e-06", "TOTAL_FRAMES": "50", "IN_MODEL": "my models/a.model", "OUT_WEIGHTS": "x/b_2.weights", "T": "64", "WARMUP_FRAMES": "5",
    }  # fmt: skip
    assert flags == "--no_keep_checkpoints --kl_coef 0.1 --jitter" or set(flags.split()) == {
        "--no_keep_checkpoints",
        "--kl_coef",
        "0.1",
        "--jitter",
    }
    assert "OUT_WEIGHTS=x/b.weights" in run.command(same=True)
    assert "OUT_WEIGHTS=x/b_3.weights" in Run({}, {"out_weights": "x/b_2.weights"}, {}, {}).command()


def test_a_command_of_a_run_on_several_gpus_starts_as_many_processes() -> None:
    """Without them the same line would be refused as other settings, and another line train with a smaller batch."""
    run = Run({}, {"out_weights": "b.weights", "batch_size": 2, "trunc_t": 64, "T": 160}, {"step": 4}, {}, {"resolved": {"processes": 8}})  # fmt: skip
    assert run.command(same=True).startswith("PROCESSES=8 ")
    assert run.command(learning_rate=5e-6).startswith("PROCESSES=8 LEARNING_RATE=5e-06 ")
    assert "PROCESSES" not in run.command(lr_find=True), "which runs in one process"
    assert run.frames == 8 * 2 * (160 + 64)
    assert "PROCESSES" not in Run({}, {"out_weights": "b.weights"}, {}, {}).command()


def test_the_template_has_these_variables_and_the_settings_defaults() -> None:
    template = (ROOT / "3_train_finetune_template.sh").read_text()
    defaults = dict(re.findall(r'^([A-Z_]+)="\$\{\1:-(.*?)\}"', template, re.MULTILINE))
    assert set(VARIABLES) == set(defaults) - {"PRESET", "PROCESSES"}
    for variable in VARIABLES:
        default = getattr(TrainSettings(), variable if variable == "T" else variable.lower())
        assert type(default)(defaults[variable]) == default


def test_pressing_ones_come_first() -> None:
    levels = [advice.level for advice in found({"retention/loss": curve(2.0, 3.0), "validation/loss": None}).values()]
    assert levels == sorted(levels, key=["act", "note", "good"].index)
    assert levels[0] == "act"


def test_staying_near_the_start_raises_the_coefficient_that_was_in_force() -> None:
    """KEEP=kl and both stand for 1 where no coefficient is given."""
    forgot = {"retention/loss": curve(2.0, 2.02, 2.1)}
    kept: list[tuple[dict[str, Any], str]] = [
        ({}, "0.1"),
        ({"kl_coef": 0.1}, "0.2"),
        ({"keep": "kl"}, "2"),
        ({"keep": "both"}, "2"),
        ({"keep": "both", "kl_coef": 0.4}, "0.8"),
        ({"keep": "replay", "replay": "old"}, "0.1"),
        ({"replay": "old"}, "0.1"),
        ({"replay": "old.replay.safetensors"}, "2"),  # with a pack, auto is kl
    ]
    for settings, coefficient in kept:
        near = found(forgot, settings=settings)["forgetting"].todo[1].en
        assert re.search(r"--kl_coef (\S+)", near)[1] == coefficient  # type: ignore[index]


def test_more_old_episodes_are_a_larger_share_of_those_that_are_replayed() -> None:
    forgot = {"retention/loss": curve(2.0, 2.02, 2.1)}
    mixed = found(forgot)["forgetting"].todo[0].en
    assert (
        "2_create_sampling.sh mixed --mix data/dataset_finetune=0.7 FOLDER_OF_OLD_EPISODES=0.3 && SAMPLING_NAME=mixed"
        in mixed
    )
    mixed = found(forgot, settings={"replay": "a.replay.safetensors", "replay_share": 0.7})["forgetting"].todo[0].en
    assert "REPLAY_SHARE=0.85" in mixed
    assert "FOLDER_OF_OLD_EPISODES" not in mixed
    itself = {"keep": "self"}  # of the sampling "self", which nobody needs to name
    assert "REPLAY_SHARE=0.75" in found(forgot, settings=itself)["forgetting"].todo[0].en
    assert "goals_alike_replayed" in found({"goal/true_minus_shuffled": curve(-0.001)}, settings=itself)


def test_new_lists_are_written_where_the_run_looks_for_them() -> None:
    forgot, elsewhere = {"retention/loss": curve(2.0, 2.02, 2.1)}, {"sampling_dir": "my lists", "train_list": "a.txt"}
    mixed = found(forgot, settings=elsewhere)["forgetting"].todo[0].en
    assert "FOLDER_OF_OLD_EPISODES=0.3 --samplings_dir 'my lists' && SAMPLING_NAME=mixed" in mixed
    assert "--sampling_dir 'my lists'" in mixed
    assert "a.txt" not in mixed
    old = said(found({"retention/loss": None}, settings=elsewhere)["retention_unknown"])
    assert "FOLDER_OF_OLD_EPISODES --samplings_dir 'my lists', then RETENTION_SAMPLING=old" in old
    between = said(found(forgot, settings={**elsewhere, "retention_sampling": "old"})["forgetting"])
    assert "--retention_sampling old --sampling_dir 'my lists'" in between


def test_interpolation_measures_the_windows_of_the_run() -> None:
    """Episodes of 300 frames hold no window of the command's own 320."""
    forgot, lists = {"retention/loss": curve(2.0, 2.02, 2.1)}, {"sampling_name": "new", "retention_sampling": "old"}
    between = found(forgot, settings={**lists, "T": 64, "trunc_t": 16, "max_btwn_goals": 60})["forgetting"].todo[2].en
    words = shlex.split(between.partition(": ")[2])
    assert words[:2] == ["python", "tools/interpolate_weights.py"]
    asked = CommandLine(InterpolationArgs, "").parse(words[2:])
    assert asked is not None
    assert (asked.T, asked.trunc_t, asked.max_btwn_goals, asked.batch_size) == (64, 16, 60, 8)
    assert found(forgot, settings=lists)["forgetting"].todo[2].en.endswith("--retention_sampling old")


def test_a_rise_that_came_back_before_is_no_overfitting() -> None:
    """The validation of a single episode jumps."""
    assert "overfitting" not in found({"validation/loss": curve(2.5, 2.1, 2.5, 2.0, 2.2)})
    assert "overfitting" in found({"validation/loss": curve(2.5, 2.1, 2.2, 2.0, 2.2)})


def test_when_training_gets_worse_too_it_is_no_overfitting() -> None:
    worse = {
        "validation/loss": curve(2.5, 2.1, 2.0, 2.05, 2.1, 2.2),
        "train/loss": curve(2.4, 2.0, 2.0, 2.3, 2.5, 2.6, first=100),
    }
    assert "overfitting" not in found(worse)
    assert "rate_too_high" in found(worse)
