"""Does each prompt make its own task happen? `python -m research.prompt_matrix --weights data/mini/mini.weights`.

Input: one weights file.
Output: success of every task (columns) under every prompt, no goal and random actions (rows), with Fisher's exact
test, as Markdown, JSON and a heat map. The same command again continues where it was.
"""

from __future__ import annotations

import dataclasses

from research.matrix import prompt_matrix, render
from steve1.commands.cli import run
from steve1.core.messages import translated
from steve1.core.paths import display
from steve1.evaluation.settings import EvaluationSettings, PlaySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(PlaySettings):
    """The prompt matrix of one weights file."""

    weights: str
    """The weights file."""
    tasks: tuple[str, ...] = ("all",)
    """Tasks whose prompts are rows and whose successes are columns."""
    prompts: tuple[str, ...] = ()
    """Further prompts to add as rows, e.g. paraphrases."""
    random_row: bool = True
    """Add a row of random actions."""


def main(args: Args) -> None:
    """Play, print the matrix."""
    settings = EvaluationSettings.of(args, weights=(args.weights,), similarity=0)
    found, plan, paths = prompt_matrix(settings, args.prompts, args.random_row)
    print("\n" + render(found, plan))
    print(translated("files: ") + ", ".join(display(path) for path in paths.values()))


if __name__ == "__main__":
    run(Args, main, "Success of every task under every prompt, no goal and random actions.")
