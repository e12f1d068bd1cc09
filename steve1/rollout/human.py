"""A human plays in the game's own window and is recorded like any other player (MCio)."""

from __future__ import annotations

from typing import Any

from steve1.envs.interface import Action, Env, Info, Observation
from steve1.envs.worker.env import WorkerEnv


class HumanPlayer:
    """Acts as the human at the keyboard does; one call lasts one tick, in real time.

    Attributes:
        done: whether the human has ended the recording.
    """

    def __init__(self, env: WorkerEnv) -> None:
        self._env = env
        self.done = False

    def reset(self, obs: Observation, info: Info) -> None:
        """Nothing to begin: `done` stays."""

    def act(self, obs: Observation, info: Info) -> Action:
        """The MineRL action of the last 50 ms."""
        answer = self._env.call("human")
        self.done = bool(answer["done"])
        action: Action = answer["action"]
        return action


class UntilDone(Env):
    """The same environment, whose episode is cut off when the human ends it."""

    def __init__(self, env: WorkerEnv, human: HumanPlayer) -> None:
        self._env, self._human = env, human
        self.action_space = env.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        self._env.draw_pointer = self.draw_pointer
        return self._env.reset(seed=seed, options=options)

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, Info]:
        obs, reward, terminated, truncated, info = self._env.step(action)
        return obs, reward, terminated, truncated or self._human.done, info

    def restart(self) -> None:
        self._env.restart()

    def close(self) -> None:
        self._env.close()
