"""What the stand-ins of MineRL, MineStudio and MineDojo share: a small world, a Java process, and faults on demand.

Input: STANDIN_FAULTS in the environment, JSON: {"fault": name, "at": step, "once": file}. `once` makes the fault strike in one worker
alone, the first that can create the file. Output: a world whose numbers follow from seed and actions.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import time
from typing import Any

import numpy as np

HOUR = 3600.0
FAULTS = (
    "hang_start",
    "hang_reset",
    "hang_step",
    "dead_java",
    "zombie",
    "early",
    "small",
    "torn",
    "late_seed",
    "grows",
)


class Faults:
    """The planned fault, if any."""

    def __init__(self) -> None:
        plan = json.loads(os.environ.get("STANDIN_FAULTS") or "{}")
        self.fault, self.at, self.once = plan.get("fault", ""), int(plan.get("at", 3)), plan.get("once", "")
        assert self.fault in ("", *FAULTS), self.fault

    def strikes(self, *names: str) -> bool:
        """Whether one of these faults is to happen now."""
        if self.fault not in names:
            return False
        if self.once:
            try:
                os.close(os.open(self.once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                self.fault = ""
                return False
        return True


class InstanceManager:
    """What the three packages share: it chooses the port on which a Java is told to listen."""

    _instance_pool: list[Any] = []  # noqa: RUF012
    _malmo_base_port = 9000

    @classmethod
    def configure_malmo_base_port(cls, malmo_base_port: int) -> None:
        cls._malmo_base_port = malmo_base_port

    @classmethod
    def _get_valid_port(cls) -> int:
        return cls._malmo_base_port + (17 * os.getpid()) % 3989


class LostConnectionError(Exception):
    """The socket to the Java is gone; each package has its own way not to say so."""


class World:
    """Numbers and pictures of one Minecraft."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.faults = Faults()
        self.java: subprocess.Popen[bytes] | None = None
        self.seed: int | None = None
        self.hoard: list[bytearray] = []
        self.forget({})

    def launch(self) -> None:
        """Start the Java, found as the packages find it."""
        if self.java is None:
            port = InstanceManager._get_valid_port()
            self.java = subprocess.Popen(
                ["java", "-Xmx4G", "-jar", "mcprec-6.13.jar", f"--envPort={port}"], start_new_session=True
            )
            if self.faults.strikes("hang_start"):
                time.sleep(HOUR)

    def begin(self, seed: int | None, inventory: dict[str, int]) -> None:
        """A new world."""
        if self.faults.strikes("hang_reset"):
            time.sleep(HOUR)
        self.seed = seed
        self.forget(inventory)

    def forget(self, inventory: dict[str, int]) -> None:
        """Everything as at the beginning of a world of this seed."""
        random = np.random.default_rng(self.seed)
        self.x, self.z = (float(value) for value in random.uniform(-500, 500, 2).round(3))
        self.y, self.yaw, self.pitch, self.steps, self.held = 64.0, 0.0, 0.0, 0, 0
        self.inventory = dict(inventory)
        self.mined: dict[str, int] = {}
        self.used: dict[str, int] = {}
        self.gui, self.life = False, 20.0

    def tick(self, action: dict[str, Any]) -> bool:
        """One step; True: the episode ended early."""
        self.steps += 1
        if self.steps >= self.faults.at:
            self._strike()
        pitch, yaw = (float(value) for value in action["camera"])
        self.pitch, self.yaw = float(np.clip(self.pitch + pitch, -90, 90)), self.yaw + yaw
        self.z += 0.2 * (int(action["forward"]) - int(action["back"]))
        self.gui ^= bool(action.get("inventory", 0))
        self.held = self.held + 1 if action["attack"] else 0
        if self.held == 5:
            self.held = 0
            self.mined["dirt"] = self.mined.get("dirt", 0) + 1
            self.inventory["dirt"] = self.inventory.get("dirt", 0) + 1
        if action["use"] and self.inventory.get("dirt", 0):
            self.used["dirt"] = self.used.get("dirt", 0) + 1
            self.inventory["dirt"] -= 1
        return self.steps >= self.faults.at and self.faults.strikes("early")

    def _strike(self) -> None:
        if self.faults.strikes("hang_step"):
            time.sleep(HOUR)  # the packages' own sockets wait for minutes to an hour
        if self.faults.strikes("dead_java"):
            assert self.java is not None
            self.java.kill()
            self.java.wait()
            raise LostConnectionError
        if self.faults.strikes("torn"):
            struct.unpack(
                "!I", b"\0\0\1"
            )  # as the packages' own readers of messages: the length's last byte does not come
        if self.faults.strikes("zombie"):
            assert self.java is not None
            self.java.kill()  # and never waited for
            time.sleep(HOUR)
        if self.faults.strikes("grows"):
            self.hoard.append(bytearray(os.urandom(1 << 20) * 60))

    def picture(self) -> np.ndarray:
        """u8 (H,W,3) whose shade follows the step."""
        small = self.steps >= self.faults.at and self.faults.strikes("small")
        size = (self.height // 2, self.width // 2, 3) if small else (self.height, self.width, 3)
        return np.full(size, (self.steps * 5) % 200, np.uint8)

    def end(self) -> None:
        """End the Java."""
        if self.java is not None:
            self.java.kill()
            self.java.wait()
            self.java = None
