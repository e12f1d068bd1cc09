"""A whole run: what it prints, what it shows, that it learns; the scripts and the guide's own call."""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import steve1
from steve1.core.checkpoint_metadata import CheckpointMetadata, write_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.paths import ROOT
from steve1.data.episodes.episode import Episode
from steve1.data.loading.lists import ListEntry
from steve1.training.batches import chunks, open_windows, windows_of
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.logging.layout import description
from steve1.training.logging.summary import foreign_goals
from steve1.training.loop import Hooks
from steve1.training.train import finetune
from tests.training.conftest import SHORT, E, same, weights_of, write_episode, write_lists

Make = Callable[..., TrainSettings]
ALONE = Ranks(0, 1, torch.device("cpu"))


def test_goals_of_another_mineclip_than_the_weights_own_are_said(settings: Make, tiny: Path, tmp_path: Path) -> None:
    weights, mineclip = tmp_path / "own.weights", tmp_path / "own.pth"
    shutil.copy(tiny / "tiny.weights", weights)
    mineclip.write_bytes(b"this one")
    episodes = [write_episode(tmp_path / "dataset" / name, number) for number, name in enumerate(("a", "b"))]
    chosen = settings(in_weights=str(weights))

    def said(*made_by: bytes) -> list[str]:
        for episode, content in zip(episodes, made_by):
            known = json.loads((episode / "metadata.json").read_text())
            known["mineclip"] = {"sha256": hashlib.sha256(content).hexdigest()}
            (episode / "metadata.json").write_text(json.dumps(known))
        return foreign_goals(chosen, windows_of(chosen, [ListEntry(path) for path in episodes], fixed=False))

    assert said(b"another") == [], "these weights do not say which is theirs"
    write_checkpoint_metadata(weights, CheckpointMetadata(mineclip=str(mineclip)))
    assert said(b"this one", b"this one") == []
    (line,) = said(b"this one", b"another")
    assert "another MineCLIP than" in line
    mineclip.unlink()
    assert said(b"another", b"another") == []


@pytest.mark.e2e
def test_console_lines_are_those_of_the_guide(settings: Make, capsys: pytest.CaptureFixture[str]) -> None:
    finetune(settings())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "开始微调..."
    steps = [line for line in lines if re.fullmatch(r"Step \d+/6, Loss: \d+\.\d{3}, LR: \d\.\de-\d", line)]
    assert [line.split(",")[0] for line in steps] == ["Step 1/6", "Step 2/6", "Step 4/6", "Step 6/6"]
    assert any(re.match(r"Validation @ step 3: Loss=\d+\.\d{3}( |$)", line) for line in lines)
    assert "Saved checkpoint: tuned_step3.weights" in lines
    end = lines.index("训练完成!")
    assert lines[end + 1 : end + 3] == ["最终模型: tuned.weights", "最佳模型: tuned_best.weights"]
    assert any("learning_rate 0.001" in line for line in lines)
    assert any(line.endswith("settings.json") for line in lines)
    assert any(
        re.fullmatch(r"  took \d+:\d\d:\d\d: \d+ frames/s, validations and checkpoints included", line)
        for line in lines
    )
    first = next(line for line in lines if "first batch" in line)
    assert "frames (2, 16, 128, 128, 3) uint8" in first
    assert f"goals (2, 16, {E}) float32" in first


@pytest.mark.e2e
def test_it_learns_what_the_pictures_say(settings: Make) -> None:
    """Bright frames mean attack, dark ones forward: the loss on unseen episodes falls and buttons are guessed."""
    seen: list[float] = []
    result = finetune(
        settings(
            learning_rate=2e-2,
            total_frames=48 * 32,
            warmup_frames=320,
            val_freq=48,
            save_every=48,
            weight_decay=0.0,
            frames_at_once=32,
        ),
        hooks=Hooks(on_step=seen.append),  # type: ignore[arg-type]
    )
    assert len(seen) == 48
    assert result.best_score is not None
    assert result.best_score < 4.0  # 13.86 at the start; log 3 = 1.1 for the random camera is the least possible


@pytest.mark.e2e
def test_curves_and_pictures_in_tensorboard(settings: Make) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = finetune(settings())
    board = EventAccumulator(str(result.run_dir))
    board.Reload()
    assert {
        "train/loss", "train/loss_buttons", "train/loss_camera", "train/accuracy_buttons", "train/accuracy_camera",
        "train/learning_rate", "train/gradient_norm", "speed/frames_per_second", "speed/data_wait_share", "speed/peak_memory_mb", "validation/loss",
        "validation/loss_buttons", "validation/accuracy_camera", "share/dataset_a", "share/dataset_b",
    } <= set(board.Tags()["scalars"])  # fmt: skip
    assert set(board.Tags()["images"]) == {"first_batch", "actions"}
    shown = [tag for kind in ("scalars", "images", "histograms") for tag in board.Tags()[kind]]
    assert [tag for tag in shown if not description(tag)] == []
    last = {name: board.Scalars(name)[-1].value for name in board.Tags()["scalars"]}
    assert last["train/loss"] == pytest.approx(last["train/loss_buttons"] + last["train/loss_camera"], rel=1e-5)
    assert last["share/dataset_a"] + last["share/dataset_b"] == pytest.approx(1)
    assert [event.step for event in board.Scalars("train/loss")] == [1, 2, 4, 6]


