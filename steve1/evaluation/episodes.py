"""Episodes as jobs: what to play, how one is played and judged, and the log that survives a kill.

In: contestants, tasks, a number of episodes. Out: one JSON line for each finished episode, judged by the rules of every task
of its place. Seeds and start states depend on the place and the episode's number alone, so that all contestants
and prompts are paired.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions
from steve1.core.errors import UserError
from steve1.core.files import write_json
from steve1.core.seeds import integer
from steve1.rollout.play import play
from steve1.rollout.supervise import SupervisedEnv
from steve1.rollout.trace import Trace
from steve1.rollout.videos import EpisodeVideo

from .contestants import Bench, Contestant
from .suite import Task


@dataclasses.dataclass(frozen=True)
class Job:
    """One episode to play; plain values, so that it travels to a worker.

    Attributes:
        key: unique in its run; finished keys are not played again.
        contestant: its name.
        row: what it is asked for: a task's name, or NO_GOAL, or "" for players without a goal.
        prompt: the goal's name in the table of goals ("" without one).
        behaviour: the scripted player for `player:own`.
        tasks: the tasks of this place, all judged.
        number: the episode's number, from 0.
        seed: for the environment and, through it, for everything random in the agent.
        start: the start state.
    """

    key: str
    contestant: str
    row: str
    prompt: str
    behaviour: str
    tasks: tuple[str, ...]
    number: int
    seed: int
    start: dict[str, Any] | None
    video: str = ""


def episode_seed(place: str, number: int, seed: int) -> int:
    """The seed of episode `number` in a place: the same for every contestant and prompt."""
    return integer(seed, "episode", place, number)


def starts_for(env: str, surroundings: str, split: str) -> list[dict[str, Any]]:
    """The environment's kept start states.

    Raises:
        UserError: it has none for these surroundings.
    """
    from steve1.envs import start_states

    starts = list(start_states(env, surroundings, split=split))
    if not starts:
        raise UserError("There are no start states.", where=f"{env}, {surroundings}, split {split}")
    return starts


def groups_of_place(tasks: Sequence[Task]) -> list[list[Task]]:
    """Tasks grouped so that those of a group can be judged on the same episodes, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.place, []).append(task)
    return list(groups.values())


def watched(contestant: Contestant, behaviour: str) -> dict[str, Any]:
    """The reset option with which a scripted player is shown the blocks that it looks for."""
    if contestant.kind != "player":
        return {}
    from steve1.players import BEHAVIOURS

    known = BEHAVIOURS.get(behaviour)
    return {"watch": dict(known.watch)} if known and known.watch else {}


def summary_of_actions(trace: Trace) -> dict[str, float]:
    """Share of steps with each of the commonest buttons, and the mean camera movement in degrees a step."""
    pressed, camera = actions.joint_to_arrays(trace.tokens[:, 0], trace.tokens[:, 1])
    shares = {name: round(float(pressed[:, index].mean()), 4) for index, name in enumerate(actions.BUTTONS) if index < 9}
    shares["camera"] = round(float(np.abs(np.asarray(camera, dtype=np.float64)).sum(axis=1).mean()), 4)
    return shares


