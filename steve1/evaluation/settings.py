"""Settings of everything that plays for a result; commands take their flags and help from these fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from steve1.core.errors import UserError
from steve1.core.executor import ExecutorConfig
from steve1.core.options import Option
from steve1.core.paths import resolve


@dataclasses.dataclass(frozen=True)
class EpisodeExecutor(ExecutorConfig):
    """How episodes are run: each worker has a game.

    Attributes:
        batched: one process serves the policies of all workers.
    """

    timeout_s: float = 900.0
    batched: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.batched or self.ray) and self.workers == 0:
            raise UserError("--batched and --ray need workers.", expected="--workers ≥ 1", got="--workers 0")
        if self.batched and self.ray:
            raise UserError("The batched policies serve one machine.", todo="take --batched or --ray, not both")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """How policies play, and which files replace those that their <weights>.json names."""

    GROUPS: ClassVar = {
        "options": "env seed device",
        "policy": "cond_scale temperature deterministic in_model mineclip_weights prior_weights",
    }

    env: str = ""
    """The game; default: the one that the weights were made for."""
    seed: int = 0
    """Seed of start states, games, the prior and the agents."""
    cond_scale: float | None = None
    """Guidance: 0 plays the policy under the goal as it is, more exaggerates the difference that the goal makes; default: from <weights>.json."""
    temperature: float | None = None
    """Sampling temperature of actions: below 1 nearer to greedy, above 1 wilder; default: from <weights>.json (1 for the published weights)."""
    deterministic: bool = False
    """Take the most probable action at each step instead of sampling one."""
    in_model: str = ""
    """The .model file; default: from <weights>.json."""
    mineclip_weights: str = ""
    """MineCLIP weights; default: from <weights>.json."""
    prior_weights: str = ""
    """The prior's weights; default: from <weights>.json."""
    device: str = "auto"
    """Where the policies run: auto, cpu, cuda, mps."""

    def metadata_overrides(self) -> dict[str, str | float | None]:
        """What replaces the fields of every CheckpointMetadata; empty values replace nothing."""
        return {
            "model": self.in_model,
            "mineclip": self.mineclip_weights and str(resolve(self.mineclip_weights)),
            "prior": self.prior_weights and str(resolve(self.prior_weights)),
            "cond_scale": self.cond_scale,
            "temperature": self.temperature,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlaySettings(PolicySettings):
    """How episodes are played."""

    GROUPS: ClassVar = {
        "options": "episodes workers videos name",
        "tasks": "suite language",
        "output": "folder",
        "machine": "device batched ray timeout_s max_restarts",
    }

    episodes: int = 20
    """Episodes for each weights file and task, on the same seeds and start states for all."""
    name: str = ""
    """Name of the run's folder; default: made from the weights."""
    folder: str = ""
    """The run's folder itself, in place of --name."""
    workers: int = 1
    """Processes, each with its own game; 0 plays in this process."""
    batched: bool = False
    """One process holds the policies and serves all workers' games, several frames at a time: for a GPU, or weights that fit in memory once."""
    ray: bool = False
    """Spread the workers over a Ray cluster; the run's folder must be seen by all its machines."""
    videos: int = 0
    """Film the first n episodes of each."""
    language: str = "en"
    """Language of the tasks' prompts."""
    suite: str = ""
    """A suite's name or YAML file; default: the environment's own."""
    timeout_s: float = 900.0
    """Longest time for one episode before its worker is ended and replaced."""
    max_restarts: int = 5
    """Workers that may die or hang before the run stops."""


def _shared_fields(settings: PlaySettings, kind: type[EpisodeExecutor | EvaluationSettings]) -> dict[str, Any]:
    return {name: value for name, value in vars(settings).items() if name in kind.__dataclass_fields__}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings(PlaySettings):
    """Evaluate weights on tasks."""

    GROUPS: ClassVar = {
        "options": "weights tasks target episodes stopping max_episodes",
        "diagnosis": "attribution demonstrations record_failures similarity",
    }

    weights: tuple[str, ...]
    """Weights files, with @<cond_scale> if wanted (a.weights@1.5); also random, nothing, player:own (the scripted players). The first weights file is the base."""
    tasks: tuple[str, ...] = ("all",)
    """Tasks by name, or all."""
    target: tuple[str, ...] = ()
    """Tasks that the weights were to learn (improved, worse, or not sure yet); all others count as skills to be kept."""
    stopping: Literal["fixed", "sequential"] = "fixed"
    """`sequential` begins with --episodes and plays on where the answer is still open; intervals then allow for the repeated looks."""
    max_episodes: int = 160
    """With --stopping sequential: most episodes for each weights file and task."""
    similarity: int = 2
    """In the first n episodes of each, measure how similar the last 16 frames are to the task's goal (MineCLIP sees every frame)."""
    record_failures: int = 0
    """Play the first n of the failures worth watching again, with the same seed, and film them."""
    attribution: bool = False
    """Also play text embeddings and goals of successful demonstrations in place of the prior's, to see which part fails."""
    demonstrations: tuple[str, ...] = ()
    """Folders of embedded episodes for --attribution; default: the scripted players show the tasks in the game."""
    prompts: Annotated[Mapping[str, str], Option(hidden=True)] = dataclasses.field(default_factory=dict)
    """{task: prompt} in place of the suite's own; of the Python API alone."""

    @classmethod
    def of(cls, args: PlaySettings, **changes: Any) -> EvaluationSettings:
        """The settings of a command that has these fields and others, with `changes`."""
        return cls(**{**_shared_fields(args, cls), **changes})

    @property
    def executor(self) -> EpisodeExecutor:
        """How the episodes are run."""
        return EpisodeExecutor(**_shared_fields(self, EpisodeExecutor))
