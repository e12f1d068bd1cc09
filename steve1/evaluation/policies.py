"""The policies of an evaluation: weights files, scripted players and baselines.

Input: a name from the command line ("random", "nothing", "player:dig_dirt") or the path of a weights file.
Output: a PolicySpec to send to a worker process, the goal of each prompt, and, in the worker, an actor. MineCLIP and the prior are
loaded only where goals are encoded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.agent import Agent
from steve1.core.checkpoint_metadata import GOAL_SUFFIX, CheckpointMetadata, read_checkpoint_metadata, read_goal
from steve1.core.device import choose_device
from steve1.core.errors import UserError
from steve1.core.files import existing_file, sha256_file
from steve1.core.messages import translated
from steve1.core.paths import display, resolve
from steve1.core.seeds import integer
from steve1.envs import ENVIRONMENTS, game_for, made_for
from steve1.goals import GoalEncoder
from steve1.policy import GoalPolicy, load_policy
from steve1.rollout.play import Actor, DoNothing, GoalActor, RandomActions
from steve1.rollout.players import make_player

_log = logging.getLogger(__name__)
NO_GOAL = "(no goal)"
BASELINES = ("random", "nothing")
_ALSO = {"noop": "nothing", "scripted": "player:own"}
Goal = NDArray[np.float32]
Goals = Mapping[str, Goal]
"""{prompt: goal}."""
GoalTable = Mapping[str, Goals]
"""{policy: {prompt: goal}}."""


@dataclasses.dataclass(frozen=True)
class PolicySpec:
    """A policy to evaluate, before anything is loaded.

    Attributes:
        name: short and unique, for tables and file names.
        kind: "weights", "random", "nothing" or "player".
        weights: the file ("" unless kind is weights).
        behaviour: the scripted player's ("" unless kind is player; "own": each task's own).
        metadata: the files and settings that belong to the weights.
        goal: where its goals come from: "prior" (text → prior), "text" (the text embedding itself), "shown" (a
            demonstration), "file:<path>" (the one of a goal file, whatever the prompt).
    """

    name: str
    kind: str
    weights: str = ""
    behaviour: str = ""
    metadata: CheckpointMetadata = dataclasses.field(default_factory=CheckpointMetadata)
    goal: str = "prior"

    @property
    def needs_goal(self) -> bool:
        """Whether a prompt makes a difference to it."""
        return self.kind == "weights"

    @property
    def is_variant(self) -> bool:
        """Whether it is there only to find out which part of another policy fails."""
        return self.goal in ("text", "shown")

    def facts(self) -> dict[str, Any]:
        """What a report says of it; hashing reads the weights file."""
        facts: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.kind != "weights":
            return facts | {"behaviour": self.behaviour}
        path = resolve(self.weights)
        facts |= {"weights": display(path), "sha256": sha256_file(path)}
        for field in ("model", "mineclip", "prior", "cond_scale", "temperature"):
            facts[field] = getattr(self.metadata, field)
        for field in ("model", "mineclip", "prior"):
            if (file := resolve(facts[field])).is_file():
                facts[f"{field}_sha256"] = _hash(file, file.stat().st_mtime_ns)
        if self.metadata.prior_code != "sample":
            facts["prior_code"] = self.metadata.prior_code
        if self.goal != "prior":
            facts["goal"] = self.goal
        if self.goal.startswith("file:"):
            facts["goal_sha256"] = sha256_file(self.goal.removeprefix("file:"))
        return facts


@functools.lru_cache(maxsize=16)
def _hash(file: Path, changed: int) -> str:
    """SHA-256 of a file that several policies name, read once as long as it does not change."""
    return sha256_file(file)


def split_scale(spec: str) -> tuple[str, float | None]:
    """("a.weights@1.5") → ("a.weights", 1.5); without a scale, or where such a file exists, (spec, None)."""
    path, _, scale = spec.rpartition("@")
    if path and not resolve(spec).exists():
        with contextlib.suppress(ValueError):
            return path, float(scale)
    return spec, None


def parse_policies(words: Sequence[str], **overrides: str | float | None) -> list[PolicySpec]:
    """Policies from the command line's words, every file checked before anything is loaded.

    Args:
        words: weights files or goal files (.goal.json: the weights that they were tuned for, under that goal), with
            @<cond_scale> if wanted, "random", "nothing" (or noop), "player:<behaviour>", "player:own" (or scripted).
        overrides: CheckpointMetadata fields that replace those beside the weights.

    Raises:
        UserError: a missing file, or none given.
    """
    if not words:
        raise UserError("There is no policy to evaluate.", todo="name at least one weights file, or random")
    found: list[PolicySpec] = []
    for word in (_ALSO.get(word, word) for word in words):
        if word in BASELINES:
            found.append(PolicySpec(word, word))
        elif word.startswith("player:"):
            found.append(PolicySpec(word, "player", behaviour=word.partition(":")[2]))
        else:
            file, scale = split_scale(word)
            goal, name = "prior", ""
            if file.endswith(GOAL_SUFFIX):
                goal, name = f"file:{resolve(file)}", Path(file).name.removesuffix(GOAL_SUFFIX)
                file = read_goal(file).weights
            path = existing_file(file, "These weights")
            metadata = read_checkpoint_metadata(path).updated(**overrides).updated(cond_scale=scale)
            existing_file(metadata.model, f"The model settings of {display(path)}", "pass --in_model")
            name = name or path.name.removesuffix(".weights").removesuffix(".safetensors")
            name += "" if scale is None else f"@{scale:g}"
            found.append(PolicySpec(name, "weights", weights=str(path), metadata=metadata, goal=goal))
    names = [spec.name for spec in found]
    unique: list[PolicySpec] = []
    for index, spec in enumerate(found):
        name = spec.name
        if names.count(name) > 1:
            name = f"{Path(spec.weights).parent.name}/{name}" if spec.weights else f"{name}-{index + 1}"
        taken = {other.name for other in unique}
        unique.append(dataclasses.replace(spec, name=f"{name}-{index + 1}" if name in taken else name))
    return unique


def parse_weights(word: str, **overrides: str | float | None) -> PolicySpec:
    """Weights that are asked for by prompts; arguments as for `parse_policies`.

    Raises:
        UserError: it names a baseline, a player or a goal file, whose goal no prompt replaces.
    """
    (spec,) = parse_policies([word], **overrides)
    if not spec.needs_goal or spec.goal != "prior":
        todo = "python run_agent/run_agent.py --goal_file … plays the goal of a goal file" if spec.needs_goal else ""
        raise UserError("Weights that follow prompts are needed here.", expected="a weights file", got=word, todo=todo)
    return spec


def goals_for(
    policies: Sequence[PolicySpec],
    prompts: Sequence[str],
    *,
    shown: Goals | None = None,
    translations: Mapping[str, str] | None = None,
) -> GoalTable:
    """{policy: {prompt: goal}}, with NO_GOAL among the prompts; policies of the same files share an encoder.

    Args:
        shown: the goals of prompts from demonstrations, for policies whose goals are "shown".
        translations: {prompt in another language: English prompt}.
    """
    encoders: dict[tuple[str, ...], GoalEncoder] = {}
    result: dict[str, Goals] = {}
    for spec in policies:
        if not spec.needs_goal:
            continue
        metadata = spec.metadata
        key = (metadata.model, metadata.mineclip, metadata.mineclip_config, metadata.prior, metadata.prior_code)
        encoder = encoders.setdefault(key, GoalEncoder(metadata, translations=translations))
        if spec.goal == "shown":
            demonstrated = (shown or {}).items()
            goals = {text: encoder.checked(goal, f"the demonstrations of {text}") for text, goal in demonstrated}
        elif spec.goal.startswith("file:"):
            goals = dict.fromkeys(prompts, encoder.from_file(spec.goal.removeprefix("file:")))
        else:
            goals = encoder.encode(prompts, by="text" if spec.goal == "text" else "prior")
        result[spec.name] = {**goals, NO_GOAL: encoder.no_goal}
    return result


def required_goal(goal: Goal | None, spec: PolicySpec) -> Goal:
    """`goal`, which a policy must not be without: it would play without a prompt.

    Raises:
        UserError: there is none.
    """
    if goal is None:
        raise UserError("There is no goal for this prompt.", where=spec.name)
    return goal


class PolicyCache:
    """Makes actors in one process; each policy is loaded at its first use and kept."""

    def __init__(self, *, device: str = "cpu", deterministic: bool = False, cuda_graph: bool = False) -> None:
        self._device, self._deterministic, self._cuda_graph = device, deterministic, cuda_graph
        self._policies: dict[tuple[str, str], GoalPolicy] = {}
        self._agents: dict[tuple[str, str, float, float], Agent] = {}

    def policy(self, spec: PolicySpec) -> GoalPolicy:
        """The policy, loaded once."""
        key = (spec.metadata.model, spec.weights)
        if key not in self._policies:
            model = str(resolve(spec.metadata.model))
            self._policies[key] = load_policy(model, spec.weights, device=str(choose_device(self._device)))
        return self._policies[key]

    def prepare(self, spec: PolicySpec, goal: Goal | None) -> None:
        """Load what `actor` will need, so that weights which do not fit are named before a game is opened."""
        if spec.kind == "weights":
            required_goal(goal, spec)
            self.policy(spec)

    def actor(self, spec: PolicySpec, goal: Goal | None, seed: int, behaviour: str = "") -> Actor:
        """An actor for one episode; everything random in it follows from `seed`."""
        if spec.kind == "random":
            return RandomActions(integer(seed, "random actions"))
        if spec.kind == "nothing":
            return DoNothing()
        if spec.kind == "player":
            player: Actor = make_player(behaviour, integer(seed, "player"))
            return player
        agent = self.agent(spec)
        agent.reset(integer(seed, "agent"))
        return GoalActor(agent, required_goal(goal, spec))

    def agent(self, spec: PolicySpec) -> Agent:
        """The policy's agent, made once and reset for each episode."""
        metadata = spec.metadata
        key = (metadata.model, spec.weights, metadata.cond_scale, metadata.temperature)
        if key not in self._agents:
            policy = self.policy(spec)
            self._agents[key] = Agent(
                policy,
                cond_scale=metadata.cond_scale,
                deterministic=self._deterministic,
                temperature=metadata.temperature,
                cuda_graph=self._cuda_graph and policy.device.type == "cuda",
            )
        return self._agents[key]

    def close(self) -> None:
        """Let go of the policies."""
        self._policies.clear()
        self._agents.clear()


