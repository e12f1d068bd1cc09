"""Whether a reward can be trained on: `python -m steve1 check_reward --reward dig_dirt --weights data/mini/mini.weights`.

Input: a reward, and the weights that are to be trained.
Output: what doing nothing, random actions, the scripted player and the weights earn; a film of the best-paid failure; exit code 1 where the
reward should not be trained on.
"""

from __future__ import annotations

import dataclasses

from steve1.core.messages import heading, message, translated
from steve1.core.paths import display, output_path, slug
from steve1.evaluation.settings import EvaluationSettings, PlaySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(PlaySettings):
    """Check a reward."""

    reward: str
    """A name of steve1/rl/rewards/<game>.yaml, a YAML file with one reward, or FILE.yaml:NAME."""
    weights: tuple[str, ...] = ("data/mini/mini.weights",)
    """The weights that are to be trained."""
    episodes: int = 10
    """Episodes of each player."""
    film: bool = True
    """Play the best-paid failure again and film it."""


def main(args: Args) -> int:
    """Play, print what each earned, and the verdict."""
    # Imported here because they load torch, for which --help need not wait.
    from steve1.evaluation.runner.plan import find_policies
    from steve1.reporting.tables import Table
    from steve1.rl.check import NOTHING, SHOWN, check_reward
    from steve1.rl.reward import load_reward

    _, env = find_policies(args, args.weights)
    reward = load_reward(args.reward, env)
    players = [*args.weights, NOTHING, "random", *([SHOWN] if reward.task.player else [])]
    folder = args.folder or str(output_path(f"data/rewards/{slug(args.name or args.reward)}"))
    settings = EvaluationSettings.of(
        args,
        env=env,
        weights=tuple(players),
        tasks=(reward.task.name,),
        target=(reward.task.name,),
        folder=folder,
        similarity=0,
    )
    found = check_reward(reward, settings, film=args.film)
    names = [term.name for term in reward.terms]
    rows = []
    for player in found.players:
        mine = [episode for episode in found.episodes if episode.player == player]
        mean = [
            sum(each) / len(mine)
            for each in zip(*([episode.earned, *(episode.parts[name] for name in names)] for episode in mine))
        ]
        won = sum(episode.success for episode in mine)
        rows.append(
            [player, message("of", successes=str(won), episodes=str(len(mine))), *(f"{value:.2f}" for value in mean)]
        )
    print(translated(f"\n{reward.name}: {reward.steps} steps of {reward.task.name}\n"))
    print(Table([heading("player"), heading("succeeded"), heading("earned"), *names], rows).markdown())
    print(
        translated(f"\na success earns more than a failure in {100 * found.agreement:.0f} % of pairs")
        if found.agreement == found.agreement
        else ""
    )
    if found.film:
        print(translated(f"the best-paid failure: {display(found.film)}"))
    for objection in found.objections:
        print(translated(f"not ready: {objection}"))
    if not found.objections:
        print(translated("ready: the reward orders these players, and failures do not win."))
    return int(bool(found.objections))
