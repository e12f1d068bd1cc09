"""One agent in several games against one agent per game, low-precision weights, and CUDA graphs."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from steve1.agent import Agent
from steve1.agent.agent import weights_lowp
from steve1.agent.cuda_graph import CudaGraph
from steve1.core.checkpoint_metadata import CheckpointMetadata
from steve1.core.errors import UserError
from steve1.policy import GoalPolicy, PolicyConfig, load_policy, save_weights, write_model

SMALL = PolicyConfig(
    hidsize=32, attention_heads=2, attention_memory_size=12, timesteps=8, n_recurrence_layers=2, impala_width=1,
    impala_chans=(4, 4, 4), mineclip_embed_dim=16,
)  # fmt: skip
GAMES, STEPS = 3, 11  # more than twice the memory of 4 steps


@pytest.fixture(scope="module")
def policy() -> GoalPolicy:
    torch.manual_seed(3)
    found = load_policy(SMALL)
    with torch.no_grad():  # so that answers differ enough to be told apart
        found.pi_head.buttons.linear_layer.weight.mul_(100)
        found.pi_head.camera.linear_layer.weight.mul_(100)
    return found


def scenes(steps: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (steps, GAMES, 128, 128, 3), dtype=np.uint8)


@pytest.mark.parametrize("cond_scale", [0.0, 4.0])
def test_each_game_gets_what_its_own_agent_would_say(policy: GoalPolicy, cond_scale: float) -> None:
    goals = np.random.default_rng(1).standard_normal((GAMES, 16)).astype(np.float32)
    together = Agent(policy, games=GAMES, cond_scale=cond_scale)
    alone = [Agent(policy, cond_scale=cond_scale) for _ in range(GAMES)]
    for step, frames in enumerate(scenes(STEPS)):
        if step == 6:
            together.reset(games=[1])
            alone[1].reset()
        found = together.log_probs(list(frames), list(goals))
        for game, agent in enumerate(alone):
            wanted = agent.action_log_probs(frames[game], goals[game])
            for name, row in wanted.items():
                assert float((found[name][game] - row).abs().max()) < 2e-4, (step, game, name)
    together.reset()
    fresh = Agent(policy, cond_scale=cond_scale).action_log_probs(frames[0], goals[0])
    assert float((together.log_probs(list(frames), list(goals))["buttons"][0] - fresh["buttons"]).abs().max()) < 2e-4


@pytest.mark.parametrize("cond_scale", [0.0, 1.5])
def test_any_of_the_games_may_take_the_next_step(policy: GoalPolicy, cond_scale: float) -> None:
    """Games out of step with one another, one of which begins again; a fourth joins late."""
    rng = np.random.default_rng(1)
    goals = rng.normal(size=(4, 16)).astype(np.float32)
    together, alone = Agent(policy, cond_scale=cond_scale), [Agent(policy, cond_scale=cond_scale) for _ in range(4)]
    together.reset(games=[0, 1, 2])
    for step in range(40):
        if step == 15:
            together.reset(games=[1])
            alone[1].reset()
        if step == 20:
            together.reset(games=[3])
        games = [game for game in range(3 if step < 20 else 4) if rng.random() < 0.7 or game == step % 3]
        rng.shuffle(games)  # in any order
        frames = [rng.integers(0, 255, (128, 128, 3), dtype=np.uint8) for _ in games]
        found = together.log_probs(frames, list(goals[games]), games)
        for place, game in enumerate(games):
            for name, row in alone[game].action_log_probs(frames[place], goals[game]).items():
                assert float((found[name][place] - row).abs().max()) < 2e-4, (step, game, name)
    assert together.games == 4
    for game, agent in enumerate(alone):
        rows = [game, 4 + game] if cond_scale else [game]
        state, wanted = together.state, agent.state
        assert torch.equal(state.mask[rows], wanted.mask)
        for ours, theirs in zip(state.keys + state.values, wanted.keys + wanted.values, strict=True):
            assert float((ours[rows] - theirs).abs().max()) < 1e-4


def test_actions_are_drawn_as_the_agents_draw_them(policy: GoalPolicy) -> None:
    goals = np.zeros((GAMES, 16), np.float32)
    together = Agent(policy, games=GAMES, cond_scale=0.0, seed=5)
    alone = [Agent(policy, cond_scale=0.0, seed=5 + game) for game in range(GAMES)]
    for frames in scenes(3):
        acted = together.act_batch(list(frames), list(goals))
        for one, action, frame, goal in zip(alone, acted, frames, goals, strict=True):
            assert str(one.act(frame, goal)) == str(action)


def test_weights_in_low_precision_are_cast_once_and_say_nearly_the_same(policy: GoalPolicy) -> None:
    low_weights = weights_lowp(policy, torch.bfloat16)
    kinds = {name: parameter.dtype for name, parameter in low_weights.named_parameters()}
    assert kinds["pi_head.buttons.linear_layer.weight"] == torch.bfloat16
    assert kinds["net.final_ln.weight"] == kinds["net.recurrent_layer.blocks.0.r.orc_block.b_nd"] == torch.float32
    assert policy.pi_head.buttons.linear_layer.weight.dtype == torch.float32
    goals = np.random.default_rng(1).standard_normal((GAMES, 16)).astype(np.float32)
    frames = scenes(1)[0]
    exact = Agent(policy, games=GAMES).log_probs(list(frames), list(goals))
    low = Agent(policy, games=GAMES, precision=torch.bfloat16).log_probs(list(frames), list(goals))
    for name, rows in exact.items():
        assert low[name].dtype == torch.float32
        assert float((low[name].exp() - rows.exp()).abs().sum(-1).max()) < 0.3, name


def test_what_cannot_be_is_refused(policy: GoalPolicy) -> None:
    with pytest.raises(UserError, match="CUDA graphs need a CUDA device"):
        Agent(policy, cuda_graph=True)
    with pytest.raises(UserError, match="at least one game"):
        Agent(policy, games=0)
    with pytest.raises(UserError, match="one frame and one goal"):
        Agent(policy, games=2).log_probs(list(scenes(1)[0]), [None, None])


def plays_alike(policy: GoalPolicy, cond_scale: float, tolerance: float) -> None:
    plain, recorded = (
        Agent(policy, cond_scale=cond_scale, seed=9, temperature=0.7, cuda_graph=graph) for graph in (False, True)
    )
    goal = np.random.default_rng(1).standard_normal(16).astype(np.float32)
    for step, frames in enumerate(scenes(STEPS)):
        if step == 7:
            for agent in (plain, recorded):
                agent.reset(4)
                agent.reset()
        wanted, found = (agent.action_log_probs(frames[0], None if step == 3 else goal) for agent in (plain, recorded))
        for name, row in wanted.items():
            assert found[name].shape == row.shape
            assert found[name].device == row.device
            assert float((found[name] - row).abs().max()) < tolerance, (step, name)
        assert str(plain.act(frames[1], goal)) == str(recorded.act(frames[1], goal))
        one, other = plain.state, recorded.state
        assert torch.equal(one.mask, other.mask)
        for mine, its in zip(one.keys + one.values, other.keys + other.values, strict=True):
            assert float((mine - its).abs().max()) < tolerance


def test_a_graph_is_recorded_and_replayed_on_its_inputs_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the second card, say: a stream or a graph of the current one would record nothing, and repeat old answers."""
    current, used = ["cuda:0"], []

    class On:
        def __init__(self, device: object) -> None:
            self.device, self.before = str(device), ""

        def __enter__(self) -> None:
            self.before, current[0] = current[0], self.device

        def __exit__(self, *_: object) -> None:
            current[0] = self.before

    class Stream:
        def __init__(self) -> None:
            used.append(("stream", current[0]))

        def wait_stream(self, _: object) -> None: ...

    class Graph:
        def replay(self) -> None:
            used.append(("replay", current[0]))

    class Input:
        shape, device = torch.Size([1]), "cuda:1"

        def clone(self) -> Input:
            return self

        def copy_(self, _: Input) -> None: ...

    for name, value in {
        "device": On, "Stream": Stream, "current_stream": Stream, "CUDAGraph": Graph,
        "stream": lambda _: contextlib.nullcontext(), "graph": lambda _: contextlib.nullcontext(),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    graph = CudaGraph(lambda *_: {})
    for _ in range(2):
        graph(Input())  # type: ignore[arg-type]
    assert {place for _, place in used} == {"cuda:1"}
    assert [kind for kind, _ in used].count("replay") == 2
    assert current == ["cuda:0"]


@pytest.mark.gpu
def test_a_replayed_graph_says_the_same(policy: GoalPolicy) -> None:
    on_gpu = load_policy(SMALL)
    on_gpu.load_state_dict(policy.state_dict())
    on_gpu = on_gpu.cuda()
    goals = np.random.default_rng(1).standard_normal((GAMES, 16)).astype(np.float32)
    plain, replayed = (Agent(on_gpu, games=GAMES, cuda_graph=graph) for graph in (False, True))
    for frames in scenes(STEPS):
        one, other = plain.log_probs(list(frames), list(goals)), replayed.log_probs(list(frames), list(goals))
        for name, rows in one.items():
            assert float((rows - other[name]).abs().max()) < 1e-3, name
    plays_alike(on_gpu, 4.0, 1e-3)


def test_one_recording_serves_all_episodes_of_a_policy(policy: GoalPolicy, tmp_path: Path) -> None:
    """What `run_agent.py --cuda_graph` plays with; the same actions as without, episode by episode."""
    from steve1.evaluation.policies import PolicyCache, PolicySpec

    write_model(SMALL, tmp_path / "small.model")
    save_weights(policy, tmp_path / "small.weights")
    metadata = CheckpointMetadata(model=str(tmp_path / "small.model"), cond_scale=2.0, temperature=0.7)
    spec = PolicySpec("small", "weights", str(tmp_path / "small.weights"), metadata=metadata)
    goal = np.ones(16, np.float32)
    caches = [PolicyCache(cuda_graph=recorded) for recorded in (False, True)]
    agents = set()
    for seed in (3, 4):
        plain, recorded = (cache.actor(spec, goal, seed) for cache in caches)
        agents.add(id(recorded.agent))  # type: ignore[attr-defined]
        for actor in (plain, recorded):
            actor.reset({}, {})
        for frame in scenes(4)[:, 0]:
            assert str(plain.act({"pov": frame}, {})) == str(recorded.act({"pov": frame}, {}))
    assert len(agents) == 1
