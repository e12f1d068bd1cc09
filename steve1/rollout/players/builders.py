"""Players that build: a floor, a wall, a lamp's switch.

They know the ground around them (info["near"]["ground"]) and what stands where something was placed (info["built"], info["scene"]). A block
is placed by looking at the top of what it is to stand on.
"""

from __future__ import annotations

import abc
from collections.abc import Generator, Iterator

import numpy as np

from steve1.envs.interface import Action, wrap
from steve1.rollout.players.player import EYE, STILL, Player, Script

Place = tuple[int, int, int]
_REACH = 3.7  # nodes from the eyes
_BODY = 0.85  # a block this near in both axes would stand in the player
_NEIGHBOURS = ((1, 0), (-1, 0), (0, 1), (0, -1))


class Builder(Player):
    """Knows the ground, and can put a block onto a place."""

    def ground(self) -> dict[tuple[int, int], int]:
        """{(x, z): y of the highest node of the ground}."""
        nodes = self.near("ground").astype(int)
        return {(x, z): y for x, y, z in nodes[np.argsort(nodes[:, 1])].tolist()}

    def plants(self) -> set[tuple[int, int]]:
        return {(int(x), int(z)) for x, _, z in self.near("plant")}

    def standing(self, kind: str) -> dict[Place, str]:
        """{place: short name} of what stands where the player ("built") or the scene ("scene") put something."""
        return {(int(x), int(y), int(z)): str(name) for x, y, z, name in self.info.get(kind) or ()}

    def built(self) -> dict[Place, str]:
        return self.standing("built")

    def in_the_way(self, x: float, z: float) -> bool:
        return abs(x - self.position[0]) < _BODY and abs(z - self.position[2]) < _BODY

    def sees(self, place: Place) -> bool:
        """Whether the ground in front, or a block on it, leaves the top of what is below a place in sight."""
        eye, top = self.position + [0.0, EYE, 0.0], np.array([place[0], place[1] - 0.5, place[2]])
        tops, blocks = self.ground(), self.built().keys() | self.standing("scene").keys()
        for part in np.arange(0.1, 0.99, 0.02):
            x, y, z = eye + part * (top - eye)
            node = (round(x), round(y), round(z))
            if node in blocks or y < tops.get((node[0], node[2]), -np.inf) + 0.5:
                return False
        return True

    def put(self, place: Place) -> Generator[Action, None, bool]:
        """Put the block in hand onto what is below `place`; the generator's value says whether it stands there."""
        yield from self.look_at((place[0], place[1] - 0.5, place[2]))
        for tick in range(11):  # what the game reports lags by up to three ticks
            yield {"use": int(tick < 5), **STILL}
            if place in self.built():
                return True
        return False

    def wander(self) -> Script:
        """Go somewhere else, and stand still there."""
        yield from self.walk(20, 25.0, wrap(self.yaw + 60.0))
        yield from self.hold(8)


class ShapeBuilder(Builder):
    """Builds a shape again and again: chooses level ground within reach, then the lowest and farthest blocks first."""

    def behave(self) -> Script:
        while True:
            plan = self.plan()
            misses = 0
            for place in plan or []:
                while misses < 3 and place not in self.built():
                    done = yield from self.put(place)
                    misses += not done
            if plan and misses < 3:  # it stands: look at it for a while
                yield from self.hold(20)
                yield from self.look_away()
            yield from self.wander()

    @abc.abstractmethod
    def shapes(self, x: int, z: int) -> Iterator[list[tuple[int, int]]]:
        """Lists of columns around (x, z), each of which could carry the shape."""

    layers = 1

    def plan(self) -> list[Place] | None:
        """Where each block goes, in the order of placing; None where the ground is nowhere level enough."""
        tops, plants, own = self.ground(), self.plants(), {place[::2] for place in self.built()}
        x, z = round(float(self.position[0])), round(float(self.position[2]))
        best: list[Place] | None = None
        least = np.inf
        for columns in self.shapes(x, z):
            floor = tops.get(columns[0])
            level = all(tops.get(column) == floor for column in columns)
            if floor is None or not level or own & set(columns) or any(self.in_the_way(*each) for each in columns):
                continue
            places = [(cx, floor + 1 + layer, cz) for layer in range(self.layers) for cx, cz in columns]
            if max(self.distance((px, py - 0.5, pz)) for px, py, pz in places) > _REACH:
                continue
            middle = np.mean(columns, axis=0) - self.position[[0, 2]]
            turn = abs(wrap(float(np.degrees(np.arctan2(middle[0], middle[1]))) - self.yaw))
            # Plants hide what is behind them; what lies ahead is seen.
            cost = 30 * sum(column in plants for column in columns) + turn / 3
            if cost < least:
                best, least = places, cost
        return best and sorted(best, key=lambda place: (place[1], -self.distance(place)))


class BuildFloor(ShapeBuilder):
    """Three by three blocks on the ground."""

    def shapes(self, x: int, z: int) -> Iterator[list[tuple[int, int]]]:
        for dx in range(-3, 4):
            for dz in range(-3, 4):
                yield [(x + dx + i, z + dz + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]


class BuildWall(ShapeBuilder):
    """Four blocks long, two high."""

    layers = 2

    def shapes(self, x: int, z: int) -> Iterator[list[tuple[int, int]]]:
        for across in (-2, 2):
            for begin in range(-3, 1):
                yield [(x + begin + i, z + across) for i in range(4)]
                yield [(x + across, z + begin + i) for i in range(4)]


class LightLamp(Builder):
    """Put the switch beside the lamp that stands there, and use it once."""

    def behave(self) -> Script:
        while True:
            scene = self.standing("scene")
            lamp, switch = self.find(scene, "lamp"), self.find(self.built(), "switch")
            if self.find(scene, "lamp_lit") or not lamp:
                yield from self.hold(30)
                if self.disturbed():
                    yield from self.look_away(-30, 50)
            elif switch:
                yield from self.look_at(switch)
                yield {"use": 1, **STILL}
                yield from self.hold(8)
            else:
                beside = self.beside(lamp)
                if beside is None or not (yield from self.put(beside)):
                    yield from self.come_near(lamp)

    @staticmethod
    def find(blocks: dict[Place, str], name: str) -> Place | None:
        return next((place for place, found in sorted(blocks.items()) if found == name), None)

    def beside(self, lamp: Place) -> Place | None:
        """The nearest place next to the lamp, on ground of the lamp's height, that a block can be put onto from here."""
        tops = self.ground()
        sides = [(lamp[0] + dx, lamp[1], lamp[2] + dz) for dx, dz in _NEIGHBOURS]
        level = [(x, y, z) for x, y, z in sides if tops.get((x, z)) == y - 1 and not self.in_the_way(x, z)]
        free = [side for side in level if self.distance(side) < _REACH and self.sees(side)]
        return min(free, key=self.distance, default=None)

    def come_near(self, lamp: Place) -> Script:
        """Step towards the lamp, or back where one stands on it."""
        _, yaw, flat = self.direction(lamp)
        yield from self.aim(30.0, yaw, within=3.0)
        yield from self.hold(6, **{"forward" if flat > 2.2 else "back": 1})
        yield from self.hold(5)
