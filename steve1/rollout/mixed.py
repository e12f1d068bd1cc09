"""Episodes played by two agents in turns, with spins between: STEVE-1's second source of data.

Input: two agents that need no goal (VPT's), an environment, a seed. Output: an episode folder whose metadata says who played when.
Hindsight goals are learned from behaviour that changes abruptly, so agents are switched and the view is spun at random times.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from steve1 import actions
from steve1.core.errors import UserError
from steve1.core.files import rename, scratch_dir
from steve1.core.messages import translated
from steve1.core.options import Option
from steve1.core.seeds import generator, integer
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.envs.interface import Action, Env, Info, Observation
from steve1.rollout.play import Actor, PixelAgent, play

LARGEST_TURN = 10.0
"""Degrees a tick that the camera's bins can express; the published spins of 20 to 30 degrees were labelled as 10."""
TO_RL, FROM_RL = 1 / 3000, 1 / 1000
_ENDS = {"steps": "MaxTimesteps", "terminated": "Death", "truncated": "Done"}


@dataclasses.dataclass(frozen=True)
class MixSettings:
    """How two agents play in turns."""

    max_timesteps: int = 7200
    """Maximum steps per episode, 20 per second."""
    min_timesteps: int = 1000
    """Minimum steps; shorter episodes (early deaths) are repeated elsewhere."""
    switch_prob: Annotated[float, Option(name="switch_agent_prob")] = 1 / 1000
    """Probability per step of switching agents; with an agent trained by RL, the published 1/3000 and 1/1000 apply."""
    spin_prob: Annotated[float, Option(name="perform_spin_prob")] = 1 / 750
    """Probability per step of a spin."""
    spin_degrees: tuple[float, float] = (90.0, 360.0)
    """Minimum and maximum turn of a spin, in degrees."""
    spin_speed: tuple[float, float] = (5.0, 10.0)
    """Minimum and maximum speed of a spin, in degrees per step; labels cannot express more than 10."""
    same_rates: bool = False
    """Use --switch_agent_prob also with an agent trained by RL."""

    def check(self) -> None:
        """Raise UserError with all faults at once."""
        faults = []
        if not 0 < self.min_timesteps <= self.max_timesteps:
            faults.append(f"0 < min_timesteps <= max_timesteps (got {self.min_timesteps}, {self.max_timesteps})")
        for name in ("switch_prob", "spin_prob"):
            if not 0 <= getattr(self, name) <= 1:
                faults.append(f"{name} must be between 0 and 1 (got {getattr(self, name)})")
        low, high = self.spin_speed
        if not 0 < low <= high <= LARGEST_TURN:
            faults.append(
                f"spins turn by more than 0 and at most {LARGEST_TURN:g} degrees a tick, what labels can express (got {low:g} to {high:g})"
            )
        if not 0 < self.spin_degrees[0] <= self.spin_degrees[1]:
            faults.append(f"spins turn by more than 0 degrees, the smaller number first (got {self.spin_degrees})")
        if faults:
            raise UserError("These settings cannot be used.", expected="; ".join(map(translated, faults)))


def switch_chances(names: tuple[str, str], settings: MixSettings) -> tuple[float, float]:
    """Chance at each step to switch to the first agent and to the second. Two agents of one kind, both trained by RL too, switch evenly."""
    kinds = [
        "rl-from" in name or "rl_from" in name for name in names
    ]  # trained by reinforcement learning, as VPT's files say
    if settings.same_rates or sum(kinds) != 1:
        return settings.switch_prob, settings.switch_prob
    return (TO_RL, FROM_RL) if kinds[0] else (FROM_RL, TO_RL)


def spin(rng: np.random.Generator, settings: MixSettings) -> list[Action]:
    """The actions of a spin: turns to one side, each no larger than its label can express."""
    total, speed = rng.uniform(*settings.spin_degrees), rng.uniform(*settings.spin_speed)
    side = 1.0 if rng.random() < 0.5 else -1.0
    turn = {**actions.null_action(), "camera": [0.0, side * float(speed)]}
    return [dict(turn) for _ in range(max(1, round(total / speed)))]


