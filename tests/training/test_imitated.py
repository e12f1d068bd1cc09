"""Frames that a policy played before somebody took over: they are seen, and give no gradient."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steve1.data.episodes.parts import ACTION_MASK
from steve1.data.loading.lists import ListEntry
from steve1.data.loading.windows import WindowDataset
from steve1.policy import load_policy
from steve1.training.batches import TbpttChunk, chunks
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.logging.action_metrics import ActionMetrics
from steve1.training.logging.metrics import MetricsAccumulator
from steve1.training.objectives import BehaviorCloning
from steve1.training.optim.optimizers import make_optimizer
from steve1.training.step import StepOutput, Stepper
from steve1.training.train import finetune
from steve1.training.validate import validate
from tests.training.conftest import N_FRAMES, apart, same, weights_of, write_episode, write_lists

Make = Callable[..., TrainSettings]
ALONE = Ranks(0, 1, torch.device("cpu"))


def masked(path: Path, seed: int, imitated: slice) -> Path:
    write_episode(path, seed)
    mask = np.zeros(N_FRAMES, bool)
    mask[imitated] = True
    np.save(path / ACTION_MASK, mask)
    return path


def batch_of(rows: int, frames: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "features": torch.randn(rows, frames, 256),
        "goals": torch.randn(rows, frames, 8),
        "first": torch.tensor([[True] + [False] * (frames - 1)] * rows),
        "buttons": torch.randint(0, 8641, (rows, frames)),
        "camera": torch.randint(0, 121, (rows, frames)),
    }


def test_a_frame_that_is_not_imitated_gives_no_gradient(tiny: Path) -> None:
    """Its recorded action makes no difference, and each imitated frame counts as it would alone."""
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    term = BehaviorCloning(policy)
    batch = batch_of(2, 6)
    mask = torch.tensor([[False, False, True, True, False, True], [False] * 6])

    def gradients(batch: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
        policy.zero_grad(set_to_none=True)
        features = policy.net.img_process.from_dense(batch["features"])
        latent, after = policy.forward_recurrent(features, batch["goals"], batch["first"], policy.initial_state(2))
        loss = term(batch, latent, after, policy.initial_state(2)).loss
        loss.backward()
        return float(loss.detach()), {
            name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None
        }

    loss, wanted = gradients({**batch, "imitated": mask})
    other = {**batch, "imitated": mask}
    for name, count in (("buttons", 8641), ("camera", 121)):
        other[name] = torch.where(mask, batch[name], (batch[name] + 7) % count)
    same_loss, same_gradients = gradients(other)
    assert loss == same_loss
    assert all(torch.equal(wanted[name], same_gradients[name]) for name in wanted)
    other["buttons"] = torch.where(mask, (batch["buttons"] + 7) % 8641, batch["buttons"])
    changed_loss, _ = gradients(other)
    assert changed_loss != loss  # the test can fail
    nothing, none = gradients({**batch, "imitated": torch.zeros_like(mask)})
    assert nothing == 0
    assert all(not gradient.any() for gradient in none.values())
    everything, all_gradients = gradients({**batch, "imitated": torch.ones_like(mask)})
    plain, plain_gradients = gradients(batch)
    assert everything == plain
    assert all(torch.equal(all_gradients[name], plain_gradients[name]) for name in plain_gradients)


def test_context_is_seen(tiny: Path) -> None:
    """The picture of a frame that is not imitated changes what the policy makes of the frames after it."""
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    batch = batch_of(1, 6)

    def latent(features: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            seen = policy.net.img_process.from_dense(features)
            return policy.forward_recurrent(seen, batch["goals"], batch["first"], policy.initial_state(1))[0][0, 3:]

    other = batch["features"].clone()
    other[:, 1] += 1
    assert not torch.equal(latent(other), latent(batch["features"]))


def test_a_step_without_a_frame_to_imitate_changes_no_weight(settings: Make, tiny: Path, tmp_path: Path) -> None:
    """Momentum of the steps before would move the weights; the recurrent state goes on."""
    chosen = settings(batch_size=1, T=32, trunc_t=16)
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    stepper = Stepper(policy, chosen, ALONE, torch.float32, make_optimizer(policy, chosen))
    plain = WindowDataset([ListEntry(write_episode(tmp_path / "plain", 1))], 32)
    piece = next(chunks(plain, chosen, ALONE))
    stepper.step(piece, stepper.initial_states(piece), 1e-2)
    late = WindowDataset([ListEntry(masked(tmp_path / "late", 2, slice(60, 64)))], 32, jitter=False)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    states: list[Any] = []
    for piece in itertools.islice(chunks(late, chosen, ALONE), 4):
        states = stepper.initial_states(piece) if piece.starts else states
        output = stepper.step(piece, states, 1e-2)
        states = output.states
        idle = not any(bool(batch["imitated"].any()) for batch in piece.micro_batches)
        assert bool(output.idle) == idle
        assert not output.skipped
        now = policy.state_dict()
        if idle:
            assert all(torch.equal(now[name], before[name]) for name in before)
            assert bool(states[0].mask.any())
        before = {name: value.clone() for name, value in now.items()}
    assert not all(
        torch.equal(value, before[name])
        for name, value in load_policy(tiny / "tiny.model", tiny / "tiny.weights").state_dict().items()
    )


def test_what_no_frame_counts_for_is_not_measured(settings: Make, tiny: Path) -> None:
    """With KEEP=kl a batch may hold old episodes alone, of which nothing is imitated: its 0 is no loss."""
    chosen = settings(keep="kl", replay="old", batch_size=2)
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    stepper = Stepper(policy, chosen, ALONE, torch.float32, make_optimizer(policy, chosen))
    batch = batch_of(2, 6)
    new, old = ({**batch, "replayed": torch.full((2, 6), value)} for value in (False, True))

    def step(*micro_batches: dict[str, torch.Tensor]) -> StepOutput:
        piece = TbpttChunk(list(micro_batches), (1, 0), True, True, [], [])
        return stepper.step(piece, stepper.initial_states(piece), 0.0)

    alone, both = step(new), step(new, old)
    loss, kl = stepper.measures.index("loss"), stepper.measures.index("kl")
    assert alone.measured[[loss, kl]].tolist() == [True, False]
    assert both.measured.all()
    torch.testing.assert_close(both.measures[:kl], alone.measures[:kl])
    before = stepper.spike_filter.to_list()
    without = step(old)
    assert without.measured[[loss, kl]].tolist() == [False, True]
    assert stepper.spike_filter.to_list() == before
    metrics = MetricsAccumulator(ALONE, stepper.measures)
    for output in (alone, without):
        metrics.add(output)
    resumed = MetricsAccumulator(ALONE, stepper.measures, sums=metrics.to_list())
    names = len(stepper.measures) + 2
    earlier = MetricsAccumulator(ALONE, stepper.measures, sums=[*(2.0 * number for number in range(names)), 2.0])
    assert list(earlier.averages().values()) == list(range(names)), "sums that earlier versions kept have one count"
    for found in (metrics.averages(), resumed.averages()):
        assert found["loss"] == pytest.approx(float(alone.measures[loss]))
        assert found["gradient_norm"] == pytest.approx(float(alone.gradient_norm + without.gradient_norm) / 2)


@pytest.mark.parametrize(
    "words",
    [{}, {"turn_loss_weight": 4.0}, {"keep": "kl", "replay": "old"}],
    ids=["corrections", "turns", "kl"],
)
def test_accumulated_batches_count_by_the_frames_that_count(settings: Make, tiny: Path, words: dict[str, Any]) -> None:
    """One frame in the one micro-batch and six in the other: a mean of both means would be far from the big batch's mean."""
    chosen = settings(batch_size=2, max_grad_norm=0, **words)
    whole = batch_of(2, 6)
    few, all_ = [False] * 5 + [True], [True] * 6
    if "replay" in words:
        whole["replayed"] = torch.tensor([few, [False, True, True, True, False, True]])
    elif "turn_loss_weight" in words:
        turn, still = 3, 60
        whole["camera"] = torch.where(torch.tensor([few, all_]), turn, still)
    else:
        whole["imitated"] = torch.tensor([few, all_])

    def stepped(*rows: slice) -> tuple[dict[str, torch.Tensor], StepOutput]:
        policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
        stepper = Stepper(policy, chosen, ALONE, torch.float32, make_optimizer(policy, chosen))
        with torch.no_grad():  # away from the start, or KL has no gradient
            policy.pi_head.buttons.linear_layer.weight.mul_(1.5)
        piece = TbpttChunk(
            [{name: value[part] for name, value in whole.items()} for part in rows], (1, 0), True, True, [], []
        )
        output = stepper.step(piece, stepper.initial_states(piece), 0.0)
        return {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}, output

    big, small = stepped(slice(0, 2)), stepped(slice(0, 1), slice(1, 2))
    assert apart(big[0], small[0]) < 1e-2
    torch.testing.assert_close(big[1].measures, small[1].measures)


