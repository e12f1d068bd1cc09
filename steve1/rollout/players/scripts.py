"""Players that need no target: digging, looking up, exploring, building a pillar."""

from __future__ import annotations

import numpy as np

from steve1.envs.interface import wrap
from steve1.rollout.players.player import SIZES, Player, Script


class LookAtSky(Player):
    """Look up and stay there, panning slowly now and then."""

    def behave(self) -> Script:
        while True:
            yield from self.aim(self.rng.uniform(-84, -62))
            while not self.distracted():
                if self.rng.random() < 0.03:
                    yield from self.pan()
                elif self.rng.random() < 0.012:
                    yield from self.aim(self.rng.uniform(-84, -62))
                else:
                    yield {"camera": self.drift(0.05)}
            yield from self.distract(-45, 70)

    def pan(self) -> Script:
        size = float(self.rng.choice([-1, 1]) * SIZES[self.rng.integers(1, 4)])
        for _ in range(int(self.rng.integers(5, 25))):
            yield {"camera": [0.0, size if self.rng.random() < 0.8 else 0.0]}


class DigDirt(Player):
    """Look down, hold attack; turn and step on when nothing comes off any more."""

    def behave(self) -> Script:
        while True:
            yield from self.look_down()
            yield from self.dig()
            if self.distracted():
                yield from self.distract(-60, 30)
            else:
                yield from self.move_on()

    def look_down(self) -> Script:
        pitch = self.rng.uniform(50, 82)
        while self.off(pitch) > 0.6:
            yield {"attack": int(self.pitch > 35), "camera": self.aim_step(pitch)}

    def dig(self) -> Script:
        """Hold attack until one to three blocks came off, or none does."""
        count, since = self.count("dug"), 0
        goal = count + int(self.rng.integers(1, 4))
        while since < 26 and self.count("dug") < goal and not self.distracted():
            since += 1
            if self.count("dug") > count:
                count, since = self.count("dug"), 0
            yield {"attack": 1, "camera": self.drift(0.03)}

    def move_on(self) -> Script:
        """Turn and go on through the ground ahead: a trench, since a shaft ends on stone that hands cannot dig."""
        trapped = self.info.get("below", "") not in ("default:dirt", "default:dirt_with_grass")
        turn = self.rng.uniform(60, 150) if trapped else self.rng.uniform(20, 90)
        yaw = wrap(self.yaw + float(self.rng.choice([-1, 1])) * turn)
        yield from self.aim(self.rng.uniform(50, 60), yaw, attack=1, within=2.0)
        count, ticks = self.count("dug"), int(self.rng.integers(18, 26))
        for tick in range(ticks):
            if self.count("dug") > count and tick > 8:
                break
            jump = int(trapped and tick % 10 < 4)
            yield {"forward": int(tick % 12 < 7), "attack": 1, "jump": jump, "camera": self.drift(0.03)}


class DigDeep(Player):
    """Look straight down and hold attack: a shaft through soil and stone."""

    def behave(self) -> Script:
        while True:
            yield from self.aim(self.rng.uniform(83, 88), within=0.8)
            depth, since = self.position[1], 0
            while since < 60 and not self.distracted():
                since += 1
                if self.position[1] < depth - 0.5:
                    depth, since = self.position[1], 0
                yield {"attack": 1, "camera": [0.0, self.drift(0.02)[1]]}
            if since >= 60:  # something that does not break, or an edge: go on beside it
                yield from self.walk(int(self.rng.integers(4, 9)), 60.0, wrap(self.yaw + self.rng.uniform(-120, 120)))
            else:
                yield from self.distract(-40, 40)


class Explore(Player):
    """Walk far with the eyes on the horizon; jump over steps, turn at walls."""

    def behave(self) -> Script:
        heading = self.yaw
        while True:
            pitch = self.rng.uniform(-4, 13)
            yield from self.aim(pitch, heading if self.tick > 20 else None, forward=1, within=1.0)
            heading = wrap(self.yaw + self.rng.uniform(-25, 25))
            sprint = {"sprint": 1} if self.rng.random() < 0.6 else {}
            begin = self.tick
            yield from self.walk(int(self.rng.integers(40, 90)), pitch, heading, **sprint)
            if self.distracted():
                yield from self.distract(-40, 60, forward=1)
            elif self.tick - begin < 35:  # a wall
                heading = wrap(self.yaw + float(self.rng.choice([-1, 1])) * self.rng.uniform(50, 130))


class BuildPillar(Player):
    """Look straight down first, then jump and place a block below, again and again."""

    def behave(self) -> Script:
        ground = self.position[1]
        while True:
            yield from self.aim(self.rng.uniform(84.5, 88.5), within=0.8)
            goal = self.count("placed") + int(self.rng.integers(4, 8))
            since, count = 0, self.count("placed")
            while self.count("placed") < goal and since < 45 and not self.distracted():
                since += 1
                if self.count("placed") > count:
                    count, since = self.count("placed"), 0
                yield {"jump": 1, "use": 1, "camera": [0.0, self.drift(0.03)[1]]}
            high = self.position[1] - ground > 8  # a fall from there could kill
            if since >= 45 or (self.count("placed") >= goal and not high and self.rng.random() < 0.5):
                yield from self.step_off()
                ground = self.position[1]
            if self.distracted() or self.rng.random() < 0.5:
                yield from self.distract(-50, 60)

    def step_off(self) -> Script:
        """Go a few nodes on, down to the ground, to begin another pillar."""
        yield from self.aim(self.rng.uniform(20, 50), wrap(self.yaw + self.rng.uniform(-90, 90)), within=2.0)
        yield from self.idle(int(self.rng.integers(14, 24)), 0.05, forward=1)
        while abs(np.asarray(self.info.get("velocity", [0, 0, 0]))[1]) > 0.5:
            yield {"camera": [0.0, 0.0]}
