"""Checks that everything the quickstart needs is installed, before anything long starts, and says what to expect of the skill and of the time."""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from steve1.core.checkpoint_metadata import REPLAY_SUFFIX, read_checkpoint_metadata
from steve1.core.errors import UserError, nearest
from steve1.core.files import atomic_file, sha256_file
from steve1.core.messages import message
from steve1.core.paths import display, output_path, resolve
from steve1.data.episodes.formats.replay import open_pack
from steve1.data.loading.replay import replay_entries
from steve1.data.loading.sampling import SAMPLINGS
from steve1.envs import make_env
from steve1.evaluation.report.sentences import task_label
from steve1.evaluation.runner.known import known_successes
from steve1.evaluation.tasks.suite import load_suite
from steve1.rollout.players.behaviours import BEHAVIOURS, MINI, behaviour
from steve1.training.config import TrainSettings

if TYPE_CHECKING:
    from steve1.policy import GoalPolicy

BENCHMARK_SECONDS = 2.0
REFERENCE_SPEED = 1810.0
"""Frames a second through the mini policy's image network on the machine that SECONDS were measured on, in the same minutes."""
SECONDS = {"record": 0.014, "train": 0.00022, "play": 3.9}
"""Seconds there, for each recorded frame, each trained frame, and each played episode."""
FIXED_SECONDS = {"record": 12.0, "train": 33.0, "play": 13.0}
"""Starting programs and games, for each stage."""


@dataclasses.dataclass(frozen=True)
class Args:
    """What to check."""

    GROUPS: ClassVar = {
        "options": "weights megabytes skill old known_results replay replay_share",
        "output": "expected frames train_frames episodes",
    }

    weights: str = "data/mini/mini.weights"
    """Pretrained policy; the files that its .json names are checked too."""
    megabytes: int = 500
    """Free disk space needed, in MB."""
    skill: str = ""
    """Also say what to expect of this skill."""
    old: str = ""
    """Old skills that will be played, separated by spaces: they must be tasks."""
    known_results: str = "data/mini/results"
    """What these weights played earlier; results of others are not used."""
    replay: str = ""
    """Replay pack, or name of a sampling, that must be there; a pack must fit the weights."""
    replay_share: float = TrainSettings.replay_share
    """Its share of the training windows."""
    expected: str = ""
    """Also measure the machine for two seconds, and write the seconds that each stage is expected to take to this file."""
    frames: int = 3000
    """Frames to be recorded."""
    train_frames: int = 300_000
    """Frames to be trained on, from features."""
    episodes: int = 40
    """Episodes to be played."""


def main(args: Args) -> None:
    """Raise one UserError for the first thing that is missing."""
    if not 0 < args.replay_share < 1:
        raise UserError(f"replay_share is a share above 0 and below 1, got {args.replay_share}")
    weights = resolve(args.weights)
    metadata = read_checkpoint_metadata(weights)
    pack = resolve(args.replay) if args.replay.endswith(REPLAY_SUFFIX) else None
    if args.replay and pack is None:
        replay_entries(args.replay, SAMPLINGS)
    own = [pack] if pack is not None and pack.parent == weights.parent else []
    for path in (weights, *(resolve(name) for name in (metadata.model, metadata.mineclip, metadata.prior)), *own):
        if not path.is_file():
            raise UserError(
                "A file of the mini weights is missing.",
                where=display(path),
                todo="git checkout data/mini, or make them again: bash tools/make_mini.sh",
            )
    free = shutil.disk_usage(Path.cwd()).free / 1e6
    if free < args.megabytes:
        raise UserError(
            "There is not enough free disk space.",
            where=Path.cwd(),
            expected=f"{args.megabytes} MB",
            got=f"{free:.0f} MB",
        )
    policy = _policy(resolve(metadata.model), weights) if pack is not None or args.expected else None
    if pack is not None and policy is not None:
        check_pack(pack, policy)
    said = expectation(args.skill, metadata.trained_on, weights, resolve(args.known_results)) if args.skill else ""
    if args.old:
        load_suite(metadata.env).select(args.old.split())
    with make_env(metadata.env) as env:
        env.reset(seed=0)
    print(message("quickstart checked"))
    if said:
        print(said)
    if args.expected and policy is not None:
        write_expected(args, speed(policy))


def _policy(model: Path, weights: Path) -> GoalPolicy:
    # Imported here because it loads torch, for which --help need not wait.
    from steve1.policy import load_policy

    return load_policy(model, weights).requires_grad_(False)


def check_pack(pack: Path, policy: GoalPolicy) -> None:
    """UserError where the pack cannot be read, or holds features of another CNN than the policy's."""
    from steve1.training.cache import FeatureCache  # as above

    FeatureCache(output_path(TrainSettings.cache_dir), policy).need(open_pack(pack).paths()[:1])


def expectation(skill: str, trained_on: tuple[str, ...], weights: Path, known_results: Path) -> str:
    """What fine-tuning on a skill can be expected to change.

    Raises:
        UserError: there is no scripted player of this name to demonstrate it, or no task to judge it.
    """
    name = behaviour(skill).name
    if name not in BEHAVIOURS:
        what = "This behaviour is no skill: no task says whether it succeeded."
        raise UserError(what, got=name, expected=nearest("", list(BEHAVIOURS)))
    successes, episodes = played(name, weights, known_results)
    kind = "new" if name in MINI else "foreign"
    if name in trained_on:
        kind = "trained" if not episodes else "known" if successes >= episodes / 2 else "weak"
    return message(f"skill {kind}", skill=task_label(load_suite().tasks[name]), successes=successes, episodes=episodes)


def played(task: str, weights: Path, known_results: Path) -> tuple[int, int]:
    """Successes and episodes of a task's own prompt in an earlier evaluation; none where that was not of these weights."""
    return known_successes(known_results, sha256_file(weights)).get(task, (0, 0))


def speed(policy: GoalPolicy) -> float:
    """Frames a second through the image network, measured for two seconds with the machine as busy as it is."""
    import torch  # as above

    frames = torch.zeros(32, 128, 128, 3, dtype=torch.uint8)
    times: list[float] = []  # their median: somebody else's second of work says little about the next minutes
    with torch.no_grad():
        policy.net.img_process.dense(frames)
        began = time.perf_counter()
        while not times or time.perf_counter() - began < BENCHMARK_SECONDS:
            before = time.perf_counter()
            policy.net.img_process.dense(frames)
            times.append(time.perf_counter() - before)
    return len(frames) / statistics.median(times)


def stage_seconds(args: Args, measured: float) -> dict[str, int]:
    """Seconds that each stage is expected to take on a machine of this speed."""
    work = {"record": args.frames, "train": args.train_frames, "play": args.episodes}
    ratio = REFERENCE_SPEED / max(measured, 1e-9)
    return {name: round(ratio * (FIXED_SECONDS[name] + SECONDS[name] * count)) for name, count in work.items()}


def write_expected(args: Args, measured: float) -> None:
    """Write the stages' seconds as lines "stage seconds", which the script reads."""
    with atomic_file(output_path(args.expected), "w") as file:
        file.write("".join(f"{name} {seconds}\n" for name, seconds in stage_seconds(args, measured).items()))
