"""How this process drives a game: what both links have in common, and the link through the shim.

Input: key events and pointer motion, commands for the mod. Output: one tick of game time, then a picture and a state. The
other link, for releases of the game that the shim does not know, is in portable.py.
"""

from __future__ import annotations

import abc
import os
import time
from typing import Any

import numpy as np

from steve1.core.errors import UserError
from steve1.envs.luanti.game_process import GameProcess
from steve1.envs.luanti.shared import FOCUS_IN, SharedMemory
from steve1.envs.luanti.shim import build_shim

Event = tuple[int, int]  # X event type, key or button code


class Link(abc.ABC):
    """The connection to one game. `join` comes after the process was started; then `tick` as often as wanted."""

    xvfb_arguments: tuple[str, ...] = ()
    sensitivity = 0.01  # the game's mouse setting: small, so that turns are exact

    def __init__(self, process: GameProcess, width: int, height: int) -> None:
        self.process, self.width, self.height = process, width, height

    @abc.abstractmethod
    def environment(self) -> dict[str, str]:
        """Variables that the game is started with."""

    @abc.abstractmethod
    def join(self, patience_s: float) -> None:
        """Wait until the player is in the world and take over clock and keyboard."""

    @abc.abstractmethod
    def tick(self, events: list[Event] | None = None, dx: int = 0, dy: int = 0) -> None:
        """Let a tick of game time pass (50 ms, or the part of it that the link was made for) with this input. Raises GameDied."""

    @abc.abstractmethod
    def frame(self) -> np.ndarray:
        """The last picture, u8 (H,W,3) RGB; a copy."""

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """The last state that the mod published ({} before the player has joined)."""

    @abc.abstractmethod
    def send(self, command: dict[str, Any]) -> None:
        """Hand a command to the mod."""

    @property
    @abc.abstractmethod
    def menu_open(self) -> bool:
        """Whether the pointer belongs to a menu."""

    @property
    @abc.abstractmethod
    def pointer(self) -> tuple[int, int]:
        """Position of the pointer in the picture (x, y)."""

    @abc.abstractmethod
    def close(self) -> None:
        """Free what the link itself holds; the process is closed by its owner."""

    def wait_joined(self, patience_s: float) -> None:
        """Wait until the mod reports where the player is."""
        game = self.process.game
        assert game is not None, "the process is started first"
        limit = time.monotonic() + patience_s
        while not self.state().get("pos"):
            self.idle()
            if game.poll() is not None:
                raise self.process.died("the game ended while it started")
            if time.monotonic() > limit:
                raise self.process.died(f"the game did not start within {patience_s:g} s")
        time.sleep(0.3)

    def idle(self) -> None:
        """Give the game a moment to start."""
        time.sleep(0.01)


class ShimLink(SharedMemory, Link):
    """Lock-step through the preloaded shim and a memory-mapped file."""

    def __init__(self, process: GameProcess, width: int, height: int, tick_us: int = 50_000) -> None:
        Link.__init__(self, process, width, height)
        # The loader splits LD_PRELOAD at blanks and colons, which a checkout's path may hold; a link may lie where nothing may be executed.
        self._library = process.folder / "shim.so"
        self._library.symlink_to(build_shim().absolute())
        if set(str(self._library)) & {" ", ":"}:
            todo = "TMPDIR=/tmp, or another folder without them"
            raise UserError(
                "The game cannot be started from a path with a blank or a colon.", where=process.folder, todo=todo
            )
        SharedMemory.__init__(self, process.folder / "shared", width, height, tick_us=tick_us)

    def environment(self) -> dict[str, str]:
        preload = " ".join(filter(None, [str(self._library), os.environ.get("LD_PRELOAD", "")]))
        shared = str(self.process.folder / "shared")
        return {"LD_PRELOAD": preload, "STEVE_SHM": shared, "STEVE_PORT": str(self.process.port)}

    def join(self, patience_s: float) -> None:
        self.wait_joined(patience_s)
        self.header["lockstep"][0] = 1
        self.process.wait_done()
        self.tick([(FOCUS_IN, 0)])  # no window manager gives the window its focus

    def tick(self, events: list[Event] | None = None, dx: int = 0, dy: int = 0) -> None:
        self.set_input(events or [], dx, dy)
        self.process.go()

    @property
    def menu_open(self) -> bool:
        return bool(self.get("gui_open"))

    @property
    def pointer(self) -> tuple[int, int]:
        return self.get("pointer_x"), self.get("pointer_y")
