"""The gradient of preference tuning is that of DPO's loss, by autograd."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch.nn import functional as F

from steve1.actions.joint import CAMERA_MOVES
from steve1.policy import GoalPolicy, load_policy
from steve1.rl.passes import CHUNK, at_temperature, score
from steve1.rl.rollouts import Rollout, batch_of
from steve1.rl.settings import RlSettings
from steve1.rl.update import Learner
from steve1.training.optim.optimizers import make_optimizer
from steve1.training.trainable import TUNED_GOAL, apply_mode, frozen_copy
from tests.training.conftest import TINY, E

BETA = 0.1


def rollout(number: int, group: int, earned: float, steps: int) -> Rollout:
    rng = np.random.default_rng(number)
    buttons = rng.choice(
        [0, 1, 5, 8640], steps
    )  # the last is the inventory; the camera has no effect with some of them
    return Rollout(
        key=f"{group:02d}-{number:02d}",
        group=group,
        buttons=buttons,
        camera=rng.integers(0, 121, steps),
        images=rng.normal(size=(steps, 256)).astype(np.float32),
        log_p=np.zeros(steps, np.float32),
        goal=np.ones(E, np.float32),
        reward=np.array([earned] + [0.0] * (steps - 1)),
        parts={},
        success=earned > 1,
        facts={},
    )


def log_p(policy: GoalPolicy, one: Rollout) -> torch.Tensor:
    """log p of an episode by whole tables of log-probabilities, differentiable in the tuned goal."""
    batch = batch_of([one], torch.device("cpu"))
    features = policy.net.img_process.from_dense(batch.images)
    first = torch.zeros(features.shape[:2], dtype=torch.bool)
    first[:, 0] = True
    goals = policy.get_parameter(TUNED_GOAL).expand(1, len(one), E)
    latent, _ = policy.forward_recurrent(features, goals, first, policy.initial_state(1))
    buttons = policy.pi_head.buttons(latent)[0].gather(1, batch.buttons[0, :, None])[:, 0]
    camera = policy.pi_head.camera(latent)[0].gather(1, batch.camera[0, :, None])[:, 0]
    return (buttons + torch.from_numpy(CAMERA_MOVES[one.buttons]) * camera).sum()


def test_the_gradient_is_that_of_dpos_loss() -> None:
    """Two groups of three, one without a difference: all pairs of a better and a worse episode, at the temperature of playing."""
    torch.manual_seed(0)
    policy = load_policy(TINY)
    for head in (policy.pi_head.buttons, policy.pi_head.camera):
        head.linear_layer.weight.data.mul_(50)  # a new policy's actions hardly depend on its goal
    settings = RlSettings(
        method="preference", finetune_mode="goal", preference_beta=BETA, kl_coef=0, keep_prompts="", max_grad_norm=0
    )
    training = settings.training("")
    apply_mode(policy, training, torch.ones(E))
    start = frozen_copy(policy)
    rollouts = [rollout(number, number // 3, earned, 20 + number) for number, earned in enumerate([2, 0, 1, 5, 5, 5])]
    learner = Learner(policy, start, make_optimizer(policy, training), settings, None, 0.0)
    with at_temperature(policy, 0.65):
        before = [score(policy, batch_of([one], policy.device)).log_p[0].double().numpy() for one in rollouts]
        goal = policy.get_parameter(TUNED_GOAL)
        with torch.no_grad():
            goal.add_(torch.linspace(-20.0, 30.0, E))  # away from the start, where every margin is zero
        pairs = [(0, 2), (0, 1), (2, 1)]
        gains = [log_p(policy, one) - float(old.sum()) for one, old in zip(rollouts, before)]
        loss = torch.stack([-F.logsigmoid(BETA * (gains[one] - gains[other])) for one, other in pairs]).mean()
        (expected,) = torch.autograd.grad(loss, goal)
        judged = learner.judge(rollouts, 0)
        judged = dataclasses.replace(judged, old_log_p=before)
        learner._step(judged, list(range(6)), 0.0, 0, 0)
        assert goal.grad is not None
        assert max(abs(float((gains[one] - gains[other]).detach())) for one, other in pairs) > 0.5
        torch.testing.assert_close(goal.grad, expected, rtol=1e-4, atol=1e-7)


def test_episodes_longer_than_a_chunk_are_learned_from() -> None:
    """Backward frees what leads to a chunk; the tuned goal of the next one must not be part of it."""
    torch.manual_seed(0)
    policy = load_policy(TINY)
    settings = RlSettings(method="preference", finetune_mode="goal", kl_coef=0.1, keep_prompts="", minibatches=1)
    training = settings.training("")
    apply_mode(policy, training, torch.ones(E))
    rollouts = [rollout(number, 0, earned, 2 * CHUNK + 5) for number, earned in enumerate([2, 0])]
    learner = Learner(policy, frozen_copy(policy), make_optimizer(policy, training), settings, None, 1.5)
    before = policy.get_parameter(TUNED_GOAL).detach().clone()
    figures = learner.learn(learner.judge(rollouts, 0), 0, 0.1)
    assert figures["gradient_norm"] > 0
    assert not torch.equal(policy.get_parameter(TUNED_GOAL), before)
