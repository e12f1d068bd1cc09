"""Let weights play a prompt in a game and film it: `python run_agent/run_agent.py --in_weights … --text_prompt … --save_video …`.

Input: weights (<weights>.json beside them names their files), a prompt.
Output: an H.264 video with an overlay, the trace beside it, and what was achieved.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Annotated

from steve1.core.checkpoint_metadata import GOAL_SUFFIX, read_goal
from steve1.core.errors import UserError
from steve1.core.files import check_writable, sha256_file
from steve1.core.messages import translated
from steve1.core.options import Option
from steve1.core.paths import display, output_path, resolve, slug
from steve1.core.processes import limit_threads
from steve1.core.seeds import integer
from steve1.evaluation.settings import PolicySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Args(PolicySettings):
    """Play one prompt and film it."""

    in_weights: Annotated[str, Option(aliases=("--weights",))] = ""
    """Policy weights (.weights or .safetensors), or a tuned goal, as with --goal_file. <weights>.json beside the weights names their model, MineCLIP, prior and game."""
    text_prompt: Annotated[str, Option(aliases=("--prompt",))] = ""
    """What to do, in English or Chinese."""
    prompts: str = ""
    """Chain of prompts instead of one: a YAML file (docs/live.md), or "chop a tree=600;build a pillar=300" with steps."""
    planner: str = ""
    """Program that decides the prompts after the first: FILE.py:FUNCTION, MODULE:FUNCTION, or a command that reads events and writes prompts as JSON lines."""
    goal_file: str = ""
    """Tuned goal (.goal.json) instead of a prompt; without --in_weights, the weights it was tuned for are used."""
    save_video: str = ""
    """Path of the video; default: data/generated_videos/<weights>/<prompt>-seed<seed>.mp4."""
    biome: str = ""
    """Start biome: meadow, forest or shore; default: that of the prompt's task, else meadow."""
    gameplay_length: int = 300
    """Steps to play, 20 per second."""
    episodes: Annotated[int, Option(aliases=("--n",))] = 1
    """Number of episodes, with seeds seed, seed+1, ...; one video each."""
    cuda_graph: bool = False
    """On a CUDA device: run the policy as a CUDA graph, which saves most of a step's time."""
    overwrite: bool = False
    """Replace an existing video."""


def _videos(args: Args, name: str) -> list[Path]:
    """The path of each episode's video; UserError where one exists already."""
    paths = []
    for seed in range(args.seed, args.seed + args.episodes):
        if args.save_video:
            path = output_path(args.save_video)
            path = path if args.episodes == 1 else path.with_name(f"{path.stem}-seed{seed}{path.suffix}")
        else:
            path = output_path("data/generated_videos") / slug(name) / f"{slug(args.text_prompt)}-seed{seed}.mp4"
        if path.suffix != ".mp4":
            raise UserError("A video's name must end in .mp4.", got=path)
        there = [each for each in (path, path.with_suffix(".npz"), path.with_suffix(".json")) if each.exists()]
        if there and not args.overwrite:
            raise UserError(
                "This video, or a file with the name of its trace, exists already.",
                where=display(there[0]),
                todo="add --overwrite, or choose another --save_video or --seed",
            )
        paths.append(path)
    return paths


def completed(args: Args) -> Args:
    """The arguments with what a goal file says of weights and prompt.

    Raises:
        UserError: weights or prompt are missing; a bad goal file, or one together with what would replace its goal.
    """
    from steve1.evaluation.policies import split_scale  # loads torch

    file, scale = split_scale(args.in_weights)
    if file.endswith(GOAL_SUFFIX):
        if args.goal_file:
            raise UserError("Two goal files are named, and one is played.", got=f"{file}, {args.goal_file}")
        tuned_for = read_goal(file).weights + ("" if scale is None else f"@{scale:g}")
        args = dataclasses.replace(args, goal_file=file, in_weights=tuned_for)
    if args.goal_file and (args.prompts or args.planner):
        raise UserError("A goal file is one goal, and no prompt replaces it.", todo="leave out --prompts and --planner")
    if args.goal_file:
        tuned = read_goal(args.goal_file)
        name = args.text_prompt or tuned.prompt or Path(args.goal_file).name.removesuffix(GOAL_SUFFIX)
        args = dataclasses.replace(args, in_weights=args.in_weights or tuned.weights, text_prompt=name)
        weights = resolve(split_scale(args.in_weights)[0])
        if tuned.weights_sha256 and weights.is_file() and sha256_file(weights) != tuned.weights_sha256:
            print(
                translated(
                    f"warning: this goal was tuned for other weights ({tuned.weights}); with these it may mean something else."
                )
            )
        return args
    if args.in_weights and args.prompts:
        named = args.prompts if ";" in args.prompts or "=" in args.prompts else Path(args.prompts).stem
        return dataclasses.replace(args, text_prompt=args.text_prompt or named)
    if args.in_weights and args.planner and not args.text_prompt:
        raise UserError("A planner needs a first prompt.", todo='add --text_prompt "explore"')
    if not args.in_weights or not args.text_prompt:
        raise UserError(
            "Weights and a prompt are missing.",
            expected="--in_weights and --text_prompt or --prompts, or --goal_file",
            got=f"{args.in_weights!r}, {args.text_prompt!r}",
        )
    return args


