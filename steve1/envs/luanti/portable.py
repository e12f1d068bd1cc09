"""Drives any release of the game without code inside it: slower, for where the shim does not fit.

Input goes through the X server's XTest extension; pictures come from the X server's memory file, states from a file that the mod
writes. With libfaketime the game's clock stands still between ticks (about 20 steps/s);
without it game time is real time, and what happens between two steps happens.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import glob
import json
import re
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np

from steve1.core.errors import UserError
from steve1.core.files import remove, rename
from steve1.envs.luanti.game_process import GameProcess
from steve1.envs.luanti.links import Event, Link
from steve1.envs.luanti.shared import BUTTON_PRESS, BUTTON_RELEASE, KEY_PRESS, KEY_RELEASE
from steve1.envs.luanti.shim import APT

_FAKETIME_FILES = re.compile(r"(faketime_shm|sem\.faketime_sem)_\d+")
_FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"
_TICK_S = 0.05
_EPOCH = 1_700_000_000.0


# By default Xlib ends the whole program when its server is gone (a killed game, a restart) or a window has just closed.
_IO_ERROR = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: 0)
_ERROR = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda _, __: 0)
_IO_EXIT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(lambda _, __: None)


class Keyboard:
    """Keys, buttons and the pointer of one X display, through libX11 and libXtst."""

    def __init__(self, display: int) -> None:
        names = [ctypes.util.find_library(name) for name in ("X11", "Xtst")]
        if not all(names):
            todo = f"{APT} libx11-6 libxtst6"
            raise UserError("The X11 test library is missing.", expected="libX11 and libXtst", todo=todo)
        self._x, self._test = (ctypes.CDLL(name) for name in names)
        self._x.XOpenDisplay.restype = ctypes.c_void_p
        self._x.XDefaultRootWindow.restype = ctypes.c_ulong
        pointer = self._x.XOpenDisplay(f":{display}".encode())
        if not pointer:
            raise UserError("The private X server does not answer.", where=f":{display}")
        self._display = ctypes.c_void_p(pointer)
        self._x.XSetErrorHandler(_ERROR)
        self._x.XSetIOErrorHandler(_IO_ERROR)
        if hasattr(self._x, "XSetIOErrorExitHandler"):  # libX11 1.7 and later
            self._x.XSetIOErrorExitHandler(self._display, _IO_EXIT, None)

    def focus(self) -> bool:
        """Give the first window the focus that no window manager gives; False when there is none yet."""
        root, parent = ctypes.c_ulong(), ctypes.c_ulong()
        children, count = ctypes.POINTER(ctypes.c_ulong)(), ctypes.c_uint()
        self._x.XQueryTree(self._display, self._top(), *map(ctypes.byref, (root, parent, children, count)))
        if not count.value:
            return False
        self._x.XSetInputFocus(self._display, ctypes.c_ulong(children[count.value - 1]), 2, ctypes.c_ulong(0))
        self._x.XFree(children)
        self._x.XSync(self._display, 0)
        return True

    def send(self, events: list[Event], dx: int, dy: int) -> None:
        none = ctypes.c_ulong(0)
        for kind, code in events:
            if kind in (KEY_PRESS, KEY_RELEASE):
                self._test.XTestFakeKeyEvent(self._display, code, int(kind == KEY_PRESS), none)
            elif kind in (BUTTON_PRESS, BUTTON_RELEASE):
                self._test.XTestFakeButtonEvent(self._display, code, int(kind == BUTTON_PRESS), none)
        if dx or dy:
            self._test.XTestFakeRelativeMotionEvent(self._display, dx, dy, none)
        self._x.XSync(self._display, 0)

    def pointer(self) -> tuple[int, int]:
        window, child = ctypes.c_ulong(), ctypes.c_ulong()
        numbers = [ctypes.c_int() for _ in range(4)]
        mask = ctypes.c_uint()
        self._x.XQueryPointer(self._display, self._top(), *map(ctypes.byref, (window, child, *numbers, mask)))
        return numbers[0].value, numbers[1].value

    def _top(self) -> ctypes.c_ulong:
        return ctypes.c_ulong(self._x.XDefaultRootWindow(self._display))

    def close(self) -> None:
        self._x.XCloseDisplay(self._display)


def find_faketime() -> str | None:
    """Path of libfaketime's threaded library, where it is installed."""
    found = sorted(glob.glob(_FAKETIME))
    return found[0] if found else None


