"""Players that go to something that the game lists around them (info["near"]): trunks, leaves, grass, flowers, water.

They choose among what is in view; where nothing is, they turn right until something is, and go on ahead after a whole turn.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from steve1.envs.interface import Action, Info, Observation, wrap
from steve1.rollout.players.player import EYE, IN_VIEW, STILL, Player, Script

_REACH = 3.6  # nodes from the eyes


class ChopTree(Player):
    """Go to the nearest trunk, face it, hold attack until a log comes off, go on with the next."""

    def behave(self) -> Script:
        while True:
            yield from self.search(5.0, lambda: self.nearest_trunk() is not None)
            trunk = self.nearest_trunk()
            if trunk is None:
                yield from self.walk(25, 5.0)
                continue
            arrived = yield from self.approach(trunk)
            if arrived:
                yield from self.chop(trunk)
            if self.disturbed():
                yield from self.look_away()

    def trunks(self) -> np.ndarray:
        """Trunk nodes (N,3) between the feet and what an arm reaches above."""
        nodes = self.near("trunk")
        rise = nodes[:, 1] - self.position[1]
        return nodes[(rise > -0.6) & (rise < 3.4)]

    def nearest_trunk(self) -> np.ndarray | None:
        nodes = self.in_view(self.trunks())
        if not len(nodes):
            return None
        eye = self.position + [0, EYE, 0]
        cost = np.linalg.norm((nodes - eye) * [1, 0.6, 1], axis=1)
        return nodes[int(np.argmin(cost))]

    def approach(self, trunk: np.ndarray) -> Generator[Action, None, bool]:
        """Walk up to a trunk; the generator's value says whether it is in reach."""
        places, side = [self.position.copy()], 0
        for _ in range(120):
            pitch, yaw, flat = self.direction(trunk)
            if flat < 1.9 or self.distance(trunk) < 2.3:
                return True
            places.append(self.position.copy())
            stuck = len(places) > 8 and np.linalg.norm((places[-1] - places[-8])[[0, 2]]) < 0.7
            if stuck and len(places) % 24 > 16:
                side = 8
            side = max(side - 1, 0)
            error = abs(wrap(yaw - self.yaw))
            camera = self.keep_view(pitch if flat < 4 else 5.0, yaw)
            action = {"forward": int(error < 30), "jump": int(stuck), "camera": camera}
            yield {**action, **({"left": 1} if side else {})}
        return False

    def chop(self, trunk: np.ndarray) -> Script:
        """Hold attack on one trunk node until it is gone (about 72 ticks by hand)."""
        logs = self.obs["inventory"].get("log", 0)
        yield from self.aim(*self.direction(trunk)[:2], within=2.0)
        for _ in range(95):
            pitch, yaw, _ = self.direction(trunk)
            yield {"attack": 1, "camera": self.aim_step(pitch, yaw) if self.off(pitch, yaw) > 3.0 else [0.0, 0.0]}
            if self.obs["inventory"].get("log", 0) > logs:
                return


class CollectLeaves(ChopTree):
    """Go under the nearest leaves, face them, hold attack as long as leaves take; try others where something is in between."""

    between_disturbances = (35, 70)

    def reset(self, obs: Observation, info: Info) -> None:
        super().reset(obs, info)
        self._hidden: set[tuple[int, ...]] = set()

    def trunks(self) -> np.ndarray:
        """Leaves (N,3) that an arm reaches from the ground, without those that turned out to be hidden."""
        nodes = self.near("leaves")
        nodes = nodes[[tuple(int(n) for n in node) not in self._hidden for node in nodes]] if len(nodes) else nodes
        rise = nodes[:, 1] - self.position[1]
        return nodes[(rise > 0.4) & (rise < 4.6)]

    def approach(self, trunk: np.ndarray) -> Generator[Action, None, bool]:
        for tick in range(90):
            pitch, yaw, _ = self.direction(trunk)
            if self.distance(trunk) < _REACH:
                return True
            slow = tick > 8 and self.speed() < 1.0
            legs = {"forward": int(abs(wrap(yaw - self.yaw)) < 30), "jump": int(slow)}
            legs |= {"left": 1} if slow and tick % 30 > 15 else {}
            yield {**legs, "camera": self.keep_view(max(pitch, -35.0), yaw)}
        self._hidden.add(tuple(int(n) for n in trunk))
        return False

    def chop(self, trunk: np.ndarray) -> Script:
        before = self.count("dug")
        yield from self.aim(*self.direction(trunk)[:2], within=2.0, attack=1)
        for _ in range(16):
            yield {"attack": 1, **STILL}
            if self.count("dug") > before:
                return
        self._hidden.add(tuple(int(n) for n in trunk))


