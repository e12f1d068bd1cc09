"""What is measured; the command line of `python -m research.measure_methods`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from research.measure_methods.recipes import IMITATING, RECIPES
from steve1.core.errors import UserError
from steve1.core.options import Option


@dataclasses.dataclass(frozen=True)
class Settings:
    """Measure what each way of fine-tuning gains and costs: a screening with one seed, then the best methods with several seeds."""

    GROUPS: ClassVar = {
        "options": "methods skills old_tasks old_tasks_of called best seeds episodes",
        "learning": "base in_model replay demonstrations steps frames feature_frames iterations",
        "output": "name cells page picture learning write_only dry_run",
        "machine": "workers device sampling_dir",
    }

    methods: tuple[str, ...] = IMITATING
    """Methods to screen; of reinforcement learning: ppo, group, clone and placebo."""
    skills: tuple[str, ...] = ("dig_dirt", "dive")
    """Skills to train: for imitation such that the base was not trained on and that MineCLIP and the prior know, for reinforcement learning such that succeed sometimes."""
    old_tasks: tuple[str, ...] = ("look_at_sky", "explore", "build_pillar")
    """Skills of the base that are to be kept."""
    old_tasks_of: Literal["all", "best"] = "all"
    """Methods that also play the old tasks: all, or those that are measured with all seeds; the best are then chosen by the trained skills alone."""
    called: tuple[str, ...] = ("collect_grass", "look_at_sky")
    """Skills that the base was trained on and whose prompt calls them badly: there goal tuning alone is measured."""
    best: int = 4
    """Methods with the highest score in the screening (change of the trained skills plus mean change of the old ones) that are measured with all seeds."""
    seeds: int = 3
    """Seeds of demonstrations and training; the screening is the first."""
    episodes: int = 20
    """Paired episodes for each task."""

    base: str = "data/mini/mini.weights"
    """Weights that fine-tuning starts from."""
    in_model: str = "data/mini/mini.model"
    """Their .model file."""
    replay: str = ""
    """Replay pack; default: one of the old demonstrations that are recorded here."""
    demonstrations: int = 10
    """Demonstrations of each skill."""
    steps: int = 300
    """Ticks of a demonstration."""
    frames: int = 75_000
    """Training frames of methods that train the CNN."""
    feature_frames: int = 500_000
    """Training frames of those that are trained on cached features: as many minutes."""
    iterations: int = 12
    """Iterations of reinforcement learning."""
    training: Annotated[Mapping[str, Any], Option(hidden=True)] = dataclasses.field(default_factory=dict)
    """Fields of TrainSettings, or of RlSettings, for all methods; of tests alone."""

    name: str = "methods"
    """Name of all outputs."""
    cells: str = "docs/evaluations/method_cells.csv"
    """Finished cells; the same command measures what is missing."""
    page: str = "docs/technical/STEVE1_TRAINING_ANALYSIS.md"
    """Page that gets the table and the picture, between its marks; empty: none."""
    picture: str = "docs/pictures/methods.svg"
    """Trained skill against retention; empty: none."""
    learning: str = ""
    """Picture of success while methods of reinforcement learning practise, its numbers beside it as .csv; empty: none."""
    write_only: bool = False
    """Write table and picture from the finished cells, and stop."""
    dry_run: bool = False
    """Say which cells are missing and about how long they take, and stop."""

    workers: int = 2
    """Games at a time."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    sampling_dir: str = "data/samplings"
    """Folder of the sampling lists."""
    evaluation_seed: int = 7
    """Seed of the evaluation's start places and episodes."""

    def check(self) -> None:
        """Raise UserError where a method is unknown or a number cannot be."""
        unknown = [method for method in self.methods if method not in RECIPES]
        if unknown:
            raise UserError("There is no such method.", got=", ".join(unknown), expected=", ".join(RECIPES))
        least = {"best": 0, "seeds": 1, "episodes": 1, "demonstrations": 2}
        low = [f"{name} {getattr(self, name)}" for name, value in least.items() if getattr(self, name) < value]
        if low:
            raise UserError("These numbers are too small.", got=", ".join(low))
