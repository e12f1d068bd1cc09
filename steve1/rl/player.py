"""Plays the episodes of an iteration in a worker, and keeps what learning needs of them.

Input: jobs with the version of the weights that is to play them. Output: one file for each episode.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steve1.actions import EnvAction, env_action
from steve1.actions.joint import CAMERA_MOVES
from steve1.agent import Agent
from steve1.agent.agent import HEADS
from steve1.core.device import choose_device, set_tf32
from steve1.core.errors import UserError
from steve1.core.files import sha256_file
from steve1.core.frames import agent_frame
from steve1.core.paths import display, resolve
from steve1.data.recordings.shards import cluster_resources
from steve1.evaluation.runner.episodes import OpenGame, play_episode
from steve1.evaluation.runner.similarity import GoalSimilarity, SimilarityRecorder
from steve1.evaluation.tasks.suite import Task
from steve1.goals import Goal
from steve1.policy import GoalPolicy, load_policy, read_weights
from steve1.rl.plan import EpisodeJob
from steve1.rl.reward import Reward, load_reward
from steve1.rl.rollouts import Rollout
from steve1.rl.settings import RlSettings
from steve1.rollout.play import Actor
from steve1.rollout.supervise import SupervisedEnv


class RecordingAgent(Agent):
    """Acts in one game and keeps, of each step, the sampled classes, their log-probability and the dense features of the frame."""

    def __init__(self, policy: GoalPolicy, *, keep_frames: bool = False, **how: Any) -> None:
        super().__init__(policy, **how)
        self._packed = self._encode  # the packed encoder does not show its dense features
        self._keep_frames = keep_frames
        self.images: list[NDArray[Any]] = []
        self.sampled: list[tuple[int, int]] = []
        self.log_p: list[float] = []

    def begin(self, seed: int) -> None:
        """Forget the last episode, with what was kept of it."""
        self.reset(seed)
        self.images, self.sampled, self.log_p = [], [], []

    def _encode(self, frames: Tensor) -> Tensor:
        """u8 (1, 128, 128, 3) → features (1, H), keeping the dense ones."""
        dense = self.policy.net.img_process.dense(frames)
        if not self._keep_frames:
            self.images.append(dense[0].float().cpu().numpy())
        return self.policy.net.img_process.from_dense(dense)

    def act(self, frame: NDArray[np.uint8], goal: Any) -> EnvAction:
        """As Agent, keeping what was sampled."""
        log_probs = {name: rows[0].cpu() for name, rows in self.log_probs([frame], [goal], [0]).items()}
        buttons, camera = (self._sample(log_probs[name], 0) for name in HEADS)
        acted = [
            torch.log_softmax(log_probs[name] / self.temperature, 0)[taken]
            for name, taken in zip(HEADS, (buttons, camera))
        ]
        if self._keep_frames:
            self.images.append(np.ascontiguousarray(agent_frame(frame)))
        self.sampled.append((buttons, camera))
        self.log_p.append(float(acted[0] + acted[1] * float(CAMERA_MOVES[buttons])))
        return env_action(buttons, camera)


@dataclasses.dataclass(frozen=True)
class Version:
    """Weights that play: their file, its sha256, and what rollouts call them (the sha256, where a goal is tuned with the goal in it)."""

    path: Path
    sha256: str
    name: str


@dataclasses.dataclass(frozen=True)
class RolloutJob:
    """One episode for a worker: what to play, with which weights, the file to write, and whether a small video of it is kept."""

    episode: EpisodeJob
    version: Version
    goal: Goal
    path: Path
    film: bool = False


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Builds the player of the worker with an index; picklable.

    Attributes:
        model: the .model file.
        reward: FILE.yaml:NAME.
        cond_scale, temperature: as the weights are played.
        tasks: {prompt: the task whose beginning its episodes have}; others begin as the reward's task.
        steps: of an episode.
        likeness: measures similarity where the reward pays it.
    """

    model: str
    env: str
    reward: str
    cond_scale: float
    temperature: float
    steps: int
    tasks: Mapping[str, Task]
    device: str = "cpu"
    keep_frames: bool = False
    mineclip: tuple[str, str] = ("", "")
    likeness: Mapping[str, Goal] = dataclasses.field(default_factory=dict)
    open_game: Any = None

    def __call__(self, index: int) -> RolloutPlayer:
        return RolloutPlayer(self, index)


def gpu_share(settings: RlSettings) -> float:
    """Of a GPU, what each player on a Ray cluster reserves, so that all of them find room; 0 where policies play on CPUs."""
    if not settings.ray or settings.device in ("cpu", "mps"):
        return 0.0
    gpus = int(cluster_resources().get("GPU", 0))
    if not gpus:
        return 1.0 if settings.device.startswith("cuda") else 0.0
    return math.floor(1e4 / math.ceil(settings.workers / gpus)) / 1e4  # Ray counts in ten thousandths


