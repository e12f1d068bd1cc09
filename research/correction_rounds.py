"""Do corrections help more than as many further demonstrations? `python -m research.correction_rounds --in_weights data/weights/steve1/quickstart.weights`.

Two arms of `steve1 dagger_round`, the same number of rounds: in the one a scripted person at the page's socket watches the weights of the round
before and takes over where they get stuck (`research.scripted_person`), in the other the same person plays from the first tick, for as many ticks.
Training is the same. Output: both tables of rounds, an evaluation of the start and of both arms' last weights on the same seeds and places, and
a line that compares the arms.
Run it again to resume.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from research.steps import step
from steve1.commands.cli import run
from steve1.core.checkpoint_metadata import read_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.files import existing_file, read_json
from steve1.core.messages import translated
from steve1.core.paths import output_path, python_path, resolve
from steve1.evaluation.runner.known import read_lines
from steve1.evaluation.statistics.summary import Lines, compare, own_row
from steve1.evaluation.tasks.suite import load_suite
from steve1.reporting.numbers import p_value, points_range

ARMS = ("corrections", "demonstrations")


@dataclass(frozen=True)
class Args:
    """Rounds of corrections beside rounds of demonstrations."""

    name: str = "rounds"
    """Name of everything that is written."""
    in_weights: str = "data/weights/steve1/quickstart.weights"
    """The policy that is corrected."""
    prompt: str = "dig dirt"
    """What it fails at; a prompt of a task that has a scripted player."""
    rounds: int = 3
    """Rounds in each arm."""
    recordings: int = 16
    """Recordings that succeed, per round and arm."""
    steps: int = 200
    """Ticks that the person plays in each."""
    patience: int = 80
    """The person takes over once the weights have got no further for this many ticks."""
    keep: tuple[str, ...] = ("data/dataset_quickstart",)
    """Datasets that are mixed in, so that what was learned last is kept."""
    keep_share: float = 0.5
    """Their share of what is not replayed."""
    replay: str = "data/mini/mini.replay.safetensors"
    """Old episodes: a replay pack."""
    train: str = (
        "finetune_mode=frozen_cnn batch_size=8 T=64 trunc_t=16 learning_rate=5e-4 max_grad_norm=100 total_frames=120000 warmup_frames=6000 "
        "max_btwn_goals=60 val_freq=300 save_every=1000 replay_share=0.5 turn_loss_weight=2 log_every=500 feature_cache jitter"
    )
    """Options of training, the same in all rounds of both arms."""
    round_episodes: int = 10
    """Episodes after each round."""
    episodes: int = 60
    """Episodes of the start and of both arms' last weights."""
    tasks: tuple[str, ...] = ("explore", "swim")
    """Other tasks, on which the same weights are compared, with a third of the episodes."""
    workers: int = 2
    """Games in parallel."""
    seed: int = 0
    """Seed of recordings and evaluations."""


def main(args: Args) -> None:
    """Play all rounds of both arms, then compare."""
    existing_file(args.in_weights, "These weights", "bash quickstart.sh")
    task = load_suite("luanti").find(args.prompt)
    last = dict.fromkeys(ARMS, args.in_weights)
    for number in range(1, args.rounds + 1):
        for arm in ARMS:
            last[arm] = play_round(args, arm, number, last[arm])
    how = ("--similarity", 0, "--seed", args.seed, "--workers", args.workers)
    step("evaluate", "--weights", args.in_weights, *last.values(), "--tasks", task.name, "--target", task.name, "--episodes", args.episodes, *how, "--name", args.name)  # fmt: skip
    if args.tasks:
        step("evaluate", "--weights", args.in_weights, *last.values(), "--tasks", *args.tasks, "--episodes", args.episodes // 3, *how, "--name", f"{args.name}_others")  # fmt: skip
    lines = list(read_lines(output_path(f"data/evaluations/{args.name}/episodes.jsonl")).values())
    print(between_arms(lines, task.name, [Path(last[arm]).stem for arm in ARMS]))


def between_arms(lines: Lines, task: str, names: Sequence[str]) -> str:
    """Corrections against demonstrations, of an evaluation's lines.

    Args:
        names: what both are called there, in the order of ARMS.
    """
    corrected, shown = (own_row(lines, task, name) for name in names)
    row = compare(shown, corrected, task, judged=False)
    assert row is not None, "both have been played at the same places"
    before, after = row["successes"]
    return translated(
        f"corrections {after} of {row['pairs']}, demonstrations {before}: {points_range(*row['interval'])} points, p {p_value(row['p'])}"
    )


def play_round(args: Args, arm: str, number: int, before: str) -> str:
    """Record, convert and learn one round; the new weights."""
    name = f"{args.name}_{arm}"
    finished = output_path(f"data/dagger/{name}/rounds.json")
    done = read_json(finished)["rounds"] if finished.exists() else []
    if len(done) >= number:
        return str(done[number - 1]["weights"])
    datasets = [output_path(f"data/dataset_{name}_{each}") for each in range(1, number + 1)]
    recordings = output_path(f"data/recordings/{name}_{number}")
    record(args, arm, number, before, recordings)
    mineclip = read_checkpoint_metadata(resolve(args.in_weights)).mineclip
    step("generate_dataset", "--source", "folder", "--recordings_dir", recordings, "--output_dir", datasets[-1], "--nulls", "keep", "--mineclip", mineclip)  # fmt: skip
    step("dagger_round", name, "--in_weights", args.in_weights, "--prompts", args.prompt, "--record", "none", "--corrections", *datasets,
         "--demonstrations", *args.keep, "--demonstrations_share", args.keep_share, "--replay", args.replay, "--train", args.train,
         "--episodes", args.round_episodes, "--seed", args.seed, "--workers", args.workers)  # fmt: skip
    return str(read_json(finished)["rounds"][number - 1]["weights"])


def record(args: Args, arm: str, number: int, weights: str, folder: Path) -> None:
    """One round's recordings, in as many sessions at a time as there are workers."""
    patience = args.patience if arm == "corrections" else 0
    failed = folder.with_name(f"{folder.name}_failed")  # outside of what is converted
    sessions = []
    for game in range(args.workers):
        words = ["--weights", weights, "--prompt", args.prompt, "--steps", args.steps, "--patience", patience, "--seed", session_seed(args, number, game),
                 "--recordings", folder / f"game{game}", "--failed", failed / f"game{game}", "--count", (args.recordings + game) // args.workers]  # fmt: skip
        command = [sys.executable, "-m", "research.scripted_person", *map(str, words)]
        sessions.append(subprocess.Popen(command, env=os.environ | {"PYTHONPATH": python_path()}))
    codes = [session.wait() for session in sessions]
    if any(codes):
        raise UserError("Recording failed.", todo="see the message above; the same command resumes")


def session_seed(args: Args, number: int, game: int) -> int:
    """Of one game's session in a round; each counts its episodes on from it, so that those of different rounds and games lie apart."""
    return args.seed + 1000 * number + 1000 // max(2, args.workers) * game


if __name__ == "__main__":
    run(Args, main, "Rounds of corrections beside rounds of demonstrations.")
