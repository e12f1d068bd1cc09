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
from steve1.core.errors import UserError
from steve1.core.files import existing_file, sha256_file
from steve1.core.paths import resolve
from steve1.envs import start_states
from steve1.evaluation.policies import choose_env, parse_policies
from steve1.evaluation.runner.known import known_successes, results_folder
from steve1.evaluation.tasks.suite import Task, load_suite
from steve1.policy.config import read_model
from steve1.policy.flops import flop_count
from steve1.prompts import split_prompts
from steve1.rl.plan import EpisodeJob, plan_iteration, plan_keeping
from steve1.rl.reward import Reward, load_reward
from steve1.rl.settings import RlSettings
from steve1.training.memory.estimate import Method, parameter_counts

KEPT_ITERATIONS = 2
"""Iterations whose rollouts stay on the disk; traces of all do."""
RESET_SECONDS, GAME_SECONDS, ACT_SECONDS = 2.3, 0.016, 0.0073
"""Of a reset, and of a step in the game and in any policy, with two games on two cores."""
FLOP_A_SECOND = 1.0e11
"""Of a larger policy on one of them: the mini policy takes 8 ms a step, STEVE-1's 2x 159 (docs/benchmarks.md)."""
TRACE_BYTES = 16
"""Of a step in a trace: 3.1 kB for 200 steps in Luanti."""
EMPTY_PROMPT = ""
MOST_UNKNOWN = 4
"""Tasks that are kept where nothing says which ones the policy can do."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a run takes, before anything starts."""

    episodes: int
    frames: int
    minutes: float
    megabytes: float

    def text(self) -> str:
        return (
            f"{self.episodes} episodes, {self.frames:,} frames: about {self.minutes:.{0 if self.minutes >= 10 else 1}f} minutes of playing on two CPU cores, "
            f"{self.megabytes:.0f} MB on the disk"
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
        self.keep_tasks, self.keep_reason = self._keep_tasks()

    def _keep_tasks(self) -> tuple[dict[str, Task], str]:
        """{prompt: task whose beginning its episodes have} of what the policy is to keep ("" is no goal), and why these, if they were not named."""
        settings = self.settings
        if settings.keeping != "self":
            return {}, ""
        if settings.keep_prompts != "auto":
            prompts = split_prompts(settings.keep_prompts)
            if trained := [prompt for prompt in prompts if self._is_trained(prompt)]:
                raise UserError(
                    "The prompt that is trained cannot be kept as it was.",
                    where="--keep_prompts",
                    got=trained[0],
                    todo="leave it out of KEEP_PROMPTS",
                )
            return {prompt: self.suite.by_prompt(prompt) or self.reward.task for prompt in prompts}, ""
        known, reason = self._known_skills()
        others = [
            task
            for task in self.suite.tasks.values()
            if task.name != self.reward.task.name
            and not self._is_trained(task.prompts["en"])
            and not task.unavailable()
            and (task.name in known or not reason)
        ]
        if not reason:
            others = [task for task in others if task.level == 1][:MOST_UNKNOWN]
            reason = f"the first {MOST_UNKNOWN} other tasks of level 1, since nothing is known of these weights"
        return {**{task.prompts["en"]: task for task in others}, EMPTY_PROMPT: self.reward.task}, reason

    def _is_trained(self, prompt: str) -> bool:
        """Whether this is the prompt that is trained, or says the same in another language."""
        task = self.suite.by_prompt(prompt)
        return prompt == self.prompt or (task is not None and task == self.suite.by_prompt(self.prompt))

    @property
    def old_tasks(self) -> list[str]:
        """Names of the other tasks among what is kept."""
        names = dict.fromkeys(task.name for task in self.keep_tasks.values())
        return [name for name in names if name != self.reward.task.name]

    def _known_skills(self) -> tuple[set[str], str]:
        """Names of the tasks that the policy can do, and how that is known; "" where it is not."""
        folder = self.settings.known_results
        if folder and folder != RlSettings.known_results:
            results_folder(folder)
        base = self.metadata.hashes.get("in_weights", "")
        for sha256, reason in (
            (self.weights_sha256, f"in {folder} these weights succeed at least in every second episode"),
            (base, f"in {folder} the weights that these come from succeed at least in every second episode"),
        ):
            results = known_successes(resolve(folder), sha256) if folder and sha256 else {}
            if results:
                known = {task for task, (won, played) in results.items() if won >= played / 2}
                return known, reason
        known = {task.name for task in self.suite.called(self.metadata.trained_on)}
        if known - {self.reward.task.name}:
            return known, "the weights' .json says that they were trained on them"
        return set(), ""

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
            "resolved": {
                "env": self.env,
                "prompt": self.prompt,
                "task": self.reward.task.name,
                "old_tasks": self.old_tasks,
            },
            "keep_prompts": list(self.keep_tasks),
        }

    def differences(self, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
        """Why a run with the record `then` cannot go on as this one, as sentences."""
        # What is missing there was written by a run of another kind.
        return (
            self.settings.differences(then.get("settings", {}))
            + [
                f"{name}: other content than then"
                for name in now["sha256"]
                if then.get("sha256", {}).get(name) != now["sha256"][name]
            ]
            + [
                f"{name}: {then.get(name)!r} then, {now[name]!r} now"
                for name in ("keep_prompts",)
                if then.get(name) != now[name]
            ]
        )

    @property
    def timeout_s(self) -> float:
        """Longest time for one episode: generous for the slowest game and network, since a worker that is ended plays it again."""
        return self.settings.timeout_s or max(900.0, 300.0 + 3.0 * self.steps)

    def estimate(self) -> Estimate:
        """From what was measured with two games on two cores (docs/benchmarks.md), a larger network by its arithmetic."""
        settings = self.settings
        keep = len(self.keep_tasks) * settings.keep_episodes
        episodes = settings.iterations * settings.episodes + keep
        frames = episodes * self.steps
        games = max(1, settings.workers)
        rows = 2 if self.metadata.cond_scale else 1  # of the recurrent part: under the goal and under none
        config = read_model(resolve(self.metadata.model))
        flop = flop_count(config)
        policy = ACT_SECONDS + (flop.cnn + rows * (flop.blocks + flop.rest)) / FLOP_A_SECOND
        minutes = episodes * (RESET_SECONDS + self.steps * (GAME_SECONDS + policy)) / games / 60
        size = 128 * 128 * 3 if self.keep_frames else 1024
        rollouts = (min(settings.iterations, KEPT_ITERATIONS) * settings.episodes + keep) * self.steps * (size + 40)
        traces = frames * TRACE_BYTES + episodes * 1000
        films = settings.episodes * self.steps * 3500 if settings.films_every else 0
        # What plays, what is written, and in the state what is trained, with two moments; all in float32.
        total, trained = parameter_counts(config, Method.of(self.training))
        weights = 4 * (2 * total + 3 * trained)
        return Estimate(episodes, frames, minutes, (rollouts + traces + weights + films) / 1e6)

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