def main(args: Args) -> None:
    """Check, load once, play, print what happened."""
    # Imported here because they load torch, for which --help need not wait.
    from steve1.envs import make_env, start_states
    from steve1.evaluation.policies import PolicyCache, choose_env, environment_threads, parse_policies
    from steve1.evaluation.report.sentences import achievements
    from steve1.evaluation.runner.episodes import play_episode
    from steve1.evaluation.tasks.suite import load_suite
    from steve1.goals import GoalEncoder
    from steve1.live.prompts import PromptChain, PromptedActor, open_source
    from steve1.rollout.play import Actor
    from steve1.rollout.supervise import SupervisedEnv

    args = completed(args)
    if args.episodes < 1 or args.gameplay_length < 1:
        raise UserError("Nothing would be played.", expected="--episodes ≥ 1 and --gameplay_length ≥ 1")
    spec = parse_policies([args.in_weights], **args.metadata_overrides())[0]
    videos = _videos(args, spec.name)
    check_writable(videos[0])
    env_name = choose_env([spec], args.env)
    suite = load_suite(env_name)
    with open_source(args.prompts, args.planner, args.text_prompt, suite) as source:
        first = suite.by_prompt(source.links[0].prompt if isinstance(source, PromptChain) else args.text_prompt)
        task = None if source else first
        options = first.reset_options() if first else {"biome": "meadow"}
        biome = args.biome or options["biome"]
        options["biome"] = biome
        starts = start_states(env_name, biome, "eval")
        limit_threads(environment_threads(1))
        encoder = GoalEncoder(spec.metadata, device=args.device, translations=suite.translations)
        goal = None
        if args.goal_file:
            goal = encoder.from_file(args.goal_file)
        elif source is None:
            goal = encoder.encode([args.text_prompt], seed=args.seed)[args.text_prompt]
        cache = PolicyCache(device=args.device, deterministic=args.deterministic, cuda_graph=args.cuda_graph)
        facts = {
            "weights": display(spec.weights),
            "prompt": args.text_prompt,
            "biome": biome,
            "cond_scale": spec.metadata.cond_scale,
            "temperature": spec.metadata.temperature,
        }
        print(
            translated(
                f"{spec.name} in {env_name} ({biome}): {args.text_prompt}, cond_scale {spec.metadata.cond_scale:g}"
            )
        )
        prompted: list[PromptedActor] = []

        def make_actor(seed: int) -> Actor:
            if source is None:
                return cache.actor(spec, goal, seed)
            agent = cache.agent(spec)
            agent.reset(integer(seed, "agent"))
            prompted[:] = [
                PromptedActor(agent, source, lambda prompt: encoder.encode([prompt], seed=args.seed)[prompt])
            ]
            return prompted[0]

        with SupervisedEnv(lambda: make_env(env_name, biome=biome)) as game:
            for seed, path in enumerate(videos, start=args.seed):
                trace = play_episode(
                    game,
                    functools.partial(make_actor, seed),
                    args.gameplay_length,
                    video=path,
                    caption=args.text_prompt if source is None else lambda: prompted[0].prompt,
                    title=spec.name,
                    seed=seed,
                    start=starts[seed % len(starts)],
                    options=options,
                    metadata={**facts, "video": path.name},
                )
                if prompted:
                    trace.metadata["prompts"] = prompted[0].history
                trace.save(path.with_suffix(""))
                seconds = trace.metadata["seconds"]["total"]
                speed, ended = f"{len(trace) / seconds:.0f}", trace.metadata["ended"]
                if ended == "steps":
                    print(translated(f"\nseed {seed}: {len(trace)} steps in {seconds:.1f} s ({speed} steps/s)"))
                else:
                    print(
                        translated(
                            f"\nseed {seed}: {len(trace)} steps in {seconds:.1f} s ({speed} steps/s), ended early ({ended})"
                        )
                    )
                for line in achievements(suite, task, biome, trace):
                    print(f"  {line}")
                for step, prompt in prompted[0].history if prompted else ():
                    print(translated(f"  step {step}: {prompt}"))
                print(translated(f"video: {display(path)}\ntrace: {display(path.with_suffix('.npz'))}"))
