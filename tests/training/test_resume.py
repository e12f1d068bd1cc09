"""Stopped anywhere, in any way, and started again: the same weights, bit for bit, as never having stopped."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from steve1.core.errors import UserError
from steve1.core.files import read_json, write_json
from steve1.core.run_folder import Record
from steve1.data.episodes.episode import write_goals
from steve1.data.episodes.parts import fingerprint
from steve1.training import loop
from steve1.training.checkpoint.run_folder import claim_run_folder, describe_run
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.loop import Hooks
from steve1.training.train import finetune
from tests.forks import needs_forkserver
from tests.training.conftest import SHORT, same, weights_of, write_episode, write_lists
from tests.training.processes import start_training

Make = Callable[..., TrainSettings]


class Crash(Exception):
    pass


def crash_at(step: int) -> Hooks:
    def stop(now: int) -> None:
        if now == step:
            raise Crash

    return Hooks(on_step=stop)


def forget(chosen: TrainSettings) -> None:
    shutil.rmtree(chosen.run_dir, ignore_errors=True)
    shutil.rmtree(chosen.out_path.parent, ignore_errors=True)


def everything(chosen: TrainSettings) -> dict[str, object]:
    """Final, best and step weights of a run."""
    found = {f"out/{key}": value for key, value in weights_of(chosen.out_path).items()}
    for kind in ("best", "step4", "step8", "latest"):
        found |= {f"{kind}/{key}": value for key, value in weights_of(chosen.run_dir / f"tuned_{kind}.weights").items()}
    return found


# Three chunks a window, two micro-batches a step: resume points fall inside windows as well as between them.
SHAPE = {
    "T": 24, "trunc_t": 8, "batch_size": 1, "gradient_accum_steps": 2, "total_frames": 9 * 16, "warmup_frames": 40,
    "val_freq": 4, "save_every": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def expected() -> dict[str, object]:
    """What a run that never stopped leaves; filled by the first test that needs it."""
    return {}


@pytest.fixture
def reference(settings: Make, expected: dict[str, object]) -> tuple[TrainSettings, dict[str, object]]:
    """Settings of a run that has not begun, and what it leaves when it never stops."""
    chosen = settings(**SHAPE)
    if not expected:
        finetune(chosen)
        expected.update(everything(chosen))
        forget(chosen)
    return chosen, expected


@pytest.mark.e2e
def test_resumes_exactly_from_every_point_of_a_window(
    reference: tuple[TrainSettings, dict[str, object]], settings: Make, tmp_path: Path
) -> None:
    """Resume points after one, two and three of a window's three chunks; the interrupted run also saved at every step."""
    chosen, expected = reference

    def keep(step: int) -> None:
        shutil.copytree(chosen.run_dir, tmp_path / "kept" / str(step), ignore=shutil.ignore_patterns("*_step*"))

    finetune(settings(**{**vars(chosen), "save_every": 1}), hooks=Hooks(on_step=keep))
    for step in (1, 2, 3, 8):
        forget(chosen)
        shutil.copytree(tmp_path / "kept" / str(step), chosen.run_dir)
        steps: list[int] = []
        finetune(chosen, hooks=Hooks(on_step=steps.append))
        assert steps == list(range(step + 1, 10))
        found = everything_of(chosen, "out") | everything_of(chosen, "best")
        wanted = {name: value for name, value in expected.items() if name in found}
        assert same(found, wanted), step  # type: ignore[arg-type]


def everything_of(chosen: TrainSettings, kind: str) -> dict[str, object]:
    path = chosen.out_path if kind == "out" else chosen.run_dir / f"tuned_{kind}.weights"
    return {f"{kind}/{key}": value for key, value in weights_of(path).items()}


