"""Films of an iteration's best-paid and worst-paid episode beside each other, with what each term of the reward has paid so far in the picture.

Every episode of a filmed iteration is filmed small while it is played, because a game that is played again does not go the same way.
Input: these videos and the judged episodes. Output: films/<iteration>.mp4 in the run's folder, and a .json that says what they earned.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steve1.core.files import read_json, remove, write_json
from steve1.rl.rollouts import Rollout
from steve1.rl.settings import RlSettings
from steve1.rollout.video import Panel, side_by_side
from steve1.training.logging.layout import in_language

FOLDER = "films"
_EPISODE = re.compile(r"\d+-\d+\.mp4")
_TITLES = {"best": "best paid · 得分最高", "worst": "worst paid · 得分最低"}


@dataclasses.dataclass(frozen=True)
class Film:
    """A film with what its episodes earned: {"best" or "worst": {"return": …, "parts": {term: …}, "success": …}}."""

    path: Path
    iteration: int
    earned: dict[str, dict[str, Any]]


def is_filmed(settings: RlSettings, iteration: int) -> bool:
    """Whether the episodes of an iteration (from 0) are filmed: every few, and the last."""
    every = settings.films_every
    return every > 0 and (iteration % every == 0 or iteration == settings.iterations - 1)


def film_iteration(run_dir: Path, folder: Path, rollouts: Sequence[Rollout], iteration: int, prompt: str) -> None:
    """Put the videos of the best-paid and the worst-paid episode beside each other, and remove all videos of episodes.

    Without these two videos, as where filming was turned on later, there is no film.

    Args:
        folder: of the iteration's videos.
        iteration: from 1, as curves count.
    """
    ranked = sorted(rollouts, key=lambda rollout: (float(rollout.reward.sum()), rollout.key))
    chosen = {"best": ranked[-1], **({"worst": ranked[0]} if len(ranked) > 1 else {})}
    videos = {name: folder / f"{rollout.key}.mp4" for name, rollout in chosen.items()}
    path = run_dir / FOLDER / f"{iteration:06d}.mp4"
    if not path.is_file() and all(video.is_file() for video in videos.values()):
        path.parent.mkdir(exist_ok=True)
        write_json(path.with_suffix(".json"), {name: _earned(rollout) for name, rollout in chosen.items()})
        panels = [_panel(videos[name], in_language(_TITLES[name]), rollout) for name, rollout in chosen.items()]
        words = in_language(f"iteration {iteration} · 第 {iteration} 次迭代")
        side_by_side(panels, path, heading=f"{prompt}: {words}")
    for rollout in rollouts:
        video = folder / f"{rollout.key}.mp4"
        if video.is_file():
            remove(video, ours=_EPISODE)


def films_of(run_dir: Path) -> list[Film]:
    """A run's films in the order of iterations."""
    paths = [path for path in sorted((run_dir / FOLDER).glob("*.mp4")) if path.with_suffix(".json").is_file()]
    return [Film(path, int(path.stem), read_json(path.with_suffix(".json"))) for path in paths if path.stem.isdecimal()]


def _earned(rollout: Rollout) -> dict[str, Any]:
    return {
        "episode": rollout.key,
        "return": float(rollout.reward.sum()),
        "parts": {name: float(part.sum()) for name, part in rollout.parts.items()},
        "success": bool(rollout.success),
    }


def _panel(video: Path, title: str, rollout: Rollout) -> Panel:
    """The video with the reward so far below it, and what each term has paid so far in the picture."""
    paid = np.cumsum(rollout.reward)
    parts = {name: np.cumsum(part) for name, part in rollout.parts.items()}
    notes = [[f"{name} {part[step]:+.2f}" for name, part in parts.items()] for step in range(len(rollout))]
    words = in_language("return · 回报")
    return Panel(video, title, [f"{words} {so_far:.2f}" for so_far in paid], rollout.success, notes)
