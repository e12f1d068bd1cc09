"""Players that need no target: digging, looking up, exploring, building a pillar."""

from __future__ import annotations

from steve1.envs.interface import wrap
from steve1.rollout.players.player import STILL, Player, Script

_SURE = 3  # ticks: what the game tells of the crosshair lags by as many


class LookAtSky(Player):
    """Look up and stay there."""

    def behave(self) -> Script:
        while True:
            yield from self.aim(-75.0, within=2.0)
            if self.disturbed():
                yield from self.look_away(-45, 70)
            yield dict(STILL)


class DigDirt(Player):
    """Look down, hold attack; turn and step on when nothing comes off any more, if steady as soon as there is stone, gravel or sand."""

    def behave(self) -> Script:
        while True:
            yield from self.look_down()
            yield from self.dig()
            if self.disturbed():
                yield from self.look_away(-60, 30)
            else:
                yield from self.move_on()

    def look_down(self) -> Script:
        while self.off(66.0) > 2.0:
            yield {"attack": int(self.pitch > 35), "camera": self.aim_step(66.0)}

    def dig(self) -> Script:
        """Hold attack until two blocks came off, or none does."""
        count, since, other = self.count("dug"), 0, 0
        goal = count + 2
        while since < 26 and other < _SURE and self.count("dug") < goal and not self.disturbed():
            since += 1
            other = other + 1 if self.sees_no_soil() else 0
            if self.count("dug") > count:
                count, since = self.count("dug"), 0
            yield {"attack": 1, **STILL}

    def sees_no_soil(self) -> bool:
        """Whether a steady player has ground in the crosshair that gives no dirt."""
        return self.steady and any(kind in self.info.get("pointed", "") for kind in ("stone", "gravel", "sand"))

    def move_on(self) -> Script:
        """Turn and go on through the ground ahead: a trench, since a shaft ends on stone that hands cannot dig."""
        trapped = self.info.get("below", "") not in ("default:dirt", "default:dirt_with_grass")
        yield from self.aim(56.0, wrap(self.yaw + (100.0 if trapped else 50.0)), attack=1, within=2.0)
        count = self.count("dug")
        for tick in range(22):
            if self.count("dug") > count and tick > 8:
                break
            jump = int(trapped and tick % 10 < 4)
            yield {"forward": int(tick % 12 < 7), "attack": 1, "jump": jump, **STILL}


class DigDeep(Player):
    """Look straight down and hold attack: a shaft through soil and stone."""

    def behave(self) -> Script:
        while True:
            yield from self.aim(86.0, within=2.0)
            depth, since = self.position[1], 0
            while since < 60 and not self.disturbed():
                since += 1
                if self.position[1] < depth - 0.5:
                    depth, since = self.position[1], 0
                yield {"attack": 1, **STILL}
            if since >= 60:  # something that does not break, or an edge: go on beside it
                yield from self.walk(6, 60.0, wrap(self.yaw + 90.0))
            else:
                yield from self.look_away(-40, 40)


class Explore(Player):
    """Run far with the eyes on the horizon; jump over steps, turn right at walls."""

    def behave(self) -> Script:
        heading = self.yaw
        while True:
            begin = self.tick
            yield from self.walk(60, 5.0, heading, sprint=1)
            if self.disturbed():
                yield from self.look_away(-40, 60, forward=1, sprint=1)
                heading = self.yaw
            elif self.tick - begin < 60:  # a wall
                heading = wrap(self.yaw + 90.0)


class BuildPillar(Player):
    """Look straight down first, then jump and place a block below, again and again."""

    def behave(self) -> Script:
        ground = self.position[1]
        while True:
            yield from self.aim(86.5, within=2.0)
            since, count = 0, self.count("placed")
            while since < 45 and not self.disturbed():
                since += 1
                if self.count("placed") > count:
                    count, since = self.count("placed"), 0
                yield {"jump": 1, "use": 1, **STILL}
            if since >= 45 and self.position[1] - ground < 8:  # a fall from higher up could kill
                yield from self.step_off()
                ground = self.position[1]
            if self.disturbed():
                yield from self.look_away(-50, 60)

    def step_off(self) -> Script:
        """Go a few nodes on, down to the ground, to begin another pillar."""
        yield from self.aim(35.0, wrap(self.yaw + 90.0), within=2.0)
        yield from self.hold(18, forward=1)
        while abs(self.info.get("velocity", (0, 0, 0))[1]) > 0.5:
            yield dict(STILL)
