"""Settings: every fault at once, before anything loads; the schedule's numbers; what counts as another run."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from steve1.commands.cli import run
from steve1.commands.train import train
from steve1.core.checkpoint_metadata import GoalFile, write_goal
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.rl.settings import RlSettings
from steve1.training.checks import check, faults
from steve1.training.config import RESUME_IGNORED, TrainSettings
from tests.training.conftest import E, write_lists

Make = Callable[..., TrainSettings]


def test_defaults_are_the_guides_fine_tuning_values() -> None:
    chosen = TrainSettings()
    assert (chosen.batch_size, chosen.learning_rate, chosen.total_frames, chosen.T, chosen.trunc_t) == (
        8,
        1e-5,
        10_000_000,
        320,
        64,
    )
    assert (chosen.min_btwn_goals, chosen.max_btwn_goals, chosen.p_uncond, chosen.weight_decay) == (15, 100, 0.1, 0.039)
    assert (chosen.warmup_frames, chosen.gradient_accum_steps, chosen.max_grad_norm) == (1_000_000, 1, 5.0)
    assert not faults(chosen)


@pytest.mark.parametrize(
    ("replay", "keeping"), [("", "none"), ("old", "replay"), ("data/old.replay.safetensors", "kl")]
)
def test_a_pack_keeps_by_kl_unless_something_else_is_asked_for(replay: str, keeping: str) -> None:
    assert TrainSettings(replay=replay).keeping == keeping
    assert TrainSettings(replay=replay).kl_weight == (keeping == "kl")
    assert RlSettings(replay=replay).keeping == ("self" if keeping == "none" else keeping)
    assert TrainSettings(replay="data/old.replay.safetensors", keep="replay").keeping == "replay"


def test_all_faults_come_in_one_message(settings: Make) -> None:
    broken = settings(
        batch_size=0, T=8, trunc_t=64, min_btwn_goals=100, max_btwn_goals=15, learning_rate=0.0, in_weights="/no/where.weights",
        sampling_name="nothing", p_uncond=1.5, device="tpu", out_weights="tuned.pt",
    )  # fmt: skip
    with pytest.raises(UserError) as caught:
        check(broken)
    text = str(caught.value)
    for part in (
        "batch_size must be at least 1", "T must be at least 16", "trunc_t cannot be longer than T", "min_btwn_goals must be below",
        "learning_rate must be", "/no/where.weights", "nothing_train.txt", "nothing_val.txt", "p_uncond", "device must be", "out_weights must end",
    ):  # fmt: skip
        assert part in text, part
    assert text.startswith("11 training settings") or text.startswith("12 training settings")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"T": 15}, "T must be at least 16, got 15"),
        ({"min_btwn_goals": 50, "max_btwn_goals": 50}, "min_btwn_goals must be below max_btwn_goals, got 50 and 50"),
        ({"warmup_frames": 192}, "warmup_frames must be below total_frames, got 192 and 192: a tenth is usual"),
        ({"from_scratch": True}, "from_scratch reads no weights, but in_weights names some"),
        ({"in_weights": ""}, "in_weights is empty"),
        ({"in_weights": "none", "from_vpt": True}, "from_vpt needs VPT's weights"),
        ({"force_resume": True, "overwrite": True}, "choose one"),
        ({"max_grad_norm": float("nan")}, "max_grad_norm must be at least 0"),
        ({"learning_rate": float("inf")}, "learning_rate must be a number"),
        ({"val_list": "/no/val.txt"}, "VAL_FREQ=0 trains without validation"),
        ({"val_freq": 0, "retention_sampling": "tiny"}, "RETENTION_SAMPLING is for validations, and there are none"),
    ],
)
def test_each_contradiction_is_named(settings: Make, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        check(settings(**changes))
    assert said in str(caught.value)


def test_output_may_not_replace_the_starting_weights(settings: Make, tiny: Path) -> None:
    with pytest.raises(UserError, match="would replace in_weights"):
        check(settings(out_weights=str(tiny / "." / "tiny.weights")))


def test_overwrite_may_not_delete_what_the_run_starts_from(settings: Make, tiny: Path, tmp_path: Path) -> None:
    """The best weights of an earlier run, say, or a checkpoint in its folder."""
    run_dir = settings().run_dir
    run_dir.mkdir(parents=True)
    for file in (settings().beside("best"), run_dir / "tuned_step5000.weights"):
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tiny / "tiny.weights", file)
        with pytest.raises(UserError, match=r"overwrite would delete in_weights \(.*copy them to another name first"):
            check(settings(in_weights=str(file), overwrite=True))
        check(settings(in_weights=str(file)))
    goal = run_dir / "tuned_best.goal.json"
    write_goal(goal, GoalFile(np.ones(E, np.float32)))
    with pytest.raises(UserError, match="overwrite would delete fixed_goal_file"):
        check(settings(fixed_goal_file=str(goal), overwrite=True))
    check(settings(overwrite=True))
    beside = tmp_path / "other_best.weights"
    shutil.copyfile(tiny / "tiny.weights", beside)
    check(settings(in_weights=str(beside), overwrite=True))


def test_unknown_sampling_lists_the_known_ones(settings: Make) -> None:
    with pytest.raises(UserError, match="samplings there: tiny"):
        check(settings(sampling_name="finetune_buildhouse"))


def test_steps_are_counted_as_published() -> None:
    chosen = TrainSettings(total_frames=10_000_000, batch_size=8, trunc_t=64, gradient_accum_steps=4)
    assert chosen.total_steps() == 4883  # ceil(10e6 / (8 * 64 * 4))
    assert chosen.total_steps(processes=2) == 2442


def test_any_path_is_a_path(settings: Make, tiny: Path) -> None:
    chosen = settings(sampling_dir=f"{tiny}/./samplings/../samplings")
    check(chosen)
    assert chosen.train_path.is_file()
    assert TrainSettings(out_weights="./data/a.b/x.y.weights").name == "x.y"
    assert TrainSettings(out_weights="./data/x.weights").out_path == ROOT / "data/x.weights"


def test_the_last_flag_wins_so_that_scripts_pass_flags_on() -> None:
    seen: list[TrainSettings] = []
    with pytest.raises(SystemExit) as done:
        run(TrainSettings, seen.append, argv=["--val_freq", "1000", "--overwrite", "--val_freq", "999999", "--T", "64"])
    assert done.value.code == 0
    assert (seen[0].val_freq, seen[0].overwrite, seen[0].force_resume, seen[0].T) == (999999, True, False, 64)


def test_a_training_list_written_by_hand_needs_no_other(settings: Make, tiny: Path, tmp_path: Path) -> None:
    write_lists(tmp_path / "lists", [tiny / "dataset_a/ep0"], [tiny / "dataset_a/ep1"], "mixed")
    chosen = settings(sampling_name="mixed", sampling_dir=str(tmp_path / "lists"))
    assert chosen.val_path == tmp_path / "lists" / "mixed_val.txt"
    (tmp_path / "lists" / "mixed_val.txt").unlink()
    assert chosen.val_path is None
    check(chosen)
    (tmp_path / "lists" / "mixed_metadata.json").write_text("{}")
    with pytest.raises(UserError, match=r"mixed_val.txt does not exist .*2_create_sampling.sh mixed --mix"):
        check(chosen)


def test_real_booleans_only(capsys: pytest.CaptureFixture[str]) -> None:
    """`--overwrite False` must not come to mean true."""
    with pytest.raises(SystemExit) as done:
        run(TrainSettings, lambda chosen: None, argv=["--overwrite", "False"])
    assert done.value.code == 2


@pytest.mark.parametrize(
    "words", [["--learning_rat", "1"], ["--learning_rate", "x"], ["--batch_size", "0"]], ids=" ".join
)
@pytest.mark.parametrize("rank", ["", "0", "1"])
def test_of_several_processes_one_tells_a_bad_setting(
    words: list[str], rank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others wait to be ended by torchrun, as it does once the first has left."""

    class Ended(BaseException):
        pass

    def ended(seconds: float) -> None:
        raise Ended

    monkeypatch.setattr(time, "sleep", ended)
    if rank:
        monkeypatch.setenv("RANK", rank)
    with pytest.raises(Ended if rank == "1" else SystemExit):
        run(TrainSettings, train.main, argv=words)
    assert capsys.readouterr().err.count("error:") == (0 if rank == "1" else 1)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(SystemExit) as left:  # nobody ended it: the fault is this machine's
        run(TrainSettings, train.main, argv=words)
    assert left.value.code == 2
    assert capsys.readouterr().err.count("error:") == 1


def test_only_what_changes_the_weights_makes_another_run(settings: Make) -> None:
    before = dataclasses.asdict(settings())
    assert settings(num_workers=4, log_every=7, save_every=1, threads=2, compile=True).differences(before) == []
    assert settings(learning_rate=2e-3, seed=5).differences(before) == [
        "learning_rate: 0.001 then, 0.002 now",
        "seed: 0 then, 5 now",
    ]
    assert set(RESUME_IGNORED) <= {field.name for field in dataclasses.fields(TrainSettings)}


def test_help_needs_no_torch() -> None:
    code = "import sys, steve1.commands.train.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
