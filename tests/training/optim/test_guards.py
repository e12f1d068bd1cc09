"""Guards against spikes, the learning-rate trial, weights on the line between two policies, and goal files."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from steve1.commands.train.interpolate_weights import Args, interpolate, shares
from steve1.core.checkpoint_metadata import GoalFile, read_goal, write_goal
from steve1.core.errors import UserError
from steve1.policy import GoalPolicy, load_policy
from steve1.training.batches import chunks, open_windows
from steve1.training.checkpoint.checkpointer import TrainState
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.loop import Trainer
from steve1.training.optim import spike_filter as guard
from steve1.training.optim.lr_find import find_learning_rate, suggest
from steve1.training.optim.spike_filter import SpikeFilter
from steve1.training.step import Stepper
from steve1.training.train import finetune
from tests.training.conftest import same, weights_of

Make = Callable[..., TrainSettings]


def number(value: float) -> torch.Tensor:
    return torch.tensor(float(value))


def test_only_what_lies_far_above_the_run_is_a_spike() -> None:
    watch = SpikeFilter(TrainSettings(), torch.device("cpu"))
    rng = np.random.default_rng(0)
    no = torch.tensor(False)
    for step in range(200):
        loss, norm = number(5 - step / 100 + 0.3 * rng.normal()), number(1 + rng.random())
        assert not watch.spikes(loss, norm), step
        watch.remember(loss, norm, no)
    assert not watch.spikes(number(4.5), number(10))
    assert watch.spikes(number(30), number(1))
    assert watch.spikes(number(3), number(40))
    again = SpikeFilter(TrainSettings(), torch.device("cpu"), watch.to_list())
    assert again.to_list() == watch.to_list()
    watch.remember(number(1e9), number(1e9), torch.tensor(True))  # skipped: leaves no trace
    assert again.to_list() == watch.to_list()
    off = SpikeFilter(TrainSettings(skip_loss_above=0, skip_norm_above=0), torch.device("cpu"), watch.to_list())
    assert not off.spikes(number(1e9), number(1e9))


@pytest.mark.e2e
def test_a_spike_changes_no_weight_and_is_said(
    settings: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "WARMUP", 2)
    original, calls = GoalPolicy.bc_loss, [0]

    def bc_loss(self: GoalPolicy, *args: object, **more: object) -> object:
        found = original(self, *args, **more)  # type: ignore[arg-type]
        calls[0] += torch.is_grad_enabled()
        return dataclasses.replace(found, loss=found.loss * (1e4 if calls[0] == 5 else 1.0))

    monkeypatch.setattr(GoalPolicy, "bc_loss", bc_loss)
    result = finetune(settings(val_freq=0, log_every=1))
    assert (result.steps, result.skipped_steps) == (6, 1)
    told = capsys.readouterr()
    assert "step 5: loss or gradient norm is far above its running mean; skipped (1 in a row, 1 in all)" in told.err
    assert "1 of them by the spike filter" in told.out


def test_all_processes_judge_the_mean_of_their_losses(settings: Make, tiny: Path) -> None:
    """Another process's loss, and not this one's, is far above the running mean: both skip the step, and the average takes no notice."""

    class OneOfTwo(Ranks):
        others_loss = 0.0

        def mean(self, values: torch.Tensor) -> torch.Tensor:
            other = torch.cat([number(self.others_loss).reshape(1), values[1:]])
            return (values + other) / 2

    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights").train()
    chosen, ranks = settings(ema_decay=0.9), OneOfTwo(0, 1, torch.device("cpu"))
    stepper = Stepper(policy, chosen, ranks, torch.float32)
    average, watch = stepper.ema, stepper.spike_filter
    assert average is not None
    watch.restore([100.0, 7.0, 0.01, 1.0])
    train, *_ = open_windows(chosen)
    piece = next(chunks(train, chosen, ranks))
    before = {name: value.clone() for name, value in average.tensors().items()}
    for loss, spike, bad in ((1.0, False, False), (1e3, True, True), (float("nan"), False, True)):
        seen = watch.to_list()
        ranks.others_loss = loss
        output = stepper.step(piece, stepper.initial_states(piece), 1e-4, 1)
        assert (bool(output.spike), bool(output.skipped)) == (spike, bad)
        assert (watch.to_list() == seen) == bad
        assert same(average.tensors(), before) == bad
        before = {name: value.clone() for name, value in average.tensors().items()}


@pytest.mark.parametrize(("kind", "asked"), [("cpu", list(range(1, 13))), ("cuda", [1, 4, 6, 8, 10, 12])])
def test_a_gpu_is_asked_for_skipped_steps_only_where_the_host_waits_anyway(
    settings: Make, kind: str, asked: list[int]
) -> None:
    found: list[int] = []

    class Counting:
        def skipped(self) -> tuple[int, int, int]:
            found.append(position.step)
            return 0, 0, 0

    chosen = settings(log_every=4, val_freq=6, save_every=10, total_frames=12 * 32)
    trainer = SimpleNamespace(settings=chosen, ranks=Ranks(0, 1, torch.device(kind)), total_steps=12)
    trainer._due = lambda step, every: Trainer._due(trainer, step, every)  # type: ignore[arg-type]
    for step in range(1, 13):
        position = TrainState(step=step)
        Trainer._watch_for_skipped_steps(trainer, position, Counting())  # type: ignore[arg-type]
    assert found == asked
    found.clear()
    position = TrainState(
        step=3
    )  # Ctrl-C between two console lines: the resume point counts what was skipped since the last
    Trainer._watch_for_skipped_steps(trainer, position, Counting(), saving=True)  # type: ignore[arg-type]
    assert found == [3]


@pytest.mark.e2e
def test_the_rate_trial_writes_a_plot_and_no_weights(settings: Make, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = settings(lr_find=True, lr_find_steps=12, lr_find_from=1e-4, lr_find_to=1e-1, T=16, trunc_t=8, batch_size=1)
    trial = find_learning_rate(chosen)
    assert trial.rates[0] == pytest.approx(1e-4)
    assert trial.rates == sorted(trial.rates)
    assert len(trial.rates) == len(trial.smoothed) <= 12
    assert {path.name for path in trial.folder.iterdir()} == {"lr_find.png", "lr_find.json"}
    assert json.loads((trial.folder / "lr_find.json").read_text())["losses"] == trial.losses
    assert not chosen.run_dir.exists()
    assert not chosen.out_path.exists()
    assert "learning-rate trial: " in capsys.readouterr().out
    assert finetune(dataclasses.replace(chosen, lr_find=False, val_freq=0, total_frames=16, warmup_frames=8)).steps == 2


def test_the_suggestion_is_a_tenth_of_the_best_rate_or_none() -> None:
    assert suggest([1e-4, 1e-3, 1e-2], [5.0, 4.0, 9.0]) == pytest.approx(1e-4)
    assert suggest([1e-4, 1e-3], [5.0, 5.0]) is None


def test_the_line_between_two_policies(settings: Make, tiny: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = load_policy(tiny / "tiny.model")
    from steve1.policy import save_weights

    save_weights(other, tmp_path / "other.weights")
    shutil.copyfile(tiny / "samplings/tiny_train.txt", tiny / "samplings/old_val.txt")
    line = tmp_path / "line"
    args = Args(
        base=str(tiny / "tiny.weights"), tuned=str(tmp_path / "other.weights"), in_model=str(tiny / "tiny.model"), alpha="0:1:0.5",
        sampling="tiny", retention_sampling="old", sampling_dir=str(tiny / "samplings"), T=16, trunc_t=8, val_windows=2, batch_size=2, device="cpu",
    )  # fmt: skip
    for name in ("trunc_t", "batch_size"):
        with pytest.raises(UserError, match=f"{name} must be at least 1, got 0"):
            interpolate(dataclasses.replace(args, **{name: 0}), line)
    points = interpolate(args, line)
    start, middle, end = (weights_of(point.weights) for point in points if point.weights is not None)
    assert same(start, weights_of(tiny / "tiny.weights"))
    assert same(end, weights_of(tmp_path / "other.weights"))
    for name, value in middle.items():
        torch.testing.assert_close(value, (start[name] + end[name]) / 2)
    table = (line / "interpolation.md").read_text()
    assert [f"{point.task_loss:.4f}" in table and f"{point.retention_loss:.4f}" in table for point in points] == [
        True
    ] * 3
    assert len({point.task_loss for point in points}) == 3
    assert (line / "interpolation.png").stat().st_size > 5000
    assert shares("0.3, 0.7") == [0.3, 0.7]
    assert shares("0:1:0.2") == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert shares("0:1:0.6") == [0, 0.6], "nothing beyond the end"
    for bad in ("", "1:0:0.1", "a:b:c", "0:1:0", "0.5,nan", "inf:1:0.1", "0:inf:0.1", "0:1:1e-9"):
        with pytest.raises(UserError):
            shares(bad)


def test_mixtures_of_other_weights_are_not_replaced(tiny: Path, tmp_path: Path) -> None:
    from steve1.policy import save_weights

    for seed, name in ((1, "other"), (2, "third")):
        torch.manual_seed(seed)
        save_weights(load_policy(tiny / "tiny.model"), tmp_path / f"{name}.weights")
    line, model = tmp_path / "line", str(tiny / "tiny.model")
    args = Args(base=str(tiny / "tiny.weights"), tuned=str(tmp_path / "other.weights"), in_model=model, alpha="0.5", device="cpu")  # fmt: skip
    path = interpolate(args, line)[0].weights
    assert path is not None
    before = path.read_bytes()
    assert interpolate(args, line)[0].weights == path, "the same again"
    another = dataclasses.replace(args, base=str(tmp_path / "third.weights"))
    with pytest.raises(UserError, match="Other weights lie where the mixed ones go"):
        interpolate(another, line)
    with pytest.raises(UserError, match="losses between other weights"):
        interpolate(dataclasses.replace(another, no_weights=True), line)
    assert path.read_bytes() == before
    assert json.loads((line / "interpolation.json").read_text())["base"].endswith("tiny.weights")
    interpolate(dataclasses.replace(another, overwrite=True), line)
    assert path.read_bytes() != before
    mine = tmp_path / "mine" / path.name
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(UserError, match="Other weights lie where the mixed ones go"):
        interpolate(args, mine.parent)
    assert mine.read_bytes() == b"mine"


def test_goal_files_come_back_bit_for_bit_or_are_refused(tmp_path: Path) -> None:
    goal = np.random.default_rng(0).normal(size=64).astype(np.float32)
    write_goal(tmp_path / "a.goal.json", GoalFile(goal, "x.weights", "abc", "dig"))
    found = read_goal(tmp_path / "a.goal.json")
    assert np.array_equal(found.goal, goal)
    assert (found.weights, found.weights_sha256, found.prompt) == ("x.weights", "abc", "dig")
    for content in ('{"goal": [1, "a"]}', '{"goal": []}', '{"goal": [NaN]}', "[1, 2]", '{"goal": [[1]]}'):
        (tmp_path / "b.goal.json").write_text(content)
        with pytest.raises(UserError, match=r"not a goal file|has the wrong form"):
            read_goal(tmp_path / "b.goal.json")
    with pytest.raises(UserError, match="does not exist"):
        read_goal(tmp_path / "c.goal.json")


def test_a_goal_file_names_its_own_weights_when_played_and_evaluated(tiny: Path, tmp_path: Path) -> None:
    from steve1.commands.play.play import Args as PlayArgs
    from steve1.commands.play.play import completed
    from steve1.core.checkpoint_metadata import CheckpointMetadata, write_checkpoint_metadata
    from steve1.evaluation.policies import goals_for, parse_policies

    goal, weights = np.arange(8, dtype=np.float32), tmp_path / "own.weights"
    shutil.copyfile(tiny / "tiny.weights", weights)
    write_checkpoint_metadata(weights, CheckpointMetadata(model=str(tiny / "tiny.model")))
    write_goal(tmp_path / "dig.goal.json", GoalFile(goal, str(weights), "", ""))
    args = completed(PlayArgs(goal_file=str(tmp_path / "dig.goal.json")))
    assert (args.in_weights, args.text_prompt) == (str(weights), "dig")
    named = str(tmp_path / "dig.goal.json")  # as weights, it is the same
    for more, scale in (({"text_prompt": "dig dirt"}, ""), ({}, "@2")):
        args = completed(PlayArgs(in_weights=named + scale, **more))
        assert (args.goal_file, args.in_weights) == (named, str(weights) + scale)
        assert args.text_prompt == (more.get("text_prompt") or "dig")
    for given in ("in_weights", "goal_file"):
        for more in ({"prompts": "dig=5;swim=5"}, {"planner": "plan.py:plan", "text_prompt": "explore"}):
            with pytest.raises(UserError, match="no prompt replaces it"):
                completed(PlayArgs(**{given: named}, **more))
    with pytest.raises(UserError, match="Two goal files"):
        completed(PlayArgs(in_weights=named, goal_file=named))
    spec = parse_policies([str(tmp_path / "dig.goal.json")])[0]
    assert (spec.name, spec.weights) == ("dig", str(weights))
    assert np.array_equal(goals_for([spec], ["anything"])["dig"]["anything"], goal)
    with pytest.raises(UserError, match="Weights and a prompt are missing"):
        completed(PlayArgs(in_weights="a.weights"))
    with pytest.raises(UserError, match="A planner needs a first prompt"):
        completed(PlayArgs(in_weights="a.weights", planner="plan.py:plan"))