class CollectGrass(Player):
    """Go from tuft to tuft with the crosshair on it and attack held, and not for as long as dirt would take once it is near."""

    group = "grass"
    between_disturbances = (35, 70)

    def behave(self) -> Script:
        while True:
            yield from self.search(20.0, lambda: self.nearest_tuft() is not None)
            tuft = self.nearest_tuft()
            if tuft is None:
                yield from self.walk(25, 20.0)
            else:
                yield from self.pick(tuft)
            if self.disturbed():
                yield from self.look_away()

    def nearest_tuft(self) -> np.ndarray | None:
        nodes = self.in_view(self.near(self.group))
        if not len(nodes):
            return None
        delta = nodes - self.position
        flat = np.hypot(delta[:, 0], delta[:, 2])
        turn = np.abs(wrap(np.degrees(np.arctan2(delta[:, 0], delta[:, 2])) - self.yaw))
        cost = flat + turn / 45 + 100 * (flat < 0.8)
        return nodes[int(np.argmin(cost))] + [0.0, -0.4, 0.0]

    def pick(self, tuft: np.ndarray) -> Script:
        """Walk up to a tuft and attack it, until it is picked or does not come off."""
        had, near = self.picked(), 0
        for tick in range(72):
            if self.picked() > had or near == 12:
                break
            pitch, yaw, flat = self.direction(tuft)
            near += flat < 1.8
            slow = tick > 6 and self.speed() < 1.0
            walks = flat >= 1.8 and abs(wrap(yaw - self.yaw)) < 30
            yield {
                "attack": int(flat < 5.0),
                "forward": int(walks),
                "jump": int(walks and slow),
                "camera": self.keep_view(pitch, yaw),
            }
        yield from self.hold(3, forward=1)  # over what was dropped

    def picked(self) -> int:
        return self.info.get("dug", {}).get("tall_grass", 0)


class PickFlower(CollectGrass):
    """Go from flower to flower and pick them."""

    group = "flower"

    def picked(self) -> int:
        return self.count("dug")


class Swim(Player):
    """Go into the water and swim on where there is more of it."""

    def behave(self) -> Script:
        while True:
            yaw = self.to_water()
            begin = self.tick
            yield from self.swim(40, 5.0, yaw)
            if self.disturbed():
                yield from self.look_away(-50, 60, forward=1, jump=1)
            elif self.tick - begin < 20:
                yield from self.swim(15, 5.0, wrap(self.yaw + 100.0))

    def to_water(self) -> float:
        """The heading with the most water within eleven nodes; what is in view counts three times."""
        nodes = self.near("water")
        delta = nodes[:, [0, 2]] - self.position[[0, 2]]
        if not len(nodes):
            return wrap(self.yaw + 40.0)
        angles = np.degrees(np.arctan2(delta[:, 0], delta[:, 1]))
        headings = self.yaw + np.arange(-180, 180, 15)
        votes = [
            (np.abs(wrap(angles - heading)) < 15).sum() * (3.0 if abs(wrap(heading - self.yaw)) < IN_VIEW else 1.0)
            for heading in headings
        ]
        return wrap(float(headings[int(np.argmax(votes))]))

    def swim(self, ticks: int, pitch: float, yaw: float) -> Script:
        places = [self.position.copy()]
        for tick in range(ticks):
            places.append(self.position.copy())
            if tick > 18 and np.linalg.norm((places[-1] - places[-16])[[0, 2]]) < 0.8:
                return
            slow = tick > 8 and np.linalg.norm((places[-1] - places[-8])[[0, 2]]) < 0.8
            press = {"forward": int(self.off(pitch, yaw) < 60), "jump": int(self.info.get("in_water") or slow)}
            yield {**press, "camera": self.keep_view(pitch, yaw)}


class Dive(Swim):
    """Go into the water and down in it."""

    def swim(self, ticks: int, pitch: float, yaw: float) -> Script:
        if not self.info.get("in_water"):
            yield from super().swim(25, pitch, yaw)
            return
        for _ in range(ticks):
            if not self.info.get("in_water"):
                return
            camera = self.keep_view(35.0, yaw, within=15.0)
            under = self.info.get("under_water")
            yield {"sneak": 1, "forward": int(not under), "camera": camera}
