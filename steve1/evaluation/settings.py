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
    """Game to play; default: the one the weights were made for."""
    seed: int = 0
    """Seed for start states, games, the prior and the agents."""
    cond_scale: float | None = None
    """Guidance scale: 0 plays without guidance, higher values follow the goal more strongly; default: from <weights>.json."""
    temperature: float | None = None
    """Sampling temperature for all weights; below 1 favours the most probable actions; default: from <weights>.json (1 for the published weights)."""
    deterministic: bool = False
    """Take the most probable action at each step instead of sampling one."""
    in_model: str = ""
    """The .model file; default: from <weights>.json."""
    mineclip_weights: str = ""
    """MineCLIP weights; default: from <weights>.json."""
    prior_weights: str = ""
    """The prior's weights; default: from <weights>.json."""
    device: str = "auto"
    """Device for the policies: auto, cpu, cuda or mps."""

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

    seed: int = 0
    """Seed for games, agents and the worlds of Minecraft. In Luanti episodes begin at the same places with every seed; a prompt has the same goal with every seed."""
    episodes: int = 20
    """Episodes per weights file and task, on the same seeds and start states for all."""
    name: str = ""
    """Name of the output folder; default: derived from the weights."""
    folder: str = ""
    """Path of the output folder, instead of --name."""
    workers: int = 1
    """Parallel processes, each with its own game; 0: play in this process."""
    batched: bool = False
    """Run the policies in one process that serves all games in batches: for a GPU, or where memory holds the weights only once."""
    ray: bool = False
    """Run the workers on a Ray cluster; all machines must share the output folder."""
    videos: int = 0
    """Film the first N episodes of each weights file and task."""
    language: str = "en"
    """Language of the tasks' prompts."""
    suite: str = ""
    """Task suite: a name or a YAML file; default: the game's own."""
    timeout_s: float = 900.0
    """Seconds an episode may take before its worker is replaced; in minerl at least 1800, in minestudio 3000, in minedojo 3600, since an episode may start the game."""
    max_restarts: int = 5
    """Stop after this many crashes or hangs of workers, or crashes of one worker's game."""


def _shared_fields(settings: PlaySettings, kind: type[EpisodeExecutor | EvaluationSettings]) -> dict[str, Any]:
    return {name: value for name, value in vars(settings).items() if name in kind.__dataclass_fields__}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings(PlaySettings):
    """Evaluate weights on tasks."""

    GROUPS: ClassVar = {
        "options": "weights tasks target episodes stopping max_episodes known_results",
        "diagnosis": "attribution demonstrations record_failures similarity",
    }

    weights: tuple[str, ...]
    """Weights files, with @<cond_scale> if wanted (a.weights@1.5); also random, nothing, player:own (the scripted players). The first weights file is the base."""
    tasks: tuple[str, ...] = ("all",)
    """Names of tasks, or all."""
    target: tuple[str, ...] = ()
    """Tasks that the weights were to learn; all others count as old skills. Default: what the <weights>.json files say the fine-tuned weights were trained on and the base was not."""
    stopping: Literal["fixed", "sequential"] = "fixed"
    """fixed: play --episodes. sequential: start with --episodes and play more where the result is still unclear; intervals account for the repeated looks."""
    max_episodes: int = 160
    """With --stopping sequential: at most this many episodes for each weights file and task."""
    known_results: str = ""
    """Folder of an earlier evaluation: what the same weights played there, with the same seed at the same places, is taken from it; with --videos, old skills only."""
    similarity: int = 2
    """In the first N episodes of each task, measure with MineCLIP how similar what happens is to the goal."""
    record_failures: int = 0
    """Replay and film the N failures most worth watching, on their seeds."""
    attribution: bool = False
    """Also play with text embeddings and with goals from successful demonstrations instead of the prior's goals, to see which part fails."""
    demonstrations: tuple[str, ...] = ()
    """Folders of embedded episodes for --attribution; default: the scripted players demonstrate the tasks."""
    prompts: Annotated[Mapping[str, str], Option(hidden=True)] = dataclasses.field(default_factory=dict)
    """{task: prompt} in place of the suite's own; of the Python API alone."""
    steps: Annotated[int, Option(hidden=True)] = 0
    """Steps of every episode, in place of the tasks' own; 0: these; of the Python API alone."""

    @classmethod
    def of(cls, args: PlaySettings, **changes: Any) -> EvaluationSettings:
        """The settings of a command that has these fields and others, with `changes`."""
        return cls(**{**_shared_fields(args, cls), **changes})

    @property
    def executor(self) -> EpisodeExecutor:
        """How the episodes are run."""
        return EpisodeExecutor(**_shared_fields(self, EpisodeExecutor))
