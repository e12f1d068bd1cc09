"""Reopens a game that dies, and plays its episode again from the beginning with the same seed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from steve1.core.executor import Restarts
from steve1.envs.interface import Env, GameDied

Result = TypeVar("Result")
_log = logging.getLogger(__name__)

# How a dead or silent game shows itself. A new game does not fix anything else (a full disk, a wrong shape).
GAME_FAULTS: tuple[type[BaseException], ...] = (GameDied, EOFError, BrokenPipeError, ConnectionError, TimeoutError)
#: what ends an episode before its time
CUT_OFF: tuple[type[BaseException], ...] = (KeyboardInterrupt, *GAME_FAULTS)


class SupervisedEnv(contextlib.AbstractContextManager["SupervisedEnv"]):
    """Opens its environment at the first episode and again after each crash, at most `max_restarts` times in all."""

    def __init__(self, open_env: Callable[[], Env], *, max_restarts: int = 3) -> None:
        self._open = open_env
        self._env: Env | None = None
        todo = "look at the game's own log; finished episodes are kept, and the same command continues after them"
        self._restarts = Restarts(max_restarts, "The game", todo)

    @property
    def restarts(self) -> int:
        """How many games have crashed so far."""
        return self._restarts.count

    def episode(self, play: Callable[[Env], Result]) -> Result:
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
                restart = self._restarts.add(f"{type(fault).__name__}: {fault}")
                why = next(iter(str(fault).splitlines()), type(fault).__name__)
                _log.warning("the game died (%s); restart %d of %d, same seed", why, restart, self._restarts.most)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the game if one is open; a game that is already dead may fail to close cleanly."""
        env, self._env = self._env, None
        if env is not None:
            with contextlib.suppress(*GAME_FAULTS):
                env.close()

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
