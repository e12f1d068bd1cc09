"""A policy acts until somebody else takes over; it goes on seeing every frame, so that it knows where it is when it acts again.

What the other one does is a correction: recordings say of each tick who acted, and training imitates that part alone.
"""

from __future__ import annotations

from steve1 import actions
from steve1.data.recordings.contractor import POLICY
from steve1.envs.interface import Action, Info, Observation
from steve1.rollout.play import Actor
from steve1.rollout.players import Player


class TakeOver(Actor):
    """A policy plays the first `after` steps, a scripted player the rest.

    Attributes:
        after: may be changed while the policy still plays.
        who: POLICY, or what the player says of itself: whose action `act` returned last.
    """

    def __init__(self, policy: Actor, player: Player, after: int) -> None:
        self._policy, self._player, self.after = policy, player, after
        player.quiet = 0  # the episode has begun long ago
        self.who = POLICY

    def reset(self, obs: Observation, info: Info) -> None:
        self._policy.reset(obs, info)
        self.who, self._step, self._released = POLICY, 0, False

    def act(self, obs: Observation, info: Info) -> Action:
        proposal = self._policy.act(obs, info)
        self._step += 1
        if self._step <= self.after:
            return proposal
        if self.who == POLICY and obs.get("is_gui_open"):
            return self._close_menu()
        if self.who == POLICY:
            self._player.reset(obs, info)
        action = self._player.act(obs, info)
        self.who = self._player.who
        return action

    def _close_menu(self) -> Action:
        """The inventory key, pressed and let go in turns: the policy may be holding it."""
        self._released = not self._released
        return {**actions.null_action(), "inventory": 0 if self._released else 1}