@pytest.mark.e2e
@needs_forkserver
def test_killed_at_random_moments(reference: tuple[TrainSettings, dict[str, object]], tmp_path: Path) -> None:
    """kill -9 whenever it comes: in a step, while validating, while a checkpoint is written."""
    chosen, expected = reference
    rng = random.Random(5)
    kills = 0
    for _ in range(40):
        child = start_training(chosen, tmp_path / "log")
        child.join(rng.uniform(0.05, 0.6))
        child.kill()
        child.join()
        assert child.exitcode in (0, -signal.SIGKILL), (tmp_path / "log").read_text()
        if child.exitcode == 0:
            break
        kills += 1
        if kills >= 12:
            finetune(chosen)
            break
    assert kills >= 1
    found = everything(chosen)
    assert [key for key in expected if not (found[key] == expected[key]).all()] == []  # type: ignore[attr-defined]


@pytest.mark.e2e
def test_stopped_at_random_points_with_changing_workers(settings: Make) -> None:
    """One run, stopped six times at random steps and taken up each time with another number of workers; dies in between checkpoints too."""
    shape = {
        "T": 24,
        "trunc_t": 8,
        "batch_size": 1,
        "gradient_accum_steps": 1,
        "total_frames": 22 * 8,
        "warmup_frames": 80,
    }
    chosen = settings(**shape, val_freq=0, keep_checkpoints=False, save_every=2, kl_coef=0.1, ema_decay=0.9)
    finetune(chosen)
    expected = weights_of(chosen.out_path) | {
        f"ema/{key}": value for key, value in weights_of(chosen.beside("ema")).items()
    }
    forget(chosen)
    rng = random.Random(11)
    for step in sorted(rng.sample(range(3, 22), 6)):
        with pytest.raises(Crash):
            finetune(settings(**{**vars(chosen), "num_workers": rng.choice([0, 0, 1, 2])}), hooks=crash_at(step))
    finetune(chosen)
    found = weights_of(chosen.out_path) | {
        f"ema/{key}": value for key, value in weights_of(chosen.beside("ema")).items()
    }
    assert same(found, expected)


@pytest.mark.e2e
@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(
    reference: tuple[TrainSettings, dict[str, object]], settings: Make, workers: int
) -> None:
    chosen, expected = reference
    finetune(settings(**{**vars(chosen), "num_workers": workers}))
    assert same(everything(chosen), expected)  # type: ignore[arg-type]


@pytest.fixture
def hangup_is_heard() -> Iterator[None]:
    """Under nohup the tests ignore SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.e2e
@pytest.mark.usefixtures("hangup_is_heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_saves_and_the_same_command_goes_on(
    reference: tuple[TrainSettings, dict[str, object]],
    settings: Make,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    chosen, expected = reference

    def interrupt(step: int) -> None:
        if step == 5:  # as a terminal or a batch system does it: to the whole group, the data workers too
            for process in multiprocessing.active_children():
                os.kill(process.pid or 0, number)
            time.sleep(0.2)
            for _ in range(2 if number == signal.SIGHUP else 1):  # a terminal's comes twice
                os.kill(os.getpid(), number)
                time.sleep(0.01)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as stopped:
        finetune(settings(**{**vars(chosen), "num_workers": 1}), hooks=Hooks(on_step=interrupt))
    assert signal.getsignal(number) is before
    assert stopped.value.args == (number,)
    finetune(chosen)
    assert "continuing after step 6" in capsys.readouterr().out
    assert same(everything(chosen), expected)  # type: ignore[arg-type]


@pytest.mark.e2e
def test_a_finished_run_says_so_again_and_trains_nothing(settings: Make, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings(**{**SHORT, "val_freq": 3})
    first = finetune(chosen)
    steps: list[int] = []
    capsys.readouterr()
    second = finetune(chosen, hooks=Hooks(on_step=steps.append))
    assert steps == []
    assert second == first
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("This run is finished")
    assert any(str(first.out_weights) in line for line in lines)
    assert any("report.html" in line for line in lines)
    assert len(lines) < 8, "not the whole plan again"
    seconds = read_json(chosen.run_dir / "result.json")["seconds"]
    finetune(chosen)
    assert read_json(chosen.run_dir / "result.json")["seconds"] == seconds > 0


@pytest.mark.e2e
def test_other_settings_are_named_and_refused(settings: Make, tiny: Path) -> None:
    with pytest.raises(Crash):
        finetune(settings(val_freq=0), hooks=crash_at(4))
    with pytest.raises(UserError) as caught:
        finetune(settings(val_freq=0, learning_rate=5e-4, weight_decay=0.0, precision="bf16"))
    text = str(caught.value)
    assert "learning_rate: 0.001 then, 0.0005 now" in text
    assert "weight_decay: 0.039 then, 0.0 now" in text
    assert "precision: float32 then, bfloat16 now" in text
    assert "--force_resume" in text
    result = finetune(settings(val_freq=0, learning_rate=5e-4, force_resume=True))
    assert result.steps == 6


@pytest.mark.e2e
def test_a_best_of_other_validation_windows_is_not_compared_with(
    settings: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best so far is made unbeatable, as windows that are easier to predict could make it."""
    chosen = settings()
    with pytest.raises(Crash):
        finetune(chosen, hooks=crash_at(4))
    with pytest.raises(UserError, match="val_windows: 2 then, 1 now"):
        finetune(dataclasses.replace(chosen, val_windows=1))
    (point,) = chosen.run_dir.glob("resume/*/position_0.json")
    write_json(point, read_json(point) | {"best_score": 0.001})
    capsys.readouterr()
    result = finetune(dataclasses.replace(chosen, val_windows=1, force_resume=True))
    assert result.best_score is not None
    assert result.best_score > 0.001
    assert "they are chosen anew" in capsys.readouterr().out


