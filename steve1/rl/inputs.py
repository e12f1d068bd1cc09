"""What a run of reinforcement learning starts from, found and checked before anything is played.

Input: settings. Output: the weights and how they play, the game, the reward, the prompts, and what the run will take.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.core.checkpoint_metadata import CheckpointMetadata
from steve1.core.files import existing_file, sha256_file
from steve1.envs import start_states
from steve1.evaluation.policies import choose_env, parse_policies
from steve1.evaluation.tasks.suite import Task, load_suite
from steve1.rl.plan import EpisodeJob, plan_iteration, plan_keeping
from steve1.rl.reward import Reward, load_reward
from steve1.rl.settings import RlSettings

KEPT_ITERATIONS = 2
"""Iterations whose rollouts stay on the disk; traces of all do."""
EMPTY_PROMPT = ""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a run takes, before anything starts."""

    episodes: int
    frames: int
    minutes: float
    megabytes: float

    def text(self) -> str:
        return (
            f"{self.episodes} episodes, {self.frames:,} frames: about {self.minutes:.0f} minutes of playing here, "
            f"{self.megabytes:.0f} MB on the disk at a time"
        )


class Inputs:
    """The settings with what they name.

    Raises:
        UserError: settings, weights or a reward that cannot work.
    """

    def __init__(self, settings: RlSettings) -> None:
        settings.check()
        self.settings = settings
        self.weights = existing_file(
            settings.in_weights, "These weights", "bash 3_train_finetune_template.sh, or data/mini/mini.weights"
        )
        spec = parse_policies([str(self.weights)])[0]
        self.metadata: CheckpointMetadata = spec.metadata
        self.env = choose_env([spec], settings.env)
        self.reward: Reward = load_reward(settings.reward, self.env)
        self.steps = settings.steps or self.reward.steps
        self.suite = load_suite(self.env)
        self.prompt = settings.prompt or self.reward.task.prompts["en"]
        self.training = settings.training(self.metadata.model)
        self.keep_frames = self.training.mode.trains_cnn
        self.keep_tasks = self._keep_tasks()

    def _keep_tasks(self) -> dict[str, Task]:
        """{prompt: task whose beginning its episodes have} of what the policy is to keep; "" is no goal."""
        settings = self.settings
        if settings.keeping != "self":
            return {}
        if settings.keep_prompts != "auto":
            prompts = [text.strip() for text in settings.keep_prompts.split(";") if text.strip()]
            return {prompt: self.suite.by_prompt(prompt) or self.reward.task for prompt in prompts}
        others = [
            task
            for task in self.suite.tasks.values()
            if task.level == 1 and task.name != self.reward.task.name and not task.unavailable()
        ]
        return {**{task.prompts["en"]: task for task in others[:4]}, EMPTY_PROMPT: self.reward.task}

    @functools.cached_property
    def weights_sha256(self) -> str:
        """Of the weights that the run starts from; read once."""
        return sha256_file(self.weights)

    @functools.cached_property
    def replay_file(self) -> Path | None:
        """The pack or list of old episodes; None without."""
        path = self.training.replay_path
        return (
            None if path is None else existing_file(path, "These old episodes (REPLAY)", "python -m steve1 make_replay")
        )

    def record(self) -> dict[str, Any]:
        """What a run's folder keeps of it, and a resumed run is compared with."""
        files = {"reward": self.reward.path, **({"replay": self.replay_file} if self.replay_file else {})}
        return {
            "settings": dataclasses.asdict(self.settings),
            "sha256": {
                "in_weights": self.weights_sha256,
                **{name: sha256_file(path) for name, path in files.items()},
            },
            "steps": self.steps,
            "resolved": {"env": self.env, "prompt": self.prompt, "task": self.reward.task.name},
        }

    def differences(self, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
        """Why a run with the record `then` cannot go on as this one, as sentences."""
        # What is missing there was written by a run of another kind.
        return self.settings.differences(then.get("settings", {})) + [
            f"{name}: other content than then"
            for name in now["sha256"]
            if then.get("sha256", {}).get(name) != now["sha256"][name]
        ]

    def estimate(self) -> Estimate:
        """From the steps a second of two games with the mini policy on two cores (docs/benchmarks.md)."""
        settings = self.settings
        keep = len(self.keep_tasks) * settings.keep_episodes
        episodes = settings.iterations * settings.episodes + keep
        frames = episodes * self.steps
        games = max(1, settings.workers)
        minutes = episodes * (2.3 + self.steps * 0.024) / games / 60
        size = 128 * 128 * 3 if self.keep_frames else 1024
        held = (min(settings.iterations, KEPT_ITERATIONS) * settings.episodes + keep) * self.steps * (size + 40) / 1e6
        films = settings.episodes * self.steps * 3500 / 1e6 if settings.films_every else 0.0
        return Estimate(episodes, frames, minutes, held + films)

    # ---- which episodes ----

    def starts_of(self, task: Task) -> Sequence[Mapping[str, Any]]:
        """Start states of the demonstrations' split."""
        return start_states(self.env, task.biome, "demo")

    @functools.cached_property
    def starts(self) -> Sequence[Mapping[str, Any]]:
        """Those of the reward's task."""
        return self.starts_of(self.reward.task)

    def plan(self, iteration: int) -> list[EpisodeJob]:
        """The episodes of an iteration."""
        settings = self.settings
        return plan_iteration(settings.seed, iteration, settings.places, settings.group, self.prompt, self.starts)

    @functools.cached_property
    def keep_plan(self) -> list[EpisodeJob]:
        """The episodes that the starting policy plays once."""
        starts = {prompt: self.starts_of(task) for prompt, task in self.keep_tasks.items()}
        return plan_keeping(self.settings.seed, list(self.keep_tasks), self.settings.keep_episodes, starts)
