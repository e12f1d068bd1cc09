"""Numbers worked out elsewhere, and what has to be the same by two ways: divergences, guidance, chunks, versions, the plan."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.policy import GoalPolicy, load_policy, save_weights, write_model
from steve1.policy.heads import Head
from steve1.policy.loss import head_kl
from steve1.rl.advantages import gae
from steve1.rl.inputs import Inputs
from steve1.rl.passes import action_log_p, at_temperature, chunks, score
from steve1.rl.plan import EpisodeJob, plan_iteration
from steve1.rl.player import Recipe, RecordingAgent, RolloutJob, Version
from steve1.rl.rollouts import Rollout, batch_of
from steve1.rl.settings import RlSettings
from steve1.rl.update import Learner
from steve1.rl.weights import preference_weights
from steve1.training.optim.optimizers import make_optimizer
from steve1.training.trainable import apply_mode, frozen_copy
from tests.rl.games import OpenKeyGame
from tests.rl.test_preference import rollout
from tests.training.conftest import TINY, E

P, Q = (0.5, 0.3, 0.2), (0.4, 0.4, 0.2)


def head_of(probabilities: tuple[float, ...]) -> Head:
    """A head with these probabilities, whatever the latent."""
    head = Head(2, len(probabilities), 1.0)
    torch.nn.init.zeros_(head.linear_layer.weight)
    head.linear_layer.bias.data.copy_(torch.tensor(probabilities).log())
    return head


def lively() -> GoalPolicy:
    """A policy whose actions depend on what it sees and on its goal."""
    torch.manual_seed(0)
    policy = load_policy(TINY)
    for head in (policy.pi_head.buttons, policy.pi_head.camera):
        head.linear_layer.weight.data.mul_(20)
    return policy


def test_gae_of_an_episode_that_was_cut_off_counts_the_value_behind_its_end() -> None:
    """torchrl 0.14.1."""
    rewards, values = np.array([0.0, 0.0, 1.0]), np.array([0.5, 0.6, 0.7])
    np.testing.assert_allclose(gae(rewards, values, 0.9, 0.5, 0.8), [0.26005, 0.489, 1.02], atol=1e-10)


def test_the_divergence_is_that_from_the_start_and_not_the_other_way_round() -> None:
    latent = torch.zeros(1, 2)
    weight = torch.ones(1)
    assert float(head_kl(head_of(Q), latent, head_of(P), latent, weight).detach()) == pytest.approx(0.0252672, abs=1e-7)
    assert float(head_kl(head_of(P), latent, head_of(Q), latent, weight).detach()) == pytest.approx(0.0258154, abs=1e-7)
    trained = head_of(Q)
    head_kl(trained, latent, head_of(P), latent, weight).backward()
    # d KL(p || softmax(z)) / dz = q - p
    torch.testing.assert_close(trained.linear_layer.bias.grad, torch.tensor(Q) - torch.tensor(P), atol=1e-6, rtol=0)


@pytest.mark.parametrize("length", [16, 300])
def test_equal_weights_have_no_divergence(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the temperature and the guidance of playing, in chunks of any length, on episodes longer than the memory."""
    monkeypatch.setattr(chunks, "__defaults__", (0.0, length))
    monkeypatch.setattr("steve1.rl.update.CHUNK", length)
    monkeypatch.setattr("steve1.rl.passes.CHUNK", length)
    policy = lively()
    settings = RlSettings(keep_prompts="", target_kl=1e9)
    apply_mode(policy, settings.training(""), torch.ones(E))
    start = frozen_copy(policy)
    learner = Learner(policy, start, make_optimizer(policy, settings.training("")), settings, None, 1.5, 0.65)
    episodes = [rollout(number, 0, 1.0, 90) for number in range(2)]
    with at_temperature(policy, 0.65), at_temperature(start, 0.65):
        batch = batch_of(episodes, policy.device)
        count = batch.counted.sum()
        pulls = [
            float(learner._divergence(chunk.latent, wanted, batch.counted[:, chunk.steps] / count).detach())
            for chunk, wanted in zip(chunks(policy, batch, 1.5), learner._start_latents(batch))
        ]
        assert len(pulls) == -(-90 // length)
        assert max(map(abs, pulls)) < 1e-6


@pytest.mark.parametrize("cond_scale", [0.0, 1.5])
@pytest.mark.parametrize("keep_frames", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.65])
def test_the_learner_finds_the_probabilities_of_playing_under_guidance_too(
    cond_scale: float, keep_frames: bool, temperature: float
) -> None:
    policy = lively()
    agent = RecordingAgent(policy, cond_scale=cond_scale, temperature=temperature, keep_frames=keep_frames)
    agent.begin(5)
    rng = np.random.default_rng(0)
    goal = rng.normal(size=E).astype(np.float32)
    frames = rng.integers(0, 255, (4, 128, 128, 3), dtype=np.uint8)
    for step in range(70):  # longer than the memory and than a chunk
        agent.act(frames[step % 4], goal)
    sampled = np.array(agent.sampled)
    played = dataclasses.replace(
        rollout(0, 0, 0.0, 70),
        buttons=sampled[:, 0],
        camera=sampled[:, 1],
        images=np.stack(agent.images),
        log_p=np.array(agent.log_p, np.float32),
        goal=goal,
    )
    with at_temperature(policy, temperature):
        found = score(policy, batch_of([played], policy.device), cond_scale).log_p[0].numpy()
    assert np.abs(found - played.log_p).max() < 1e-4
    assert np.ptp(found) > 0.5, "actions of different probability"