@functools.cache
def warn_once(text: str) -> None:
    """Log a warning, once in this process."""
    _log.warning(text)


def choose_env(policies: Sequence[PolicySpec], env: str = "", tell: Callable[[str], None] = warn_once) -> str:
    """The game to play in: `env` if given, else that of the first weights, else Luanti.

    Args:
        tell: is told of weights that were made for another game.

    Raises:
        UserError: there is no such game.
    """
    asked = env or next((spec.metadata.env for spec in policies if spec.needs_goal), "luanti")
    env = game_for(asked)
    if env not in ENVIRONMENTS:
        raise UserError(
            f'The game "{env}" is not available.',
            expected=", ".join(ENVIRONMENTS),
            todo=f"pass --env {ENVIRONMENTS[0]} (weights trained in another game will be out of their depth there)",
        )
    for spec in policies:
        made = spec.metadata.env
        if not spec.needs_goal or spec.is_variant or made_for(made, env):
            continue
        if made == asked:  # "minecraft"
            text = "these weights are made for Minecraft, and none can be played here (bash tools/install_minecraft.sh mcio; MineDojo plays its own tasks alone, with --env minedojo): they play in luanti"
            tell(translated(text))
        else:
            tell(translated(f"{spec.name}: these weights were made for {made}, and play in {env}"))
    return env


def environment_threads(workers: int) -> int:
    """Threads for a worker's policy: half of the worker's share, since the games need processors as well."""
    return max(1, (os.cpu_count() or 1) // (2 * max(workers, 1)))
