"""Whether a reward can be trained on: what players of known skill earn, and whether failures win.

Input: a reward and an evaluation of players that do nothing, act at random, show the task, and of the weights to be trained.
Output: what each earns, how far return and success agree, the best-paid failure, and a verdict.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from steve1.core.errors import UserError
from steve1.core.paths import display
from steve1.evaluation.pipeline import evaluate
from steve1.evaluation.policies import goals_for
from steve1.evaluation.report.failures import replay
from steve1.evaluation.runner.episodes import EpisodeInputs
from steve1.evaluation.runner.plan import make_plan
from steve1.evaluation.runner.similarity import GoalSimilarity, SimilarityRecorder, load_curves
from steve1.evaluation.settings import EvaluationSettings
from steve1.rl.reward import Reward
from steve1.rollout.trace import Trace

NOTHING, SHOWN = "nothing", "player:own"
_FREE_SHARE = 0.1
"""Nothing may earn at most this share of what the scripted player earns."""
_MOST_WRONG = 0.1
"""At most this share of the pairs of a success and a failure may be ordered wrongly."""


@dataclasses.dataclass(frozen=True)
class CheckedEpisode:
    """One episode under the reward."""

    player: str
    key: str
    number: int
    earned: float
    parts: dict[str, float]
    success: bool


@dataclasses.dataclass(frozen=True)
class CheckedReward:
    """The outcome: every episode, the verdict in sentences (empty: ready), and the film of the best-paid failure."""

    reward: Reward
    episodes: list[CheckedEpisode]
    objections: list[str]
    film: Path | None

    @property
    def players(self) -> list[str]:
        """Names in the order in which they were played."""
        return list(dict.fromkeys(episode.player for episode in self.episodes))

    @property
    def agreement(self) -> float:
        """Share of pairs of a success and a failure in which the success earned more (half for ties); NaN without such pairs."""
        return agreement(self.episodes)


def agreement(episodes: Sequence[CheckedEpisode]) -> float:
    """The area under the curve of success by return: see `CheckedReward.agreement`."""
    won = np.array([episode.earned for episode in episodes if episode.success])
    lost = np.array([episode.earned for episode in episodes if not episode.success])
    if not len(won) or not len(lost):
        return float("nan")
    apart = won[:, None] - lost[None, :]
    return float(np.mean((apart > 0) + 0.5 * (apart == 0)))


def objections(reward: Reward, episodes: Sequence[CheckedEpisode]) -> list[str]:
    """Why the reward should not be trained on, in sentences."""
    found = []
    mean = {
        player: float(np.mean([episode.earned for episode in episodes if episode.player == player]))
        for player in dict.fromkeys(episode.player for episode in episodes)
    }
    best = mean.get(SHOWN, max(mean.values(), default=0.0))
    if NOTHING in mean and mean[NOTHING] > _FREE_SHARE * max(best, 0.0):
        found.append(
            f"Doing nothing earns {mean[NOTHING]:.2f}, more than a tenth of the {best:.2f} of whoever shows the task: "
            "the reward pays for what comes by itself."
        )
    lost = [episode for episode in episodes if not episode.success]
    share = agreement(episodes)
    if np.isnan(share):
        found.append(
            "Every episode failed, so nothing says whether the reward pays for success: play more episodes."
            if lost
            else "Every episode succeeded, so nothing says whether the reward pays for success: play more episodes."
        )
    elif 1 - share > _MOST_WRONG:
        found.append(
            f"A failure out-earns a success in {100 * (1 - share):.0f} % of pairs: this reward can be won by failing."
        )
    return found


class _EveryGoal(GoalSimilarity):
    """Measures the similarity to all of its goals, whatever the episode's task."""

    def recorder(self, tasks: Sequence[str]) -> SimilarityRecorder | None:
        return SimilarityRecorder(self.stream, self.goals)


def check_reward(
    reward: Reward, settings: EvaluationSettings, *, film: bool = True, inputs: EpisodeInputs | None = None
) -> CheckedReward:
    """Play, judge each episode from its trace, and film the best-paid failure.

    Args:
        settings: its weights, of which the first that need a goal also say whose MineCLIP measures likeness; its only task is the reward's.
        film: play the best-paid failure again and film it.
        inputs: the game and the goals, where they are not those of the settings.

    Raises:
        UserError: as `evaluate`; no weights whose MineCLIP could measure likeness.
    """
    inputs = inputs or EpisodeInputs()
    if reward.steps != reward.task.steps:
        settings = dataclasses.replace(settings, steps=reward.steps)
    if reward.likeness is not None:
        settings = dataclasses.replace(settings, similarity=settings.episodes)
        inputs = _with_likeness(reward, settings)
    report = evaluate(settings, inputs)
    episodes = []
    for line in report.lines:
        trace = Trace.load(report.folder / "traces" / line["key"])
        alike = None
        if reward.likeness is not None:
            curves, prompts = load_curves(report.folder, line["key"]), (reward.likeness.to, *reward.likeness.against)
            if missing := [prompt for prompt in prompts if prompt not in curves]:
                raise UserError(
                    "These episodes were played before the reward had this likeness, which was not measured in them.",
                    where=display(report.folder),
                    got=", ".join(missing),
                    todo="choose another --name, or remove the folder",
                )
            alike = np.stack([curves[prompt][: len(trace)] for prompt in prompts], axis=1)
        paid = reward.judge(trace, alike)
        parts = {name: float(part.sum()) for name, part in paid.parts.items()}
        episodes.append(
            CheckedEpisode(line["contestant"], line["key"], line["number"], paid.total, parts, paid.success)
        )
    worst = max((episode for episode in episodes if not episode.success), key=lambda each: each.earned, default=None)
    video = None
    if film and worst is not None and worst.earned > 0:
        entry = {"key": worst.key, "video": "", "task": reward.task.name}
        replay(make_plan(settings), [entry], report.lines, inputs)
        video = report.folder / entry["video"] if entry["video"] else None
    return CheckedReward(reward, episodes, objections(reward, episodes), video)


def _with_likeness(reward: Reward, settings: EvaluationSettings) -> EpisodeInputs:
    plan = make_plan(settings)
    spec = next((policy for policy in plan.policies if policy.needs_goal), None)
    if spec is None or reward.likeness is None:
        raise UserError("Likeness is measured by the MineCLIP of weights, and none are given.", todo="--weights …")
    prompts = [reward.likeness.to, *reward.likeness.against]
    prompt = reward.task.prompts[settings.language]
    goals = goals_for([policy for policy in plan.policies if policy.needs_goal], [*prompts, prompt])
    alike = {text: goals[spec.name][text] for text in prompts}
    metadata = spec.metadata
    return EpisodeInputs(
        goals=goals, similarity=_EveryGoal(metadata.mineclip, metadata.mineclip_config, alike, settings.device)
    )
