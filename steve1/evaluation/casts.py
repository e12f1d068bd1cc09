"""Who plays the demonstrations that are recorded: the scripted players, or a policy that is asked for what it can do already.

Input: names of behaviours, or weights and prompts. Output: for each attempt a beginning, a seed and an actor; and the rule that judges it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

from steve1.agent import Agent
from steve1.core.errors import UserError, nearest
from steve1.core.files import sha256_file
from steve1.core.paths import display, slug
from steve1.core.seeds import generator, integer
from steve1.data.episodes.captions import read_captions
from steve1.envs import start_states
from steve1.evaluation.policies import PolicyCache, parse_weights
from steve1.evaluation.tasks.suite import Task, load_suite
from steve1.goals import GoalEncoder
from steve1.rollout.play import Actor, GoalActor
from steve1.rollout.players import behaviour
from steve1.rollout.record import demonstration
from steve1.rollout.takeover import TakeOver


class Cast(Protocol):
    """Who plays the demonstrations."""

    counts: dict[str, int | None]
    """How many recordings of each were asked for by name; None: as many as of the others."""

    def begin(self, name: str, number: int, attempt: int, game: int) -> tuple[dict[str, Any], int, Actor]:
        """Reset options, seed and actor of an attempt in the game of this number; options and seed follow from the rest."""

    def task(self, name: str) -> Task | None:
        """The task whose rule judges it; None: every episode is kept."""

    def details(self, name: str) -> dict[str, Any]:
        """What the options file says of it beside the episode's own facts; its captions among them."""


def counted(entry: str) -> tuple[str, int | None]:
    """NAME or NAME=COUNT in its parts.

    Raises:
        UserError: the count is not a whole number above 0.
    """
    name, equals, count = entry.partition("=")
    if equals and (not re.fullmatch(r"[0-9]+", count) or int(count) == 0):
        raise UserError("This count is not a number above 0.", got=entry, expected="NAME or NAME=COUNT")
    return name.strip(), int(count) if equals else None


class ScriptedCast:
    """The scripted players, at the start states of a split from `first_place` on."""

    def __init__(self, entries: Sequence[str], seed: int, split: str, first_place: int = 0) -> None:
        self.counts = dict(map(counted, entries))
        for name in self.counts:
            behaviour(name)
        self._seed, self._split, self._first_place = seed, split, first_place
        self._tasks, self._captions = load_suite().tasks, read_captions()

    def begin(self, name: str, number: int, attempt: int, game: int) -> tuple[dict[str, Any], int, Actor]:
        return demonstration(
            behaviour(name), self._seed, number, attempt, split=self._split, first_place=self._first_place
        )

    def task(self, name: str) -> Task | None:
        return self._tasks.get(name)

    def details(self, name: str) -> dict[str, Any]:
        captions = {"captions": list(self._captions[name].train)} if name in self._captions else {}
        return {**captions, "split": self._split}


class PolicyCast:
    """A policy that plays prompts, each known by its task's name, or by its own words where it belongs to no task.

    Args:
        weights: with their metadata beside them.
        entries: prompts or names of tasks, with =COUNT where wanted.

    Raises:
        UserError: no prompt, two that would be recorded under one name, a missing file, or files that do not belong together.
    """

    def __init__(
        self, weights: str, entries: Sequence[str], *, env: str, seed: int, split: str, games: int, device: str = "auto"
    ) -> None:
        if not entries:
            todo = 'PROMPTS="explore;look at the sky", prompts that these weights are known to follow'
            raise UserError("A policy records what it is asked for, and no prompt is given.", todo=todo)
        self._env, self._seed, self._split = env, seed, split
        self._spec = parse_weights(weights)
        suite = load_suite(env)
        self.counts: dict[str, int | None] = {}
        self._tasks: dict[str, Task | None] = {}
        self._prompts: dict[str, str] = {}
        for prompt, count in map(counted, entries):
            task = suite.by_prompt(prompt) or suite.tasks.get(prompt)
            name, words = (task.name, task.prompts["en"]) if task else (slug(prompt), prompt)
            if self._prompts.setdefault(name, words) != words:
                got, todo = f"{self._prompts[name]}; {words}", "word one of them differently"
                raise UserError("Two prompts have the same name on disk.", got=got, todo=todo)
            self.counts[name], self._tasks[name] = count, task
        encoder = GoalEncoder(self._spec.metadata, device=device, translations=suite.translations)
        goals = encoder.encode(list(self._prompts.values()))
        self._goals = {name: goals[prompt] for name, prompt in self._prompts.items()}
        metadata = self._spec.metadata
        policy = PolicyCache(device=device).policy(self._spec)
        self._agents = [
            Agent(policy, cond_scale=metadata.cond_scale, temperature=metadata.temperature) for _ in range(games)
        ]
        self._facts = {"weights": display(self._spec.weights), "weights_sha256": sha256_file(self._spec.weights)}

    def begin(self, name: str, number: int, attempt: int, game: int) -> tuple[dict[str, Any], int, Actor]:
        task = self._tasks[name]
        starts = start_states(self._env, task.biome if task else "meadow", self._split)
        order = generator(self._seed, "places", name).permutation(len(starts))
        options = {
            "start": starts[int(order[(number + attempt * 7) % len(starts)])],
            **(task.reset_options() if task else {}),
        }
        seed = integer(self._seed, "episode", name, number, attempt)
        agent = self._agents[game]
        agent.reset(integer(seed, "agent"))
        return options, seed, GoalActor(agent, self._goals[name])

    def task(self, name: str) -> Task | None:
        return self._tasks[name]

    def details(self, name: str) -> dict[str, Any]:
        return {"captions": [self._prompts[name]], "split": self._split, "env": self._env, **self._facts}


class CorrectionCast(PolicyCast):
    """A policy plays the first steps of a task, and the task's scripted player takes over: what training imitates is the player's part.

    Args:
        takeover: the fewest and the most steps that the policy plays first.

    Raises:
        UserError: as PolicyCast; a prompt for which there is no scripted player, or steps that are not a range.
    """

    def __init__(self, weights: str, entries: Sequence[str], *, takeover: tuple[int, int], **more: Any) -> None:
        if not 0 <= takeover[0] <= takeover[1]:
            raise UserError("Invalid step range.", got=takeover, expected="the fewest, then the most, such as 40 160")
        super().__init__(weights, entries, **more)
        self._takeover = takeover
        for name, task in self._tasks.items():
            if task is None or not task.player:
                known = [each.shown_prompt for each in load_suite(self._env).tasks.values() if each.player]
                raise UserError(
                    "There is no scripted player that could take over for this prompt.",
                    got=self._prompts[name],
                    expected=nearest(self._prompts[name], known),
                    todo="take over yourself: bash run_agent/3_run_interactive_session.sh",
                )

    def begin(self, name: str, number: int, attempt: int, game: int) -> tuple[dict[str, Any], int, Actor]:
        task = self._tasks[name]
        assert task is not None
        known = behaviour(task.player)
        options, seed, player = demonstration(known, self._seed, number, attempt, split=self._split)
        agent = self._agents[game]
        agent.reset(integer(seed, "agent"))
        low, high = self._takeover
        after = int(generator(seed, "takeover").integers(low, high + 1))
        return options, seed, TakeOver(GoalActor(agent, self._goals[name]), player, after)

    def details(self, name: str) -> dict[str, Any]:
        return {**super().details(name), "takeover": list(self._takeover)}
