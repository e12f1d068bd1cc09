"""What can go wrong with a game.

Out: `GameDied`, raised when the game's process ended or did not answer in time; `Env.restart()` mends it.
"""

from __future__ import annotations

from steve1.core.errors import UserError


class GameDied(UserError):
    """The game's process ended or hangs. The environment is closed; `restart()` starts a fresh game."""

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.what, self.where, self.expected, self.got, self.todo))


def _rebuild(what: str, where: str, expected: str, got: str, todo: str) -> GameDied:
    return GameDied(what, where=where, expected=expected, got=got, todo=todo)
