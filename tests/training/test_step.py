"""One optimizer step: accumulation, clipping, decay, carried state, and steps that are not finite."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from steve1.core.errors import UserError
from steve1.policy import GoalPolicy, load_policy
from steve1.policy.parameters import parameter_groups
from steve1.training.batches import TbpttChunk, chunk_bounds, chunks, open_windows
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks
from steve1.training.loop import Hooks
from steve1.training.optim.optimizers import make_optimizer
from steve1.training.step import Stepper
from steve1.training.train import finetune
from tests.training.conftest import apart, same, weights_of

Make = Callable[..., TrainSettings]
CPU = torch.device("cpu")
ALONE = Ranks(0, 1, CPU)


def stepper_for(settings: TrainSettings, tiny: Path, plain: bool = False) -> tuple[GoalPolicy, Stepper]:
    """A policy and its stepper; `plain` without AdamW, whose first steps blow up float noise in gradients that are nearly zero."""
    policy = load_policy(tiny / "tiny.model", tiny / "tiny.weights")
    optimizer = (
        torch.optim.SGD(parameter_groups(policy, 0.0), fused=True) if plain else make_optimizer(policy, settings)
    )
    return policy, Stepper(policy, settings, ALONE, torch.float32, optimizer)


def run_steps(
    settings: TrainSettings, tiny: Path, count: int, rate: float = 1e-3, plain: bool = False
) -> tuple[GoalPolicy, list[float]]:
    """`count` steps by hand; the policy, with the last step's gradients, and all gradient norms."""
    policy, stepper = stepper_for(settings, tiny, plain)
    train, *_ = open_windows(settings)
    feed, states, norms = chunks(train, settings, ALONE), [], []
    for _ in range(count):
        piece = next(feed)
        states = stepper.initial_states(piece) if piece.starts else states
        output = stepper.step(piece, states, rate)
        states = output.states
        norms.append(float(output.gradient_norm))
    return policy, norms


def length_of(policy: GoalPolicy) -> float:
    """The norm of all gradients together."""
    return float(torch.cat([gradient.flatten() for gradient in gradients_of(policy).values()]).norm())


def gradients_of(policy: GoalPolicy) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.e2e
def test_accumulation_equals_the_big_batch(settings: Make, tiny: Path) -> None:
    """Each micro-batch keeps its own state over the chunks, and the gradient is the big batch's, not the last chunk's quarter."""
    shape = {"T": 24, "trunc_t": 8, "max_grad_norm": 0}
    for count in (1, 3):  # the first chunk of a window; its third, with carried state
        small, small_norms = run_steps(settings(batch_size=1, gradient_accum_steps=4, **shape), tiny, count, rate=0.0)
        big, big_norms = run_steps(settings(batch_size=4, gradient_accum_steps=1, **shape), tiny, count, rate=0.0)
        assert small_norms == pytest.approx(big_norms, rel=1e-4)
        assert apart(gradients_of(big), gradients_of(small)) < 1e-2
    one, _ = run_steps(settings(batch_size=1, gradient_accum_steps=1, **shape), tiny, 3, rate=0.0)
    assert apart(gradients_of(big), gradients_of(one)) > 0.1  # the comparison can tell a lost micro-batch


def test_accumulated_training_stays_with_the_big_batch(settings: Make, tiny: Path) -> None:
    shape = {"T": 24, "trunc_t": 8}
    small, _ = run_steps(settings(batch_size=1, gradient_accum_steps=4, **shape), tiny, 4, rate=0.01, plain=True)
    big, _ = run_steps(settings(batch_size=4, gradient_accum_steps=1, **shape), tiny, 4, rate=0.01, plain=True)
    start = load_policy(tiny / "tiny.model", tiny / "tiny.weights").state_dict()
    by_big, by_small = (
        {name: value - start[name] for name, value in policy.state_dict().items()} for policy in (big, small)
    )
    assert apart(by_big, by_small) < 1e-2


def test_state_is_carried_over_chunks_and_begins_afresh_with_new_windows(settings: Make, tiny: Path) -> None:
    """At rate zero, chunk by chunk equals the whole window; and the second window knows nothing of the first."""
    chosen = settings(batch_size=2, T=32, trunc_t=16)
    policy, stepper = stepper_for(chosen, tiny)
    train, *_ = open_windows(chosen)
    feed = chunks(train, chosen, ALONE)
    for _ in range(2):
        losses, states, whole = [], [], None
        for _ in range(2):
            piece = next(feed)
            whole = piece.windows[0]
            states = stepper.initial_states(piece) if piece.starts else states
            output = stepper.step(piece, states, 0.0)
            states = output.states
            losses.append(float(output.measures[0]))
        assert whole is not None
        with torch.no_grad():
            expected = policy.loss(
                whole["frames"],
                whole["goals"],
                whole["first"],
                policy.initial_state(2),
                whole["buttons"],
                whole["camera"],
            )
        assert sum(losses) / 2 == pytest.approx(float(expected.loss), rel=1e-5)
    assert all(not keys.requires_grad for keys in states[0].keys)