class RolloutPlayer:
    """One game and one policy, into which each version of the weights is loaded."""

    def __init__(self, recipe: Recipe, index: int) -> None:
        set_tf32(False)  # or the learner would see other probabilities
        self._recipe = recipe
        self._reward: Reward = load_reward(recipe.reward, recipe.env)
        self._game = SupervisedEnv(functools.partial(recipe.open_game or OpenGame(recipe.env), index))
        self._policy: GoalPolicy | None = None
        self._agent: RecordingAgent | None = None
        self._loaded = ""
        self._similarity: SimilarityRecorder | None = None
        if recipe.likeness:
            found = GoalSimilarity(*recipe.mineclip, recipe.likeness, recipe.device)
            self._similarity = SimilarityRecorder(found.stream, recipe.likeness)

    def agent(self, job: RolloutJob) -> RecordingAgent:
        """The agent of the job's weights, which are loaded into the one policy when they are others than before.

        Raises:
            UserError: the file holds other weights than those that are to play.
        """
        wanted = job.version
        if self._agent is None or self._loaded != wanted.sha256:
            recipe = self._recipe
            found = sha256_file(wanted.path)
            if found != wanted.sha256:
                raise UserError(
                    "These are not the weights that are to play.",
                    where=display(wanted.path),
                    expected=wanted.sha256[:12],
                    got=found[:12],
                    todo="all machines of a cluster need the same disk; the same command goes on",
                )
            if self._policy is None:
                self._policy = load_policy(resolve(recipe.model), wanted.path, device=choose_device(recipe.device))
            else:
                self._policy.load_state_dict(read_weights(wanted.path))
            self._agent = RecordingAgent(
                self._policy,
                cond_scale=recipe.cond_scale,
                temperature=recipe.temperature,
                keep_frames=recipe.keep_frames,
            )
            self._loaded = wanted.sha256
        return self._agent

    def run(self, job: RolloutJob) -> None:
        """Play the episode, judge it, write its file."""
        recipe, episode = self._recipe, job.episode
        agent, restarts = self.agent(job), self._game.restarts
        task = recipe.tasks.get(episode.prompt, self._reward.task)
        similarity = self._similarity if episode.prompt else None
        trace = play_episode(
            self._game,
            lambda: _Acting(agent, job.goal if episode.prompt else None, episode.agent_seed),
            recipe.steps,
            video=job.path.with_suffix(".mp4") if job.film else None,
            caption=episode.prompt,
            small=True,
            on_frame=similarity.on_frame if similarity else None,
            seed=episode.env_seed,
            start=episode.start,
            options=task.reset_options(),
        )
        if len(agent.sampled) != len(trace):
            raise UserError(
                "The agent and the game disagree on an episode's length.", got=f"{len(agent.sampled)}, {len(trace)}"
            )
        paid = self._reward.judge(trace, similarity.similarities() if similarity else None) if episode.prompt else None
        sampled = np.array(agent.sampled, dtype=np.int64).reshape(-1, 2)
        rollout = Rollout(
            key=episode.key,
            group=episode.group,
            buttons=sampled[:, 0],
            camera=sampled[:, 1],
            images=np.stack(agent.images),
            log_p=np.array(agent.log_p, dtype=np.float32),
            goal=np.asarray(job.goal, dtype=np.float32),
            reward=paid.reward if paid else np.zeros(len(trace)),
            parts=paid.parts if paid else {},
            success=bool(paid and paid.success),
            facts={
                "weights_sha256": job.version.name,
                "prompt": episode.prompt,
                "start": episode.start.get("id"),
                "env_seed": episode.env_seed,
                "agent_seed": episode.agent_seed,
                "steps_asked": recipe.steps,
                "ended": trace.metadata["ended"],
                "crashes": self._game.restarts - restarts,
                "seconds": trace.metadata["seconds"],
            },
        )
        trace.save(job.path.with_suffix(""))
        rollout.save(job.path.with_suffix(".rollout"))

    def close(self) -> None:
        """Close the game."""
        self._game.close()


class _Acting(Actor):
    """The agent under one goal for one episode."""

    def __init__(self, agent: RecordingAgent, goal: Goal | None, seed: int) -> None:
        self._agent, self._goal, self._seed = agent, goal, seed

    def reset(self, obs: Any, info: Any) -> None:
        self._agent.begin(self._seed)

    def act(self, obs: Any, info: Any) -> EnvAction:
        return self._agent.act(obs["pov"], self._goal)
