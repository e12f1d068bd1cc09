"""A human at the keyboard: MCio's window shows what the policy would see, and reports what was pressed. Needs mcio-ctrl and a display."""

from __future__ import annotations

import time
from typing import Any

import glfw
from mcio_ctrl import network, types
from mcio_ctrl.envs.env_util import DegreesToPixels
from mcio_ctrl.envs.minerl_env import INPUT_MAP
from mcio_ctrl.gui import ImageStreamGui

from steve1.envs.minecraft.mcio.adapter_reading import gui_open
from steve1.envs.worker.serve import BadInput

TICK_S = 0.05
END_KEY = glfw.KEY_F10
NAMES = {(int(each.type), int(each.code)): name for name, each in INPUT_MAP.items()}


class Window:
    """The window in which a human plays. F10, or closing it, ends the recording."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.height, self.scale = int(settings["height"]), float(settings.get("scale", 2.0))
        width, height = int(settings["width"] * self.scale), int(self.height * self.scale)
        try:
            self.gui = ImageStreamGui("Minecraft, recorded: F10 ends", scale=self.scale, width=width, height=height)
        except Exception as fault:  # the library raises plain Exception where glfw finds no display
            raise BadInput("No window could be opened.", got=fault, expected="a display with OpenGL") from None
        self.gui.set_callbacks(
            key_callback=self._key, cursor_position_callback=self._moved, mouse_button_callback=self._button
        )
        self.down: set[str] = set()
        self.tapped: set[str] = set()
        self.place: tuple[float, float] | None = None
        self.moved = [0.0, 0.0]
        self.menu = self.done = False
        self.due = time.monotonic()

    def _press(self, name: str | None, action: int) -> None:
        if name is None:
            return
        if action == glfw.PRESS:
            self.down.add(name)
            self.tapped.add(name)
        elif action == glfw.RELEASE:
            self.down.discard(name)

    def _key(self, window: Any, key: int, scancode: int, action: int, mods: int) -> None:
        if key == END_KEY:
            self.done = True
        elif key == glfw.KEY_ESCAPE:  # leaves a menu as its own key does; the game's menu is no part of a recording
            # When it is let go, the menu is closed already.
            self._press("inventory" if self.menu or action == glfw.RELEASE else None, action)
        else:
            self._press(NAMES.get((int(types.InputType.KEY), key)), action)

    def _button(self, window: Any, button: int, action: int, mods: int) -> None:
        self._press(NAMES.get((int(types.InputType.MOUSE), button)), action)

    def _moved(self, window: Any, x: float, y: float) -> None:
        if self.place is not None:
            self.moved[0] += x - self.place[0]
            self.moved[1] += y - self.place[1]
        self.place = (x, y)

    def tick(self, packet: network.ObservationPacket, menu_pixels_per_degree: float) -> dict[str, Any]:
        """Show the packet's picture, wait for the tick's end; returns MineRL's action."""
        self._follow(packet)
        self.done = bool(self.gui.show(packet.get_frame_with_cursor())) or self.done
        # A tick that came late is not made up for: what follows keeps its pace.
        self.due = max(self.due + TICK_S, time.monotonic())
        while time.monotonic() < self.due:
            self.gui.poll()
            time.sleep(min(0.004, max(0.0, self.due - time.monotonic())))
        self.gui.poll()
        action: dict[str, Any] = {name: int(name in self.down or name in self.tapped) for name in INPUT_MAP}
        degrees = (
            1 / (menu_pixels_per_degree * self.height * self.scale) if self.menu else DegreesToPixels.DEGREES_PER_PIXEL
        )
        action["camera"] = [self.moved[1] * degrees, self.moved[0] * degrees]
        self.moved, self.tapped = [0.0, 0.0], set()
        return action

    def _follow(self, packet: network.ObservationPacket) -> None:
        """Catch the pointer while playing, free it in menus, where it begins at the game's own."""
        menu = gui_open(packet)
        if menu != self.menu:
            self.menu = menu
            self.gui.set_cursor_mode(packet.cursor_mode)
            if menu:
                glfw.set_cursor_pos(self.gui.window, *(value * self.scale for value in packet.cursor_pos))
            self.place, self.moved = None, [0.0, 0.0]
        elif not menu and self.place is None:
            self.gui.set_cursor_mode(packet.cursor_mode)

    def close(self) -> None:
        """Close the window."""
        self.gui.close()
