"""Plays episodes of an evaluation and judges each by the rules of every task that begins alike.

Input: a plan, the goals of its prompts, and jobs.
Output: one JSON line for each finished episode; its trace, video and similarity curves in the run's folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from steve1 import actions
from steve1.actions.camera import to_degrees
from steve1.envs import Env, make_env, start_states
from steve1.evaluation.policies import GoalTable, PolicyCache
from steve1.evaluation.runner.inference import RemotePolicyCache
from steve1.evaluation.runner.plan import Job, Plan, StartsFor
from steve1.evaluation.runner.similarity import GoalSimilarity, save_curves
from steve1.rollout.play import Actor, EpisodeOptions, play
from steve1.rollout.players import BEHAVIOURS
from steve1.rollout.supervise import SupervisedEnv
from steve1.rollout.trace import Trace
from steve1.rollout.video import EpisodeVideo


@dataclasses.dataclass(frozen=True)
class OpenGame:
    """Opens the environment in whichever process needs it."""

    env: str

    def __call__(self, instance: int) -> Env:
        return make_env(self.env, instance=instance)


@dataclasses.dataclass(frozen=True)
class EpisodeInputs:
    """What episodes need beside a plan; picklable, since workers are given it.

    Attributes:
        open_game: opens the game of a worker's number; None: the plan's.
        starts_of: finds start states.
        goals: {policy: {prompt: goal}}; None: they are encoded when first needed.
        similarity: measures similarity to goals; None: not measured, or with `goals` None by the plan's base.
    """

    open_game: Callable[[int], Env] | None = None
    starts_of: StartsFor = start_states
    goals: GoalTable | None = None
    similarity: GoalSimilarity | None = None


def watch_options(behaviour: str) -> dict[str, Any]:
    """The reset option with which the game shows a scripted player the blocks that it looks for."""
    known = BEHAVIOURS.get(behaviour)
    return {"watch": dict(known.watch)} if known and known.watch else {}


def summary_of_actions(trace: Trace) -> dict[str, float]:
    """Share of steps with each of the commonest buttons, and the mean camera movement in degrees a step."""
    pressed, bins = actions.joint_to_arrays(*trace.tokens.T)
    # The hotbar's nine buttons are left out: one line each would hide the rest.
    shares = {name: share for name, share in zip(actions.BUTTONS, pressed.mean(axis=0)) if "hotbar" not in name}
    shares["camera"] = np.abs(to_degrees(bins)).sum(axis=1).mean()
    return {name: round(float(share), 4) for name, share in shares.items()}


def play_episode(
    game: SupervisedEnv,
    make_actor: Callable[[], Actor],
    steps: int,
    *,
    video: Path | None = None,
    caption: str | Callable[[], str] = "",
    title: str = "",
    small: bool = False,
    **episode: Unpack[EpisodeOptions],
) -> Trace:
    """Play one episode; if the game dies, play it again with a new actor.

    Args:
        video: where to film it; `small` as in EpisodeVideo.
        caption, title: texts of the video; a caption that changes is asked for at each frame.
    """

    def once(env: Env) -> Trace:
        with contextlib.ExitStack() as stack:
            listeners = [episode.get("on_frame")]
            fixed = caption if isinstance(caption, str) else ""
            film = stack.enter_context(EpisodeVideo(video, fixed, steps, title=title, small=small)) if video else None
            listeners.append(film.on_frame if film else None)

            def on_frame(frame: NDArray[np.uint8], action: Mapping[str, Any], step: int) -> None:
                if film is not None and not isinstance(caption, str):
                    film.ask(caption())
                for listener in filter(None, listeners):
                    listener(frame, action, step)

            options: EpisodeOptions = {**episode, "on_frame": on_frame}
            return play(make_actor(), env, steps, **options)

    return game.episode(once)


class EpisodeRunner:
    """Plays jobs in one process: one game, each policy loaded once."""

    def __init__(self, plan: Plan, inputs: EpisodeInputs, service: str, index: int) -> None:
        """`service` is the address of a process that holds the policies; "": they are loaded here. `index`: the worker's number."""
        assert inputs.open_game is not None
        self._plan, self._goals, self._similarity = plan, inputs.goals or {}, inputs.similarity
        self._policies = {spec.name: spec for spec in plan.policies}
        settings = plan.settings
        own = PolicyCache(device=settings.device, deterministic=settings.deterministic)
        self._cache = RemotePolicyCache(service) if service else own
        self._game = SupervisedEnv(functools.partial(inputs.open_game, index), max_restarts=settings.max_restarts)

    def run(self, job: Job) -> dict[str, Any]:
        """Play one job, keep its trace (and video), and return its line for the log."""
        spec, folder = self._policies[job.policy], self._plan.folder
        tasks = [self._plan.suite.tasks[name] for name in job.tasks]
        goal = self._goals.get(job.policy, {}).get(job.prompt)
        restarts = self._game.restarts
        self._cache.prepare(spec, goal)
        recorder = self._similarity.recorder(job.tasks) if self._similarity and job.similarity else None

        trace = play_episode(
            self._game,
            lambda: self._cache.actor(spec, goal, job.seed, job.behaviour),
            tasks[0].steps,
            # Without a title: side-by-side videos put the policy's name above the picture.
            video=folder / job.video if job.video else None,
            caption=job.prompt or job.behaviour or job.policy,
            on_frame=recorder.on_frame if recorder else None,
            seed=job.seed,
            start=job.start,
            options={**tasks[0].reset_options(), **watch_options(job.behaviour)},
            metadata={"contestant": job.policy, "row": job.row, "prompt": job.prompt, "key": job.key},
        )
        # The trace comes last before the log's line: where there is a trace, there is the rest.
        if recorder is not None:
            save_curves(folder, job.key, recorder)
        trace.save(folder / "traces" / job.key)
        judged = {task.name: task.judge(trace) for task in tasks}
        return {
            "key": job.key,
            "contestant": job.policy,
            "row": job.row,
            "prompt": job.prompt,
            "number": job.number,
            "seed": job.seed,
            "start": (job.start or {}).get("id"),
            "steps": len(trace),
            "ended": trace.metadata["ended"],
            "success": {name: bool(success) for name, (success, _) in judged.items()},
            "measure": {name: round(float(measure), 4) for name, (_, measure) in judged.items()},
            "actions": summary_of_actions(trace),
            "seconds": trace.metadata["seconds"],
            "restarts": self._game.restarts - restarts,
            "video": job.video,
            "similarity": bool(self._similarity) and job.similarity,
        }

    def close(self) -> None:
        """Close the game."""
        self._game.close()
        self._cache.close()