@dataclasses.dataclass
class Mixer(Actor):
    """Chooses who acts at each step. `switches`: [step, agent (0 or 1)], beginning with step 0; `spins`: [first step, length]."""

    agents: tuple[PixelAgent, PixelAgent]
    names: tuple[str, str]
    settings: MixSettings
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.chances = switch_chances(self.names, self.settings)
        self.active = int(self.rng.integers(2))
        self.switches: list[list[int]] = [[0, self.active]]
        self.spins: list[list[int]] = []
        self._spin: list[Action] = []
        self._step = 0

    def reset(self, obs: Observation, info: Info) -> None:
        """A mixer plays one episode."""

    def act(self, obs: Observation, info: Info) -> Action:
        """The next action; a spin is finished before anything else happens."""
        step, self._step = self._step, self._step + 1
        if not self._spin:
            if step and self.rng.random() < self.chances[1 - self.active]:
                self.active = 1 - self.active
                self.agents[self.active].reset()
                self.switches.append([step, self.active])
            if self.rng.random() < self.settings.spin_prob:
                self._spin = spin(self.rng, self.settings)
                self.spins.append([step, len(self._spin)])
        if not self._spin:
            return self.agents[self.active].act(obs["pov"], None)
        action = self._spin.pop(0)
        if not self._spin:
            # What it remembers from before the spin is not what it sees now.
            self.agents[self.active].reset()
        return action


class _TooShort(Exception):
    """An episode that is not kept."""


def find_mixed(folder: Path, number: int) -> Path | None:
    """The finished episode of this number, if there is one."""
    return next((path for path in sorted(folder.glob(f"mixed_{number:05d}_*")) if path.is_dir()), None)


def mixed_seed(seed: int, number: int) -> int:
    """The seed of everything random in an episode."""
    return integer(seed, "mixed episode", number) % 2**31


def mixed_episode(
    env: Env, agents: tuple[PixelAgent, PixelAgent], names: tuple[str, str], folder: Path, number: int, seed: int, settings: MixSettings,
    options: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None,
) -> Path | None:  # fmt: skip
    """Play and write one episode; None if it was shorter than `min_timesteps`. Everything random follows from seed and number.

    Raises:
        GameDied: nothing is left behind; the same call plays it again with a fresh game.
    """
    settings.check()
    own_seed = mixed_seed(seed, number)
    mixer = Mixer(agents, names, settings, generator(own_seed, "mixer"))
    for index, agent in enumerate(agents):
        agent.reset(seed=integer(own_seed, "agent", index))
    with scratch_dir(folder / f"mixed_{number:05d}") as scratch:
        try:
            with EpisodeWriter(scratch / "episode", metadata) as writer:
                trace = play(
                    mixer,
                    env,
                    settings.max_timesteps,
                    seed=own_seed,
                    options=options,
                    on_frame=lambda frame, action, step: writer.add(frame, dict(action)),
                )
                if len(trace) < settings.min_timesteps:
                    raise _TooShort
                ended = _ENDS[trace.metadata["ended"]]
                writer.metadata.update(
                    source="mixed agents",
                    agents=list(names),
                    seed=own_seed,
                    switches=mixer.switches,
                    spins=mixer.spins,
                    ended=ended,
                    switch_chances=list(mixer.chances),
                    settings=dataclasses.asdict(settings),
                    start=trace.metadata["start"] or {},
                )
        except _TooShort:
            return None
        # STEVE-1's labels: agents, longest and true length, seed, and why it ended.
        lengths = f"mxFrm{settings.max_timesteps}_nmFrm{len(trace)}"
        name = f"mixed_{number:05d}_models[{names[0]},{names[1]}]_{lengths}_seed{own_seed}_term{ended}"
        rename(scratch / "episode", folder / name)
        return folder / name