@dataclasses.dataclass
class EpisodeRunner:
    """Plays jobs in one process: one game, each policy once.

    Attributes:
        contestants, tasks: by name.
        goals: {contestant: {prompt: goal}}.
        open_env: opens the game; called again after a crash.
        folder: where traces and videos go.
    """

    contestants: Mapping[str, Contestant]
    tasks: Mapping[str, Task]
    goals: Mapping[str, Mapping[str, NDArray[np.float32]]]
    open_env: Callable[[], Any]
    folder: Path
    deterministic: bool = False
    device: str = "cpu"
    max_restarts: int = 3

    def __post_init__(self) -> None:
        self._bench = Bench(device=self.device, deterministic=self.deterministic)
        self._game = SupervisedEnv(self.open_env, max_restarts=self.max_restarts)

    def run(self, job: Job) -> dict[str, Any]:
        """Play one job, keep its trace (and video), and return its line for the log."""
        contestant = self.contestants[job.contestant]
        tasks = [self.tasks[name] for name in job.tasks]
        goal = self.goals.get(job.contestant, {}).get(job.prompt)
        steps = tasks[0].steps
        before = self._game.restarts

        def episode(env: Any) -> Trace:
            actor = self._bench.actor(contestant, goal, job.seed, job.behaviour)
            options = {**tasks[0].reset_options(), **watched(contestant, job.behaviour)}
            settings: dict[str, Any] = {"seed": job.seed, "start": job.start, "options": options}
            facts = {"contestant": job.contestant, "row": job.row, "prompt": job.prompt, "key": job.key}
            if not job.video:
                return play(actor, env, steps, metadata=facts, **settings)
            # Without a title: films put the contestant's name above the picture.
            with EpisodeVideo(self.folder / job.video, job.prompt or job.behaviour or job.contestant, steps) as video:
                return play(actor, env, steps, metadata=facts, on_frame=video.on_frame, **settings)

        trace = self._game.episode(episode)
        trace.save(self.folder / "traces" / job.key)
        return self._line(job, trace, tasks, self._game.restarts - before)

    def _line(self, job: Job, trace: Trace, tasks: Sequence[Task], restarts: int) -> dict[str, Any]:
        judged = {task.name: task.judge(trace) for task in tasks}
        return {
            "key": job.key,
            "contestant": job.contestant,
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
        }

    def close(self) -> None:
        """Close the game."""
        self._game.close()


class EpisodeLog:
    """`episodes.jsonl`: one line for each finished episode, appended and synced before it counts.

    A line cut off by a kill is dropped when the log is opened again. The run's settings lie beside it; a log is
    only continued under the same settings.
    """

    def __init__(self, folder: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        """Open or continue.

        Raises:
            UserError: the folder holds a run with other settings (names what differs), or a damaged line.
        """
        self.folder = Path(folder)
        self.path = self.folder / "episodes.jsonl"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check(json.loads(json.dumps(settings)))
        self.lines = self._read()

    def _check(self, settings: Mapping[str, Any]) -> None:
        path = self.folder / "settings.json"
        if not path.exists():
            write_json(path, settings)
            return
        kept = json.loads(path.read_text(encoding="utf-8"))
        differing = sorted(name for name in set(kept) | set(settings) if kept.get(name) != settings.get(name))
        # More episodes, more contestants or tasks only add lines; everything else would mix different experiments.
        growing = {"episodes", "contestants", "tasks", "videos", "prompts"}
        changed = [name for name in differing if name not in growing or not _grown(name, kept[name], settings[name])]
        if changed:
            raise UserError(
                "This folder holds an evaluation with other settings.",
                where=f"{path}: {', '.join(changed)}",
                expected={name: kept.get(name) for name in changed},
                got={name: settings.get(name) for name in changed},
                todo="choose another --name, or remove the folder",
            )
        if differing:
            named = {facts["name"] for facts in settings.get("contestants", [])}
            others = [facts for facts in kept.get("contestants", []) if facts["name"] not in named]
            union = {"contestants": [*settings.get("contestants", []), *others], "prompts": {**kept.get("prompts", {}), **settings.get("prompts", {})}}
            write_json(path, {**settings, **union})

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.exists():
            return {}
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) != len(data):
            os.truncate(self.path, len(whole))
        lines: dict[str, dict[str, Any]] = {}
        for number, text in enumerate(whole.splitlines(), start=1):
            try:
                line = json.loads(text)
                lines[line["key"]] = line
            except (ValueError, KeyError, TypeError) as fault:
                raise UserError("This log has a damaged line.", where=f"{self.path}:{number}", got=str(fault), todo="remove that line; its episode is then played again") from None
        return lines

    def add(self, line: dict[str, Any]) -> None:
        """Append a finished episode; on disk when this returns."""
        with open(self.path, "ab") as handle:
            handle.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
            handle.flush()
            os.fsync(handle.fileno())
        self.lines[line["key"]] = line


def _grown(name: str, kept: Any, now: Any) -> bool:
    """Whether what both settings name (a contestant, a row's prompt) is the same in both."""
    if name == "prompts":
        return all(kept.get(row, prompt) == prompt for row, prompt in now.items())
    if name != "contestants":
        return True
    known = {facts["name"]: facts for facts in kept}
    return all(known.get(facts["name"], facts) == facts for facts in now)
