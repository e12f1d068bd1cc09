"""A stand-in game for the worker protocol, with every fault that simulators are known for, on demand.

Runs in a worker (Python 3.8, numpy alone). settings["fault"] names a fault and settings["at"] the step at which it strikes;
settings["once"], a file, makes it strike in one worker alone: the first that can create it. `reset`'s options may carry the same keys.
It keeps a child process of its own, as real games keep a Java.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np

from steve1.envs.worker.serve import BadInput, Game, GameFault, report

HOUR = 3600.0
FAULTS = (
    "hang_start", "hang_reset", "hang_step", "stopped", "socket_hour", "dead", "dead_game", "zombie", "early", "small", "torn",
    "old_picture", "late_seed", "grows", "raises", "exits",
)  # fmt: skip


class StandIn(Game):
    """A grey world whose shade and numbers follow from seed and step alone."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.size = (settings["height"], settings["width"], 3)
        report("starting the stand-in")
        self.java = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
        self.facts = {"game": "stand-in", "java": self.java.pid}
        self.seed = self.next_seed = self.steps = 0
        self.fault, self.at, self.once = "", 0, ""
        self.hoard: list[bytearray] = []
        self._plan(settings)
        if settings.get("bad"):
            raise BadInput("There is no Java.", where="JAVA_HOME", todo="apt-get install openjdk-21-jre")
        if self._strikes("hang_start"):
            time.sleep(HOUR)

    def _plan(self, options: dict[str, Any]) -> None:
        self.fault, self.at, self.once = options.get("fault", ""), int(options.get("at", 0)), options.get("once", "")

    def _strikes(self, fault: str) -> bool:
        if self.fault != fault:
            return False
        if self.once:
            try:
                os.close(os.open(self.once, os.O_CREAT | os.O_EXCL))
                self.once = ""  # ours: a fault that lasts may strike again here
            except FileExistsError:
                self.fault = ""
                return False
        return True

    def pids(self) -> list[int]:
        return [self.java.pid]

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        if name == "echo":
            return arguments
        return super().call(name, arguments)

    def reset(self, seed: int, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if "fault" in options:
            self._plan(options)
        if self._strikes("hang_reset"):
            time.sleep(HOUR)
        if self.fault == "late_seed":
            self.seed, self.next_seed = self.next_seed, seed
        else:
            self.seed = seed
        self.steps = 0
        return self._observe(self.size)

    def step(self, action: dict[str, Any]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.steps += 1
        size, early = self.size, False
        if (
            self.steps >= self.at
            and self.fault not in ("", "hang_start", "hang_reset", "late_seed")
            and self._strikes(self.fault)
        ):
            early, size = self._strike()
        obs, info = self._observe(size)
        info["pressed"] = sorted(name for name in action if name != "camera" and action[name])
        info["camera"] = action["camera"]
        return obs, float(self.steps), early, False, info

    def _strike(self) -> tuple[bool, tuple[int, int, int]]:
        kind = self.fault
        if kind in ("hang_step", "socket_hour"):
            time.sleep(HOUR)
        elif kind == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif kind == "dead":
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "dead_game":
            self.java.kill()
            self.java.wait()
            time.sleep(HOUR)
        elif kind == "zombie":
            self.java.kill()  # and never waited for
            time.sleep(HOUR)
        elif kind == "torn":
            self._spoil(b"ST1W\x10\0\0\0\0\0\0\0half")
        elif kind == "old_picture":
            self._spoil(b"")
        elif kind == "grows":
            self.hoard.append(bytearray(os.urandom(1 << 20) * 20))
            # More than any limit of a test: nothing else happens until a heartbeat has told how much it is.
            time.sleep(0.05 if len(self.hoard) < 30 else HOUR)
        elif kind == "raises":
            raise GameFault("the game says no")
        elif kind == "exits":
            sys.exit(3)
        return kind == "early", (180, 320, 3) if kind == "small" else self.size

    def _spoil(self, data: bytes) -> None:
        """Send bytes that are no message, or announce a picture that is not there: past the protocol, as a broken worker would."""
        from steve1.envs.worker import serve, wire

        worker = serve._current
        assert worker is not None
        if data:
            worker.channel._socket.sendall(data)
            time.sleep(HOUR)
        worker.number += 1
        original = wire.Picture.write
        wire.Picture.write = lambda *_: None  # type: ignore[method-assign]
        try:
            obs, info = self._observe(self.size)
            worker._seen(obs, info)
        finally:
            wire.Picture.write = original  # type: ignore[method-assign]
        worker.picture.write = lambda *_: None  # type: ignore[method-assign, union-attr]

    def _observe(self, size: tuple[int, int, int]) -> tuple[dict[str, Any], dict[str, Any]]:
        pov = np.full(size, (self.seed * 7 + self.steps) % 256, np.uint8)
        place = {"xpos": float(self.steps), "ypos": 64.0, "zpos": 0.0, "pitch": 0.0, "yaw": 0.0}
        obs = {
            "pov": pov,
            "inventory": {"dirt": self.steps},
            "location_stats": place,
            "is_gui_open": False,
            "hotbar": 0,
        }
        return obs, {"seed": self.seed, "health": np.float32(20.0), "deaths": 0}

    def close(self) -> None:
        self.java.kill()
        self.java.wait()


def make_env(settings: dict[str, Any]) -> StandIn:
    return StandIn(settings)
