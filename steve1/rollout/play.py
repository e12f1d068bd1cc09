"""One episode in a game.

In: someone who acts (the agent with a goal, a scripted player, a floor player), an environment, a seed and a start state. Out: a
Trace. The seed is set with the reset, a finished episode ends, and nothing is loaded or opened here, so that one agent and
one game serve any number of episodes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from steve1 import actions
from steve1.core.errors import UserError
from steve1.rollout.trace import Trace, TraceRecorder

Observation = dict[str, Any]
Info = dict[str, Any]
Action = dict[str, Any]
OnFrame = Callable[[NDArray[np.uint8], Mapping[str, Any], int], None]


class Actor(Protocol):
    """Whoever decides: scripted players have exactly this form."""

    def reset(self, obs: Observation, info: Info) -> None:
        """Begin an episode."""

    def act(self, obs: Observation, info: Info) -> Action:
        """The MineRL action for this observation."""


class GoalActor:
    """An agent that pursues one goal through a whole episode: sees `obs["pov"]`, nothing else."""

    def __init__(self, agent: Any, goal: NDArray[np.floating[Any]]) -> None:
        self.agent, self.goal = agent, np.asarray(goal, dtype=np.float32)

    def reset(self, obs: Observation, info: Info) -> None:
        self.agent.reset()

    def act(self, obs: Observation, info: Info) -> Action:
        action: Action = self.agent.act(obs["pov"], self.goal)
        return action


class DoNothing:
    """Never presses a key: what a task gives for free."""

    def reset(self, obs: Observation, info: Info) -> None:
        """Nothing to begin."""

    def act(self, obs: Observation, info: Info) -> Action:
        return actions.null_action()


class RandomActions:
    """Draws every step's joint button and camera class uniformly from the policy's own action space."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random = np.random.default_rng(seed)

    def reset(self, obs: Observation, info: Info) -> None:
        self._random = np.random.default_rng(self.seed)

    def act(self, obs: Observation, info: Info) -> Action:
        buttons = self._random.integers(0, actions.N_BUTTONS, size=1)
        camera = self._random.integers(0, actions.N_CAMERA, size=1)
        chosen: Action = actions.to_env(buttons, camera)[0]
        # An open inventory would swallow the rest of a random episode; the key is the one that leaves the game's world.
        chosen["inventory"] = 0
        return chosen


def play(
    actor: Actor,
    env: Any,
    steps: int,
    *,
    seed: int = 0,
    start: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    on_frame: OnFrame | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Trace:
    """Play one episode of at most `steps` steps (20 a second).

    Args:
        actor: decides each action from (obs, info).
        env: an open environment (`steve1.envs.make_env`), which stays open.
        seed: the environment's seed, given with the reset.
        start: a start state of `steve1.envs.start_states`; None lets the environment choose by the seed.
        options: further reset options (`inventory`, `biome`, `time_of_day`).
        on_frame: called as on_frame(frame u8 (H, W, 3), action taken on it, step from 0).
        metadata: further facts to keep with the trace.

    Raises:
        UserError: fewer than 1 step.
    """
    if steps < 1:
        raise UserError("An episode needs at least one step.", expected="steps ≥ 1", got=steps)
    began = time.perf_counter()
    reset_options = dict(options or {})
    if start is not None:
        reset_options["start"] = dict(start)
    obs, info = env.reset(seed=seed, options=reset_options)
    actor.reset(obs, info)
    reset_seconds = time.perf_counter() - began
    recorder = TraceRecorder(obs, info)
    acting, stepping, ended = 0.0, 0.0, "steps"
    for step in range(steps):
        before = time.perf_counter()
        action = actor.act(obs, info)
        middle = time.perf_counter()
        if on_frame is not None:
            on_frame(obs["pov"], action, step)
        decided = time.perf_counter()
        obs, _, terminated, truncated, info = env.step(action)
        acting, stepping = acting + middle - before, stepping + time.perf_counter() - decided
        recorder.add(action, obs, info)
        if terminated or truncated:
            ended = "terminated" if terminated else "truncated"
            break
    return recorder.trace(
        {
            "seed": seed,
            "start": dict(start) if start is not None else info.get("start"),
            "steps_asked": steps,
            "ended": ended,
            "seconds": {
                "total": round(time.perf_counter() - began, 4),
                "reset": round(reset_seconds, 4),
                "acting": round(acting, 4),
                "game": round(stepping, 4),
            },
            **(metadata or {}),
        }
    )


def rollout(
    agent: Any,
    env: Any,
    goal: NDArray[np.floating[Any]],
    steps: int,
    *,
    seed: int = 0,
    start: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    on_frame: OnFrame | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Trace:
    """Let `agent` (`steve1.Agent`) pursue `goal`, float (E,), for one episode; the rest is as in `play`."""
    return play(
        GoalActor(agent, goal),
        env,
        steps,
        seed=seed,
        start=start,
        options=options,
        on_frame=on_frame,
        metadata=metadata,
    )
