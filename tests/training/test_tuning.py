"""How a step is spread over the processor: measured without a trace in the weights, recorded at checkpoints, the same on all processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from steve1.core.files import read_json
from steve1.core.run_folder import newest_resume_point
from steve1.core.tuning import Choice, Tuned
from steve1.policy import load_policy
from steve1.training import loop
from steve1.training.batches import chunks
from steve1.training.checks import faults
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.logging.reporter import Reporter
from steve1.training.loop import Hooks, Trainer
from steve1.training.step import Stepper
from steve1.training.train import finetune, open_windows
from steve1.training.trainable import apply_mode
from tests.forks import needs_forkserver
from tests.training.conftest import same, weights_of
from tests.training.processes import run_processes

Make = Callable[..., TrainSettings]
AUTO: dict[str, Any] = {"threads": "auto", "frames_at_once": "auto"}
SHAPE: dict[str, Any] = {"T": 24, "trunc_t": 8, "batch_size": 1, "total_frames": 12 * 8, "save_every": 2, "val_freq": 0}


class Script:
    """Answers in turn, in place of measuring."""

    def __init__(self, *answers: Choice) -> None:
        self.answers, self.asked = list(answers), list[dict[str, Any]]()

    def __call__(self, about: Any, choices: list[Choice], *args: Any, **more: Any) -> Tuned:
        self.asked.append({"about": about, "choices": choices, **more})
        return Tuned(self.answers.pop(0), choices[0], 2.0, 1.0)


@pytest.fixture(autouse=True)
def threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def recorded(chosen: TrainSettings) -> list[int]:
    point = newest_resume_point(chosen.run_dir)
    assert point is not None
    found: list[int] = read_json(point / "position_0.json")["spread"]
    return found


@pytest.mark.parametrize("changes", [{}, {"kl_coef": 0.5}, {"finetune_mode": "heads_and_goal"}])
def test_trying_out_changes_nothing(settings: Make, changes: dict[str, Any]) -> None:
    chosen = settings(**SHAPE, **changes)
    ranks, policy = Ranks(0, 1, torch.device("cpu")), load_policy(chosen.in_model, chosen.in_weights)
    apply_mode(policy, chosen)
    stepper = Stepper(policy, chosen, ranks, torch.bfloat16)
    chunk = next(chunks(open_windows(chosen)[0], chosen, ranks))
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    random = torch.get_rng_state()
    attempt = stepper.attempt(chunk.micro_batches[0], 4)
    for choice in (Choice(2, 1), Choice(64, 1)):
        assert attempt(choice) == 4.0
        assert policy.net.img_process.frames_at_once == choice.frames
    assert same(before, policy.state_dict())
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert not stepper.optimizer.state
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.e2e
def test_a_run_whose_choice_changes_goes_on_bit_for_bit(
    settings: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new choice is made only at a checkpoint, which records it; a resumed run asks for none."""
    steps: list[int] = []
    monkeypatch.setattr(Trainer, "_has_slowed", lambda trainer: steps[-1] in (4, 8))
    tick = Reporter.tick
    monkeypatch.setattr(Reporter, "tick", lambda reporter, step: (steps.append(step), tick(reporter, step)))

    def dies(after: int) -> Hooks:
        def on_step(step: int) -> None:
            if step == after:
                raise RuntimeError("killed")

        return Hooks(on_step=on_step)

    answers = (Choice(2, 1), Choice(4, 2), Choice(16, 1))
    script = Script(*answers)
    monkeypatch.setattr(loop, "tune", script)
    whole = settings(**SHAPE, **AUTO)
    finetune(whole)
    assert [ask.get("fresh") for ask in script.asked] == [False, True, True]
    assert recorded(whole) == [16, 1]
    cut = settings(**SHAPE, **AUTO, out_weights=str(tmp_path / "cut" / "cut.weights"))
    monkeypatch.setattr(loop, "tune", Script(*answers[:2]))
    with pytest.raises(RuntimeError):
        finetune(cut, hooks=dies(5))
    assert recorded(cut) == [4, 2]
    monkeypatch.setattr(loop, "tune", Script(answers[2]))
    with pytest.raises(RuntimeError):
        finetune(cut, hooks=dies(9))
    monkeypatch.setattr(loop, "tune", Script())
    finetune(cut)
    assert same(weights_of(whole.out_path), weights_of(cut.out_path))


@pytest.mark.e2e
def test_numbers_are_taken_as_they_are(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    finetune(settings(**SHAPE))
    assert recorded(settings()) == [8, 1]
    script = Script(Choice(3, 1))
    monkeypatch.setattr(loop, "tune", script)
    monkeypatch.setattr(Trainer, "_has_slowed", lambda trainer: False)  # a busy machine would have it ask again
    finetune(settings(**SHAPE, threads="auto", frames_at_once=3, overwrite=True))
    assert {choice.frames for choice in script.asked[0]["choices"]} == {3}


@pytest.mark.parametrize(
    ("speeds", "slowed"),
    [
        ([[100, 100], [90, 95]], [False, False]),
        ([[100, 102], [49, 40, 30]], [False, True]),
        ([[100], [], [45]], [False, False, True]),
        ([[30], [100], [49]], [False, False, True]),
        ([[]], [False]),
    ],
)
def test_it_looks_again_where_speed_fell_by_half(speeds: list[list[float]], slowed: list[bool]) -> None:
    trainer = object.__new__(Trainer)
    trainer.ranks, trainer._fastest = Ranks(0, 1, torch.device("cpu")), 0.0
    found = []
    for since_checkpoint in speeds:
        trainer._speeds = [float(speed) for speed in since_checkpoint]
        found.append(trainer._has_slowed())
    assert found == slowed


@pytest.mark.parametrize(("name", "value"), [("threads", -1), ("frames_at_once", 0)])
def test_numbers_that_cannot_be(settings: Make, name: str, value: int) -> None:
    assert any(name in fault for fault in faults(settings(**{name: value})))
    assert not any(name in fault for fault in faults(settings(**{name: "auto"})))


@pytest.mark.e2e
@needs_forkserver
def test_all_processes_use_the_choice_of_the_first(settings: Make) -> None:
    chosen = settings(**SHAPE, **AUTO)
    assert run_processes(chosen) == [0, 0]
    point = newest_resume_point(chosen.run_dir)
    assert point is not None
    first, second = (read_json(point / f"position_{rank}.json")["spread"] for rank in range(2))
    assert first == second
    assert len(first) == 2


def test_the_first_processs_numbers_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum over processes is of the first one's numbers and of zeros."""
    given: list[list[int]] = []
    for rank in range(2):
        ranks = Ranks(rank, 1, torch.device("cpu"))
        monkeypatch.setattr(ranks, "sum", lambda values: given.append(values.tolist()) or values)  # type: ignore[func-returns-value]
        ranks.of_main(dataclasses.astuple(Choice(4, 2)))
    assert given == [[4, 2], [0, 0]]