def test_processes_count_by_the_frames_that_count(settings: Make, tiny: Path) -> None:
    """One frame here, and on average five in each process: it counts a fifth, so that all frames of all processes count alike."""

    class Two(Ranks):
        def mean(self, values: torch.Tensor) -> torch.Tensor:
            return (values + 9) / 2

    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    stepper = Stepper(policy, settings(), ALONE, torch.float32)
    batch = {**batch_of(1, 6), "imitated": torch.tensor([[False] * 5 + [True]])}
    piece = TbpttChunk([batch], (1, 0), True, True, [], [])
    assert stepper._shares(piece) is None  # one micro-batch in one process: there is nothing to weigh it against
    stepper._ranks = Two(0, 2, torch.device("cpu"))
    shares = stepper._shares(piece)
    assert shares is not None
    torch.testing.assert_close(shares, torch.tensor([[0.2]]))
    assert stepper._shares(TbpttChunk([batch_of(1, 6)], (1, 0), True, True, [], [])) is None


def test_validation_counts_imitated_frames_alone(settings: Make, tiny: Path, tmp_path: Path) -> None:
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    chosen = settings(batch_size=1, val_windows=0)
    path = masked(tmp_path / "ep", 3, slice(20, 30))
    metrics = ActionMetrics()
    found = validate(policy, WindowDataset([ListEntry(path)], 32, fixed=True), chosen, ALONE, torch.float32, metrics)
    (path / ACTION_MASK).unlink()
    whole = WindowDataset([ListEntry(path)], 32, fixed=True)
    total = validate(policy, whole, chosen, ALONE, torch.float32)
    assert found["loss"] != pytest.approx(total["loss"], rel=1e-6)
    assert 0 < found["loss"] < 50
    assert metrics._kept["frames"][0] == 10  # frames 20..29, in the first of two windows (15..46, 32..63)


def test_windows_without_a_frame_to_imitate_give_no_loss(settings: Make, tiny: Path, tmp_path: Path) -> None:
    """Somebody took over before the first window alone: 0 would be the best of all losses, and a mean over no frame a traceback."""
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    data = WindowDataset([ListEntry(masked(tmp_path / "ep", 3, slice(0, 10)))], 32, fixed=True)
    metrics = ActionMetrics()
    found = validate(policy, data, settings(batch_size=1, val_windows=0), ALONE, torch.float32, metrics)
    assert all(math.isnan(value) for value in found.values())
    assert (metrics.numbers(), metrics.button_shares(), metrics.camera_shares()) == ({}, {}, {})


@pytest.mark.e2e
def test_a_run_on_corrections(settings: Make, tiny: Path, tmp_path: Path) -> None:
    train = [masked(tmp_path / "ds" / f"ep{number}", number, slice(30, 64)) for number in range(2)]
    write_lists(tmp_path / "samplings", train, [masked(tmp_path / "ds" / "val", 9, slice(40, 64))])
    chosen = settings(sampling_dir=str(tmp_path / "samplings"), total_frames=96, warmup_frames=32)
    assert not same(weights_of(finetune(chosen).out_weights), weights_of(tiny / "tiny.weights"))
