"""The best cond_scale: `python -m steve1 sweep_guidance --weights data/mini/mini.weights --tasks dig_dirt explore --scales 0 1 2 4`.

Input: one weights file, scales, tasks.
Output: success over tasks at each scale with its interval, as Markdown, JSON and a curve; with --store the best scale is written beside
the weights, where every command finds it.
"""

from __future__ import annotations

import dataclasses

from steve1.core.messages import translated
from steve1.core.paths import display
from steve1.evaluation.settings import EvaluationSettings, PlaySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(PlaySettings):
    """Sweep the guidance scale."""

    weights: str
    """The weights file."""
    scales: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0, 6.0)
    """Guidance scales to try; the one in <weights>.json is always included."""
    tasks: tuple[str, ...] = ("all",)
    """Tasks to average success over."""
    episodes: int = 10
    """Episodes per scale and task, on the same seeds."""
    store: bool = False
    """Write the best scale into <weights>.json."""


def main(args: Args) -> None:
    """Play, print the table, store if wanted."""
    # Imported here because they load torch, for which --help need not wait.
    from steve1.evaluation.guidance_sweep import render, sweep_guidance

    settings = EvaluationSettings.of(args, weights=(args.weights,))
    found, paths = sweep_guidance(settings, args.scales, store=args.store)
    print("\n" + render(found, args.weights))
    print(translated("files: ") + ", ".join(display(path) for path in paths.values()))
    if not args.store and found["best"] != found["current"]:
        print(translated("add --store to save this value beside the weights; nothing needs to be played again"))
