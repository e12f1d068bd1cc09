"""Every strategy script: what it asks for, and a run of it in smoke size."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research.memory_table import LENGTHS, first_plan
from steve1.core.checkpoint_metadata import read_goal
from steve1.core.options import CommandLine
from steve1.core.paths import ROOT
from steve1.data.loading.windows import window_starts
from steve1.training.checks import faults
from steve1.training.config import TrainSettings
from steve1.training.train import finetune
from tests.training.conftest import E

# Reinforcement learning and the inverse dynamics model have settings of their own: tests/rl/test_script.py, tests/idm/test_training.py.
ELSEWHERE = {
    f"3_train_{name}.sh" for name in ("finetune_rl", "finetune_self_imitation", "finetune_goal_preference", "idm")
}
SCRIPTS = sorted({path.name for path in ROOT.glob("3_train*.sh")} - ELSEWHERE)
# What each script decides; everything else is the template's.
DECIDES: dict[str, dict[str, Any]] = {
    "3_train_finetune_template.sh": {"sampling_name": "finetune_task", "learning_rate": 1e-5, "batch_size": 8, "T": 320, "finetune_mode": "all"},
    "3_train_finetune_mixed.sh": {"sampling_name": "mixed", "learning_rate": 5e-6, "total_frames": 20_000_000},
    "3_train_finetune_multi_task.sh": {"sampling_name": "multi_task"},
    "3_train_finetune_general_building.sh": {"sampling_name": "general_building"},
    "3_train_finetune_redstone.sh": {"sampling_name": "redstone", "out_weights": "data/weights/steve1/steve1_redstone.weights"},
    "3_train_finetune_specific_house.sh": {"sampling_name": "specific_house", "in_weights": "data/weights/steve1/steve1_general_building.weights"},
    "3_train_finetune_fixed_prompt.sh": {"fixed_prompt": "build a wooden house", "fixed_prompt_by": "prior"},
    "3_train_finetune_goal.sh": {"finetune_mode": "goal", "learning_rate": 1e-2, "total_frames": 1_000_000},
    "3_train_finetune_lora.sh": {"finetune_mode": "lora", "lora_rank": 16, "learning_rate": 1e-4},
    "3_train.sh": {
        "from_vpt": True, "learning_rate": 4e-5, "T": 640, "batch_size": 12, "total_frames": 100_000_000, "warmup_frames": 10_000_000,
        "max_btwn_goals": 200, "weight_decay": 0.039428, "in_weights": "data/weights/vpt/rl-from-foundation-2x.weights",
    },
}  # fmt: skip


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., TrainSettings]:
    """The settings that a script would train with, given variables in front of it and flags behind it."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$ASKED"\n')
    fake.chmod(0o755)

    def run(script: str, *flags: str, **variables: str) -> TrainSettings:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        environment = {**kept, "PYTHON": str(fake), "ASKED": str(tmp_path / "asked"), **variables}
        done = subprocess.run(["bash", script, *flags], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        words = (tmp_path / "asked").read_text().split("\n")[:-1]
        assert words[:3] == ["-m", "steve1", "train"]
        chosen = CommandLine(TrainSettings, script).parse(words[3:])
        assert chosen is not None
        return chosen

    return run


def test_every_script_is_known_here() -> None:
    assert set(DECIDES) == set(SCRIPTS)


@pytest.mark.e2e
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_trains_in_smoke_size(
    asked: Callable[..., TrainSettings], tiny: Path, tmp_path: Path, script: str
) -> None:
    """Its own values first; then, through its variables alone, a real run on tiny weights."""
    plain = asked(script)
    assert {name: getattr(plain, name) for name in DECIDES[script]} == DECIDES[script]
    assert not faults(plain)
    out = tmp_path / ("tuned.goal.json" if "goal" in script else "tuned.weights")
    small = asked(
        script, "--sampling_dir", str(tiny / "samplings"), "--device", "cpu", "--threads", "1", "--precision", "fp32", "--no_keep_checkpoints",
        IN_MODEL=str(tiny / "tiny.model"), IN_WEIGHTS=str(tiny / "tiny.weights"), OUT_WEIGHTS=str(out), SAMPLING_NAME="tiny", BATCH_SIZE="1",
        T="16", TRUNC_T="8", TOTAL_FRAMES="16", WARMUP_FRAMES="8", MAX_BTWN_GOALS="30", VAL_FREQ="0", SAVE_EVERY="2", NUM_WORKERS="0", LORA_RANK="2",
        CHECKPOINT_DIR=str(tmp_path / "checkpoints"),
    )  # fmt: skip
    result = finetune(small, goal=np.ones(E, np.float32) if small.fixed_prompt else None)
    assert result.out_weights == out
    assert out.is_file()
    assert result.steps == 2


@pytest.mark.parametrize("script", ["3_train_finetune_template.sh", "3_train_finetune_lora.sh", "3_train.sh"])
def test_a_variable_under_its_earlier_name_stops_the_script(script: str) -> None:
    done = subprocess.run(
        ["bash", script], cwd=ROOT, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "PYTHON": "/bin/false", "TRAIN_PARTS": "lora"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "TRAIN_PARTS is called FINETUNE_MODE now" in done.stderr
    assert "FINETUNE_MODE=lora" in done.stderr


def test_presets_give_values_that_variables_win_over(asked: Callable[..., TrainSettings]) -> None:
    template = "3_train_finetune_template.sh"
    for size, length in LENGTHS.items():
        found, plan = asked(template, PRESET=f"{size}gb"), first_plan(size)
        assert (found.batch_size, found.gradient_accum_steps) == (plan.batch_size, plan.gradient_accum_steps)
        assert (found.T, found.trunc_t) == (length, plan.trunc_t)
        assert found.activation_checkpointing == plan.method.activation_checkpointing
        assert not faults(found)
    assert asked(template, PRESET="8gb", BATCH_SIZE="3").batch_size == 3
    pretraining = asked("3_train.sh", PRESET="12gb")
    assert (pretraining.batch_size, pretraining.T, pretraining.total_frames) == (
        first_plan(12).batch_size,
        128,
        100_000_000,
    )
    done = subprocess.run(
        ["bash", template], cwd=ROOT, env={**os.environ, "PRESET": "6gb"}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "PRESET=6gb is not known" in done.stderr


def test_variables_for_old_skills_reach_training(asked: Callable[..., TrainSettings]) -> None:
    found = asked(
        "3_train_finetune_mixed.sh",
        "--kl_coef",
        "0.1",
        RETENTION_SAMPLING="mini",
        BEST_BY="task+retention",
        PATIENCE="3",
        FINETUNE_MODE="frozen_cnn",
    )
    assert (found.retention_sampling, found.best_by, found.patience, found.finetune_mode, found.kl_coef) == (
        "mini",
        "task+retention",
        3,
        "frozen_cnn",
        0.1,
    )
    assert found.retention_path == ROOT / "data/samplings/mini_val.txt"


@pytest.mark.e2e
def test_goal_tuning_from_the_script_to_the_file(tiny: Path, tmp_path: Path) -> None:
    """One script as a person runs it, with the real interpreter."""
    variables = {
        "IN_MODEL": str(tiny / "tiny.model"), "IN_WEIGHTS": str(tiny / "tiny.weights"), "OUT_WEIGHTS": str(tmp_path / "g.goal.json"),
        "SAMPLING_NAME": "tiny", "BATCH_SIZE": "1", "T": "16", "TRUNC_T": "8", "TOTAL_FRAMES": "16", "WARMUP_FRAMES": "8", "MAX_BTWN_GOALS": "30",
        "VAL_FREQ": "0", "NUM_WORKERS": "0", "CHECKPOINT_DIR": str(tmp_path / "checkpoints"), "PYTHON": sys.executable,
    }  # fmt: skip
    flags = ["--sampling_dir", str(tiny / "samplings"), "--device", "cpu", "--threads", "1"]
    done = subprocess.run(
        ["bash", "3_train_finetune_goal.sh", *flags],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"trains one goal vector and no weights: {E} of" in done.stdout
    assert "run_agent.py --goal_file" in done.stdout
    assert read_goal(tmp_path / "g.goal.json").goal.shape == (E,)


@pytest.mark.parametrize("script", [name for name in DECIDES if name != "3_train.sh"])
def test_recordings_of_the_default_length_hold_a_window_of_the_default_length(
    asked: Callable[..., TrainSettings], script: str
) -> None:
    from steve1.commands.data import generate_dataset, record

    steps = int(re.search(r'STEPS="\$\{STEPS:-(\d+)\}"', (ROOT / "1_generate_dataset.sh").read_text())[1])  # type: ignore[index]
    assert steps == generate_dataset.Args.steps == record.Args.steps
    chosen = asked(script)
    assert window_starts(steps, chosen.T, chosen.first_frame)
