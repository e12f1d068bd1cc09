"""Acting: guidance against stored outputs, memory against whole chunks, seeded sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from steve1.agent import Agent
from steve1.agent.agent import sample
from steve1.agent.packed import PackedEncoder, can_pack
from steve1.core.errors import UserError
from steve1.core.frames import agent_frame
from steve1.policy import GoalPolicy
from steve1.policy.vision import ImageEncoder
from tests.goldens import golden_arrays

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def guided() -> Arrays:
    return golden_arrays("policy_tiny_cfg.npz")


def normalised(values: np.ndarray) -> torch.Tensor:
    return torch.log_softmax(torch.from_numpy(values), dim=-1)


def centred(values: torch.Tensor) -> torch.Tensor:
    return values - values.mean(-1, keepdim=True)


@pytest.mark.parametrize(("name", "scale"), [("cfgnone", None), ("cfg0", 0.0), ("cfg6", 6.0)])
def test_guided_log_probs_and_actions(tiny: GoalPolicy, guided: Arrays, name: str, scale: float | None) -> None:
    agent = Agent(tiny, cond_scale=scale, deterministic=True)
    tolerance = 5e-4 * (1 + 2 * (scale or 0))  # guidance multiplies the rounding of both rows
    for t, frame in enumerate(guided["frames"]):
        log_probs = agent.action_log_probs(frame, guided["goal"][0])
        assert float(log_probs["buttons"].exp().sum()) == pytest.approx(1.0, abs=1e-4)
        assert float(log_probs["camera"].exp().sum()) == pytest.approx(1.0, abs=1e-4)
        camera = normalised(guided[f"{name}_camera"][t, 0])
        assert float((log_probs["camera"] - camera).abs().max()) < tolerance
        some = torch.from_numpy(guided[f"{name}_buttons_first256"][t, 0])
        assert float((centred(log_probs["buttons"][:256]) - centred(some)).abs().max()) < tolerance
        if t < 3:
            buttons = normalised(guided[f"{name}_buttons_full3"][t, 0])
            assert float((log_probs["buttons"] - buttons).abs().max()) < tolerance
        best = [int(log_probs["camera"].argmax()), int(log_probs["buttons"].argmax())]
        assert best == guided[f"{name}_actions_argmax"][t].tolist()


def test_frames_are_resized_as_published(guided: Arrays) -> None:
    for frame, small in zip(guided["frames"][::8], guided["img128"], strict=True):
        assert (agent_frame(frame) == small).all()


def test_memory_equals_a_whole_chunk(tiny: GoalPolicy, inputs: dict[str, torch.Tensor]) -> None:
    """40 steps wrap the ring more than twice (W = 16, 32 rows); rows, masks and outputs stay the chunk's."""
    agent = Agent(tiny, cond_scale=0.0)
    frames, goal = inputs["frames"][:1, :40], inputs["goals"][0, 0]
    first = torch.zeros(1, 40, dtype=torch.bool)
    encoder = tiny.net.img_process  # the agent's own, so that nothing but the memory can differ
    encode = PackedEncoder(encoder, 128) if can_pack(encoder) else encoder
    with torch.no_grad():
        whole = tiny(frames, goal.expand(1, 40, -1), first, tiny.initial_state(1))
        features = torch.stack([encode(frame[None]) for frame in frames[0]], dim=1)
        state_of_whole = tiny.forward_recurrent(features, goal.expand(1, 40, -1), first, tiny.initial_state(1))[1]
        short = tiny(frames[:, :7], goal.expand(1, 7, -1), first[:, :7], tiny.initial_state(1))
    for t in range(40):
        log_probs = agent.action_log_probs(frames[0, t].numpy(), goal)
        assert float((log_probs["buttons"] - whole.buttons[0, t]).abs().max()) < 2e-4
        if t == 6:
            state = agent.state
            assert (state.mask == short.state.mask).all()
            assert float((state.keys[1][:, -7:] - short.state.keys[1][:, -7:]).abs().max()) < 2e-4
    state = agent.state
    assert (state.mask == whole.state.mask).all()
    for ours, theirs in zip((*state.keys, *state.values), (*state_of_whole.keys, *state_of_whole.values), strict=True):
        assert float((ours - theirs).abs().max()) < 1e-4


def test_reset_forgets(tiny: GoalPolicy, guided: Arrays) -> None:
    agent = Agent(tiny, deterministic=True)
    frames, goal = guided["frames"], guided["goal"][0]
    fresh = agent.action_log_probs(frames[5], goal)["camera"]
    for frame in frames[:4]:
        agent.act(frame, goal)
    assert float((agent.action_log_probs(frames[5], goal)["camera"] - fresh).abs().max()) > 1e-2
    agent.reset()
    assert torch.equal(agent.action_log_probs(frames[5], goal)["camera"], fresh)


