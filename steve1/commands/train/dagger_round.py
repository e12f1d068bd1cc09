"""Command: one round of corrections. The weights play, somebody takes over, all corrections so far are learned, and the result is compared.

Input: weights, prompts, and whatever else is to be mixed in.
Output: data/dagger/<name>/: rounds.json with a row for each round, and in round<k>/ the recordings, the weights and the evaluation.
Every stage resumes, so the same command goes on after a stop, and begins the next round after a finished one.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from steve1.commands.cli import run_command
from steve1.core.checkpoint_metadata import read_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.files import existing_file, read_json, write_json
from steve1.core.messages import message
from steve1.core.options import Option
from steve1.core.paths import display, output_path, resolve
from steve1.data.episodes.episode import find_episodes
from steve1.evaluation.tasks.suite import load_suite
from steve1.reporting.numbers import points_range
from steve1.reporting.tables import Table

_FORMAT = 1
# What names a sequence of rounds; another value would make its table compare what cannot be compared.
_FIXED = ("in_weights", "prompts", "tasks", "env", "episodes", "seed")


@dataclass(frozen=True)
class Args:
    """One round."""

    GROUPS: ClassVar = {
        "options": "name in_weights prompts env seed device",
        "corrections": "record n_episodes steps takeover corrections",
        "learning": "demonstrations demonstrations_share replay train",
        "comparing": "tasks episodes workers",
    }

    name: Annotated[str, Option(positional=True)] = ""
    """Name of the sequence of rounds."""
    in_weights: Annotated[str, Option(aliases=("--weights",))] = ""
    """Weights to begin with; later rounds begin with those of the round before."""
    prompts: tuple[str, ...] = ()
    """Prompts that are corrected."""
    env: str = "luanti"
    """Game to play."""
    seed: int = 0
    """Seed of the first round's corrections; the next ones use seed+1, ..."""
    device: str = "auto"
    """Device: auto, cpu, cuda or mps."""
    record: Literal["player", "person", "none"] = "player"
    """Who takes over: the scripted player, you at the page in a browser, or nobody, since the corrections are there (--corrections)."""
    n_episodes: int = 12
    """With --record player: corrections per prompt."""
    steps: int = 400
    """With --record player: steps per episode."""
    takeover: tuple[int, int] = (40, 160)
    """With --record player: the fewest and the most steps that the weights play first."""
    corrections: tuple[str, ...] = ()
    """Further dataset folders with corrections."""
    demonstrations: tuple[str, ...] = ()
    """Dataset folders with demonstrations, mixed in."""
    demonstrations_share: float = 0.5
    """Their share of the training data."""
    replay: str = ""
    """Old episodes that keep old skills: a replay pack or the name of a sampling."""
    train: str = ""
    """Options of `steve1 train`: "T=64 trunc_t=16 total_frames=75000 jitter"."""
    tasks: tuple[str, ...] = ()
    """Tasks to compare on, beside those of the prompts."""
    episodes: int = 40
    """Episodes per task of each weights file."""
    workers: int = 2
    """Games in parallel while comparing."""


