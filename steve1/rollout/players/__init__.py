"""Scripted players that demonstrate, with human-like timing and detours."""

from __future__ import annotations

from steve1.rollout.players.behaviours import BABBLING, BEHAVIOURS, MINI, Behaviour, behaviour, make_player
from steve1.rollout.players.player import Player

__all__ = ["BABBLING", "BEHAVIOURS", "MINI", "Behaviour", "Player", "behaviour", "make_player"]
