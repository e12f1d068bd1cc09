"""Players that need no target: digging, looking up, exploring, building a pillar."""

from __future__ import annotations

from steve1.envs.interface import wrap
from steve1.rollout.players.player import STILL, Player, Script

_SURE = 3  # ticks: what the game tells of the crosshair lags by as many


class LookAtSky(Player):
    """Look up and stay there."""

    between_disturbances = (35, 70)

    def behave(self) -> Script:
        while True:
            yield from self.aim(-75.0, within=2.0)
            if self.disturbed():
                yield from self.look_away(-45, 70)
            yield dict(STILL)


class DigDirt(Player):
    """Look down and hold attack; turn right after each block, to the next one around, since a shaft ends on stone that hands cannot dig.

    The view is as low as it can be with the distance still in sight: a policy that sees only ground does not notice that it looks too far down.
    """

    between_disturbances = (35, 70)
    view, turn = 40.0, 30.0  # degrees: to the ground within reach, and on to the next block
    circle = 12  # turns

    def behave(self) -> Script:
        while True:
            while self.off(self.view) > 2.0:
                yield {"attack": int(self.pitch > 20), "camera": self.aim_step(self.view)}
            for _ in range(self.circle):
                yield from self.dig()
                if self.disturbed():
                    break
                yield from self.aim(self.view, wrap(self.yaw + self.turn), attack=1, within=2.0)
            if self.disturbed():
                yield from self.look_away(-20, 89)  # too far down as well
            else:
                yield from self.hold(14, forward=1, jump=1, attack=1)

    def dig(self) -> Script:
        """Hold attack until a block of soil comes off, or where there is none."""
        count, since, other = self.soil(), 0, 0
        while self.soil() == count and since < 35 and other < _SURE and not self.disturbed():
            since += 1
            other = other + 1 if self.sees_no_soil() else 0
            yield {"attack": 1, **STILL}

    def soil(self) -> int:
        """Blocks of it that came off so far."""
        return sum(n for name, n in self.info.get("dug", {}).items() if "dirt" in name or name == "grass_block")

    def sees_no_soil(self) -> bool:
        """Whether what is in the crosshair, if anything is, gives no dirt."""
        pointed = self.info.get("pointed", "")
        return not pointed or any(kind in pointed for kind in ("stone", "gravel", "sand"))


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