@pytest.mark.e2e
def test_a_resumed_run_has_each_point_of_its_curves_once(settings: Make) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Crash(Exception):
        pass

    def crash(step: int) -> None:
        if step == 5:
            raise Crash

    with pytest.raises(Crash):
        finetune(settings(log_every=1, val_freq=0), hooks=Hooks(on_step=crash))
    result = finetune(settings(log_every=1, val_freq=0))
    board = EventAccumulator(str(result.run_dir))
    board.Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.e2e
def test_the_contact_sheet_shows_frames_with_their_goals(settings: Make) -> None:
    """Cell by cell: the frame of the window, and below it the very frame that its goal vector was taken from."""

    from steve1.training.logging.pictures import contact_sheet

    chosen = settings(p_uncond=0.0)
    train, *_ = open_windows(chosen)
    batch = next(chunks(train, chosen, ALONE)).windows[0]
    sheet = contact_sheet([batch], rows=1, columns=2)
    height = 128 + 16
    episode, goal = Episode(batch["episode"][0]), int(batch["goal_frame"][0, 0])
    assert np.array_equal(sheet[16:height, :128], episode.frames(batch["start"][0], batch["start"][0] + 1)[0])
    assert np.array_equal(sheet[height + 16 : 2 * height, :128], episode.frames(goal, goal + 1)[0])
    assert np.array_equal(batch["goals"][0, 0].numpy(), np.asarray(episode.goals[goal], np.float32))
    finetune(settings(total_frames=32, warmup_frames=16, val_freq=0))
    assert cv2.imread(str(settings().run_dir / "first_batch.png")).shape[2] == 3
    without = {
        **batch,
        "goals": torch.zeros_like(batch["goals"]),
        "goal_frame": torch.full_like(batch["goal_frame"], -1),
    }
    assert np.array_equal(contact_sheet([without, batch], rows=1, columns=2), sheet), "a window with a goal goes first"
    read = iter([batch, batch])
    contact_sheet(read, rows=len(batch["episode"]))
    assert len(list(read)) == 1, "no more is read than is shown"
    assert contact_sheet([without], rows=1, columns=2).shape == sheet.shape


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root, made: made[0].joinpath("embeds_attn.npy").unlink(), "generate_mineclip_embeds"),
        (lambda root, made: spoil_goals(made[0]), "not finite"),
        (lambda root, made: spoil_tokens(made[0]), "ep0"),
        (lambda root, made: shutil.rmtree(made[1]), "does not lead to an episode"),
        (lambda root, made: (root / "s" / "tiny_train.txt").write_text("# nothing\n\n"), "list is empty"),
        (lambda root, made: (root / "s" / "tiny_train.txt").write_text(f"{made[1]}\n"), "batch needs more windows"),
    ],
)
def test_bad_data_is_one_clear_message_before_anything_long(
    settings: Make, tiny: Path, tmp_path: Path, spoil: Any, said: str
) -> None:
    made = [write_episode(tmp_path / "dataset" / f"ep{number}", number) for number in range(2)]
    write_lists(tmp_path / "s", made, [tiny / "dataset_a" / "val0"])
    spoil(tmp_path, made)
    steps: list[int] = []
    with pytest.raises(UserError) as caught:
        finetune(settings(sampling_dir=str(tmp_path / "s"), batch_size=4), hooks=Hooks(on_step=steps.append))
    assert said in str(caught.value)
    assert steps == []
    assert not settings().out_path.exists()


def spoil_goals(episode: Path) -> None:
    goals = np.load(episode / "embeds_attn.npy")
    goals[40, 3] = np.nan
    np.save(episode / "embeds_attn.npy", goals)


def spoil_tokens(episode: Path) -> None:
    tokens = np.load(episode / "action_tokens.npy")
    np.save(episode / "action_tokens.npy", tokens[:-3])