def test_chunks_of_any_length_are_the_whole_episode() -> None:
    policy = lively()
    batch = batch_of([rollout(0, 0, 0.0, 150), rollout(1, 0, 0.0, 131)], policy.device)
    found = {}
    for length in (16, 64, 150):
        parts = list(chunks(policy, batch, 1.5, length))
        log_p = (
            torch.cat([action_log_p(policy, part.latent, batch, part.steps)[0] for part in parts], 1) * batch.counted
        )
        head = policy.pi_head.buttons.linear_layer.weight
        flat = torch.cat([part.latent.detach() for part in parts], 1)
        gradient = torch.autograd.grad(policy.pi_head.buttons(flat)[..., 5].sum(), head)[0]
        found[length] = (log_p, gradient)
    for length in (16, 64):
        for ours, whole in zip(found[length], found[150]):
            torch.testing.assert_close(ours, whole, atol=2e-4, rtol=1e-4)


def test_the_weight_of_a_pair_is_the_gradient_of_dpos_loss() -> None:
    winner, loser = torch.tensor([1.0], requires_grad=True), torch.tensor([-0.5], requires_grad=True)
    loss = -F.logsigmoid(0.1 * (winner - loser)).sum()
    assert float(loss.detach()) == pytest.approx(0.6209570, abs=1e-6)
    for_winner, for_loser = torch.autograd.grad(loss, (winner, loser))
    weight = preference_weights(winner.detach(), loser.detach(), 0.1)
    torch.testing.assert_close(weight, -for_winner)
    torch.testing.assert_close(weight, for_loser)


def test_the_plan_is_a_function_of_seed_and_iteration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = [{"id": str(number), "split": "demo"} for number in range(5)]
    jobs = plan_iteration(3, 7, 4, 6, "dig dirt", starts)
    assert jobs == plan_iteration(3, 7, 4, 6, "dig dirt", starts)
    for group in range(4):
        members = [job for job in jobs if job.group == group]
        assert len({(job.start["id"], job.env_seed, job.prior_seed) for job in members}) == 1
        assert len({job.agent_seed for job in members}) == 6
    assert len({job.env_seed for job in jobs}) == 4
    assert len({job.start["id"] for job in jobs}) == 4, "each place once before any is used again"
    assert {job.agent_seed for job in jobs}.isdisjoint(
        job.agent_seed for job in plan_iteration(4, 7, 4, 6, "dig dirt", starts)
    )
    with pytest.raises(UserError, match="may not be trained on"):
        plan_iteration(3, 7, 4, 6, "dig dirt", [*starts, {"id": "kept", "split": "eval"}])
    monkeypatch.setattr(Inputs, "starts_of", lambda self, task: starts)
    plans = [Inputs(RlSettings(workers=workers)).plan(2) for workers in (1, 2, 4)]
    assert plans[0] == plans[1] == plans[2]


@pytest.mark.e2e
def test_twenty_versions_are_played_by_one_policy_without_growth(tmp_path: Path) -> None:
    """And each version's episode has that version's probabilities."""
    write_model(TINY, tmp_path / "tiny.model")
    (tmp_path / "keys.yaml").write_text("env: luanti\nrewards: {keys: {task: dig_dirt, terms: [{env: 1}]}}\n")
    policy = lively()
    start = {"id": "a", "split": "demo", "shade": 90}
    recipe = Recipe(
        str(tmp_path / "tiny.model"), "luanti", str(tmp_path / "keys.yaml"), 0.0, 1.0, 16, {}, open_game=OpenKeyGame()
    )
    player = recipe(0)
    alive: list[tuple[int, int]] = []
    for number in range(20):
        policy.pi_head.buttons.linear_layer.bias.data.normal_(std=0.5, generator=torch.Generator().manual_seed(number))
        save_weights(policy, tmp_path / f"{number}.weights")
        digest = sha256_file(tmp_path / f"{number}.weights")
        version = Version(tmp_path / f"{number}.weights", digest, digest)
        job = EpisodeJob(f"{number}", 0, start, 1, 2, "dig dirt", 101)
        player.run(RolloutJob(job, version, np.ones(E, np.float32), tmp_path / f"e{number}"))
        gc.collect()
        kinds = [type(each) for each in gc.get_objects()]  # not the objects, which would stay
        alive.append((kinds.count(GoalPolicy), kinds.count(torch.Tensor)))
    player.close()
    assert len(set(alive[2:])) == 1, alive
    for number in (0, 9, 19):
        played = Rollout.load(tmp_path / f"e{number}.rollout")
        mine = load_policy(TINY, tmp_path / f"{number}.weights")
        other = load_policy(TINY, tmp_path / f"{(number + 1) % 20}.weights")
        gaps = [
            np.abs(score(each, batch_of([played], each.device)).log_p[0].numpy() - played.log_p).max()
            for each in (mine, other)
        ]
        assert gaps[0] < 1e-4 < 0.05 < gaps[1]
