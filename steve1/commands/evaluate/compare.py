"""Two or more weights on one prompt, side by side: `python -m steve1 compare --weights A.weights B.weights --prompt "dig dirt"`.

Input: weights, a prompt.
Output: one video with all of them from the same start and seed, success rates, and a verdict.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

from steve1.core.errors import UserError
from steve1.core.files import check_writable
from steve1.core.messages import message
from steve1.core.options import Option
from steve1.core.paths import display, output_path, slug
from steve1.evaluation.settings import EvaluationSettings, PlaySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(PlaySettings):
    """Compare weights on one prompt."""

    weights: tuple[str, ...]
    """Two or more weights files; the first is the base. Also: random, nothing, player:own (scripted players)."""
    prompt: Annotated[str, Option(aliases=("--text_prompt",))]
    """Prompt of a task; for any other prompt, add --task."""
    task: str = ""
    """Task whose rule decides success; default: the prompt's own."""
    episodes: int = 5
    """Episodes per weights file, on the same seeds."""
    videos: int = 1
    """Film the first N episodes, side by side."""
    save_video: str = ""
    """Also copy the first side-by-side video here."""
    overwrite: bool = False
    """Replace an existing --save_video."""


def main(args: Args) -> None:
    """Play, film, print the table."""
    # Imported here because they load torch, for which --help need not wait.
    from steve1.commands.evaluate.run_pages import refresh_pages
    from steve1.evaluation.compare import compare
    from steve1.evaluation.report.console import show
    from steve1.evaluation.runner.plan import find_policies
    from steve1.evaluation.tasks.suite import load_suite

    if len(args.weights) < 2:
        raise UserError(
            "A comparison needs at least two weights files.",
            got=", ".join(args.weights),
            todo="--weights base.weights finetuned.weights",
        )
    video = output_path(args.save_video) if args.save_video else None
    check_writable(*filter(None, [video]))
    if video and video.exists() and not args.overwrite:
        raise UserError(
            "This video exists already.", where=display(video), todo="add --overwrite or choose another --save_video"
        )
    policies, env = find_policies(args, args.weights)
    suite = load_suite(args.suite or env)
    task = suite.find(args.task) if args.task else suite.by_prompt(args.prompt)
    if task is None:
        known = ", ".join(f'"{each.shown_prompt}"' for each in suite.tasks.values())
        todo = "name the task that is to judge it: --task NAME"
        raise UserError("No task judges this prompt.", got=args.prompt, expected=known, todo=todo)
    name = args.name or "-vs-".join(spec.name for spec in policies) + "-" + args.prompt
    folder = args.folder or str(output_path(f"data/comparisons/{slug(name)}"))
    settings = EvaluationSettings.of(args, env=env, folder=folder, tasks=(task.name,), similarity=0)
    report, film = compare(settings, args.prompt, video)
    show(report.summary, report.tasks, report.paths["html"], film, refresh_pages(args.weights))
    if not film:
        print(message("no video"))