@pytest.mark.e2e
def test_the_best_score_belongs_to_the_best_file(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed run leaves weights better than those of its resume point, and then goes another way; or they are removed."""
    losses = iter([9.9, 3.0, 2.5, 2.0, 1.5])
    monkeypatch.setattr(loop, "validate", lambda *_: {"loss": next(losses)})
    chosen = settings(val_freq=1, save_every=3)
    with pytest.raises(Crash):
        finetune(chosen, hooks=crash_at(4))
    monkeypatch.setattr(loop, "validate", lambda *_: {"loss": 2.2})
    other = dataclasses.replace(chosen, learning_rate=1e-4, force_resume=True)
    result = finetune(other)
    best = read_json(chosen.run_dir / "result.json")["best_step"]
    assert result.best_score == 2.2
    assert best == 4
    assert result.best_weights is not None
    final = weights_of(chosen.out_path)
    assert any(not np.array_equal(value, final[name]) for name, value in weights_of(result.best_weights).items())
    result.best_weights.unlink()
    (chosen.run_dir / result.best_weights.name).unlink()
    assert finetune(dataclasses.replace(other, force_resume=False)).best_weights is None


@pytest.mark.e2e
def test_a_best_of_the_same_validation_stays_the_best(settings: Make) -> None:
    chosen = settings()
    with pytest.raises(Crash):
        finetune(chosen, hooks=crash_at(4))
    (point,) = chosen.run_dir.glob("resume/*/position_0.json")
    state = read_json(point) | {"best_score": 0.001}
    del state["judged_by"]  # as an earlier version wrote it
    write_json(point, state)
    assert finetune(dataclasses.replace(chosen, learning_rate=2e-3, force_resume=True)).best_score == 0.001


def test_tf32_is_another_precision_than_fp32(settings: Make) -> None:
    ranks = Ranks(0, 1, torch.device("cpu"))

    def record(precision: str) -> Record:
        return describe_run(settings(precision=precision), ranks, torch.float32)

    claim_run_folder(settings(precision="tf32"), record("tf32")).close()
    (settings().run_dir / "state.pt").touch()
    with pytest.raises(UserError, match="precision: tf32 then, float32 now"):
        claim_run_folder(settings(), record("fp32"))
    earlier = record("tf32")
    earlier["resolved"]["precision"] = "float32"
    write_json(settings().run_dir / "settings.json", earlier)
    claim_run_folder(settings(precision="tf32"), record("tf32")).close()
    with pytest.raises(UserError, match="precision: tf32 then, float32 now"):
        claim_run_folder(settings(), record("fp32"))


def test_a_changed_list_is_noticed(settings: Make, tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "samplings"
    shutil.copytree(tiny / "samplings", copy)
    with pytest.raises(Crash):
        finetune(settings(sampling_dir=str(copy), save_every=1), hooks=crash_at(2))
    lines = (copy / "tiny_train.txt").read_text().splitlines()
    (copy / "tiny_train.txt").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(UserError, match="train_list: content"):
        finetune(settings(sampling_dir=str(copy), save_every=1))


# What may happen to an episode between stop and resume: whether training reads it, and so has to hear of it.
CHANGES: dict[str, tuple[Callable[[Path], object], bool]] = {
    "goals embedded anew": (lambda e: write_goals(e, np.nan_to_num(np.load(e / "embeds_attn.npy")) + 1), True),
    "one action": (lambda e: np.save(e / "action_tokens.npy", np.load(e / "action_tokens.npy")[::-1]), True),
    "longer frames": (lambda e: (e / "frames.jpgs").open("ab").write(b"x"), True),
    "another recording": (lambda e: (shutil.rmtree(e), write_episode(e, 77)), True),
    "a note in its metadata": (lambda e: write_json(e / "metadata.json", read_json(e / "metadata.json") | {"x": 1}), False),
    "a video that training does not read": (lambda e: (e / "frames_mineclip.mp4").write_bytes(b"x"), False),
    "a file of the desktop": (lambda e: (e / ".DS_Store").write_bytes(b"x"), False),
    "copied": (lambda e: (shutil.copytree(e, e.with_name("c")), shutil.rmtree(e), e.with_name("c").rename(e)), False),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_episode_is_noticed(tmp_path: Path, change: str) -> None:
    episode = write_episode(tmp_path / "episode", 1)
    before = fingerprint(episode)
    act, noticed = CHANGES[change]
    act(episode)
    assert (fingerprint(episode) != before) is noticed


@pytest.mark.e2e
def test_changed_data_are_named_and_refused(settings: Make, tiny: Path, tmp_path: Path) -> None:
    lists, data = tmp_path / "samplings", tmp_path / "data"
    episodes = [write_episode(data / f"e{number}", number) for number in range(4)]
    write_lists(lists, episodes[:3], episodes[3:])
    chosen = settings(sampling_dir=str(lists), val_freq=0)
    with pytest.raises(Crash):
        finetune(chosen, hooks=crash_at(4))
    shutil.rmtree(episodes[1])
    write_episode(episodes[1], 50)
    with pytest.raises(UserError, match=r"content of \S*e1 has changed") as caught:
        finetune(chosen)
    assert "--force_resume" in str(caught.value)
    assert finetune(dataclasses.replace(chosen, force_resume=True)).steps == 6


@pytest.mark.e2e
def test_another_batch_goes_on_with_the_next_windows(settings: Make) -> None:
    with pytest.raises(Crash):
        finetune(settings(save_every=1, val_freq=0), hooks=crash_at(3))
    result = finetune(settings(batch_size=1, val_freq=0, force_resume=True))
    assert result.steps == 12  # 192 frames in steps of 16, the first 96 of them done
    assert result.frames == 192
    # Two groups of two windows were begun, then three of one were trained on: none was seen twice.
    (point,) = settings().run_dir.glob("resume/*/position_0.json")
    found = read_json(point)
    assert (found["group"], found["windows_per_group"]) == (4 + 3, 1)


@pytest.mark.e2e
def test_overwrite_starts_again(settings: Make) -> None:
    first = finetune(settings(**SHORT))
    weights = weights_of(first.out_weights)
    steps: list[int] = []
    finetune(settings(**SHORT, learning_rate=5e-4, overwrite=True), hooks=Hooks(on_step=steps.append))
    assert steps == [1, 2, 3]
    assert not same(weights, weights_of(first.out_weights))
