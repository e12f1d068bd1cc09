"""A game that may die, held by someone who expects it.

In: a function that opens an environment. Out: episodes. When a game crashes or hangs in one, it is closed, opened anew and the
same episode is played again from its beginning with the same seed, a bounded number of times in all.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from steve1.core.errors import UserError
from steve1.envs.errors import GameDied

Result = TypeVar("Result")
_log = logging.getLogger(__name__)

# What a dead or silent game shows itself as; everything else (a full disk, a wrong shape) is not mended by a new game.
GAME_FAULTS: tuple[type[BaseException], ...] = (GameDied, EOFError, BrokenPipeError, ConnectionError, TimeoutError)


class SupervisedEnv:
    """Opens its environment at the first episode and again after each crash.

    Attributes:
        restarts: how often a crash has made a new game necessary so far.
    """

    def __init__(self, open_env: Callable[[], Any], *, max_restarts: int = 3) -> None:
        self._open, self._max = open_env, max_restarts
        self._env: Any = None
        self.restarts = 0

    def episode(self, play: Callable[[Any], Result]) -> Result:
        """Run `play(env)` to its end; `play` begins with a reset and must be repeatable.

        Raises:
            UserError: the game died more than `max_restarts` times, or never started.
        """
        while True:
            try:
                if self._env is None:
                    self._env = self._open()
                return play(self._env)
            except GAME_FAULTS as fault:
                self.close()
                self.restarts += 1
                if self.restarts > self._max:
                    raise UserError(
                        "The game died too often; the run stops here.",
                        expected=f"at most {self._max} restarts",
                        got=f"{type(fault).__name__}: {fault}",
                        todo="look at the game's own log; finished episodes are kept, and the same command continues after them",
                    ) from fault
                _log.warning(
                    "the game died (%s); restart %d of %d, same seed",
                    str(fault).splitlines()[0],
                    self.restarts,
                    self._max,
                )
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the game if one is open; a game that is already dead may fail to close cleanly."""
        env, self._env = self._env, None
        if env is not None:
            with contextlib.suppress(*GAME_FAULTS):
                env.close()

    def __enter__(self) -> SupervisedEnv:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
