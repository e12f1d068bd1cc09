"""How many steps a second an evaluation makes, beside what the game alone makes.

Input: numbers of episodes and workers.
Output: steps/s of whole evaluations (starts, resets, MineCLIP's measuring and writing counted), percent of the game's own rate in the
same run, and where an episode's time goes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from steve1.core.paths import ROOT
from steve1.evaluation.pipeline import evaluate
from steve1.evaluation.runner.episodes import EpisodeInputs, OpenGame
from steve1.evaluation.settings import EvaluationSettings

MINI = "data/mini/mini.weights"
TASK = "dig_dirt"


def game_rate(steps: int = 400) -> float:
    """Steps/s of one game that stands still, pictures included, nothing else running."""
    with contextlib.closing(OpenGame("luanti")(0)) as env:
        env.reset(seed=0)
        begin = time.perf_counter()
        for _ in range(steps):
            env.step({"camera": [0.0, 0.0]})
        return steps / (time.perf_counter() - begin)


def measure(
    episodes: int = 6, workers: Sequence[int] = (1, 2), policy: str = MINI, inputs: EpisodeInputs | None = None
) -> dict[str, Any]:
    """Evaluate a policy (weights below the project's root, or anywhere) and a player who does nothing on one task, each with every number of workers.

    Returns:
        game_steps_per_s: one game alone; for each "<who>_<n>": steps_per_s of the whole run; playing_steps_per_s: the same without what
        comes before the first episode (loading, starting games); percent_of_game: of game_steps_per_s; and for the policy game_share,
        acting_share, reset_share: of an episode's seconds.
    """
    rate = game_rate()
    found: dict[str, Any] = {
        "task": TASK,
        "episodes_per_worker": episodes,
        "game_steps_per_s": round(rate, 1),
        "cores": os.cpu_count() or 1,
    }
    for who, name in (("nothing", "nothing"), (str(ROOT / policy), "policy")):
        for count in workers:
            found[f"{name}_{count}"] = run(who, count, episodes, rate, inputs)
    return found


def run(policy: str, workers: int, episodes: int, rate: float, inputs: EpisodeInputs | None = None) -> dict[str, Any]:
    """One evaluation's figures, as `measure` describes them; `rate`: steps/s of the game alone."""
    with tempfile.TemporaryDirectory() as folder:
        settings = EvaluationSettings(
            weights=(policy,),
            tasks=(TASK,),
            episodes=episodes * workers,
            workers=workers,
            folder=f"{folder}/run",
            similarity=0,
        )
        begin = time.perf_counter()
        report = evaluate(settings, inputs)
        wall = time.perf_counter() - begin
    steps = sum(int(line["steps"]) for line in report.lines)
    spent = {
        name: sum(float(line["seconds"].get(name, 0.0)) for line in report.lines)
        for name in ("total", "reset", "acting", "game")
    }
    playing = steps / (spent["total"] / workers)
    figures: dict[str, Any] = {
        "steps_per_s": round(steps / wall, 1), "playing_steps_per_s": round(playing, 1), "percent_of_game": round(100 * playing / rate, 1),
    }  # fmt: skip
    return figures | {f"{name}_share": round(spent[name] / spent["total"], 3) for name in ("game", "acting", "reset")}
