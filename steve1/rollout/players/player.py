"""What all scripted players can do: look around, aim, search, walk somewhere, be disturbed.

A player is a script (a generator of MineRL actions). What it does can be learned from pixels: it goes to what is in its view and turns right
until something is, the same sight gets the same answer, and what comes from chance alone is a disturbance: recordings say so of each tick, and
training does not imitate it. Camera moves come from a few sizes, whole mouse pixels near the centres of the policy's camera bins.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np

from steve1.core.seeds import generator
from steve1.data.recordings.contractor import DISTURBANCE, PLAYER
from steve1.envs.interface import Action, Info, Observation, wrap

DEGREES_PER_PIXEL = 360 / 2400
PIXELS = np.array([0, 4, 11, 21, 39, 67])  # bin centres: 0, 0.62, 1.61, 3.22, 5.81 and 10 degrees
SIZES = PIXELS * DEGREES_PER_PIXEL
EYE = 1.47
IDLE_TICKS = 15  # frames without a goal embedding: nothing decisive happens in them
IN_VIEW = 45.0  # degrees to either side of the middle; a little less than the picture shows

Script = Iterator[Action]
Point = Sequence[float] | np.ndarray  # x, y, z
STILL: Action = {"camera": [0.0, 0.0]}


class Player(abc.ABC):
    """A scripted player. `reset` begins an episode; `act` gives the action for what is seen now.

    Yaw and pitch are integrated from the camera moves that were made, because what the game reports lags.

    Attributes:
        who: PLAYER, or DISTURBANCE where the last action is not part of the behaviour and should not be imitated.
        quiet: ticks of looking around before the behaviour begins.
        steady: plays as a person would, without looking away by chance.
        between_disturbances: ticks from one look away to the next, at least and at most.
    """

    who: str = PLAYER
    quiet = IDLE_TICKS
    steady = False
    between_disturbances = (60, 110)

    def __init__(self, seed: int = 0) -> None:
        self.rng = generator(seed, "player", type(self).__name__)

    def reset(self, obs: Observation, info: Info) -> None:
        place = obs["location_stats"]
        self.yaw, self.pitch = place["yaw"], place["pitch"]
        self.tick = 0
        self._next_disturbance = int(self.rng.integers(*self.between_disturbances))
        self._see(obs, info)
        self._script = itertools.chain(self.disturb(self.idle(self.quiet)), self.behave())

    def act(self, obs: Observation, info: Info) -> Action:
        self._see(obs, info)
        self.who = PLAYER
        action = next(self._script)
        # While a screen is open, the mouse moves the pointer and not the view.
        pitch, yaw = (0.0, 0.0) if obs.get("is_gui_open") else action.get("camera", (0.0, 0.0))
        self.pitch = min(max(self.pitch + pitch, -89.5), 89.5)
        self.yaw = wrap(self.yaw + yaw)
        self.tick += 1
        action.setdefault("camera", [0.0, 0.0])
        return action

    @abc.abstractmethod
    def behave(self) -> Script:
        """The behaviour itself, without end."""

    def _see(self, obs: Observation, info: Info) -> None:
        self.obs, self.info = obs, info
        place = obs["location_stats"]
        self.position = np.array([place["xpos"], place["ypos"], place["zpos"]])

    # ---- camera ----

    @staticmethod
    def move(degrees: float) -> float:
        """The nearest camera move."""
        size = int(np.argmin(np.abs(SIZES - abs(degrees))))
        return math.copysign(float(SIZES[size]), degrees) if size else 0.0

    def aim_step(self, pitch: float, yaw: float | None = None) -> list[float]:
        """One tick of turning to a view (degrees)."""
        return [self.move(pitch - self.pitch), 0.0 if yaw is None else self.move(wrap(yaw - self.yaw))]

    def off(self, pitch: float, yaw: float | None = None) -> float:
        """Degrees between the present view and another, the larger of both axes."""
        return max(abs(pitch - self.pitch), 0.0 if yaw is None else abs(wrap(yaw - self.yaw)))

    def keep_view(self, pitch: float, yaw: float | None = None, within: float = 3.0) -> list[float]:
        """One tick of turning back to a view that is off by more than `within` degrees."""
        return self.aim_step(pitch, yaw) if self.off(pitch, yaw) > within else [0.0, 0.0]

    def aim(
        self, pitch: float, yaw: float | None = None, most: int = 40, within: float = 1.0, **buttons: int
    ) -> Script:
        """Turn to a view, holding buttons."""
        for _ in range(most):
            if self.off(pitch, yaw) <= within:
                return
            yield {**buttons, "camera": self.aim_step(pitch, yaw)}

    def search(self, pitch: float, found: Callable[[], bool]) -> Generator[Action, None, bool]:
        """Turn right, once around at most, until something is found; the generator's value says whether it was."""
        for _ in range(math.ceil(360 / SIZES[-1])):
            if found():
                return True
            yield {"camera": [self.move(pitch - self.pitch), float(SIZES[-1])]}
        return False

    def in_view(self, nodes: np.ndarray) -> np.ndarray:
        """Those of some positions (N, 3) that lie within IN_VIEW degrees to either side."""
        delta = nodes - self.position
        return nodes[np.abs(wrap(np.degrees(np.arctan2(delta[:, 0], delta[:, 2])) - self.yaw)) < IN_VIEW]

    def hold(self, ticks: int, **buttons: int) -> Script:
        """Hold buttons, or none, without moving the view."""
        for _ in range(ticks):
            yield {**buttons, **STILL}

    def idle(self, ticks: int, chance: float = 0.25) -> Script:
        """Look around a little, by chance: to be used within `disturb`."""
        for _ in range(ticks):
            move = self.rng.choice([-1, 1], 2) * SIZES[self.rng.integers(1, 3, 2)] * (self.rng.random(2) < chance)
            yield {"camera": [float(degrees) for degrees in move]}

    def near(self, group: str) -> np.ndarray:
        """Positions (N, 3) of the nodes of a watched group."""
        return np.asarray(self.info.get("near", {}).get(group) or np.zeros((0, 3)), float).reshape(-1, 3)

    def count(self, kind: str) -> int:
        """How many things were "dug", "placed" or "crafted" in this episode."""
        return sum(self.info.get(kind, {}).values())

    def disturb(self, script: Script) -> Script:
        """A script whose actions are not part of the behaviour."""
        for action in script:
            self.who = DISTURBANCE
            yield action

    def disturbed(self) -> bool:
        """Whether it is time to look away: where the view goes then has to be learned from other places too."""
        return not self.steady and self.tick >= self._next_disturbance

    def look_away(self, low: float = -60.0, high: float = 70.0, **buttons: int) -> Script:
        """Look somewhere else, by chance; the caller aims again afterwards."""
        self._next_disturbance = self.tick + int(self.rng.integers(*self.between_disturbances))
        pitch = self.rng.uniform(low, high)
        yaw = wrap(self.yaw + self.rng.uniform(-60, 60))
        yield from self.disturb(self.aim(pitch, yaw, most=int(self.rng.integers(3, 7)), **buttons))

    def distance(self, place: Point) -> float:
        """From the eyes to a point, in nodes."""
        return float(np.linalg.norm(np.asarray(place, float) - self.position - [0.0, EYE, 0.0]))

    def speed(self) -> float:
        """Nodes a second along the ground."""
        x, _, z = self.info.get("velocity", (0.0, 0.0, 0.0))
        return math.hypot(x, z)

    def direction(self, target: Point) -> tuple[float, float, float]:
        """(pitch, yaw, horizontal distance) from the eyes to a point."""
        delta = np.asarray(target, float) - (self.position + [0.0, EYE, 0.0])
        flat = math.hypot(delta[0], delta[2])
        return -math.degrees(math.atan2(delta[1], flat)), math.degrees(math.atan2(delta[0], delta[2])), flat

    def look_at(self, point: Point, within: float = 1.5, most: int = 40) -> Script:
        """Turn to a point, which may seem to move while one walks or falls."""
        for _ in range(most):
            pitch, yaw, _ = self.direction(point)
            if self.off(pitch, yaw) <= within:
                return
            yield {"camera": self.aim_step(pitch, yaw)}

    # ---- legs ----

    def walk(self, ticks: int, pitch: float | None = None, yaw: float | None = None, **buttons: int) -> Script:
        """Walk forward, jumping where it does not get on; ends early when nothing helps."""
        places = [self.position.copy()]
        jump = 0
        for _ in range(ticks):
            places.append(self.position.copy())
            if len(places) > 8 and np.linalg.norm((places[-1] - places[-8])[[0, 2]]) < 0.9:
                jump = max(jump, 6)
            if len(places) > 25 and np.linalg.norm((places[-1] - places[-25])[[0, 2]]) < 1.2:
                return
            camera = [0.0, 0.0] if pitch is None else self.keep_view(pitch, yaw)
            jump = max(jump - 1, 0)
            press = {"jump": 1} if jump or self.info.get("in_water") else {}
            yield {**buttons, **press, "forward": 1, "camera": camera}
