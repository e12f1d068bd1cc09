"""Plays one episode: an actor decides, the environment steps, a Trace records.

Nothing is loaded or opened here, so that one agent and one game serve any number of episodes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from steve1 import actions
from steve1.core.errors import UserError
from steve1.envs.interface import Action, Env, Info, Observation
from steve1.rollout.trace import Trace, TraceRecorder

OnFrame = Callable[[NDArray[np.uint8], Mapping[str, Any], int], None]


class Actor(Protocol):
    """Decides actions from observations and info. Scripted players are actors.

    Attributes:
        who: whose the last action was, where a recording is to say so.
    """

    who: str = ""

    def reset(self, obs: Observation, info: Info) -> None:
        """Begin an episode; actors without memory need nothing."""
        return

    def act(self, obs: Observation, info: Info) -> Action:
        """The MineRL action for this observation."""


class PixelAgent(Protocol):
    """`steve1.Agent`, or anything that acts on frames and a goal alone."""

    def reset(self, seed: int | None = None) -> None:
        """Forget the last episode."""

    def act(self, frame: NDArray[np.uint8], goal: NDArray[np.float32] | None) -> Action:
        """The MineRL action for this frame, u8 (H, W, 3); goal None: unconditional."""


class GoalActor(Actor):
    """An agent that pursues one goal through a whole episode: sees `obs["pov"]`, nothing else."""

    def __init__(self, agent: PixelAgent, goal: NDArray[np.floating[Any]]) -> None:
        self.agent, self.goal = agent, np.asarray(goal, dtype=np.float32)

    def reset(self, obs: Observation, info: Info) -> None:
        self.agent.reset()

    def act(self, obs: Observation, info: Info) -> Action:
        return self.agent.act(obs["pov"], self.goal)


class DoNothing(Actor):
    """Never presses a button: what a task gives for free."""

    def act(self, obs: Observation, info: Info) -> Action:
        return actions.null_action()


class RandomActions(Actor):
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
        # An open inventory would swallow the rest of a random episode.
        chosen["inventory"] = 0
        return chosen


class EpisodeOptions(TypedDict, total=False):
    """What `play` and `rollout` take beside the actor, the environment and the steps.

    Attributes:
        seed: the environment's seed, given with the reset; 0.
        start: a start state of `steve1.envs.start_states`; without one the environment chooses by the seed.
        options: further reset options (`inventory`, `biome`, `time_of_day`).
        on_frame: called as on_frame(frame u8 (H, W, 3), action taken on it, step from 0).
        metadata: further facts to keep with the trace.
    """

    seed: int
    start: Mapping[str, Any] | None
    options: Mapping[str, Any] | None
    on_frame: OnFrame | None
    metadata: Mapping[str, Any] | None


def play(actor: Actor, env: Env, steps: int, **episode: Unpack[EpisodeOptions]) -> Trace:
    """Play one episode of at most `steps` steps (20 a second) in an open environment, which stays open.

    Raises:
        UserError: fewer than 1 step.
    """
    if steps < 1:
        raise UserError("An episode needs at least one step.", expected="steps ≥ 1", got=steps)
    seed, start, on_frame = episode.get("seed", 0), episode.get("start"), episode.get("on_frame")
    began = time.perf_counter()
    options = dict(episode.get("options") or {})
    if start is not None:
        options["start"] = dict(start)
    obs, info = env.reset(seed=seed, options=options)
    actor.reset(obs, info)
    reset_s = time.perf_counter() - began
    recorder = TraceRecorder(obs, info)
    acting_s, game_s, ended = 0.0, 0.0, "steps"
    for step in range(steps):
        before = time.perf_counter()
        action = actor.act(obs, info)
        acting_s += time.perf_counter() - before
        if on_frame is not None:
            on_frame(obs["pov"], action, step)
        before = time.perf_counter()
        obs, reward, terminated, truncated, info = env.step(action)
        game_s += time.perf_counter() - before
        recorder.add(action, obs, info, reward)
        if terminated or truncated:
            ended = "terminated" if terminated else "truncated"
            break
    seconds = {"total": time.perf_counter() - began, "reset": reset_s, "acting": acting_s, "game": game_s}
    return recorder.trace(
        {
            "seed": seed,
            "start": dict(start) if start is not None else info.get("start"),
            "steps_asked": steps,
            "ended": ended,
            "seconds": {name: round(value, 4) for name, value in seconds.items()},
            **(episode.get("metadata") or {}),
        }
    )


def rollout(
    agent: PixelAgent, env: Env, goal: NDArray[np.floating[Any]], steps: int, **episode: Unpack[EpisodeOptions]
) -> Trace:
    """Let `agent` (`steve1.Agent`) pursue `goal`, float (E,), for one episode; the rest is as in `play`."""
    return play(GoalActor(agent, goal), env, steps, **episode)
