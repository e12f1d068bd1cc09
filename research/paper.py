"""The prompts of STEVE-1's paper, text and visual, as videos.

Input: weights, the list of prompts, visual goals (published pickles, or demonstrations).
Output: one video and trace for each; what exists is skipped, and everything is loaded once.
"""

from __future__ import annotations

import dataclasses
import functools
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.reading.pickles import load_restricted
from steve1.evaluation.demonstrations import read_demonstrations, typical
from steve1.evaluation.policies import PolicyCache, PolicySpec
from steve1.evaluation.runner.episodes import play_episode
from steve1.evaluation.tasks.suite import Suite
from steve1.rollout.supervise import SupervisedEnv
from steve1.rollout.trace import Trace

FILE = Path(__file__).with_name("paper_prompts.yaml")
Goal = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class PaperPrompt:
    """One prompt: its name, text, where it begins, and the task of ours that is about the same ("" if none)."""

    name: str
    prompt: str
    biome: str
    task: str


@dataclasses.dataclass(frozen=True)
class Film:
    """One video to make."""

    prompt: PaperPrompt
    kind: str
    goal: Goal
    cond_scale: float
    path: Path


def paper_prompts() -> list[PaperPrompt]:
    """All of them, in the paper's order."""
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return [PaperPrompt(name, **facts) for name, facts in content.items()]


def published_goals(path: Path) -> dict[str, Goal]:
    """{name: goal} from the published visual prompts: a folder of pickles, or their zip; nothing in them is executed.

    Raises:
        UserError: there is none, or one is not an embedding.
    """
    found: dict[str, Any] = {}
    if path.is_dir():
        found = {file.stem: load_restricted(file) for file in sorted(path.rglob("*.pkl"))}
    elif path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".pkl")]
                found = {Path(name).stem: load_restricted(archive.read(name)) for name in names}
        except zipfile.BadZipFile as fault:
            raise UserError(
                "This file of visual prompts is no zip.", where=path, got=str(fault), todo="bash 0_download_weights.sh"
            ) from fault
    goals: dict[str, Goal] = {}
    for name, value in found.items():
        numbers = value if isinstance(value, (np.ndarray, list, tuple)) else ()
        row = np.asarray(numbers, dtype=np.float32).reshape(-1)
        if not row.size or not np.isfinite(row).all():
            raise UserError("This visual prompt is no embedding.", where=f"{path}: {name}", got=type(value).__name__)
        goals[name] = row
    if not goals:
        raise UserError(
            "There are no visual prompts.",
            where=path,
            expected="<name>.pkl, e.g. dig.pkl",
            todo="bash 0_download_weights.sh, or --demonstrations",
        )
    return goals


def demonstrated_goals(
    prompts: Sequence[PaperPrompt], suite: Suite, folders: Sequence[str], width: int
) -> dict[str, Goal]:
    """{name: goal} from demonstrations of the tasks that the prompts are about; prompts without any are left out."""
    shown = read_demonstrations(folders, width=width)
    goals: dict[str, Goal] = {}
    for prompt in prompts:
        task = suite.tasks.get(prompt.task)
        mine = [each for each in shown if task and each.behaviour in (task.player, task.name)]
        if mine:
            goals[prompt.name] = typical(mine)[0]
    return goals


def films_to_make(
    prompts: Sequence[PaperPrompt],
    text: Mapping[str, Goal],
    visual: Mapping[str, Goal],
    scales: tuple[float, float],
    folder: Path,
) -> list[Film]:
    """One film for each prompt and kind of goal that there is; names as in the published script."""
    found = []
    for kind, goals, scale in (("Text", text, scales[0]), ("Visual", visual, scales[1])):
        for prompt in prompts:
            if prompt.name in goals:
                path = folder / f"{prompt.name} - {kind} Prompt.mp4"
                found.append(Film(prompt, kind, goals[prompt.name], scale, path))
    return found


def made_otherwise(film: Film, now: Mapping[str, Any]) -> list[str]:
    """In what a film that is there differs from the one that would be made now, by the trace beside it."""
    trace = film.path.with_suffix(".json")
    known = read_json(trace) if trace.is_file() else {}
    pairs = {"cond_scale": film.cond_scale, **now}
    return [f"{name} {known[name]} (now {value})" for name, value in pairs.items() if known.get(name, value) != value]


def make_film(
    film: Film,
    spec: PolicySpec,
    cache: PolicyCache,
    game: SupervisedEnv,
    start: Mapping[str, Any],
    options: Mapping[str, Any],
    steps: int,
    seed: int,
    facts: Mapping[str, Any] | None = None,
) -> Trace:
    """Play and film one prompt; the trace, with further facts, lies beside the video."""
    player = dataclasses.replace(spec, metadata=dataclasses.replace(spec.metadata, cond_scale=film.cond_scale))
    cache.prepare(player, film.goal)
    caption = film.prompt.prompt if film.kind == "Text" else f"{film.prompt.name} (visual prompt)"
    trace = play_episode(
        game,
        functools.partial(cache.actor, player, film.goal, seed),
        steps,
        video=film.path,
        caption=caption,
        title=spec.name,
        seed=seed,
        start=start,
        options=options,
        metadata={"prompt": caption, "kind": film.kind, "cond_scale": film.cond_scale, **(facts or {})},
    )
    trace.save(film.path.with_suffix(""))
    return trace
