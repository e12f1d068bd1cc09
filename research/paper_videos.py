"""All prompts of STEVE-1's paper as videos: `bash run_agent/1_gen_paper_videos.sh --in_weights data/mini/mini.weights`.

Input: weights, visual prompts (the published ones, or demonstrations).
Output: "<name> - Text Prompt.mp4" and "<name> - Visual Prompt.mp4" in one folder,
each with its trace. Videos that exist are skipped; model, MineCLIP, prior and game are loaded once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from research.paper import (
    Goal,
    PaperPrompt,
    demonstrated_goals,
    films_to_make,
    made_otherwise,
    make_film,
    paper_prompts,
    published_goals,
)
from steve1.commands.cli import run
from steve1.core.errors import UserError, nearest
from steve1.core.files import sha256_file
from steve1.core.messages import translated
from steve1.core.options import Option
from steve1.core.paths import display, resolve, slug
from steve1.core.processes import limit_threads
from steve1.core.seeds import integer
from steve1.envs import make_env, start_states
from steve1.evaluation.policies import PolicyCache, PolicySpec, choose_env, environment_threads, parse_policies
from steve1.evaluation.tasks.suite import Suite, load_suite
from steve1.goals import GoalEncoder
from steve1.rollout.supervise import SupervisedEnv


@dataclasses.dataclass(frozen=True)
class Args:
    """Film the paper's prompts."""

    in_weights: Annotated[str, Option(aliases=("--weights",))] = "data/weights/steve1/steve1.weights"
    """Policy weights; <weights>.json beside them names their model, MineCLIP, prior and game."""
    prompts: tuple[str, ...] = ("all",)
    """Names of prompts: dig, dirt, sky, leaves, wood, seeds, flower, explore, swim, underwater, inventory; or all."""
    kinds: tuple[str, ...] = ("text", "visual")
    """text, visual, or both."""
    visual_prompts: str = "data/visual_prompts/visual_prompts.zip"
    """The published visual prompts: their zip, or a folder of pickles."""
    demonstrations: tuple[str, ...] = ()
    """Folders of embedded episodes to take visual goals from, in place of the published ones (for weights of another MineCLIP)."""
    text_cond_scale: float | None = None
    """Guidance scale for text prompts; default: from <weights>.json (the paper: 6)."""
    visual_cond_scale: float | None = None
    """Guidance scale for visual prompts; default: as for text (the paper: 7)."""
    gameplay_length: int = 3000
    """Steps per video, 20 per second."""
    save_dirpath: str = "data/generated_videos/paper_prompts"
    """Output folder; the videos go into a folder named after the weights."""
    seed: int = 0
    """Seed for start states, game, prior and agent."""
    env: str = ""
    """Game to play; default: the one the weights were made for."""
    in_model: str = ""
    """The .model file; default: from <weights>.json."""
    mineclip_weights: str = ""
    """MineCLIP weights; default: from <weights>.json."""
    prior_weights: str = ""
    """The prior's weights; default: from <weights>.json."""
    device: str = "auto"
    """Device for the policy: auto, cpu, cuda or mps."""
    overwrite: bool = False
    """Replace existing videos."""


