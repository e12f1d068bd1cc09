"""Which episodes an iteration plays: a function of the settings, the iteration and the game's start states alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from steve1.core.errors import UserError
from steve1.core.seeds import generator, integer

PRIOR_SEEDS = 4
"""Draws of the prior that take turns, so that the prompt is learned and not one goal vector; evaluation uses another one."""
FIRST_PRIOR_SEED = 101


@dataclasses.dataclass(frozen=True)
class EpisodeJob:
    """One episode to play.

    Attributes:
        key: file name of its rollout, without folder and ending.
        group: episodes of one group share everything but the agent's seed.
        start, env_seed: where and in which world.
        agent_seed: of the policy's draws.
        prompt, prior_seed: of the goal; prompt "": no goal.
    """

    key: str
    group: int
    start: Mapping[str, Any]
    env_seed: int
    agent_seed: int
    prompt: str
    prior_seed: int


def plan_iteration(
    seed: int, iteration: int, places: int, group: int, prompt: str, starts: Sequence[Mapping[str, Any]]
) -> list[EpisodeJob]:
    """The episodes of an iteration, place by place.

    Args:
        starts: start states that may be trained on; each is used once before any is used again.

    Raises:
        UserError: there is none, or one of those that evaluations use.
    """
    check_starts(starts)
    jobs = []
    for place in range(places):
        turn, position = divmod(iteration * places + place, len(starts))
        order = generator(seed, "places", turn).permutation(len(starts))
        env_seed = integer(seed, "world", iteration, place)
        for member in range(group):
            jobs.append(
                EpisodeJob(
                    key=f"{place:02d}-{member:02d}",
                    group=place,
                    start=starts[int(order[position])],
                    env_seed=env_seed,
                    agent_seed=integer(seed, "draws", iteration, place, member),
                    prompt=prompt,
                    prior_seed=FIRST_PRIOR_SEED + (iteration * places + place) % PRIOR_SEEDS,
                )
            )
    return jobs


def plan_keeping(
    seed: int, prompts: Sequence[str], episodes: int, starts: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[EpisodeJob]:
    """The episodes that the starting policy plays once, of each prompt at its own places.

    Args:
        starts: {prompt: start states}.
    """
    jobs = []
    for number, prompt in enumerate(prompts):
        check_starts(starts[prompt])
        order = generator(seed, "keep", prompt).permutation(len(starts[prompt]))
        for episode in range(episodes):
            jobs.append(
                EpisodeJob(
                    key=f"{number:02d}-{episode:02d}",
                    group=number,
                    start=starts[prompt][int(order[episode % len(order)])],
                    env_seed=integer(seed, "keep world", prompt, episode),
                    agent_seed=integer(seed, "keep draws", prompt, episode),
                    prompt=prompt,
                    prior_seed=FIRST_PRIOR_SEED + episode % PRIOR_SEEDS,
                )
            )
    return jobs


def check_starts(starts: Sequence[Mapping[str, Any]]) -> None:
    """Raise UserError where there is no start state, or one that is kept for evaluation."""
    if not starts:
        raise UserError("There is no start state to train on.")
    kept = next((start for start in starts if start.get("split") == "eval"), None)
    if kept is not None:
        raise UserError(
            "Evaluations use this start state, so it may not be trained on.",
            got=str(kept.get("id")),
            expected='split "demo"',
        )