def test_a_last_chunk_may_be_shorter(settings: Make, tiny: Path) -> None:
    assert chunk_bounds(40, 16) == [(0, 16), (16, 32), (32, 40)]
    chosen = settings(T=40, trunc_t=16)
    train, *_ = open_windows(chosen)
    feed = chunks(train, chosen, ALONE)
    found = [next(feed) for _ in range(4)]
    assert [piece.micro_batches[0]["frames"].shape[1] for piece in found] == [16, 16, 8, 16]
    assert [(piece.starts, piece.ends, piece.following) for piece in found] == [
        (True, False, (0, 1)), (False, False, (0, 2)), (False, True, (1, 0)), (True, False, (1, 1)),
    ]  # fmt: skip
    assert bool(found[0].micro_batches[0]["first"][:, 0].all())
    assert not found[1].micro_batches[0]["first"].any()


def test_clipping_and_its_reported_norm_are_in_the_published_unit(settings: Make, tiny: Path) -> None:
    """The loss is a mean over the chunk; threshold and norm are those of its sum over TRUNC_T frames."""
    _, norms = run_steps(settings(max_grad_norm=0), tiny, 1)
    policy, _ = run_steps(settings(max_grad_norm=0), tiny, 1)
    assert norms[0] == pytest.approx(length_of(policy) * 16, rel=1e-4)
    limit = norms[0] / 3
    clipped, reported = run_steps(settings(max_grad_norm=limit), tiny, 1)
    assert reported[0] == pytest.approx(norms[0], rel=1e-4)
    assert length_of(clipped) * 16 == pytest.approx(limit, rel=1e-3)


def test_decay_only_on_matrices_and_not_on_relative_biases(settings: Make, tiny: Path) -> None:
    policy, _ = stepper_for(settings(), tiny)
    optimizer = make_optimizer(policy, settings(weight_decay=0.5))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad:
            assert decays[id(parameter)] == (0.5 if parameter.ndim >= 2 and not name.endswith("b_nd") else 0.0), name


def poisoned(piece: TbpttChunk) -> TbpttChunk:
    parts = [{**part, "goals": torch.full_like(part["goals"], float("nan"))} for part in piece.micro_batches]
    return dataclasses.replace(piece, micro_batches=parts)


def test_a_step_that_is_not_finite_changes_nothing(settings: Make, tiny: Path) -> None:
    chosen = settings()
    policy, stepper = stepper_for(chosen, tiny)
    train, *_ = open_windows(chosen)
    feed = chunks(train, chosen, ALONE)
    first, second, third = next(feed), next(feed), next(feed)
    output = stepper.step(first, stepper.initial_states(first), 1e-3)
    weights = {name: value.clone() for name, value in policy.state_dict().items()}
    bad = stepper.step(poisoned(second), output.states, 1e-3)
    assert bool(bad.skipped)
    assert not bool(output.skipped)
    assert same(weights, dict(policy.state_dict()))
    assert float(bad.gradient_norm) == 0
    assert float(bad.measures.abs().sum()) == 0
    for state in bad.states:
        assert not state.mask.any()
        assert all(torch.isfinite(x).all() for x in (*state.keys, *state.values))
    good = stepper.step(third, bad.states, 1e-3)
    assert not bool(good.skipped)
    assert torch.isfinite(good.measures).all()
    assert not same(weights, dict(policy.state_dict()))


def break_loss(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """The loss becomes NaN at these calls in training (from 1); validation is not counted."""
    original, calls = GoalPolicy.bc_loss, [0]

    def loss(self: GoalPolicy, *args: object, **more: object) -> object:
        found = original(self, *args, **more)  # type: ignore[arg-type]
        if not torch.is_grad_enabled():
            return found
        calls[0] += 1
        return dataclasses.replace(found, loss=found.loss * float("nan")) if calls[0] in steps else found

    monkeypatch.setattr(GoalPolicy, "bc_loss", loss)


@pytest.mark.e2e
def test_single_skipped_steps_are_counted_and_the_run_goes_on(
    settings: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_loss(monkeypatch, {2, 3, 5})
    result = finetune(settings(max_skipped_steps=3))
    assert (result.steps, result.skipped_steps) == (6, 3)
    assert "step 3: loss or gradient is not finite; skipped (2 in a row, 2 in all)" in capsys.readouterr().err
    assert all(torch.isfinite(value).all() for value in weights_of(result.out_weights).values())


@pytest.mark.e2e
def test_skipped_steps_in_a_row_stop_the_run_with_the_last_good_weights(
    settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[int, dict[str, torch.Tensor]] = {}
    chosen = settings(max_skipped_steps=2)

    def keep(step: int) -> None:
        if step == 3:
            kept[3] = weights_of(chosen.run_dir / "tuned_latest.weights")

    break_loss(monkeypatch, {4, 5})
    with pytest.raises(UserError) as caught:
        finetune(chosen, hooks=Hooks(on_step=keep))
    assert "2 steps in a row" in str(caught.value)
    assert "step000000003" in str(caught.value)
    assert same(weights_of(chosen.run_dir / "tuned_latest.weights"), kept[3])
    assert not chosen.out_path.exists()
    # What the message advises goes on from there; without the flag it is another run.
    assert "with --force_resume" in caught.value.todo
    lower = dataclasses.replace(chosen, learning_rate=chosen.learning_rate / 2)
    with pytest.raises(UserError, match="with other settings: learning_rate"):
        finetune(lower)
    assert finetune(dataclasses.replace(lower, force_resume=True)).steps == 6