def main(args: Args) -> None:
    """Check, load once, film what is missing."""
    chosen, kinds = _chosen(args), [kind.lower() for kind in args.kinds]
    files = {"model": args.in_model, "mineclip": args.mineclip_weights, "prior": args.prior_weights}
    spec = parse_policies([args.in_weights], cond_scale=args.text_cond_scale, **files)[0]
    env_name = choose_env([spec], args.env)
    suite = load_suite(env_name)
    folder = resolve(args.save_dirpath) / slug(spec.name)
    limit_threads(environment_threads(1))
    goals = _goals(args, spec, chosen, kinds, suite)
    scale = spec.metadata.cond_scale
    visual_scale = scale if args.visual_cond_scale is None else args.visual_cond_scale
    films = films_to_make(chosen, goals["text"], goals["visual"], (scale, visual_scale), folder)
    missing = [film for film in films if args.overwrite or not film.path.exists()]
    made = len(films) - len(missing)
    print(translated(f"{len(films)} videos in {display(folder)}: {made} exist, {len(missing)} to make"))
    facts = {"weights_sha256": sha256_file(spec.weights)} if spec.weights else {}
    now = {"seed": args.seed, "steps_asked": args.gameplay_length, **facts}
    for film in () if args.overwrite else films:
        if film.path.exists() and (differing := made_otherwise(film, now)):
            what = ", ".join(map(translated, differing))
            print(translated(f"  note     {film.path.name}: {what}; it stays as it is: --overwrite makes it anew"))
    cache = PolicyCache(device=args.device)
    with SupervisedEnv(lambda: make_env(env_name)) as game:
        for number, film in enumerate(missing, start=1):
            starts = start_states(env_name, film.prompt.biome, "eval")
            task = suite.tasks.get(film.prompt.task)
            options: dict[str, Any] = {**(task.reset_options() if task else {}), "biome": film.prompt.biome}
            start = starts[integer(args.seed, film.prompt.name) % len(starts)]
            trace = make_film(film, spec, cache, game, start, options, args.gameplay_length, args.seed, facts)
            verdict = (
                f", {task.measure_label}: {task.judge(trace)[1]:.1f}"
                if task and task.biome == film.prompt.biome
                else ""
            )
            print(
                translated(f"[{number}/{len(missing)}] {display(film.path)}: {len(trace)} steps{verdict}"), flush=True
            )


def _chosen(args: Args) -> list[PaperPrompt]:
    known = paper_prompts()
    names = [prompt.name for prompt in known]
    for name in args.prompts:
        if name != "all" and name not in names:
            raise UserError(f'The paper has no prompt "{name}".', expected=nearest(name, names))
    if args.gameplay_length < 1:
        raise UserError("There is nothing to play.", expected="--gameplay_length ≥ 1", got=args.gameplay_length)
    if not args.kinds or {kind.lower() for kind in args.kinds} - {"text", "visual"}:
        raise UserError("A prompt is text or visual.", expected="--kinds text visual", got=" ".join(args.kinds))
    return [prompt for prompt in known if "all" in args.prompts or prompt.name in args.prompts]


def _goals(
    args: Args, spec: PolicySpec, chosen: Sequence[PaperPrompt], kinds: Sequence[str], suite: Suite
) -> dict[str, Mapping[str, Goal]]:
    """{"text": {name: goal}, "visual": {name: goal}}; MineCLIP and the prior are loaded once, and let go of."""

    found: dict[str, Mapping[str, Goal]] = {"text": {}, "visual": {}}
    encoder = GoalEncoder(spec.metadata)
    size = encoder.size
    if "text" in kinds:
        goals = encoder.encode([prompt.prompt for prompt in chosen], seed=args.seed)
        found["text"] = {prompt.name: goals[prompt.prompt] for prompt in chosen}
    if "visual" not in kinds:
        return found
    if args.demonstrations:
        found["visual"] = demonstrated_goals(chosen, suite, args.demonstrations, size)
    else:
        path = resolve(args.visual_prompts)
        if not path.exists() and "text" in kinds:
            print(
                translated(
                    f"visual prompts are left out: {display(path)} is not there (bash 0_download_weights.sh visual_prompts), and no --demonstrations were named"
                )
            )
            return found
        found["visual"] = published_goals(Path(path))
    fitting = {name: goal for name, goal in found["visual"].items() if len(goal) == size}
    if len(fitting) < len(found["visual"]):
        print(
            translated(
                f"visual prompts of another MineCLIP are left out (the policy's goals have {size} numbers); pass --demonstrations"
            )
        )
    found["visual"] = fitting
    left_out = [prompt.name for prompt in chosen if prompt.name not in fitting]
    if fitting and left_out:
        print(translated(f"without a visual prompt: {', '.join(left_out)}"))
    return found


if __name__ == "__main__":
    run(Args, main, "All prompts of STEVE-1's paper, text and visual, as videos.")
