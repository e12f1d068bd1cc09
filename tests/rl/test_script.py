"""3_train_finetune_rl.sh: its defaults are the settings' own, and each of its variables reaches them; what its two short forms decide."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from steve1.core.options import CommandLine
from steve1.core.paths import ROOT
from steve1.rl.settings import RlSettings

SCRIPT = "3_train_finetune_rl.sh"
# Other values than the defaults; LAMBDA and RAY are called otherwise in Python.
VALUES = {
    "IN_WEIGHTS": "a.weights", "OUT_WEIGHTS": "b.weights", "REWARD": "dig_dirt", "PROMPT": "dig a hole", "METHOD": "group", "GROUP_FORM": "episode", "FINETUNE_MODE": "lora",
    "ITERATIONS": "3", "PLACES": "5", "GROUP": "6", "STEPS": "77", "WORKERS": "4", "RAY": "1", "LEARNING_RATE": "0.001", "EPOCHS": "7", "MINIBATCHES": "2",
    "CLIP": "0.1", "CLIP_HIGH": "0.28", "GAMMA": "0.9", "LAMBDA": "0.8", "VALUE": "none", "TARGET_KL": "0.5", "MAX_GRAD_NORM": "3.5", "SEED": "8", "CHECKPOINT_DIR": "runs", "KL_COEF": "0.3", "KL_DECAY": "0.7",
    "KEEP_PROMPTS": "explore;swim", "KEEP_EPISODES": "9", "KEEP_COEF": "0.4", "KEEP": "kl", "REPLAY": "old",
}  # fmt: skip
NAMES = {"LAMBDA": "lam"}


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Stands for Python: writes down what it is called with."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$ASKED"\n')
    fake.chmod(0o755)
    return fake


def asked(python: Path, script: str = SCRIPT, **variables: str) -> RlSettings:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    environment = {**kept, "PYTHON": str(python), "ASKED": str(python.with_name("asked")), **variables}
    done = subprocess.run(["bash", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = python.with_name("asked").read_text().split("\n")[:-1]
    assert words[:3] == ["-m", "steve1", "train_rl"]
    chosen = CommandLine(RlSettings, SCRIPT).parse(words[3:])
    assert chosen is not None
    return chosen


def test_its_defaults_are_those_of_the_settings(python: Path) -> None:
    assert asked(python) == RlSettings()
    RlSettings().check()


def test_every_variable_reaches_the_settings(python: Path) -> None:
    named = set(re.findall(r'^([A-Z_]+)="\$\{', (ROOT / SCRIPT).read_text(), re.MULTILINE))
    assert named == set(VALUES)
    found = asked(python, **VALUES)
    for name, value in VALUES.items():
        got = getattr(found, NAMES.get(name, name.lower()))
        assert got == (name == "RAY" or type(got)(value)), name


def test_a_variable_of_fine_tuning_that_it_does_not_have_is_refused() -> None:
    environment = {**os.environ, "REPLAY_SHARE": "0.5", "STEVE1_LANG": "en"}
    done = subprocess.run(["bash", SCRIPT, "--dry_run"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Reinforcement learning has no REPLAY_SHARE" in done.stderr


def test_the_short_forms_choose_method_and_mode_and_leave_the_rest(python: Path) -> None:
    cloned = asked(python, "3_train_finetune_self_imitation.sh", ITERATIONS="3")
    out = "data/weights/steve1/mini_sky_self_imitation.weights"
    assert cloned == RlSettings(method="clone", out_weights=out, iterations=3)
    preferred = asked(python, "3_train_finetune_goal_preference.sh", REWARD="dig_dirt")
    out = "data/weights/steve1/mini_sky_preference.goal.json"
    expected = RlSettings(
        method="preference", finetune_mode="goal", learning_rate=1e-2, out_weights=out, reward="dig_dirt"
    )
    assert preferred == expected
    cloned.check()
    preferred.check()
