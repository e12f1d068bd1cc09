"""Episodes as jobs: what to play, how one is played and judged, and the log that survives a kill.

In: policies, tasks, a number of episodes. Out: one JSON line for each finished episode, judged by the rules of every task
of its place. Seeds and start states depend on the place and the episode's number alone, so that all policies
and prompts are paired.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions
from steve1.actions.camera import to_degrees
from steve1.core.errors import UserError
from steve1.core.seeds import integer
from steve1.evaluation.policies import PolicyCache, PolicySpec
from steve1.evaluation.runner.similarity import GoalSimilarity, SimilarityRecorder, save_curves
from steve1.evaluation.tasks.suite import Task
from steve1.rollout.play import OnFrame, play
from steve1.rollout.supervise import SupervisedEnv
from steve1.rollout.trace import Trace
from steve1.rollout.video import EpisodeVideo

# The hotbar's nine keys are left out: one line each would hide the rest.
_SHOWN = tuple(name for name in actions.BUTTONS if not name.startswith("hotbar"))


@dataclasses.dataclass(frozen=True)
class Job:
    """One episode to play; plain values, so that it travels to a worker.

    Attributes:
        key: unique in its run; finished keys are not played again.
        policy: its name.
        row: what it is asked for: a task's name, or NO_GOAL, or "" for players without a goal.
        prompt: the goal's name in the table of goals ("" without one).
        behaviour: the scripted player for `player:own`.
        tasks: the tasks of this place, all judged.
        number: the episode's number, from 0.
        seed: for the environment and, through it, for everything random in the agent.
        start: the start state.
        video: where to film it, relative to the run's folder ("": not at all).
        similarity: whether to measure how alike to the tasks' goals it looks.
    """

    key: str
    policy: str
    row: str
    prompt: str
    behaviour: str
    tasks: tuple[str, ...]
    number: int
    seed: int
    start: dict[str, Any] | None
    video: str = ""
    similarity: bool = False


def episode_seed(place: str, number: int, seed: int) -> int:
    """The seed of episode `number` in a place: the same for every policy and prompt."""
    return integer(seed, "episode", place, number)


def starts_for(env: str, biome: str, split: str) -> list[dict[str, Any]]:
    """The environment's kept start states.

    Raises:
        UserError: it has none for these biome.
    """
    from steve1.envs import start_states

    starts = list(start_states(env, biome, split=split))
    if not starts:
        raise UserError("There are no start states.", where=f"{env}, {biome}, split {split}")
    return starts


def groups_of_place(tasks: Sequence[Task]) -> list[list[Task]]:
    """Tasks grouped so that those of a group can be judged on the same episodes, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.place, []).append(task)
    return list(groups.values())


def watched(spec: PolicySpec, behaviour: str) -> dict[str, Any]:
    """The reset option with which a scripted player is shown the blocks that it looks for."""
    if spec.kind != "player":
        return {}
    from steve1.rollout.players import BEHAVIOURS

    known = BEHAVIOURS.get(behaviour)
    return {"watch": dict(known.watch)} if known and known.watch else {}


def summary_of_actions(trace: Trace) -> dict[str, float]:
    """Share of steps with each of the commonest buttons, and the mean camera movement in degrees a step."""
    pressed, bins = actions.joint_to_arrays(trace.tokens[:, 0], trace.tokens[:, 1])
    shares = {
        name: round(float(pressed[:, index].mean()), 4) for index, name in enumerate(actions.BUTTONS) if name in _SHOWN
    }
    shares["camera"] = round(float(np.abs(to_degrees(bins)).sum(axis=1).mean()), 4)
    return shares


def _both(video: EpisodeVideo, watcher: SimilarityRecorder | None) -> OnFrame:
    """Each frame to the video and to the watcher, if there is one."""
    if watcher is None:
        return video.on_frame

    def on_frame(frame: NDArray[np.uint8], action: Mapping[str, Any], step: int) -> None:
        video.on_frame(frame, action, step)
        watcher.on_frame(frame, action, step)

    return on_frame