def actions_of(agent: Agent, frames: np.ndarray, goal: np.ndarray) -> list[str]:
    return [str(agent.act(frame, goal)) for frame in frames]


def test_draws_are_a_function_of_the_seed(tiny: GoalPolicy, guided: Arrays) -> None:
    frames, goal = guided["frames"][:12], guided["goal"][0]
    agent = Agent(tiny, cond_scale=0.0, seed=3)
    begun = actions_of(agent, frames, goal)
    assert begun == actions_of(Agent(tiny, cond_scale=0.0, seed=3), frames, goal)
    assert begun != actions_of(Agent(tiny, cond_scale=0.0, seed=4), frames, goal)
    agent.reset()
    assert begun != actions_of(agent, frames, goal)  # the next episode samples other numbers
    agent.reset(seed=3)
    assert begun == actions_of(agent, frames, goal)


def test_draws_follow_the_distribution(tiny: GoalPolicy, guided: Arrays) -> None:
    agent = Agent(tiny, cond_scale=0.0, seed=0)
    log_probs = torch.log(torch.tensor([0.5, 0.0, 0.3, 0.2]))
    counts = np.bincount([agent._sample(log_probs, 0) for _ in range(4000)], minlength=4) / 4000
    assert counts[1] == 0
    assert counts == pytest.approx([0.5, 0, 0.3, 0.2], abs=0.03)


def test_actions_are_minerl_actions(tiny: GoalPolicy, guided: Arrays) -> None:
    action = Agent(tiny, deterministic=True).act(guided["frames"][0], guided["goal"][0])
    assert len(action) == 24
    assert all(action[name] in (0, 1) for name in action if name != "camera")
    assert len(action["camera"]) == 2


def test_no_goal_is_the_zero_goal(tiny: GoalPolicy, guided: Arrays) -> None:
    frame = guided["frames"][0]
    none = Agent(tiny).action_log_probs(frame, None)
    zero = Agent(tiny, cond_scale=0.0).action_log_probs(frame, np.zeros(512, np.float32))
    assert float((none["camera"] - zero["camera"]).abs().max()) < 1e-3


def test_guidance_encodes_the_image_once(tiny: GoalPolicy, guided: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    for encoder in (PackedEncoder, ImageEncoder):
        encode = encoder.__call__
        monkeypatch.setattr(
            encoder, "__call__", lambda self, frames, encode=encode: (rows.append(len(frames)), encode(self, frames))[1]
        )
    Agent(tiny, cond_scale=6.0).act(guided["frames"][0], guided["goal"][0])
    assert rows == [1]


def test_every_step_has_its_own_goal(tiny: GoalPolicy, guided: Arrays) -> None:
    """A goal that changes, changes in place, or goes and comes back counts at once."""
    frame, goal = guided["frames"][0], guided["goal"][0].copy()
    one = Agent(tiny, cond_scale=6.0)
    seen = []
    for change in (goal, 2 * goal, None, goal):
        one.reset()
        alone = Agent(tiny, cond_scale=6.0).action_log_probs(frame, change)["camera"]
        seen.append(one.action_log_probs(frame, change)["camera"])
        assert torch.equal(seen[-1], alone)
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    goal *= 3
    one.reset()
    assert not torch.equal(one.action_log_probs(frame, goal)["camera"], seen[0]), "the same array with other numbers"


@pytest.mark.parametrize("goal", [np.zeros(96), np.zeros((1, 512)), np.full(512, np.nan)])
def test_goals_that_do_not_fit(tiny: GoalPolicy, guided: Arrays, goal: Any) -> None:
    with pytest.raises(UserError, match="goal"):
        Agent(tiny).act(guided["frames"][0], goal)


@pytest.mark.parametrize("scale", [-1.0, float("nan")])
def test_scales_that_mean_nothing(tiny: GoalPolicy, scale: float) -> None:
    with pytest.raises(UserError, match="guidance"):
        Agent(tiny, cond_scale=scale)


def test_the_temperature_sharpens_the_draw(tiny: GoalPolicy) -> None:
    log_probs = torch.log(torch.tensor([0.8, 0.2]))
    shares = {}
    for temperature in (0.5, 1.0, 2.0):
        random = np.random.default_rng(0)
        shares[temperature] = np.mean([sample(log_probs, random, temperature) for _ in range(4000)])
    # 0.2**(1/T) / (0.2**(1/T) + 0.8**(1/T))
    assert shares[0.5] == pytest.approx(0.0588, abs=0.015)
    assert shares[1.0] == pytest.approx(0.2, abs=0.02)
    assert shares[2.0] == pytest.approx(1 / 3, abs=0.025)
    assert sample(torch.tensor([-900.0, -1.0, -950.0]), np.random.default_rng(0), 0.01) == 1
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="temperature"):
            Agent(tiny, temperature=wrong)