class PortableLink(Link):
    """Drives the game from outside. `menu_open` follows the inventory button, because the game does not report it."""

    sensitivity = 0.1  # a real pointer ends at the edge of the screen: turns above about 30 degrees a tick are cut

    def __init__(self, process: GameProcess, width: int, height: int, *, faketime: bool = True) -> None:
        super().__init__(process, width, height)
        self._folder = process.folder
        (self._folder / "screen").mkdir()
        self.xvfb_arguments = ("-fbdir", str(self._folder / "screen"), "-nocursor")
        self._faketime = find_faketime() if faketime else None
        self._clock, self._last = _EPOCH, 0.0
        self._menu = False
        self._game_pid = 0
        self._keyboard: Keyboard | None = None
        self._screen: np.ndarray | None = None

    @property
    def locked(self) -> bool:
        """Whether game time stands still between ticks."""
        return self._faketime is not None

    def environment(self) -> dict[str, str]:
        if self._faketime is None:
            return {}
        self._write_clock()
        return {
            "LD_PRELOAD": self._faketime, "FAKETIME_TIMESTAMP_FILE": str(self._folder / "clock"), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_RESET": "1", "TZ": "UTC",
        }  # fmt: skip

    def _write_clock(self) -> None:
        whole = int(self._clock)
        text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(whole)) + f".{round((self._clock - whole) * 1e6):06d}\n"
        part = self._folder / "clock.part"
        part.write_text(text)
        rename(part, self._folder / "clock")

    def _advance(self) -> None:
        self._clock += _TICK_S
        self._write_clock()
        time.sleep(0.02)  # a frame or two at the new time: nothing says when it was drawn

    def idle(self) -> None:
        if self.locked:  # a standing clock would never let the game start
            self._advance()
        else:
            super().idle()

    def join(self, patience_s: float) -> None:
        self._game_pid = self.process.game.pid if self.process.game is not None else 0
        limit = time.monotonic() + patience_s
        self.wait_joined(patience_s)
        self._keyboard = Keyboard(self.process.display)
        while not self._keyboard.focus():
            if time.monotonic() > limit:
                raise self.process.died("the game opened no window")
            time.sleep(0.05)
        data = np.memmap(self._folder / "screen" / "Xvfb_screen0", np.uint8, mode="r")
        header, colours = struct.unpack(">I", bytes(data[:4]))[0], struct.unpack(">I", bytes(data[76:80]))[0]
        begin = header + colours * 12
        self._screen = data[begin : begin + self.width * self.height * 4].reshape(self.height, self.width, 4)
        self._last = time.monotonic()

    def tick(self, events: list[Event] | None = None, dx: int = 0, dy: int = 0) -> None:
        if self._keyboard is None or self.process.game is None:
            raise self.process.died("the game is closed")
        before = self.state().get("tick", 0)
        self._keyboard.send(events or [], dx, dy)
        if self.locked:
            self._advance()
        else:
            time.sleep(max(0.0, self._last + _TICK_S - time.monotonic()))
            self._last = time.monotonic()
        limit = time.monotonic() + self.process.timeout_s
        while self.state().get("tick", 0) <= before:
            if self.process.game.poll() is not None:
                raise self.process.died("the game's process ended")
            if time.monotonic() > limit:
                raise self.process.died(f"no answer within {self.process.timeout_s:g} s")
            time.sleep(0.001)
        if (KEY_PRESS, 31) in (events or []):  # the inventory's key opens and closes it
            self._menu = not self._menu
        elif (KEY_PRESS, 9) in (events or []):
            self._menu = False

    def frame(self) -> np.ndarray:
        assert self._screen is not None, "join() comes first"
        return np.ascontiguousarray(self._screen[:, :, 2::-1])

    def state(self) -> dict[str, Any]:
        try:
            return json.loads((self._folder / "world" / "state.json").read_bytes())
        except (OSError, ValueError):
            return {}

    def send(self, command: dict[str, Any]) -> None:
        part = self._folder / "world" / "command.part"
        part.write_text(json.dumps(command))
        rename(part, self._folder / "world" / "command.json")

    @property
    def menu_open(self) -> bool:
        return self._menu

    @property
    def pointer(self) -> tuple[int, int]:
        assert self._keyboard is not None, "join() comes first"
        return self._keyboard.pointer()

    def close(self) -> None:
        if self._keyboard is not None:
            self._keyboard.close()
            self._keyboard = None
        self._screen = None
        if self.locked and self._game_pid:
            for name in (f"faketime_shm_{self._game_pid}", f"sem.faketime_sem_{self._game_pid}"):
                remove(Path("/dev/shm") / name, ours=_FAKETIME_FILES)  # a killed game leaves them
