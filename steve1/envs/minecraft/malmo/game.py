"""Shared by the adapters of MineRL, MineStudio and MineDojo: their Java and ports, their counts, their values as plain values.

Input: observations as these packages give them (numpy scalars, a count for each of a thousand items). Output: what
`steve1.envs.interface.Env` promises. Runs in the worker, on Python 3.8 with numpy alone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Callable

import numpy as np

from steve1.core import processes
from steve1.envs.worker.serve import Action, BadInput, Game, GameFault, Info, Observation, report

BUTTONS = (
    "attack", "back", "drop", "forward", "inventory", "jump", "left", "pickItem", "right", "sneak", "sprint", "swapHands", "use",
    *("hotbar." + str(slot) for slot in range(1, 10)),
)  # fmt: skip
BIOMES = {"meadow": "plains", "forest": "forest", "shore": "beach"}
TICKS_OF_A_DAY = 24000


class MalmoGame(Game):
    """One Minecraft of a package that descends from Malmo.

    Settings of all: `biome` (spawn biome of resets that name none), `java_home`, `ports`, and `resets_per_seed` (2 for a build in which
    a new seed takes effect only at the reset after).

    Attributes:
        package: its name.
        version: Minecraft's.
        manager: the module whose InstanceManager starts the package's Javas.
    """

    package = version = manager = ""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.width, self.height = int(settings["width"]), int(settings["height"])
        self.biome = settings.get("biome", "meadow")
        self.resets_per_seed = int(settings.get("resets_per_seed", 1))
        home = settings.get("java_home")
        if home:  # the variables by which the package finds the Java that the main program chose
            os.environ["JAVA_HOME"] = str(home)
            os.environ["PATH"] = os.path.join(str(home), "bin") + os.pathsep + os.environ.get("PATH", os.defpath)
        report(f"importing {self.package}")
        self.prepare(settings)
        use_ports(self.instances(), settings)
        self._javas: list[int] = []
        self._tally, self._slot, self._menu = Tally(), 0, False
        self._seed: int | None = None
        try:
            found = metadata.version(self.package) or ""
        except metadata.PackageNotFoundError:
            found = ""
        self.facts = {"game": self.version, "package": f"{self.package} {found}"}

    def prepare(self, settings: Mapping[str, Any]) -> None:
        """What must be done before the package's Javas are looked for."""

    def instances(self) -> Any:
        """The class that starts the package's Javas."""
        return importlib.import_module(self.manager).InstanceManager

    def pids(self) -> list[int]:
        return self._javas

    def reset_package(self, seed: int, reset: Callable[[], Any]) -> Any:
        """Reset as often as a new seed needs; what the last reset returned. The package may replace its Java meanwhile."""
        self._javas = []
        for _ in range(self.resets_per_seed if seed != self._seed else 1):
            found = reset()
        self._seed, self._slot = seed, 0
        self._javas = java_pids()
        return found

    def spawn_biome(self, options: Mapping[str, Any]) -> str | None:
        """Minecraft's name of the biome to begin in."""
        return BIOMES.get(options.get("biome") or self.biome)

    def given(self, action: Action, buttons: tuple[str, ...]) -> dict[str, Any]:
        """The action as the package takes it: these buttons and the camera. Keeps track of the hotbar slot, which the packages do not report.

        In a menu these keys move items, and the slot stays.
        """
        for slot in range(9):
            if action.get(f"hotbar.{slot + 1}") and not self._menu:
                self._slot = slot
        pressed: dict[str, Any] = {name: int(action.get(name, 0)) for name in buttons}
        return {**pressed, "camera": np.asarray(action["camera"], dtype=np.float32)}

    def observed(
        self,
        pov: Any,
        inventory: Mapping[str, Any],
        place: Mapping[str, Any],
        gui_open: Any,
        counted: Mapping[str, Any],
    ) -> tuple[Observation, Info]:
        """The interface's observation, and what was counted since the reset."""
        frame = np.asarray(pov)
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:  # nothing to stretch
            raise GameFault(
                f"the game drew a picture of {frame.shape} {frame.dtype} instead of ({self.height}, {self.width}, 3) uint8"
            )
        location = {str(name): number(value) for name, value in place.items()}
        if "yaw" in location:
            location["yaw"] = (location["yaw"] + 180.0) % 360.0 - 180.0
        self._menu = bool(np.asarray(gui_open).item())
        obs = {
            "pov": np.ascontiguousarray(frame),
            "inventory": counts(inventory),
            "location_stats": location,
            "is_gui_open": self._menu,
            "hotbar": self._slot,
        }
        return obs, dict(self._tally.added(counted))


