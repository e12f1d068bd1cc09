"""Command: record a person who plays Minecraft (`bash run_agent/record_minecraft.sh --name my_house`).

Input: a person at the keyboard, in MCio's window.
Output: recordings in the contractors' format, one for each episode, ready for `SOURCE=folder bash 1_generate_dataset.sh`.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass

from steve1.core.errors import UserError
from steve1.core.files import check_writable
from steve1.core.messages import say_next, translated
from steve1.core.paths import display, output_path, quoted
from steve1.envs import make_env
from steve1.envs.worker.env import WorkerEnv
from steve1.rollout.human import HumanPlayer
from steve1.rollout.record import free_prefix, record
from steve1.rollout.supervise import CUT_OFF

TICKS_A_MINUTE = 20 * 60


@dataclass(frozen=True)
class Args:
    """What is recorded, and where."""

    name: str
    """Name for the folder and the recordings, such as my_house."""
    episodes: int = 1
    """Number of recordings, each in a fresh world. F10 ends one."""
    minutes: float = 5.0
    """Maximum length of a recording, in minutes."""
    folder: str = ""
    """Output folder; default: data/recordings/<name>."""
    seed: int = 0
    """Seed of the first world; the next ones use seed+1, seed+2, ..."""
    biome: str = "meadow"
    """Start biome: meadow, forest or shore."""
    inventory: tuple[str, ...] = ()
    """Items to start with, such as oak_planks:64 oak_door:2."""
    time_of_day: float = 0.5
    """Time of day from 0 to 1; 0.5 is noon."""
    scale: float = 2.0
    """Size of the window: 2 shows 640x360 at 1280x720."""


def parse_inventory(words: tuple[str, ...]) -> dict[str, int]:
    """{"oak_planks": 64} of ("oak_planks:64",); without a number, one."""
    found: dict[str, int] = {}
    for word in words:
        match = re.fullmatch(r"(?:minecraft:)?([a-z0-9_]+)(?::([1-9]\d*))?", word)
        if match is None:
            expected = "item:count, such as oak_planks:64"
            raise UserError("This is not an item with a count.", where="--inventory", got=word, expected=expected)
        found[match[1]] = found.get(match[1], 0) + int(match[2] or 1)
    return found


def main(args: Args) -> None:
    """Open the game and record until all episodes are there or the person stops."""
    if not re.fullmatch(r"[A-Za-z0-9_.]+", args.name):
        raise UserError("A name may contain only letters, digits, _ and dots.", where="--name", got=args.name)
    if args.episodes < 1 or args.minutes <= 0:
        raise UserError("Nothing would be recorded.", expected="--episodes ≥ 1 and --minutes > 0")
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        raise UserError(
            "Recording yourself needs a screen.",
            where="DISPLAY",
            todo="run this in a desktop session, or record scripted players: python -m steve1 record",
        )
    options = {"inventory": parse_inventory(args.inventory), "time_of_day": args.time_of_day, "biome": args.biome}
    folder = output_path(args.folder or f"data/recordings/{args.name}")
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder)
    steps = max(1, round(args.minutes * TICKS_A_MINUTE))
    with make_env("mcio", biome=args.biome, headless=False, scale=args.scale) as env:
        assert isinstance(env, WorkerEnv), "MCio runs in a worker"
        for number in range(args.episodes):
            print(
                translated(
                    f"recording {number + 1} of {args.episodes}: the window opens when the world is there; F10 ends it"
                )
            )
            prefix = free_prefix(folder, args.name)
            try:
                made = record(
                    env, HumanPlayer(env), steps, prefix, behaviour=args.name,
                    reset_options=options, judge=lambda trace: (True, float(len(trace))), unit="steps", seed=args.seed + number,
                    details={"env": "mcio", "player": "a person"}, keep_cut_off=True,
                )  # fmt: skip
            except CUT_OFF:
                if os.path.exists(f"{prefix}.mp4"):
                    print(translated(f"  kept up to there: {display(prefix)}.mp4"), flush=True)
                raise
            print(translated(f"  {made.steps} ticks ({made.steps / 20:.0f} s): {display(made.prefix)}.mp4"))
    say_next(f"SOURCE=folder RECORDINGS_DIR={quoted(folder)} bash 1_generate_dataset.sh")
