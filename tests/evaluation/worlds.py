"""A small world for evaluations: a suite of three tasks, goals of fake agents, settings that play in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from steve1.evaluation.pipeline import evaluate
from steve1.evaluation.policies import NO_GOAL
from steve1.evaluation.runner.episodes import EpisodeInputs
from steve1.evaluation.settings import EvaluationSettings
from tests.rollout.fakes import OpenFake, fake_starts, goal

SUITE = """
env: luanti
defaults: {steps: 40, inventory: {dirt: 9}}
tasks:
  dig_dirt:
    prompts: {en: dig dirt, zh: 挖泥土}
    biome: meadow
    success: {kind: item_gained, names: [dirt], at_least: 4}
    measure: {kind: item_gained, names: [dirt], name: dirt gained}
  look_at_sky:
    prompts: {en: look at the sky}
    biome: meadow
    success: {kind: pitch_in_last_part, part: 0.3333, at_most: -50}
    measure: {kind: pitch_in_last_part, part: 0.3333, name: mean pitch}
  swim:
    prompts: {en: swim}
    biome: shore
    success: {kind: distance_in_water, at_least: 5}
    measure: {kind: distance_in_water, name: distance in water}
"""
GOALS = {"dig dirt": goal(0), "look at the sky": goal(1), "swim": goal(2), NO_GOAL: np.zeros(4, dtype=np.float32)}


def settings(world: Path, *names: str, **more: Any) -> EvaluationSettings:
    files = [str(world / f"{name}.weights") if name in ("base", "tuned") else name for name in names]
    values: dict[str, Any] = {
        "episodes": 4,
        "workers": 0,
        "folder": str(world / "run"),
        "suite": str(world / "suite.yaml"),
        **more,
    }
    return EvaluationSettings(weights=tuple(files), **values)


def injected(names: tuple[str, ...] = ("base", "tuned"), **more: Any) -> EpisodeInputs:
    return EpisodeInputs(
        **{"open_game": OpenFake(), "starts_of": fake_starts, "goals": dict.fromkeys(names, GOALS), **more}
    )


def floors_played(folder: str, suite: str) -> None:
    """An evaluation of the baselines by two workers; importable by other processes."""
    chosen = EvaluationSettings(weights=("random", "nothing"), episodes=8, workers=2, folder=folder, suite=suite)
    evaluate(chosen, injected(()))