def main(args: Args) -> None:
    """Play the next round to its end."""
    if not args.name or not args.in_weights or not args.prompts:
        todo = 'python -m steve1 dagger_round wood --in_weights data/mini/mini.weights --prompts "chop a tree"'
        raise UserError("A round needs a name, weights and prompts.", expected="NAME --in_weights --prompts", todo=todo)
    if "/" in args.name or args.name.startswith("."):
        raise UserError("A round's name is a word, not a path.", got=args.name, todo="choose another name")
    if not 0 <= args.demonstrations_share < 1:
        raise UserError(
            "This is not a share.", where="--demonstrations_share", expected="0 to 1", got=args.demonstrations_share
        )
    if args.record == "person" and len(args.prompts) > 1:
        raise UserError(
            "A person shows one prompt in a session.",
            where="--prompts",
            got="; ".join(args.prompts),
            todo="one name for each prompt",
        )
    targets = target_tasks(args)
    # Before anything is recorded, which takes the longest.
    for brought in (*args.corrections, *args.demonstrations):
        if not find_episodes(brought):
            todo = "bash 1_generate_dataset.sh"
            raise UserError("These folders contain no episodes.", where=display(resolve(brought)), todo=todo)
    folder = output_path("data/dagger") / args.name
    rounds = read_rounds(folder, args)
    number = len(rounds["rounds"]) + 1
    start = str(existing_file(args.in_weights, "These weights"))
    before = rounds["rounds"][-1]["weights"] if rounds["rounds"] else display(start)
    place = folder / f"round{number}"
    place.mkdir(parents=True, exist_ok=True)
    dataset = folder / f"dataset_round{number}"
    _say(number, message("dagger corrections", weights=before))
    record_corrections(args, number, before, place, dataset)
    mix = sources(args, folder, number)
    _say(number, message("dagger training", sources=", ".join(mix)))
    weights = place / f"{args.name}_{number}.weights"
    sampling = f"{args.name}_round{number}"
    run_command(
        ["create_sampling", sampling, "--mix", *mix, "--samplings_dir", str(folder / "samplings"), "--overwrite"]
    )
    metadata = read_checkpoint_metadata(resolve(before))
    words = ["train", "--in_model", metadata.model, "--in_weights", before, "--out_weights", str(weights)]
    words += ["--sampling_name", sampling, "--sampling_dir", str(folder / "samplings"), "--device", args.device]
    words += ["--replay", args.replay] if args.replay else []
    run_command([*words, *train_options(args.train)])
    _say(number, message("dagger comparing"))
    words = [
        "evaluate",
        "--weights",
        *dict.fromkeys([start, str(resolve(before)), str(weights)]),
        "--env",
        args.env,
        "--device",
        args.device,
    ]
    words += [
        "--tasks",
        *dict.fromkeys([*targets, *args.tasks]),
        "--target",
        *targets,
        "--episodes",
        str(args.episodes),
    ]
    words += ["--seed", str(args.seed), "--workers", str(args.workers), "--folder", str(place / "evaluation")]
    if number > 1:  # the start and the weights of the round before have played these episodes already
        words += ["--known_results", str(folder / f"round{number - 1}" / "evaluation")]
    run_command(words)
    rounds["rounds"].append(row_of(number, weights, read_json(place / "evaluation" / "report.json"), targets, mix))
    write_json(folder / "rounds.json", rounds)
    print(f"\n{table(rounds['rounds']).console()}\n{message('dagger next', path=display(weights))}")


def read_rounds(folder: Path, args: Args) -> dict[str, Any]:
    """The rounds so far.

    Raises:
        UserError: they were played with other weights, prompts, tasks or seeds.
    """
    asked = {name: getattr(args, name) for name in _FIXED}
    asked = json.loads(json.dumps({**asked, "in_weights": display(existing_file(args.in_weights, "These weights"))}))
    path = folder / "rounds.json"
    if not path.exists():
        if folder.exists() and any(
            not item.name.startswith(("round", "dataset_round", "samplings")) for item in folder.iterdir()
        ):
            raise UserError("This folder holds something else.", where=display(folder), todo="choose another name")
        return {"format": _FORMAT, "asked": asked, "rounds": []}
    found: dict[str, Any] = read_json(path)
    differing = [
        f"{name} {found['asked'].get(name)} (now {value})"
        for name, value in asked.items()
        if found["asked"].get(name) != value
    ]
    if differing:
        todo = "choose another name, or repeat the first command"
        raise UserError(
            "The rounds of this name were played with other settings.",
            where=display(path),
            got=", ".join(differing),
            todo=todo,
        )
    return found


