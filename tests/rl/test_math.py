"""Advantages, weights and values: numbers worked out elsewhere, gradients against autograd, and what must not leak."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steve1.policy import load_policy
from steve1.policy.loss import head_loss
from steve1.rl.advantages import gae, minus_others, mixed_groups, returns_to_go, whitened
from steve1.rl.values import HeadValue, cross_fitted, explained_variance, fit_ridges, with_time
from steve1.rl.weights import Clip, clone_weights, pairs_of, ppo_weights, preference_weights
from tests.training.conftest import TINY

RNG = np.random.default_rng(0)


def test_gae_equals_the_numbers_of_another_implementation() -> None:
    """torchrl 0.14.1."""
    found = gae(np.array([0.0, 0.0, 1.0]), np.array([0.5, 0.6, 0.7]), 0.9, 0.5)
    np.testing.assert_allclose(found, [0.11425, 0.165, 0.3], atol=1e-10)


@pytest.mark.parametrize("length", [1, 2, 37, 400])
def test_gae_equals_torchrl(length: int) -> None:
    functional = pytest.importorskip("torchrl.objectives.value.functional")
    rewards, values = RNG.normal(size=length), RNG.normal(size=length)
    column = [
        torch.tensor(each, dtype=torch.float64)[:, None] for each in (values, np.append(values[1:], 0.0), rewards)
    ]
    done = torch.zeros(length, 1, dtype=torch.bool)
    done[-1] = True
    theirs, _ = functional.generalized_advantage_estimate(0.99, 0.9, *column, done=done, terminated=done)
    np.testing.assert_allclose(gae(rewards, values, 0.99, 0.9), theirs[:, 0], atol=1e-5)


def test_without_values_and_discount_advantages_are_returns_to_go() -> None:
    rewards = np.array([1.0, 0.0, 2.0, -1.0])
    np.testing.assert_allclose(gae(rewards, np.zeros(4), 1.0, 1.0), [2, 1, 1, -1])
    np.testing.assert_allclose(returns_to_go(rewards, 0.5), [1 + 0.5 - 0.125, 0.75, 1.5, -1])


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        ([0, 1, 0, 1], [-2 / 3, 2 / 3, -2 / 3, 2 / 3]),
        ([1, 0, 0, 0], [1, -1 / 3, -1 / 3, -1 / 3]),
        ([3, 3, 3], [0, 0, 0]),
        ([5], [0]),
    ],
)
def test_leave_one_out(returns: list[float], expected: list[float]) -> None:
    found = minus_others([np.array([float(each)]) for each in returns], ["a"] * len(returns))
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-12)


@pytest.mark.parametrize("members", [3, 7, 8])
def test_equal_members_get_exact_zeros_whatever_the_rounding(members: int) -> None:
    """Whitening would make a full-sized signal of what rounding leaves."""
    series = [returns_to_go(np.array([-0.01] * 20 + [1.0]), 0.999)] * members
    found = whitened(minus_others(series, ["a"] * members))
    assert not np.concatenate(found).any()


def test_groups_are_apart_and_ended_members_earn_nothing_more() -> None:
    series = [np.array([1.0, 1.0, 1.0]), np.array([3.0]), np.array([10.0]), np.array([20.0])]
    found = minus_others(series, ["a", "a", "b", "b"])
    np.testing.assert_allclose(found[0], [-2, 1, 1])
    np.testing.assert_allclose(found[1], [2])
    np.testing.assert_allclose(np.concatenate(found[2:]), [-10, 10])
    again = minus_others([series[2], series[0], series[3], series[1]], ["b", "a", "b", "a"])
    np.testing.assert_allclose(again[1], found[0])


def test_whitening_keeps_zeros_and_survives_no_spread() -> None:
    found = whitened([np.array([0.0, 2.0]), np.array([0.0, -2.0])])
    np.testing.assert_allclose(np.concatenate(found), [0, np.sqrt(2), 0, -np.sqrt(2)])
    np.testing.assert_allclose(whitened([np.zeros(3)])[0], 0)
    assert whitened([]) == []
    assert mixed_groups([True, False, True, True], ["a", "a", "b", "b"]) == 0.5


def test_the_gradient_of_the_clipped_loss() -> None:
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0, 2.0])
    ratio = torch.tensor([1.3, 0.7, 1.3, 0.7, 1.1])
    found = ppo_weights(ratio.log(), torch.zeros(5), advantage, Clip())
    torch.testing.assert_close(-found.weight / 5, torch.tensor([0, -0.14, 0.26, 0, -0.44]), atol=1e-6, rtol=0)
    assert found.clipped.tolist() == [True, False, False, True, False]


def test_the_bounds_for_bad_actions() -> None:
    far = ppo_weights(
        torch.tensor([2.0, -12.0, 50.0, -50.0]),
        torch.tensor([0.0, -12.0, 0.0, 0.0]),
        torch.tensor([-1.0, -1.0, 1.0, 1.0]),
        Clip(),
    )
    assert far.weight[0] == 0  # its ratio, 7.4, is above the second bound
    assert far.weight[1] == 0  # improbable as it is
    assert far.weight[2] == 0  # clipped
    assert torch.isfinite(far.weight).all()
    assert torch.isfinite(far.ratio).all()
    assert ppo_weights(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([-1.0]), Clip()).weight[
        0
    ] == pytest.approx(-np.e)


def test_weighted_imitation_has_ppos_gradient() -> None:
    """Against autograd through the clipped loss itself, with some frames clipped."""
    torch.manual_seed(0)
    from steve1.policy.heads import Head

    head = Head(16, 40, 0.65)
    latent = torch.randn(30, 16)
    target = torch.randint(0, 40, (30,))
    advantage = torch.randn(30)
    with torch.no_grad():
        log_p = torch.log_softmax(head.linear_layer(latent) / head.temperature, 1).gather(1, target[:, None])[:, 0]
    old = log_p + 0.3 * torch.randn(30)
    weights = ppo_weights(log_p, old, advantage, Clip())
    assert 0 < weights.clipped.sum() < 30
    head_loss(head, latent, target, weights.weight).loss.backward()
    ours = head.linear_layer.weight.grad.clone()
    head.zero_grad()
    now = torch.log_softmax(head.linear_layer(latent) / head.temperature, 1).gather(1, target[:, None])[:, 0]
    ratio = (now - old).exp()
    torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).neg().sum().backward()
    assert float((ours - head.linear_layer.weight.grad).norm() / ours.norm()) < 1e-5


def test_leave_one_out_is_the_exact_gradient_of_a_bandit_in_expectation() -> None:
    logits, rewards = np.array([0.2, -0.1, 0.4]), np.array([1.0, 0.0, 0.5])
    p = np.exp(logits) / np.exp(logits).sum()
    exact = p * (rewards - p @ rewards)
    np.testing.assert_allclose(exact, [0.15402366, -0.13598524, -0.01803842], atol=1e-8)
    draws = np.random.default_rng(1).choice(3, p=p, size=(100_000, 4))
    paid = rewards[draws]
    advantage = (paid - paid.mean(1, keepdims=True)) * 4 / 3
    mean = np.array([(advantage * ((draws == action) - p[action])).mean() for action in range(3)])
    np.testing.assert_allclose(mean, exact, atol=1.5e-3)
    by_spread = np.divide(
        advantage, paid.std(1, keepdims=True), where=paid.std(1, keepdims=True) > 0, out=np.zeros_like(advantage)
    )
    other = np.array([(by_spread * ((draws == action) - p[action])).mean() for action in range(3)])
    turned = other / np.linalg.norm(other) - exact / np.linalg.norm(exact)
    assert np.abs(turned).max() > 0.005, "dividing by the group's spread points elsewhere, so it is not done"


def test_cloning_and_preferences() -> None:
    returns, won = np.array([1.0, 2.0, 3.0]), np.array([False, True, True])
    np.testing.assert_allclose(clone_weights(returns, won), [0.0, 1.0, 1.0])
    np.testing.assert_allclose(clone_weights(returns, won, beta=1.0), [np.exp(-1), 1.0, np.e])
    assert clone_weights(returns * 100, won, beta=1.0).max() == pytest.approx(20.0)
    weight = preference_weights(torch.tensor([1.0]), torch.tensor([-0.5]), 0.1)
    assert float(weight) == pytest.approx(0.0462570, abs=1e-6)


def test_pairs_are_of_one_group_and_of_different_returns() -> None:
    better, worse = pairs_of([0, 0, 1, 0, 1, 1], [2.0, 0.0, 5.0, 1.0, 5.0, 4.0])
    assert sorted(zip(better.tolist(), worse.tolist())) == [(0, 1), (0, 3), (2, 5), (3, 1), (4, 5)]
    assert len(pairs_of([0, 1], [1.0, 2.0])[0]) == 0


def test_ridge_recovers_a_line_and_explains_no_noise() -> None:
    features = RNG.normal(size=(400, 6))
    line = features @ np.arange(6.0) + 3
    np.testing.assert_allclose(fit_ridges(features, line, [1e-6])[0](features), line, atol=1e-5)
    groups = [number // 2 for number in range(8)]
    episodes = [RNG.normal(size=(50, 6)) for _ in groups]
    _, explained = cross_fitted(episodes, [each @ np.arange(6.0) for each in episodes], groups)
    assert explained > 0.95
    _, explained = cross_fitted(episodes, [RNG.normal(size=50) for _ in groups], groups)
    assert explained < 0.05
    assert with_time(np.zeros((4, 2)), 8, [np.arange(4.0)]).shape == (4, 5)


def test_a_groups_own_luck_does_not_enter_its_values() -> None:
    groups = ["a", "a", "b", "b", "c", "c"]
    features = [RNG.normal(size=(20, 3)) for _ in groups]
    targets = [RNG.normal(size=20) for _ in groups]
    before, _ = cross_fitted(features, targets, groups)
    targets[0] = targets[0] + 100
    after, _ = cross_fitted(features, targets, groups)
    np.testing.assert_allclose(after[0], before[0])
    np.testing.assert_allclose(after[1], before[1])
    assert not np.allclose(after[2], before[2])
    alone, _ = cross_fitted(features[:2], targets[:2], ["a", "a"])
    np.testing.assert_allclose(alone[0], (targets[0] + targets[1]) / 2)


def test_the_value_head_begins_at_zero_and_learns_returns_in_their_units() -> None:
    policy = load_policy(TINY)
    policy.value_head.linear.weight.data.fill_(3.0)  # as if it had been trained for another reward
    head = HeadValue(policy)
    latents = [torch.from_numpy(RNG.normal(size=(40, TINY.hidsize))).float() for _ in range(4)]
    line = RNG.normal(size=TINY.hidsize)
    targets = [100 + 20 * (rows.double().numpy() @ line) for rows in latents]
    assert not np.concatenate([head(rows) for rows in latents]).any()
    for _ in range(5):
        head.fit(latents, targets)
    values = [head(rows) for rows in latents]
    assert explained_variance(targets, values) > 0.9
    assert np.mean(np.concatenate(values)) == pytest.approx(np.mean(np.concatenate(targets)), rel=0.1)
    again = HeadValue(load_policy(TINY))
    again.load_state_dict(head.state_dict())
    np.testing.assert_array_equal(again(latents[0]), values[0])
