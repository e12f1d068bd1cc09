"""A person plays in a game's own window, and is recorded like any other player.

In: an environment whose worker shows a window (`call("human")`: MCio). Out: actions for `rollout.record`, until the person ends it.
"""

from __future__ import annotations

from typing import Any

from steve1.envs import Env


class Person:
    """Acts as the person at the keyboard does; one call lasts one tick, in real time.

    Attributes:
        done: whether the person has ended the recording.
    """

    def __init__(self, env: Any) -> None:
        self._env = env
        self.done = False

    def reset(self, obs: dict[str, Any], info: dict[str, Any]) -> None:
        """Nothing to begin: whoever has ended the recording stays away."""

    def act(self, obs: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
        """The MineRL action of the last 50 ms."""
        said = self._env.call("human")
        self.done = bool(said["done"])
        action: dict[str, Any] = said["action"]
        return action


class UntilDone(Env):
    """The same environment, whose episode is cut off when the person ends it."""

    def __init__(self, env: Any, person: Person) -> None:
        self._env, self._person = env, person
        self.action_space = env.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._env.draw_pointer = self.draw_pointer
        return self._env.reset(seed=seed, options=options)

    def step(self, action: dict[str, Any]) -> Any:
        obs, reward, terminated, truncated, info = self._env.step(action)
        return obs, reward, terminated, truncated or self._person.done, info

    def restart(self) -> None:
        self._env.restart()

    def close(self) -> None:
        self._env.close()
