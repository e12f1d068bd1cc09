"""A game in a worker process, as an environment like any other.

Pictures come from shared memory, the rest from the worker's messages. A game that dies raises GameDied with nothing left behind;
`restart` (or a reset after its memory has grown) starts a fresh one.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from steve1.actions import ENV_BUTTONS
from steve1.core.errors import UserError
from steve1.core.frames import draw_cursor
from steve1.envs.interface import Action, Env, GameDied, Info, Observation, action_space, check_action
from steve1.envs.worker.backend import Backend, Limits
from steve1.envs.worker.supervisor import Supervisor

_log = logging.getLogger(__name__)
_FULL = 0.8  # of the memory allowed: above it, the next episode begins in a fresh game


class WorkerEnv(Env):
    """See `Env`.

    Args:
        backend: the game.
        settings: the adapter's, beside size, ports, heap and folder, which the supervisor adds.
        width, height: of the picture.
        instance: a label for messages.
        headless: True: a private display; False: the user's own; None: private where there is no other.
        limits: other waits than the backend's own; `limits_more` changes single ones ({"step_s": 5}).
    """

    def __init__(
        self, backend: Backend, settings: dict[str, Any] | None = None, *, width: int = 640, height: int = 360, instance: int = 0,
        headless: bool | None = None, limits: Limits | None = None, limits_more: dict[str, float] | None = None,
    ) -> None:  # fmt: skip
        self.backend, self.settings, self.instance, self._headless = backend, dict(settings or {}), instance, headless
        self.width, self.height = width, height
        self.limits = dataclasses.replace(limits or backend.limits, **(limits_more or {}))
        self.action_space = action_space()
        self._over, self._steps = True, 0
        self._start: dict[str, Any] = {}
        self._worker = self._open()

    def _open(self) -> Supervisor:
        size = {"width": self.width, "height": self.height}
        worker = Supervisor(self.backend, self.limits, **size, headless=self._headless)
        worker.start({**self.settings, "instance": self.instance})
        return worker

    @property
    def facts(self) -> dict[str, Any]:
        """What the worker reported about itself: python, pid, the game's and its package's versions."""
        return self._worker.facts

    @property
    def pids(self) -> tuple[int, ...]:
        """Process id of the worker."""
        if self._worker.process is None:
            raise GameDied("This environment's game is closed.", todo="restart() starts a new one")
        return (self._worker.process.pid,)

    def restart(self) -> None:
        self.close()
        self._worker = self._open()

    def close(self) -> None:
        self._over = True
        self._worker.close()

    def call(self, name: str, **arguments: Any) -> Any:
        """Call the adapter's `call`."""
        return self._worker.ask("call", self.limits.call_s, name=name, arguments=arguments)["value"]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        if self._worker.memory_mb > _FULL * self.limits.memory_mb:
            full = "%s holds %.0f MB: a fresh game is started before this episode"
            _log.warning(full, self.backend.name, self._worker.memory_mb)
            self.restart()
        asked = int(seed or 0)
        options = dict(options or {})
        for _ in range(2):  # some games take a new seed only at the reset after the next
            answer = self._worker.ask("reset", self.limits.reset_s, seed=asked, options=options)
            got = answer["info"].get("seed")
            if got == asked or not self.backend.confirms_seed:
                break
        else:
            self._worker.close()
            raise GameDied(
                "The game does not take its seed.", expected=asked, got=got, todo="restart() starts it again"
            )
        self._over, self._steps = False, 0
        self._start = dict(answer["info"].get("start") or options.get("start") or {})
        return self._observed(answer)

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, Info]:
        if self._over and self._worker.running:
            raise UserError("This episode is over.", where=f"step {self._steps}", todo="reset() comes next")
        pressed, pitch, yaw = check_action(action)
        full: dict[str, Any] = {name: int(name in pressed) for name in ENV_BUTTONS}
        full["camera"] = [pitch, yaw]
        full["ESC"] = 0  # opens the game's own menu, which stops the world; the policy has not learned it
        answer = self._worker.ask("step", self.limits.step_s, action=full)
        self._steps += 1
        self._over = answer["terminated"] or answer["truncated"]
        observation, info = self._observed(answer)
        return observation, answer["reward"], answer["terminated"], answer["truncated"], info

    def _observed(self, answer: dict[str, Any]) -> tuple[Observation, Info]:
        observation = {**answer["obs"], "pov": self._worker.picture(answer["picture"])}
        if observation["is_gui_open"] and self.draw_pointer and "pointer" in answer["info"]:
            draw_cursor(observation["pov"], *answer["info"]["pointer"])
        info = {"dug": {}, "placed": {}, "crafted": {}, "in_water": False, **answer["info"]}
        return observation, {**info, "start": self._start, "step": self._steps, "instance": self.instance}
