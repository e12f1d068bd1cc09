"""Command: let a checkpoint play for the run's report; training starts it when ROLLOUT_EVERY is set.

Writes a small video and a GIF for each prompt (or for the last goals of validation episodes), and rollouts.json.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from steve1.core.errors import UserError
from steve1.core.files import atomic_path, check_writable, write_json
from steve1.core.options import Option
from steve1.core.paths import resolve, slug
from steve1.core.processes import limit_threads
from steve1.data.episodes.episode import Episode
from steve1.data.loading.lists import read_list
from steve1.data.media.video import VideoWriter
from steve1.envs import make_env, start_states
from steve1.evaluation.policies import PolicyCache, choose_env, parse_policies
from steve1.evaluation.tasks.suite import Suite, load_suite
from steve1.goals import GoalEncoder
from steve1.prompts import split_prompts
from steve1.rollout.play import Actor, play
from steve1.rollout.supervise import SupervisedEnv

_WIDTH, _HEIGHT = 320, 180  # of the videos; GIFs are half as wide, of every fourth frame
_GOALS = 3


@dataclasses.dataclass(frozen=True)
class Args:
    """Let a checkpoint play a little."""

    weights: Annotated[Path, Option(positional=True)]
    """Weights to play; <weights>.json beside them names the game."""
    out: Path
    """Output folder for videos and rollouts.json."""
    prompts: str = ""
    """Prompts, separated by semicolons; default: the last goals of validation episodes, one per folder, at most 3."""
    val_list: str = ""
    """List of the validation episodes."""
    steps: int = 200
    """Steps per rollout, 20 per second."""
    seed: int = 0
    """Seed for start state, game and agent; the same for every checkpoint."""


@dataclasses.dataclass(frozen=True)
class Pursuit:
    """One goal to pursue."""

    name: str
    prompt: str
    goal: NDArray[np.float32]


def pursuits(args: Args, encoder: GoalEncoder) -> list[Pursuit]:
    """What to play: prompts, or the last goals of validation episodes."""
    prompts = split_prompts(args.prompts)
    if prompts:
        goals = encoder.encode(prompts, seed=args.seed)
        return [Pursuit(slug(prompt), prompt, goals[prompt]) for prompt in prompts]
    if not args.val_list:
        raise UserError("There is nothing to play.", expected="--prompts or --val_list")
    by_folder: dict[str, Path] = {}
    for entry in read_list(resolve(args.val_list)):
        by_folder.setdefault(entry.path.parent.name, entry.path)
    names = list(by_folder)
    chosen = [names[round(index)] for index in np.linspace(0, len(names) - 1, min(_GOALS, len(names)))]
    found = []
    for name in chosen:
        goal = encoder.from_episode(Episode(by_folder[name]))
        found.append(Pursuit(slug(name), f"the end of {name}/{by_folder[name].name}", goal))
    return found


class Film:
    """Keeps an episode's frames as a video and as a GIF."""

    def __init__(self, folder: Path, name: str) -> None:
        self.video, self.gif = folder / f"{name}.mp4", folder / f"{name}.gif"
        self._frames: list[NDArray[Any]] = []

    def on_frame(self, frame: NDArray[np.uint8], action: Mapping[str, Any], step: int) -> None:
        """Take a frame; step 0 begins anew."""
        if step == 0:
            self._frames = []
        self._frames.append(cv2.resize(frame, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA))

    def write(self) -> None:
        with VideoWriter(self.video, _WIDTH, _HEIGHT, fps=20) as writer:
            for frame in self._frames:
                writer.write(frame)
        size = _WIDTH // 2, _HEIGHT // 2
        frames = self._frames[::4]
        small = [Image.fromarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA)) for frame in frames]
        with atomic_path(self.gif) as part:
            small[0].save(part, format="GIF", save_all=True, append_images=small[1:], duration=200, loop=0)


def main(args: Args) -> None:
    """Load, play each goal once, write the videos and rollouts.json."""
    check_writable(args.out)
    os.nice(10)
    limit_threads(1)
    spec = parse_policies([str(args.weights)])[0]
    env = choose_env([spec])
    suite, cache = load_suite(env), PolicyCache()
    found = []
    with SupervisedEnv(lambda: make_env(env, biome="meadow")) as game:
        for pursuit in pursuits(args, GoalEncoder(spec.metadata, translations=suite.translations)):
            found.append(_episode(args, game, cache.actor(spec, pursuit.goal, args.seed), pursuit, suite, env))
    write_json(args.out / "rollouts.json", found)


def _episode(args: Args, game: SupervisedEnv, actor: Actor, pursuit: Pursuit, suite: Suite, env: str) -> dict[str, Any]:
    task = suite.by_prompt(pursuit.prompt)
    # A prompt without a task begins like the game's other tasks: the same biome, the same things in hand.
    place = task or next((one for one in suite.tasks.values() if not one.scene), None)
    options = place.reset_options() if place else {"biome": "meadow"}
    starts = start_states(env, options["biome"], "eval")
    film = Film(args.out, pursuit.name)
    start = starts[args.seed % len(starts)]
    trace = game.episode(
        lambda one: play(actor, one, args.steps, seed=args.seed, start=start, options=options, on_frame=film.on_frame)
    )
    film.write()
    positions = np.asarray(trace.positions, dtype=np.float64)
    facts = {"name": pursuit.name, "prompt": pursuit.prompt, "steps": len(trace)}
    facts |= {"video": film.video.name, "gif": film.gif.name, "width": _WIDTH // 2, "height": _HEIGHT // 2}
    facts["distance"] = float(np.linalg.norm(positions[-1, [0, 2]] - positions[0, [0, 2]]))
    if task:
        won, measure = task.judge(trace)
        facts |= {
            "task": task.name,
            "measure_name": task.measure_label,
            "success": bool(won),
            "measure": float(measure),
        }
    return facts