@dataclasses.dataclass
class EpisodeRunner:
    """Plays jobs in one process: one game, each policy once.

    Attributes:
        policies, tasks: by name.
        goals: {policy: {prompt: goal}}.
        open_env: opens the game; called again after a crash.
        folder: where traces and videos go.
        judge: measures similarity to goals; None: nobody does.
        service: the address of a process that holds the policies; "": they are loaded here.
    """

    policies: Mapping[str, PolicySpec]
    tasks: Mapping[str, Task]
    goals: Mapping[str, Mapping[str, NDArray[np.float32]]]
    open_env: Callable[[], Any]
    folder: Path
    deterministic: bool = False
    device: str = "cpu"
    max_restarts: int = 3
    judge: GoalSimilarity | None = None
    service: str = ""

    def __post_init__(self) -> None:
        if self.service:
            from steve1.evaluation.runner.inference import RemotePolicyCache

            self._cache: PolicyCache = RemotePolicyCache(self.service)
        else:
            self._cache = PolicyCache(device=self.device, deterministic=self.deterministic)
        self._game = SupervisedEnv(self.open_env, max_restarts=self.max_restarts)
        self._stream: Any = None

    def run(self, job: Job) -> dict[str, Any]:
        """Play one job, keep its trace (and video), and return its line for the log."""
        spec = self.policies[job.policy]
        tasks = [self.tasks[name] for name in job.tasks]
        goal = self.goals.get(job.policy, {}).get(job.prompt)
        steps = tasks[0].steps
        before = self._game.restarts
        self._cache.prepare(spec, goal)
        watcher = self._watcher(job)

        def episode(env: Any) -> Trace:
            actor = self._cache.actor(spec, goal, job.seed, job.behaviour)
            options = {**tasks[0].reset_options(), **watched(spec, job.behaviour)}
            settings: dict[str, Any] = {"seed": job.seed, "start": job.start, "options": options}
            facts = {"contestant": job.policy, "row": job.row, "prompt": job.prompt, "key": job.key}
            if not job.video:
                return play(
                    actor, env, steps, metadata=facts, on_frame=watcher.on_frame if watcher else None, **settings
                )
            # Without a title: films put the policy's name above the picture.
            with EpisodeVideo(self.folder / job.video, job.prompt or job.behaviour or job.policy, steps) as video:
                return play(actor, env, steps, metadata=facts, on_frame=_both(video, watcher), **settings)

        trace = self._game.episode(episode)
        # The trace comes last but for the log's line: whoever finds it finds the rest.
        if watcher is not None:
            save_curves(self.folder, job.key, watcher)
        trace.save(self.folder / "traces" / job.key)
        return self._line(job, trace, tasks, self._game.restarts - before)

    def _watcher(self, job: Job) -> SimilarityRecorder | None:
        if not job.similarity or self.judge is None:
            return None
        self._stream = self._stream or self.judge.stream()
        return self.judge.watcher(self._stream, job.tasks)

    def _line(self, job: Job, trace: Trace, tasks: Sequence[Task], restarts: int) -> dict[str, Any]:
        judged = {task.name: task.judge(trace) for task in tasks}
        return {
            "key": job.key,
            "contestant": job.policy,
            "row": job.row,
            "prompt": job.prompt,
            "number": job.number,
            "seed": job.seed,
            "steps": len(trace),
            "ended": trace.metadata["ended"],
            "success": {name: bool(success) for name, (success, _) in judged.items()},
            "measure": {name: round(float(measure), 4) for name, (_, measure) in judged.items()},
            "actions": summary_of_actions(trace),
            "seconds": trace.metadata["seconds"],
            "restarts": restarts,
            "video": job.video,
            "similarity": bool(self.judge) and job.similarity,
        }

    def close(self) -> None:
        """Close the game."""
        self._game.close()
        self._cache.close()