def record_corrections(args: Args, number: int, weights: str, place: Path, dataset: Path) -> None:
    """This round's dataset, unless nobody takes over."""
    if args.record == "none":
        return
    words = [
        "generate_dataset",
        "--weights",
        weights,
        "--env",
        args.env,
        "--device",
        args.device,
    ]
    words += [
        "--output_dir",
        str(dataset),
        "--recordings_dir",
        str(place / "recordings"),
        "--seed",
        str(args.seed + number - 1),
    ]
    if args.record == "person":
        # Once conversion has begun the session is over; what is converted and embedded already is skipped.
        over = dataset.is_dir() and any((place / "recordings").rglob("*.mp4"))
        mineclip = read_checkpoint_metadata(resolve(weights)).mineclip
        shown = ["--source", "folder", "--mineclip", mineclip, "--nulls", "drop"]
        run_command([*words, *(shown if over else ["--source", "person", "--prompts", *args.prompts])])
        return
    words += [
        "--prompts",
        ";".join(args.prompts),
        "--source",
        "corrections",
        "--n_episodes",
        str(args.n_episodes),
        "--steps",
        str(args.steps),
    ]
    run_command([*words, "--takeover", *map(str, args.takeover)])


def sources(args: Args, folder: Path, number: int) -> list[str]:
    """FOLDER=SHARE of everything that is trained on: all corrections so far by the number of their episodes, then demonstrations."""
    mine = [path for path in (folder / f"dataset_round{each}" for each in range(1, number + 1)) if path.is_dir()]
    corrections = [*mine, *map(resolve, args.corrections)]
    counts = {str(path): len(find_episodes(path)) for path in corrections}
    if not sum(counts.values()):
        raise UserError(
            "There are no corrections to learn from.", todo="--record player, or name some with --corrections"
        )
    share = args.demonstrations_share if args.demonstrations else 0.0
    total = sum(counts.values())
    mix = [f"{path}={(1 - share) * count / total:.4g}" for path, count in counts.items() if count]
    shown = args.demonstrations if share else ()
    return mix + [f"{resolve(path)}={share / len(shown):.4g}" for path in shown]


def train_options(text: str) -> list[str]:
    """NAME=VALUE NAME … as flags."""
    words = [word.removeprefix("--").partition("=") for word in shlex.split(text)]
    return [each for name, equals, value in words for each in ([f"--{name}", value] if equals else [f"--{name}"])]


def target_tasks(args: Args) -> list[str]:
    """The tasks of the prompts; UserError for a prompt of none, since nothing would say whether it got better."""
    suite = load_suite(args.env)
    return [suite.find(prompt).name for prompt in args.prompts]


def row_of(number: int, weights: Path, report: dict[str, Any], targets: list[str], mix: list[str]) -> dict[str, Any]:
    """What a round has come to, from its evaluation's report."""
    names = list(report["rates"][targets[0]])
    new, base = names[-1], report["base"]
    return {
        "round": number,
        "weights": display(weights),
        "trained_on": mix,
        "tasks": {
            task: {
                "start": report["rates"][task][base],
                "now": report["rates"][task][new],
                "difference": report["comparisons"][new][task]["difference"],
                "interval": report["comparisons"][new][task]["interval"],
                "target": task in targets,
            }
            for task in report["comparisons"][new]
        },
    }


def table(rounds: list[dict[str, Any]]) -> Table:
    """Success over rounds: each against the start, on the same seeds and places."""
    rows = []
    for each in rounds:
        for task, found in each["tasks"].items():
            low, high = found["interval"]
            rows.append(
                {
                    "round": each["round"],
                    "task": task + (" *" if found["target"] else ""),
                    "start": f"{found['start']['successes']}/{found['start']['episodes']}",
                    "now": f"{found['now']['successes']}/{found['now']['episodes']}",
                    "points": f"{100 * found['difference']:+.0f}",
                    "95 % interval": points_range(low, high),
                }
            )
    return Table.of(rows).translated()


def _say(number: int, what: str) -> None:
    print(f"\n== {message('dagger stage', round=number, what=what)}", flush=True)
