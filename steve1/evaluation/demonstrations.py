"""Visual prompts: goals from demonstrations that succeeded, without any text.

Input: embedded episodes of scripted or human players, or a game in which the scripted players show the tasks.
Output: for each task the goal of its most typical moment, float32 (E,), and where it comes from.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import atomic_file, read_json, write_json
from steve1.core.messages import translated
from steve1.core.paths import display, quoted, resolve
from steve1.core.seeds import integer
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.evaluation.runner.episodes import EpisodeInputs, OpenGame, play_episode, watch_options
from steve1.evaluation.runner.plan import Plan
from steve1.evaluation.runner.similarity import Embeddings, SimilarityRecorder, unit
from steve1.evaluation.tasks.suite import Task
from steve1.goals import GoalEncoder
from steve1.mineclip.model import EpisodeStream
from steve1.rollout.players import make_player
from steve1.rollout.supervise import SupervisedEnv

_ENOUGH, _TRIES = 3, 8


@dataclasses.dataclass(frozen=True)
class VisualPrompt:
    """A demonstration: `source` for people, `goals` float32 (N, E) without rows that are not numbers, `frames` int (N,), `behaviour`."""

    source: str
    goals: Embeddings
    frames: NDArray[np.int64]
    behaviour: str

    @classmethod
    def of(cls, source: str, rows: Embeddings, behaviour: str) -> VisualPrompt:
        """From all rows of an episode, of which the first have no embedding."""
        frames = np.flatnonzero(np.isfinite(rows).all(axis=1))
        return cls(source, rows[frames].astype(np.float32), frames, behaviour)


def typical(shown: Sequence[VisualPrompt]) -> tuple[Embeddings, str]:
    """(goal (E,), where it is from): the moment whose direction is nearest to the mean direction of all moments.

    Raises:
        UserError: there is no moment, as all are too short.
    """
    rows = np.concatenate([each.goals for each in shown])
    places = [f"{each.source}, frame {frame}" for each in shown for frame in each.frames]
    if not places:
        raise UserError(
            "These demonstrations are too short for a goal.",
            where=", ".join(each.source for each in shown),
            expected="16 frames or more",
        )
    nearest = int((unit(rows) @ unit(unit(rows).mean(axis=0))).argmax())
    return rows[nearest], places[nearest]


def read_demonstrations(folders: Sequence[str], *, width: int = 0, successful: bool = True) -> list[VisualPrompt]:
    """Embedded episodes below `folders`; those without goals (or too short for one) are left out, and if `successful` those that their recorder says failed.

    Raises:
        UserError: a folder is missing, holds no embedded episode, or goals of another width than `width` (0: any).
    """
    found = []
    for folder in folders:
        for path in find_episodes(folder):
            if not any((path / name).exists() for name in ("embeds_attn.npy", "embeds_attn.pkl")):
                continue
            episode = Episode(path)
            facts = episode.metadata
            if successful and (facts.get("options") or {}).get("success") is False:
                continue
            rows = np.asarray(episode.goals, dtype=np.float32)
            if width and rows.shape[1] != width:
                raise UserError(
                    "These demonstrations are embedded by another MineCLIP.",
                    where=display(path),
                    expected=f"width {width}",
                    got=rows.shape[1],
                )
            source = f"{Path(folder).name}/{path.name}"
            prompt = VisualPrompt.of(source, rows, str(facts.get("behaviour") or ""))
            if len(prompt.frames):
                found.append(prompt)
    if not found:
        raise UserError(
            "There is no embedded demonstration that succeeded.",
            where=", ".join(folders),
            todo=f"python tools/generate_mineclip_embeds.py --dataset_dir {quoted(folders[0]) if folders else '…'}",
        )
    return found


def play_demonstrations(
    task: Task, game: SupervisedEnv, stream: EpisodeStream, starts: Sequence[Mapping[str, Any]], seed: int
) -> list[VisualPrompt]:
    """Demonstrations of a task by its scripted player, from start states of demonstrations, until a few have succeeded.

    Raises:
        UserError: the task has no scripted player, or it never succeeded.
    """
    todo = "pass --demonstrations, or leave the task out"
    if not task.player:
        raise UserError(f"The task {task.name} has no scripted player that could show it.", todo=todo)
    options = {**task.reset_options(), **watch_options(task.player)}
    found: list[VisualPrompt] = []
    for number in range(_TRIES):
        start = starts[number % len(starts)]
        once = integer(seed, "demonstration", task.name, number)
        recorder = SimilarityRecorder(stream, {"": np.ones(1, np.float32)})
        make_actor = functools.partial(make_player, task.player, once)
        see = recorder.on_frame
        trace = play_episode(game, make_actor, task.steps, seed=once, start=start, options=options, on_frame=see)
        if task.judge(trace)[0]:
            source = f"{task.player} at {start.get('id', number)}"
            found.append(VisualPrompt.of(source, recorder.embeddings(), task.player))
            if len(found) == _ENOUGH:
                break
    if not found:
        message = f"The scripted player {task.player} did not succeed at {task.name} in {_TRIES} tries."
        raise UserError(message, todo=todo)
    return found


def shown_goals(
    tasks: Sequence[Task],
    folder: Path,
    *,
    show: Callable[[Task], list[VisualPrompt]],
    demonstrations: Sequence[str] = (),
    width: int = 0,
) -> dict[str, Embeddings]:
    """{task name: goal}; kept in `folder` (shown_goals.npz, shown_goals.json), so that a run that goes on uses the same ones.

    Args:
        show: plays demonstrations of a task, where no folder is given.
        demonstrations: folders of embedded episodes; a task takes those of its scripted player's behaviour.
        width: E.

    Raises:
        UserError: a task has no demonstration, or its goal was kept from other folders.
    """
    archive, facts = folder / "shown_goals.npz", folder / "shown_goals.json"
    kept: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    named = sorted({display(resolve(each)) for each in demonstrations})
    if archive.exists() and facts.exists():
        with np.load(archive, allow_pickle=False) as arrays:
            kept = {name: arrays[name] for name in arrays.files}
        sources = read_json(facts)
        for task in tasks:
            # Earlier versions kept the moment alone.
            then = source["demonstrations"] if isinstance(source := sources.get(task.name), dict) else named
            if then != named:
                raise UserError(
                    f"The goal of {task.name} was taken from other demonstrations.",
                    where=display(facts),
                    expected=", ".join(then) or translated("the scripted player"),
                    got=", ".join(named) or translated("the scripted player"),
                    todo="choose another --name, or remove the folder",
                )
    missing = [task for task in tasks if task.name not in kept]
    read = read_demonstrations(demonstrations, width=width) if missing and demonstrations else []
    for task in missing:
        fitting = [each for each in read if each.behaviour in (task.player, task.name)]
        mine = fitting if demonstrations else show(task)
        if not mine:
            raise UserError(
                f"There is no demonstration of {task.name}.",
                where=", ".join(demonstrations),
                expected=task.player or task.name,
                got=", ".join(sorted({each.behaviour for each in read})),
            )
        kept[task.name], moment = typical(mine)
        sources[task.name] = {"moment": moment, "demonstrations": named}
    if missing:
        with atomic_file(archive) as handle:
            np.savez(handle, **kept)
        write_json(facts, sources)
    return {task.name: kept[task.name] for task in tasks}


def demonstrated_goals(plan: Plan, inputs: EpisodeInputs) -> dict[str, Embeddings]:
    """{prompt: goal} from demonstrations, of the base's MineCLIP; the game is opened only if one must be played."""
    mineclip = GoalEncoder(plan.base.metadata, device=plan.settings.device).mineclip
    open_game = inputs.open_game or OpenGame(plan.env)
    with SupervisedEnv(lambda: open_game(0)) as game:

        def show(task: Task) -> list[VisualPrompt]:
            starts = inputs.starts_of(plan.env, task.biome, "demo")
            return play_demonstrations(task, game, EpisodeStream(mineclip), starts, plan.settings.seed)

        folders = plan.settings.demonstrations
        goals = shown_goals(plan.tasks, plan.folder, show=show, demonstrations=folders, width=mineclip.embed_dim)
    return {row.prompt: goals[row.task] for row in plan.rows if row.task in goals}
