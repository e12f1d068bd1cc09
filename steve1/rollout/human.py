"""A human plays in the game's own window and is recorded like any other player (MCio)."""

from __future__ import annotations

from steve1.envs.interface import Action, Info, Observation
from steve1.envs.worker.env import WorkerEnv
from steve1.rollout.play import Actor


class HumanPlayer(Actor):
    """Acts as the human at the keyboard does; one call lasts one tick, in real time. The game ends the episode when the human does."""

    def __init__(self, env: WorkerEnv) -> None:
        self._env = env

    def act(self, obs: Observation, info: Info) -> Action:
        """The MineRL action of the last 50 ms."""
        action: Action = self._env.call("human")
        return action