def number(value: Any) -> float:
    """The only element of whatever a package calls a number."""
    return float(np.asarray(value).ravel()[0])


def without_effect(action: Action, buttons: tuple[str, ...]) -> Info:
    """{"without_effect": those pressed of these buttons, which the package does not have}; {} if none is."""
    lost = [name for name in buttons if action.get(name)]
    return {"without_effect": lost} if lost else {}


def use_ports(manager: Any, settings: Mapping[str, Any]) -> None:
    """Have a package's manager of instances choose among the ports that are locked for this worker.

    Its own way looks at what is in use, and two workers that start at once see the same port free.
    """
    ports = [int(port) for port in settings.get("ports") or []]
    own = getattr(manager, "_get_valid_port", None)
    if not ports or own is None:
        return

    def next_port() -> int:
        taken = {
            getattr(instance, "port", None) or getattr(instance, "_target_port", None)
            for instance in getattr(manager, "_instance_pool", ())
        }
        for port in ports:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            if port not in taken:
                return port
        return int(own())

    manager._get_valid_port = staticmethod(next_port)


def java_pids() -> list[int]:
    """Javas below this worker.

    A child with the command line of a Java above it is none: it was forked to start another program and is gone in a moment.
    """
    found: dict[bytes, int] = {}
    for pid in processes.descendants(os.getpid()):  # parents come first
        folder = Path(f"/proc/{pid}")
        with contextlib.suppress(OSError):
            # In this order: a fork that starts its program in between has the other name by then.
            command = (folder / "cmdline").read_bytes()
            if (folder / "comm").read_text().strip() == "java":
                found.setdefault(command, pid)
    return list(found.values())


def counts(values: Any) -> dict[str, int]:
    """{name: count} of a package's dictionary of counts, without the zeros and without air."""
    if not values:
        return {}
    found = {str(name): int(np.asarray(value).item()) for name, value in values.items()}
    return {name: count for name, count in found.items() if count > 0 and name != "air"}


class Tally:
    """Minecraft counts over a world's whole life; episodes want what was added since their beginning."""

    KINDS = {  # noqa: RUF012
        "dug": "mine_block",
        "placed": "use_item",
        "crafted": "craft_item",
        "killed": "kill_entity",
        "picked_up": "pickup",
    }

    def __init__(self) -> None:
        self._before: dict[str, dict[str, int]] = {}

    def begin(self, observation: Mapping[str, Any]) -> None:
        """Take what has been counted so far as nothing."""
        self._before = {kind: counts(observation.get(key)) for kind, key in self.KINDS.items()}

    def added(self, observation: Mapping[str, Any]) -> dict[str, dict[str, int]]:
        """{"dug": {...}, "placed": {...}, ...} since `begin`; only kinds that the package observes."""
        found: dict[str, dict[str, int]] = {}
        for kind, key in self.KINDS.items():
            if key in observation:
                before, now = self._before.get(kind, {}), counts(observation[key])
                more = {name: count - before.get(name, 0) for name, count in now.items()}
                found[kind] = {name: count for name, count in more.items() if count > 0}
        return found


def start_ticks(options: Mapping[str, Any]) -> int | None:
    """The time of day that a reset asks for, in the game's ticks (noon, 0.5, is 6000); None where it does not ask."""
    if options.get("time_of_day") is None:
        return None
    return round((float(options["time_of_day"]) - 0.25) * TICKS_OF_A_DAY) % TICKS_OF_A_DAY


def start_place(options: Mapping[str, Any]) -> dict[str, float] | None:
    """The place that a reset's start state names, or None."""
    start = options.get("start") or {}
    if not {"x", "y", "z"} <= set(start):
        return None
    place = {name: float(start[name]) for name in ("x", "y", "z")}
    for name in ("yaw", "pitch"):
        chosen = options.get(name)
        place[name] = float(chosen if chosen is not None else start.get(name, 0.0))
    return place


def stacks(inventory: Mapping[str, Any], most: int = 36, stack: int = 64) -> list[tuple[str, int]]:
    """[(item, quantity)] of a starting inventory, in stacks, the first one in hand.

    Raises:
        BadInput: it does not fit into the player's slots.
    """
    found: list[tuple[str, int]] = []
    for name, count in inventory.items():
        left = int(count)
        while left > 0:
            found.append((str(name), min(left, stack)))
            left -= stack
    if len(found) > most:
        raise BadInput(
            "This starting inventory does not fit.", expected=f"at most {most} stacks", got=f"{len(found)} stacks"
        )
    return found