@pytest.mark.e2e
def test_an_episode_too_short_is_skipped_by_name(
    settings: Make, tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = write_episode(tmp_path / "too_short", 1, n_frames=40)
    write_lists(tmp_path / "s", [tiny / "dataset_a" / "ep0", short], [tiny / "dataset_a" / "val0"])
    finetune(settings(sampling_dir=str(tmp_path / "s"), total_frames=64, warmup_frames=10))
    assert "skipped too_short" in caplog.text


@pytest.mark.e2e
def test_the_guides_call(settings: Make, tiny: Path, tmp_path: Path) -> None:
    chosen = settings(**{**SHORT, "val_freq": 3})
    more: dict[str, Any] = {
        name: getattr(chosen, name)
        for name in ("checkpoint_dir", "sampling_dir", "batch_size", "T", "trunc_t", "total_frames", "warmup_frames", "val_freq",
                     "val_windows", "save_every", "num_workers", "threads", "frames_at_once", "device", "precision")
    }  # fmt: skip
    common = {
        "init_weights": chosen.in_weights,
        "method": "hindsight_relabeling",
        "model": chosen.in_model,
        "learning_rate": 1e-3,
    }
    by_name = steve1.train_steve1(**common, data="tiny", output=str(tmp_path / "one.weights"), **more)
    by_list = steve1.train_steve1(
        **common, data=str(tiny / "samplings" / "tiny_train.txt"), output=str(tmp_path / "two.weights"), **more
    )
    assert by_list.best_score == by_name.best_score is not None
    assert same(weights_of(by_name.out_weights), weights_of(by_list.out_weights))
    with pytest.raises(UserError, match="method does not exist"):
        steve1.train_steve1(**{**common, "method": "magic"}, data="tiny", output=str(tmp_path / "x.weights"))
    with pytest.raises(UserError, match="Unknown training setting"):
        steve1.train_steve1(**common, data="tiny", output=str(tmp_path / "x.weights"), lerning_rate=1)


@pytest.mark.parametrize("more", [{}, {"model": "named"}, {"in_weights": "x"}, {"out_weights": "x"}])
def test_every_setting_goes_by_its_name(settings: Make, monkeypatch: pytest.MonkeyPatch, more: dict[str, str]) -> None:
    chosen, given = settings(), []
    monkeypatch.setattr("steve1.training.train.finetune", given.append)
    call = {"init_weights": chosen.in_weights, "data": "tiny", "in_model": chosen.in_model, "T": 64, **more}
    if more:
        with pytest.raises(UserError, match="train_steve1 takes"):
            steve1.train_steve1(**call)
    else:
        steve1.train_steve1(**call)
        assert (given[0].in_model, given[0].T) == (chosen.in_model, 64)


@pytest.mark.e2e
def test_training_knows_no_game() -> None:
    code = (
        "import sys, steve1.training.train, steve1.commands.train.train\n"
        "bad = [m for m in sys.modules if m.startswith(('steve1.envs', 'steve1.rollout.', 'minerl', 'gym'))]\n"
        "sys.exit(' '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def damaged(settings: Make, tmp_path: Path) -> TrainSettings:
    """Settings of a run whose second batch is of an episode that does not decode."""
    episodes = [write_episode(tmp_path / "data" / f"ep{number}", number) for number in range(4)]
    write_lists(tmp_path / "samplings", episodes[:3], episodes[3:])
    chosen = settings(sampling_dir=str(tmp_path / "samplings"), batch_size=1)
    first = next(chunks(open_windows(chosen)[0], chosen, ALONE)).episodes
    for path in episodes[:3]:  # the first batch is read before there are workers
        if str(path) not in first:
            offsets = np.load(path / "frames_index.npy")
            data = bytearray((path / "frames.jpgs").read_bytes())
            data[offsets[24] : offsets[56]] = bytes(offsets[56] - offsets[24])
            (path / "frames.jpgs").write_bytes(bytes(data))
    return chosen


@pytest.mark.e2e
def test_a_damaged_episode_ends_the_training_with_its_message(damaged: TrainSettings) -> None:
    with pytest.raises(UserError, match="A packed frame does not decode") as fault:
        finetune(damaged)
    assert str(damaged.sampling_dir).removesuffix("samplings") in str(fault.value.where)


@pytest.mark.e2e
def test_a_damaged_episode_ends_the_program_and_its_worker(damaged: TrainSettings) -> None:
    names = ("in_model", "in_weights", "out_weights", "checkpoint_dir", "sampling_name", "sampling_dir")
    names += ("batch_size", "T", "trunc_t", "total_frames", "warmup_frames", "device", "precision")
    words = [word for name in names for word in (f"--{name}", str(getattr(damaged, name)))]
    child = subprocess.Popen(
        [sys.executable, "-m", "steve1", "train", *words, "--num_workers", "1"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        _, said = child.communicate(timeout=280)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode == 2, said
    assert said.rpartition("\nerror: ")[2].startswith("A packed frame does not decode.\n  where:"), said
    assert "Traceback" not in said
    until = time.monotonic() + 60  # multiprocessing's own process may still be ending
    with pytest.raises(ProcessLookupError):  # nobody of its group is left
        while time.monotonic() < until:
            os.killpg(child.pid, 0)
            time.sleep(0.05)


@pytest.mark.e2e
@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_an_exception_ends_the_workers(settings: Make, fault: type[BaseException]) -> None:
    others = set(multiprocessing.active_children())
    during: list[int] = []

    def fail(step: int) -> None:
        if step == 2:
            during.append(len(set(multiprocessing.active_children()) - others))
            raise fault

    with pytest.raises(fault) as caught:  # held with its frames, and with them the loop's variables
        finetune(settings(num_workers=2), hooks=Hooks(on_step=fail))
    assert during == [2]
    assert set(multiprocessing.active_children()) <= others
    assert caught.value.__traceback__ is not None


def script_environment(chosen: TrainSettings) -> dict[str, str]:
    """The variables of the template that make the tiny run."""
    return {
        **os.environ,
        "PYTHON": sys.executable, "IN_MODEL": chosen.in_model, "IN_WEIGHTS": chosen.in_weights, "OUT_WEIGHTS": chosen.out_weights,
        "SAMPLING_NAME": chosen.sampling_name, "BATCH_SIZE": "1", "LEARNING_RATE": "1e-3", "TOTAL_FRAMES": "64",
        "WARMUP_FRAMES": "16", "T": "32", "TRUNC_T": "16", "NUM_WORKERS": "0", "CHECKPOINT_DIR": chosen.checkpoint_dir,
    }  # fmt: skip


@pytest.mark.e2e
def test_the_script_takes_variables_and_the_guides_flag(settings: Make, tiny: Path) -> None:
    chosen = settings()
    flags = ["--val_freq", "999999", "--sampling_dir", chosen.sampling_dir, "--device", "cpu", "--val_windows", "1"]
    done = subprocess.run(
        ["bash", str(ROOT / "3_train_finetune_template.sh"), *flags],
        env=script_environment(chosen), capture_output=True, text=True, cwd=tiny,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "开始微调..."
    assert sum(line.startswith("Validation @ step") for line in lines) == 1
    assert "最终模型: tuned.weights" in lines
    assert chosen.out_path.exists()


@pytest.mark.e2e
def test_the_script_with_two_processes(settings: Make, tiny: Path) -> None:
    chosen = settings()
    done = subprocess.run(
        ["bash", str(ROOT / "3_train_finetune_template.sh"), "--sampling_dir", chosen.sampling_dir, "--device", "cpu"],
        env={**script_environment(chosen), "PROCESSES": "2"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Step 2/2" in done.stdout
    assert done.stdout.count("训练完成!") == 1


@pytest.mark.e2e
def test_a_bad_setting_of_two_processes_is_told_once(settings: Make, tiny: Path) -> None:
    done = subprocess.run(
        ["bash", str(ROOT / "3_train_finetune_template.sh"), "--device", "cpu"], capture_output=True, text=True,
        env={**script_environment(settings()), "PROCESSES": "2", "T": "0"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error:") == 1
    assert done.stderr.strip().startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("script", "sampling", "rate"),
    [
        ("3_train.sh", "contractor", "4e-05"),
        ("3_train_finetune_mixed.sh", "mixed", "5e-06"),
        ("3_train_finetune_general_building.sh", "general_building", "1e-05"),
        ("3_train_finetune_specific_house.sh", "specific_house", "1e-05"),
        ("3_train_finetune_multi_task.sh", "multi_task", "1e-05"),
    ],
)
def test_every_strategy_script_reaches_the_trainer(tmp_path: Path, script: str, sampling: str, rate: str) -> None:
    """Its own variables arrive, and what stands in front of the command wins."""
    spy = tmp_path / "python"
    spy.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    spy.chmod(0o755)
    environment = {
        **{key: value for key, value in os.environ.items() if key.isupper()},
        "PYTHON": str(spy),
        "BATCH_SIZE": "3",
    }
    done = subprocess.run(
        ["bash", str(ROOT / script), "--log_every", "7"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[:3] == ["-m", "steve1", "train"]
    given = dict(itertools.pairwise(words))
    assert given["--sampling_name"] == sampling
    assert float(given["--learning_rate"]) == float(rate)
    assert (given["--batch_size"], given["--log_every"]) == ("3", "7")


@pytest.mark.e2e
def test_runs_as_a_file_and_as_a_module() -> None:
    for call in (["steve1/training/train.py"], ["-m", "steve1.training.train"]):
        done = subprocess.run([sys.executable, *call, "--help"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "--gradient_accum_steps" in done.stdout
