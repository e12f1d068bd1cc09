"""Luanti behind the worker protocol; runs in the project's own Python. The main program draws the pointer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from steve1.core.errors import UserError
from steve1.envs.interface import GameDied
from steve1.envs.luanti.env import LuantiEnv
from steve1.envs.worker.serve import Action, BadInput, Game, GameFault, Info, Observation, Step


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The project's errors as those of the protocol."""
    try:
        yield
    except GameDied as death:
        raise GameFault(f"{death.what} {death.got}".strip()) from death
    except UserError as fault:
        raise BadInput(
            fault.what, where=fault.where, expected=fault.expected, got=fault.got, todo=fault.todo
        ) from fault


class LuantiGame(Game):
    """One LuantiEnv."""

    def __init__(self, settings: dict[str, Any]) -> None:
        names = ("biome", "width", "height", "instance", "split", "timeout_s", "settings", "backend")
        with _told():
            self.env = LuantiEnv(**{name: settings[name] for name in names if name in settings})
        self.env.draw_pointer = False
        self.facts = {"game": "luanti", "backend": self.env.backend}

    def pids(self) -> list[int]:
        return list(self.env.pids)

    def reset(self, seed: int, options: dict[str, Any]) -> tuple[Observation, Info]:
        with _told():
            return self.env.reset(seed=seed, options=options)

    def step(self, action: Action) -> Step:
        with _told():
            return self.env.step(action)

    def close(self) -> None:
        self.env.close()


make_env = LuantiGame
