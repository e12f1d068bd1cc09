"""Settings that every command which plays for a result has in common, each with its line of help.

In: nothing. Out: dataclasses; commands derive their arguments from them, so that a flag is described once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlaySettings:
    """How episodes are played, whatever is made of them."""

    episodes: int = 20
    """Episodes for each weights file and task, on the same seeds and start states for all."""
    name: str = ""
    """Of the run's folder; default: made from the weights."""
    folder: str = ""
    """The run's folder itself, in place of --name."""
    workers: int = 1
    """Processes, each with its own game; 0 plays in this process."""
    batched: bool = False
    """One process holds the policies and serves all workers' games, several frames at a time: for a GPU, or weights that fit in memory once."""
    ray: bool = False
    """Spread the workers over a Ray cluster; the run's folder must be seen by all its machines."""
    videos: int = 0
    """Film so many first episodes of each."""
    seed: int = 0
    """Of start states, games and agents."""
    language: str = "en"
    """Of the prompts in the tasks' file."""
    suite: str = ""
    """A suite's name or YAML file; default: the environment's own."""
    env: str = ""
    """The game; default: the one that the weights were made for."""
    cond_scale: float | None = None
    """Guidance for all; default: each family's."""
    temperature: float | None = None
    """Of the drawn actions, for all: below 1 nearer the likeliest; default: each family's."""
    deterministic: bool = False
    """Take the most probable action instead of drawing one."""
    in_model: str = ""
    """The .model file for all; default: each family's."""
    mineclip_weights: str = ""
    """MineCLIP weights for all; default: each family's."""
    prior_weights: str = ""
    """The prior's weights for all; default: each family's."""
    device: str = "auto"
    """Where the policies run: auto, cpu, cuda, mps."""
    timeout_s: float = 900.0
    """Longest that one episode may take before its worker is ended and replaced."""
    max_restarts: int = 5
    """So many workers may die or hang before the run stops."""

    def values(self) -> dict[str, Any]:
        """The settings of this class alone, by name: what a command hands on to an evaluation."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(PlaySettings)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgeSettings(PlaySettings):
    """What an evaluation of several tasks asks beyond playing."""

    tasks: tuple[str, ...] = ("all",)
    """Tasks by name, or all."""
    target: tuple[str, ...] = ()
    """Tasks that the weights were to learn (improved, worse, or not sure yet); all others count as skills to be kept."""
    stopping: Literal["fixed", "sequential"] = "fixed"
    """`settled` begins with --episodes and goes on where the answer is still open; intervals then allow for the repeated looks."""
    max_episodes: int = 160
    """With --stopping sequential: at most so many episodes for each weights file and task."""
    similarity: int = 2
    """Measure in so many first episodes of each how alike the last 16 frames are to the task's goal (MineCLIP sees every frame)."""
    record_failures: int = 0
    """Play so many of the failures worth watching again, with the same seed, and film them."""
    attribution: bool = False
    """Also play straight text embeddings and goals from successful demonstrations in place of the prior's: which part fails?"""
    demonstrations: tuple[str, ...] = ()
    """Folders of embedded episodes for --attribution; default: the scripted players show the tasks in the game."""

    def values(self) -> dict[str, Any]:
        """All settings of this class and its base, by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(JudgeSettings)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings(JudgeSettings):
    """An evaluation.

    Attributes:
        weights: weights files, "random", "nothing", "player:own"; the first weights file is the base.
        prompts: {task: prompt} in place of the suite's own.
    """

    weights: Sequence[str]
    prompts: Mapping[str, str] = dataclasses.field(default_factory=dict)
