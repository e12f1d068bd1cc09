"""Does each prompt make its own task happen? `python -m steve1.commands.prompt_matrix --weights data/mini/mini.weights`.

In: one weights file. Out: success of every task (columns) under every prompt, no goal and random actions (rows), with Fisher's exact
test, as Markdown, JSON and a heat map. The same command again continues where it was.
"""

from __future__ import annotations

import dataclasses

from steve1.core.cli import run
from steve1.core.paths import display


@dataclasses.dataclass(frozen=True)
class Args:
    """The prompt matrix of one weights file."""

    weights: str
    """The weights file."""
    tasks: tuple[str, ...] = ("all",)
    """Tasks whose prompts are rows and whose successes are columns."""
    prompts: tuple[str, ...] = ()
    """Further prompts to add as rows, e.g. paraphrases."""
    episodes: int = 20
    """Episodes for each row at each task's place."""
    random_row: bool = True
    """Add a row of random actions."""
    name: str = ""
    """Of the run's folder under data/prompt_matrices; default: the weights' name."""
    folder: str = ""
    """The run's folder itself, in place of --name."""
    workers: int = 1
    """Processes, each with its own game; 0 plays in this process."""
    seed: int = 0
    """Of start states, games and agents."""
    language: str = "en"
    """Of the prompts in the tasks' file."""
    suite: str = ""
    """A suite's name or YAML file; default: the environment's own."""
    env: str = ""
    """The game; default: the one that the weights were made for."""
    cond_scale: float | None = None
    """Guidance; default: the family's."""
    deterministic: bool = False
    """Take the most probable action instead of drawing one."""
    in_model: str = ""
    """The .model file; default: the family's."""
    mineclip_weights: str = ""
    """MineCLIP weights; default: the family's."""
    prior_weights: str = ""
    """The prior's weights; default: the family's."""
    device: str = "auto"
    """Where the policy runs."""
    timeout_s: float = 900.0
    """Longest that one episode may take before its worker is replaced."""


def main(args: Args) -> None:
    """Play, print the matrix."""
    from steve1.evaluation import EvaluationSettings, prompt_matrix
    from steve1.evaluation.contestants import guess_family_env, parse_contestants
    from steve1.evaluation.matrix import render

    from .play import playable

    env = playable(guess_family_env(parse_contestants([args.weights], model=args.in_model), args.env))
    values = {field.name: getattr(args, field.name) for field in dataclasses.fields(args)}
    extra, random_row, weights = values.pop("prompts"), values.pop("random_row"), values.pop("weights")
    settings = EvaluationSettings(contestants=[weights], **{**values, "env": env})
    found, plan, paths = prompt_matrix(settings, extra, random_row)
    print("\n" + render(found, plan))
    print("files: " + ", ".join(display(path) for path in paths.values()))


def cli() -> None:
    """The command line."""
    run(Args, main, "Success of every task under every prompt, no goal and random actions.")


if __name__ == "__main__":
    cli()
