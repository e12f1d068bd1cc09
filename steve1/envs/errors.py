"""The error of a game whose process ended or does not answer in time."""

from __future__ import annotations

from steve1.core.errors import UserError


class GameDied(UserError):
    """The game's process ended or hangs. The environment is closed; `Env.restart()` starts a fresh game."""
