"""Validation: fixed goals, own state per window, any number of windows, the policy's mode given back, the last result kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from steve1.core.errors import UserError
from steve1.policy import load_policy
from steve1.training.batches import open_windows
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.train import finetune
from steve1.training.validate import chosen_windows, evaluating, validate
from tests.training.conftest import same, weights_of, write_episode, write_lists

Make = Callable[..., TrainSettings]
ALONE = Ranks(0, 1, torch.device("cpu"))


def by_hand(policy: torch.nn.Module, dataset: object, T: int) -> float:
    """Mean loss of whole windows, one at a time, each from an empty memory."""
    losses = []
    for index in range(len(dataset)):  # type: ignore[arg-type]
        window = dataset.window(0, index)  # type: ignore[attr-defined]
        row = {name: torch.from_numpy(window[name])[None] for name in ("frames", "goals", "first", "buttons", "camera")}
        with torch.no_grad():
            losses.append(
                float(
                    policy.loss(
                        row["frames"],
                        row["goals"],
                        row["first"],
                        policy.initial_state(1),
                        row["buttons"],
                        row["camera"],
                    ).loss
                )
            )
    return float(np.mean(losses))


def test_mean_over_all_windows_whatever_the_batch(settings: Make, tiny: Path) -> None:
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    _, val, _ = open_windows(settings(T=20, val_windows=0))
    assert val is not None
    assert len(val) % 4 != 0
    expected = by_hand(policy, val, 20)
    for batch_size in (1, 4, 64):  # 64: more than there are
        chosen = settings(T=20, trunc_t=8, batch_size=batch_size, val_windows=0)
        assert validate(policy, val, chosen, ALONE, torch.float32)["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_same_twice_and_nothing_is_dropped(settings: Make, tiny: Path) -> None:
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    chosen = settings(p_uncond=1.0)
    _, val, _ = open_windows(chosen)
    assert val is not None
    assert all((val.window(0, index)["goal_frame"] >= 0).all() for index in range(len(val)))
    once, again = (validate(policy, val, chosen, ALONE, torch.float32) for _ in range(2))
    assert once == again


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_is_given_back(settings: Make, tiny: Path, mode: bool) -> None:
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights").train(mode)
    _, val, _ = open_windows(settings())
    assert val is not None
    validate(policy, val, settings(), ALONE, torch.float32)
    assert policy.training is mode
    with pytest.raises(RuntimeError), evaluating(policy):
        raise RuntimeError
    assert policy.training is mode


def test_a_few_windows_are_spread_over_the_list() -> None:
    assert chosen_windows(range(10), 3) == [0, 4, 9]  # type: ignore[arg-type]
    assert chosen_windows(range(3), 8) == [0, 1, 2]  # type: ignore[arg-type]


@pytest.mark.e2e
def test_best_weights_belong_to_the_best_result(settings: Make) -> None:
    result = finetune(settings(val_freq=2))
    assert result.best_weights is not None
    assert result.best_score is not None
    policy = load_policy(settings().in_model, result.best_weights)
    _, val, _ = open_windows(settings())
    assert val is not None
    assert validate(policy, val, settings(), ALONE, torch.float32)["loss"] == pytest.approx(result.best_score, abs=1e-6)


@pytest.mark.e2e
def test_the_last_result_is_kept_even_if_val_freq_is_huge(settings: Make, capsys: pytest.CaptureFixture[str]) -> None:
    result = finetune(settings(val_freq=999999))
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Validation")]
    assert len(said) == 1
    assert said[0].startswith("Validation @ step 6: ")
    assert result.best_weights is not None
    assert same(weights_of(result.best_weights), weights_of(result.out_weights))
    assert json.loads((settings().run_dir / "result.json").read_text())["best_step"] == 6


def test_without_validation_there_is_no_best_model(settings: Make, capsys: pytest.CaptureFixture[str]) -> None:
    result = finetune(settings(val_freq=0, val_list="/no/such/list.txt", total_frames=64, warmup_frames=32))
    assert result.best_weights is None
    said = capsys.readouterr().out
    assert "Validation" not in said
    assert "最佳模型" not in said
    assert "最终模型: tuned.weights" in said


@pytest.mark.e2e
def test_patience_stops_a_run_that_gets_no_better(settings: Make, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings(learning_rate=1e-12, val_freq=1, patience=2, total_frames=10_000)
    result = finetune(chosen)
    assert result.steps < chosen.total_steps()
    assert "No better validation in 2 tries: stopping early." in capsys.readouterr().out
    assert (chosen.run_dir / f"tuned_step{result.steps}.weights").exists()
    assert finetune(chosen).steps == result.steps


def test_an_episode_in_both_lists_is_refused(settings: Make, tiny: Path, tmp_path: Path) -> None:
    train = tiny / "dataset_a" / "ep0"
    write_lists(tmp_path / "s", [train, tiny / "dataset_a" / "ep1"], [train.parent / "." / "ep0"])
    with pytest.raises(UserError, match="1 episode is in the training list and in the validation list"):
        finetune(settings(sampling_dir=str(tmp_path / "s")))


def test_an_empty_validation_list_is_refused(settings: Make, tiny: Path, tmp_path: Path) -> None:
    write_lists(tmp_path / "s", [tiny / "dataset_a" / "ep0"], [])
    with pytest.raises(UserError, match="list is empty"):
        finetune(settings(sampling_dir=str(tmp_path / "s")))


def test_validation_episodes_that_are_too_short_are_refused(settings: Make, tiny: Path, tmp_path: Path) -> None:
    short = write_episode(tmp_path / "short", 1, n_frames=40)
    write_lists(tmp_path / "s", [tiny / "dataset_a" / "ep0", tiny / "dataset_a" / "ep1"], [short])
    with pytest.raises(UserError, match="No episode of this list is long enough") as caught:
        finetune(settings(sampling_dir=str(tmp_path / "s")))
    assert "T=16 TRUNC_T=16" in str(caught.value)
    assert "STEPS=47" in str(caught.value)


def test_a_result_that_is_no_number_is_never_the_best(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from steve1.training import loop as fit

    monkeypatch.setattr(fit, "validate", lambda *_: {"loss": float("nan")})
    result = finetune(settings(val_freq=1, total_frames=64, warmup_frames=32))
    assert result.best_weights is None
    assert result.best_score is None
