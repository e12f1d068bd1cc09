"""One iteration's learning: what is dealt to its minibatches, what is kept beside it, and what is computed once."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steve1.core.errors import UserError
from steve1.data.loading.lists import ListEntry
from steve1.data.loading.windows import WindowDataset
from steve1.evaluation.statistics.tests import wilson
from steve1.policy import GoalPolicy, load_policy
from steve1.rl import passes
from steve1.rl.keep import OldEpisodes, PlayedPrompts
from steve1.rl.passes import latents_of
from steve1.rl.plan import FIRST_PRIOR_SEED, PRIOR_SEEDS, plan_iteration
from steve1.rl.rollouts import RolloutBatch, batch_of, figures_of, permuted, speed_of, tag_of
from steve1.rl.settings import RlSettings
from steve1.rl.update import Learner
from steve1.rl.weights import EQUAL, NO_SUCCESS, TIED
from steve1.training.optim.optimizers import make_optimizer
from steve1.training.trainable import TUNED_GOAL, apply_mode, frozen_copy, trained_parameters
from tests.rl.test_preference import rollout
from tests.training.conftest import TINY, E
from tests.training.test_imitated import masked

EARNED = [3.0, 0.0, 1.0, 2.0, 5.0, 0.0, 0.0, 1.0]
"""Of eight episodes, two from each of four start states."""


def learner(keep: bool = False, **changes: Any) -> Learner:
    """Of a tiny policy whose actions depend on its goal."""
    torch.manual_seed(0)
    policy = load_policy(TINY)
    for head in (policy.pi_head.buttons, policy.pi_head.camera):
        head.linear_layer.weight.data.mul_(20)
    values: dict[str, Any] = {"places": 4, "group": 2, "epochs": 1, "minibatches": 2, "kl_coef": 0.0, "target_kl": 1e9}
    settings = RlSettings(**{**values, **changes})
    settings.check()
    training = settings.training("")
    apply_mode(policy, training, torch.ones(E))
    start = frozen_copy(policy)
    kept = None
    if keep:
        played = [rollout(20 + number, number, 0.0, 12) for number in range(3)]
        kept = PlayedPrompts(played, 0, latents_of(start, played))
    return Learner(policy, start, make_optimizer(policy, training), settings, kept, 0.0)


def episodes() -> list[Any]:
    return [rollout(number, number // 2, earned, 20 + number) for number, earned in enumerate(EARNED)]


def test_preference_learns_with_as_many_minibatches_as_a_group_has_members() -> None:
    """Dealt one by one, no minibatch would hold two episodes from the same start, and nothing would be learnt."""
    found = learner(method="preference", finetune_mode="goal", learning_rate=1e-2, epochs=4)
    judged = found.judge(episodes(), 0)
    goal = found.policy.get_parameter(TUNED_GOAL)
    before = goal.detach().clone()
    found.learn(judged, 0, 0.0)
    assert (goal - before).abs().max() > 1e-3
    gains = [
        float((found._score(each).log_p[0].numpy() - old).sum()) for each, old in zip(judged.rollouts, judged.old_log_p)
    ]
    apart = [gains[0] - gains[1], gains[3] - gains[2], gains[4] - gains[5], gains[7] - gains[6]]
    assert min(apart) > 0, "the better episode of each start state became more probable than the worse one"


@pytest.mark.parametrize(("method", "whole"), [("preference", True), ("group", True), ("ppo", False)])
def test_minibatches_hold_whole_groups_where_members_are_compared(method: str, whole: bool) -> None:
    mode = "goal" if method == "preference" else "frozen_cnn"
    found = learner(method=method, finetune_mode=mode, minibatches=3, value="none", centre="group")
    judged = found.judge(episodes(), 0)
    dealt = [found._minibatches(judged, 0, epoch) for epoch in range(3)]
    for parts in dealt:
        assert sorted(itertools.chain(*parts)) == list(range(8))
        groups = [{number // 2 for number in part} for part in parts]
        assert (sum(map(len, groups)) == 4) == whole
    assert dealt[0] != dealt[1]


def test_more_minibatches_than_start_states_are_refused_where_members_are_compared() -> None:
    with pytest.raises(UserError, match=r"minibatches \(MINIBATCHES\) to at most places \(4\), got 5"):
        RlSettings(method="group", minibatches=5).check()
    RlSettings(method="clone", minibatches=5).check()


def test_cloning_weighs_against_the_mean_of_the_iteration() -> None:
    """Alone in its minibatch an episode has the weight that it has among all."""
    found = learner(method="clone", clone_beta=2.0, minibatches=8)
    judged = found.judge(episodes(), 0)
    expected = np.exp((np.array(EARNED) - np.mean(EARNED)) / 2.0)
    np.testing.assert_allclose(judged.cloned, expected)
    figures = found._step(judged, [4], 0.0, 0, 0)
    again = learner(method="clone", minibatches=8)
    plain = again._step(again.judge(episodes(), 0), [4], 0.0, 0, 0)  # a success, so its weight is 1
    assert float(figures["loss"] / plain["loss"]) == pytest.approx(expected[4], rel=1e-4)


def test_kept_episodes_take_turns_and_are_a_function_of_iteration_and_pass() -> None:
    played = [rollout(number, number, 0.0, 4 + number) for number in range(7)]
    kept = PlayedPrompts(played, 5)

    def lengths(part: list[int], iteration: int, epoch: int) -> list[int]:
        return kept.batch(part, iteration, epoch, torch.device("cpu")).counted.sum(1).int().tolist()

    assert sorted(lengths(list(range(7)), 0, 0)) == list(range(4, 11))
    assert lengths([0, 1, 2], 3, 1) == lengths([0, 1, 2], 3, 1)
    assert lengths([0, 7], 3, 1)[0] == lengths([0, 7], 3, 1)[1]
    some = {length for iteration in range(8) for length in lengths([0, 1, 2], iteration, 0)}
    assert some == set(range(4, 11)), "with fewer episodes than are kept, all of them come in time"


@pytest.mark.parametrize("method", ["ppo", "clone"])
def test_the_starting_policys_latents_are_computed_once_and_change_nothing(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many passes of the starting policy as there are episodes, however many passes learning takes; the same weights without that memory."""
    weights = []
    forward = GoalPolicy.forward_recurrent
    for most in (passes.LATENT_BYTES, 0):
        monkeypatch.setattr(passes, "LATENT_BYTES", most)
        found = learner(keep=True, method=method, kl_coef=0.5, epochs=3, keep_coef=2.0)
        count = 0

        def counting(self: GoalPolicy, *args: Any, reference: Any = found._reference) -> Any:
            nonlocal count
            count += self is reference
            return forward(self, *args)

        with monkeypatch.context() as patched:
            patched.setattr(GoalPolicy, "forward_recurrent", counting)
            figures = found.learn(found.judge(episodes(), 0), 0, 0.5)
        assert figures["kl_start"] > 0
        assert figures["keep_kl"] > 0
        assert count == (8 if most else 3 * 2 * 2)
        weights.append({name: tensor.detach().clone() for name, tensor in trained_parameters(found.policy).items()})
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["group", "preference"])
def test_a_tuned_goal_is_pulled_to_the_one_that_it_began_as(method: str) -> None:
    """Its episodes are played under the goal of then, which is not where the run started."""
    found = learner(method=method, finetune_mode="goal", minibatches=1, learning_rate=0.3)
    goal = found.policy.get_parameter(TUNED_GOAL)
    assert found.learn(found.judge(episodes(), 0), 0, 0.1)["kl_start"] == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        goal.copy_(torch.linspace(-20.0, 30.0, E))  # as earlier iterations have left it
    played = [dataclasses.replace(each, goal=goal.detach().numpy().copy()) for each in episodes()]
    judged = found.judge(played, 1)
    apart = [found.learn(judged, 1, 1e4)["kl_start"] for _ in range(10)]
    assert apart[0] > 0.01
    assert apart[-1] < 0.95 * apart[0], "a strong pull leads back"


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    found = learner(method="clone")
    judged = found.judge(episodes(), 0)
    judged.cloned[0] = np.inf
    before = {name: tensor.detach().clone() for name, tensor in trained_parameters(found.policy).items()}
    found._step(judged, [0, 1], 0.0, 0, 0)
    after = trained_parameters(found.policy)
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    found._step(judged, [2, 3], 0.0, 0, 0)
    assert any(not torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_old_episodes_without_a_frame_to_imitate_stop_no_update() -> None:
    """Windows of corrections may hold nothing but what a policy played before somebody took over."""

    class Context:
        imitates, pulls = True, True

        def batch(self, part: list[int], iteration: int, epoch: int, device: torch.device) -> RolloutBatch:
            batch = batch_of([episodes()[0]] * len(part), device)
            nothing = torch.zeros_like(batch.counted)
            return dataclasses.replace(batch, counted=nothing, moves=nothing)

    found = learner(method="group")
    found._keep = Context()  # type: ignore[assignment]
    before = [tensor.detach().clone() for tensor in found._trained]
    figures = found.learn(found.judge(episodes(), 0), 0, 0.0)
    assert np.isfinite([figures[name] for name in ("keep_kl", "replay_loss", "gradient_norm")]).all()
    assert any(not torch.equal(tensor, now) for tensor, now in zip(before, found._trained))


def test_nothing_is_learned_from_equal_failures_whatever_the_rounding() -> None:
    """The standard deviation of these returns is 3e-17."""
    failures = [rollout(number, number // 2, -0.2, 20) for number in range(6)]
    found = learner()
    assert found.judge(failures, 0).silence == EQUAL
    assert not found.judge([*failures, rollout(6, 0, -0.1, 20)], 0).silence
    assert not found.judge([rollout(number, number // 2, 2.0, 20) for number in range(6)], 0).silence, "all succeed"


@pytest.mark.parametrize(
    ("earned", "settings", "silence"),
    [
        ([0.0, 0.5, 1.0, 0.0], {"method": "clone"}, NO_SUCCESS),  # 1 is not yet a success
        ([0.0, 0.5, 1.0, 0.0], {"method": "clone", "clone_beta": 1.0}, ""),
        ([0.5, 0.5, 0.5, 0.5], {"method": "clone", "clone_beta": 1.0}, EQUAL),
        ([3.0, 3.0, 0.0, 0.0], {"method": "clone"}, ""),
        ([3.0, 3.0, 0.0, 0.0], {"method": "group"}, TIED),
        ([3.0, 3.0, 0.0, 1.0], {"method": "group"}, ""),
        ([3.0, 3.0, 0.0, 0.0], {"method": "group", "group_form": "episode"}, TIED),
        ([3.0, 3.0, 0.0, 0.0], {"method": "preference", "finetune_mode": "goal"}, TIED),
        ([3.0, 3.0, 0.0, 1.0], {"method": "preference", "finetune_mode": "goal"}, ""),
        ([3.0, 3.0, 0.0, 0.0], {"method": "ppo"}, ""),
        ([3.0, 3.0, 0.0, 0.0], {"method": "ppo", "value": "none", "centre": "group"}, TIED),
    ],
)
def test_what_teaches_nothing_depends_on_the_method(
    earned: list[float], settings: dict[str, Any], silence: str
) -> None:
    """Two episodes from each of two start states."""
    found = learner(places=2, **settings)
    played = [rollout(number, number // 2, each, 20) for number, each in enumerate(earned)]
    assert found.judge(played, 0).silence == silence


def test_the_episode_form_of_group_gives_each_step_the_whole_return_against_the_others() -> None:
    """Leave-one-out of 3, 0 and 0, whose lengths differ, and zeros where all earned the same."""
    found = learner(places=2, group=3, method="group", group_form="episode")
    played = [rollout(number, number // 3, earned, 16 + number) for number, earned in enumerate([3, 0, 0, 5, 5, 5])]
    advantages = found.judge(played, 0).advantages
    assert [len(each) for each in advantages] == [16, 17, 18, 19, 20, 21]
    assert all(np.ptp(each) == 0 for each in advantages)
    first = np.array([each[0] for each in advantages])
    np.testing.assert_allclose(first / first[0], [1, -0.5, -0.5, 0, 0, 0], atol=1e-12)


def test_learning_ends_after_the_step_that_moved_too_far() -> None:
    """In the middle of a pass too."""
    for target, steps in ((1e-12, 1), (1e9, 8)):
        found = learner(minibatches=4, epochs=2, target_kl=target)
        assert found.learn(found.judge(episodes(), 0), 0, 0.0)["steps"] == steps


@pytest.mark.parametrize("places", [1, 2, 4])
def test_the_priors_draws_take_turns_however_few_places_there_are(places: int) -> None:
    starts = [{"id": str(number), "split": "demo"} for number in range(5)]
    seen = {job.prior_seed for number in range(4) for job in plan_iteration(0, number, places, 2, "dig dirt", starts)}
    assert seen == set(range(FIRST_PRIOR_SEED, FIRST_PRIOR_SEED + PRIOR_SEEDS))


def test_what_is_only_context_in_old_episodes_is_not_imitated(tmp_path: Path) -> None:
    """Old corrections: the frames that a policy played before somebody took over."""
    path = masked(tmp_path / "corrected", 0, slice(40, 60))
    windows = WindowDataset([ListEntry(path)], 16, min_btwn_goals=15, max_btwn_goals=30, first_frame=0)
    old = OldEpisodes(windows, 0, imitates=True, pulls=False).batch(list(range(40)), 0, 0, torch.device("cpu"))
    assert 0 < old.counted.sum() < old.counted.numel()
    kept = OldEpisodes(windows, 0, imitates=False, pulls=True).batch([0], 0, 0, torch.device("cpu"))
    assert kept.counted.all(), "the starting policy's actions are kept on all of them"


def test_the_largest_ratio_of_an_iteration_is_the_largest_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    found = learner(epochs=2)
    seen = iter([1.5, 3.0, 1.0, 1.0])

    def step(*_: Any, **__: Any) -> dict[str, torch.Tensor]:
        value = next(seen)
        return {"ratio_max": torch.tensor(value), "clip_share": torch.tensor(value)}

    monkeypatch.setattr(found, "_step", step)
    figures = found.learn(found.judge(episodes(), 0), 0, 0.0)
    assert figures["ratio_max"] == 3.0
    assert figures["clip_share"] == pytest.approx(6.5 / 4)


def test_how_far_each_kept_prompt_has_moved_is_measured_on_all_of_its_episodes() -> None:
    found = learner(keep=True, epochs=3, learning_rate=3e-3, keep_coef=1e-9)
    kept = found._keep
    assert isinstance(kept, PlayedPrompts)
    for number, played in enumerate(kept._rollouts):
        played.facts["prompt"] = "swim" if number < 2 else ""
    assert list(found.kept_kl().values()) == pytest.approx([0, 0], abs=1e-6)
    found.learn(found.judge(episodes(), 0), 0, 0.0)
    moved = found.kept_kl()
    assert list(moved) == ["swim", ""]
    assert min(moved.values()) > 1e-5
    # Once more by the way of training: all three episodes in one batch.
    whole = found._backward_keep(kept.batch([0, 1, 2], 0, 0, torch.device("cpu")))["keep_kl"]
    assert float(whole) == pytest.approx((2 * moved["swim"] + moved[""]) / 3, rel=1e-4)


def test_an_iteration_says_how_sure_its_success_is_and_how_fast_it_was() -> None:
    played = [rollout(number, number // 2, earned, 20) for number, earned in enumerate([3.0, 3.0, 0.0, 3.0])]
    figures = figures_of(played)
    assert (figures["success"], figures["return"]) == (0.75, 2.25)
    assert (figures["success_low"], figures["success_high"]) == wilson(0.75 * 3, 3)
    assert (figures["mixed_groups"], figures["differing_groups"]) == (0.5, 0.5)
    assert figures["error_of_success"] == pytest.approx(0.25)  # the groups' rates are 1 and 0.5
    assert figures["error_of_return"] == pytest.approx(0.75)
    for each in played:
        each.facts["seconds"] = {"total": 4.0, "reset": 1.0}
    assert speed_of(played, 32) == speed_of(played, 4), "no more games than episodes"
    speed = speed_of(played, 2)
    assert speed == {"seconds_playing": 8.0, "games_per_second": 0.5, "steps_per_second": 10.0, "share_resets": 0.25}
    assert [tag_of(prompt) for prompt in ("dig dirt", "", "挖泥土！")] == ["dig_dirt", "no_goal", "挖泥土_"]


def test_a_placebo_deals_all_rewards_and_favours_no_start_state() -> None:
    """Every reward is dealt once; on average a start state gets what all get, however well it was played there."""
    played = [rollout(number, number // 4, float(number < 4), 3 + number % 3) for number in range(16)]
    shares = []
    for iteration in range(300):
        dealt = permuted(played, 0, iteration)
        assert sorted(one.reward.sum() for one in dealt) == sorted(one.reward.sum() for one in played)
        assert [(len(one.reward), one.group) for one in dealt] == [(len(one), one.group) for one in played]
        shares.append(np.mean([one.reward.sum() for one in dealt[:4]]))
    assert np.mean(shares) == pytest.approx(0.25, abs=0.05)  # it was 1
