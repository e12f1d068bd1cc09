"""Players that use the inventory's screen. While it is open, camera moves move the pointer (info["pointer"], pixels) and attack clicks."""

from __future__ import annotations

from steve1.rollout.players.player import DEGREES_PER_PIXEL, STILL, Player, Script

# Of the game's inventory screen, from the picture's middle, in parts of the picture's height: the first slot, the first field of
# the crafting grid, its result, and the distance between two slots.
_SLOT, _GRID, _RESULT, _NEXT = (-0.2535, 0.0694), (-0.1278, -0.2472), (0.1625, -0.1778), 0.0717
_RECORDER_HEIGHT = 720  # a recorder's mouse counts on a picture of this height
_CLOSE = 0.012


class Screen(Player):
    """Opens and closes the inventory and points at its parts."""

    @property
    def is_open(self) -> bool:
        return bool(self.obs.get("is_gui_open"))

    def toggle(self) -> Script:
        """Press the inventory button once, and wait for the screen to come or go."""
        yield {"inventory": 1, **STILL}
        yield from self.hold(4)

    def point(self, place: tuple[float, float], most: int = 60) -> Script:
        """Move the pointer to a place (x, y from the middle, in heights)."""
        for _ in range(most):
            height, width = self.obs["pov"].shape[:2]
            x, y = self.info.get("pointer") or (width / 2, height / 2)
            right, down = place[0] - (x - width / 2) / height, place[1] - (y - height / 2) / height
            if max(abs(right), abs(down)) < _CLOSE or not self.is_open:
                return
            degrees = _RECORDER_HEIGHT * DEGREES_PER_PIXEL
            yield {"camera": [self.move(down * degrees), self.move(right * degrees)]}

    def click(self, place: tuple[float, float]) -> Script:
        yield from self.point(place)
        yield {"attack": 1, **STILL}
        yield from self.hold(2)


def slot(column: int, row: int = 0) -> tuple[float, float]:
    """A slot of the inventory: row 0 is the one in hand."""
    return _SLOT[0] + column * _NEXT, _SLOT[1] + row * _NEXT


_AROUND = (-25.0, 45.0)  # degrees of pitch; never at the sky, or whoever looks up would learn to press the key


class OpenInventory(Screen):
    """Open the inventory and leave it open. As disturbances it moves the pointer now and then, closes the screen and looks away."""

    def behave(self) -> Script:
        while True:
            yield from self.toggle()
            until = self.tick + int(self.rng.integers(30, 70))
            while self.is_open and self.tick < until:
                yield from self.hold(10)
                somewhere = slot(int(self.rng.integers(0, 8)), int(self.rng.integers(0, 3)))
                yield from self.disturb(self.point(somewhere, most=4))
            if self.is_open:
                yield from self.disturb(self.toggle())
                yield from self.look_away(*_AROUND)


class CraftPlanks(Screen):
    """Put the logs into the crafting grid, take planks out once and put them away.

    As disturbances it takes the other logs back, closes the screen and looks away: each recording begins several times, and the beginning decides.
    """

    def behave(self) -> Script:
        column = 2
        while True:
            yield from self.toggle()
            if self.is_open:
                yield from self.click(slot(0))
                yield from self.click(_GRID)
                yield from self.click(_RESULT)
                yield from self.click(slot(column))
                column = min(column + 1, 7)
                for place in (_GRID, slot(0)):
                    yield from self.disturb(self.click(place))
                yield from self.disturb(self.toggle())
                yield from self.look_away(*_AROUND)
            while self.count("crafted") >= 16:
                yield from self.disturb(self.idle(20))
