"""Command: record demonstrations in the game, of scripted players or of a policy, in the contractors' format (mp4 + jsonl)."""

from __future__ import annotations

import functools
import json
import os
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import read_json, remove_half_written
from steve1.core.messages import message, padded, progress, some, translated
from steve1.core.paths import display, output_path
from steve1.core.processes import limit_threads
from steve1.data.recordings.shards import alone_in
from steve1.envs import Env, make_env
from steve1.envs.worker.resources import shared_renderer
from steve1.evaluation.casts import Cast, CorrectionCast, PolicyCast, ScriptedCast
from steve1.evaluation.policies import environment_threads
from steve1.rollout.players import MINI
from steve1.rollout.record import FORMAT, check_steps, is_recorded, record
from steve1.rollout.supervise import SupervisedEnv

_MOST_DEATHS = 5
_MOST_GAMES = 4
_LEAST_CORRECTION = 32


@dataclass(frozen=True)
class Args:
    output_dir: str
    """Output folder: <behaviour>_<number>.mp4, .jsonl, -options.json."""
    behaviours: tuple[str, ...] = MINI
    """Behaviours to record, in turns; NAME=COUNT sets a number of recordings."""
    episodes: int = 4
    """Recordings per behaviour without a count of its own."""
    steps: int = 400
    """Steps per recording, 20 per second."""
    seed: int = 0
    """Seed for start states and players."""
    only_successful: bool = True
    """Keep only episodes that succeed at the task of the same name; failed ones are repeated elsewhere."""
    attempts: int = 6
    """Attempts per recording."""
    split: str = "demo"
    """Set of start states: "demo" or "eval"."""
    by_behaviour: bool = False
    """One folder per behaviour: <output_dir>/<behaviour>/<behaviour>_<number>."""
    workers: int = 0
    """Games in parallel; 0: one per processor, at most four."""
    weights: str = ""
    """Record these weights instead of the scripted players, to replay their skills in fine-tuning."""
    prompts: tuple[str, ...] = ()
    """With --weights: prompts to play, in turns; PROMPT=COUNT sets a number of recordings. Prompts of tasks keep only successful episodes, other prompts keep all."""
    takeover: tuple[int, int] | None = None
    """With --weights: corrections. The weights play this many steps (the fewest and the most), then the scripted player of the prompt's task takes over."""
    env: str = "luanti"
    """With --weights: game to play."""
    device: str = "auto"
    """With --weights: device: auto, cpu, cuda or mps."""

    def prefix(self, name: str, number: int) -> Path:
        """Path of a recording without its ending."""
        folder = output_path(self.output_dir)
        return (folder / name if self.by_behaviour else folder) / f"{name}_{number:03d}"


def plan(args: Args, counts: dict[str, int | None]) -> list[tuple[str, int]]:
    """(name, number) of every recording, in turns, so that a part of them is balanced."""
    wanted = {name: args.episodes if count is None else count for name, count in counts.items()}
    most = max(wanted.values(), default=0)
    # A behaviour with fewer recordings is spread over the whole time.
    slots = [((n + 0.5) * most / count, name, n) for name, count in wanted.items() for n in range(count)]
    return [(name, n) for _, name, n in sorted(slots)]


def cast_of(args: Args, games: int) -> Cast:
    """Who plays: the scripted players, or the policy that `weights` names."""
    if args.takeover and args.takeover[1] + _LEAST_CORRECTION > args.steps:
        raise UserError(
            "The scripted player would take over too late to do anything.",
            got=f"--takeover {args.takeover[0]} {args.takeover[1]} --steps {args.steps}",
            todo=f"--steps {args.takeover[1] + 200}, or let it take over earlier",
        )
    if not args.weights:
        return ScriptedCast(args.behaviours, args.seed, args.split)
    limit_threads(environment_threads(games))
    how: dict[str, Any] = {
        "env": args.env, "seed": args.seed, "split": args.split, "games": games, "device": args.device,
    }  # fmt: skip
    if args.takeover:
        return CorrectionCast(args.weights, args.prompts, takeover=args.takeover, **how)
    return PolicyCast(args.weights, args.prompts, **how)


def differing_recordings(args: Args, cast: Cast, tasks: Sequence[tuple[str, int]]) -> list[str]:
    """What recordings in the folder were made otherwise than `args` would make them, a line for each way, and what to do."""
    found: dict[str, list[str]] = {}
    wanted = {args.prefix(*task): task for task in tasks}
    for file in sorted(
        output_path(args.output_dir).glob("*/*-options.json" if args.by_behaviour else "*-options.json")
    ):
        prefix = file.with_name(file.name.removesuffix("-options.json"))
        known = read_json(file)
        if not isinstance(known, dict) or known.get("format") != FORMAT:
            continue
        if prefix not in wanted:
            found.setdefault(translated("not asked for now, and part of this folder all the same"), []).append(
                prefix.name
            )
            continue
        name, number = wanted[prefix]
        options, seed, _ = cast.begin(name, number, known.get("attempt", 0), 0)
        made_by = "weights_sha256"
        asked = known.get("asked", {})
        pairs = {
            "behaviour": (known.get("behaviour"), name),
            "steps": (asked.get("steps", known.get("steps")), args.steps),
            "seed": (args.seed if known.get("seed") == seed else asked.get("seed", "another"), args.seed),
            "split": (known.get("split", args.split), args.split),
            "takeover": tuple(made.get("takeover", message("none")) for made in (known, cast.details(name))),
            "weights": (str(known.get(made_by))[:12], str(cast.details(name).get(made_by))[:12]),
        }
        differing = [translated(f"{key} {then} (now {now})") for key, (then, now) in pairs.items() if then != now]
        reasons = [f"made with {', '.join(differing)}"] if differing else []
        if not differing and known.get("reset") != json.loads(json.dumps(options)):
            reasons = ["made from other start places than the behaviour has now"]
        if args.only_successful and not known.get("success"):
            reasons.append("not successful")
        if reasons:
            found.setdefault(", ".join(map(translated, reasons)), []).append(prefix.name)
    new = translated(
        "they stay as they are; to record new ones, name another --output_dir (of 1_generate_dataset.sh: another OUTPUT_DIR)"
    )
    return [f"{some(names)}: {why}; {new}" for why, names in found.items()]


@dataclass
class Work:
    """Shared by the threads: the recordings (name, number) to make, and counts of those made."""

    args: Args
    cast: Cast
    tasks: deque[tuple[str, int]]
    tried: Counter[str] = field(default_factory=Counter)
    good: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    fault: BaseException | None = None

    def __post_init__(self) -> None:
        self.bar = progress(total=len(self.tasks), desc=message("bar recording"), unit="episode")

    def run(self, game_number: int) -> None:
        """Make recordings until none is left; a game that dies is opened anew, at most _MOST_DEATHS times."""
        try:
            with SupervisedEnv(
                lambda: make_env(self.args.env, instance=game_number), max_restarts=_MOST_DEATHS
            ) as game:
                while self.fault is None:
                    try:
                        name, number = self.tasks.popleft()
                    except IndexError:
                        break
                    game.episode(functools.partial(self.record_one, name, number, game_number))
                    self.bar.set_postfix(
                        {n: f"{self.good[n]}/{self.tried[n]}" for n in sorted(self.tried)}, refresh=False
                    )
                    self.bar.update()
        except BaseException as fault:
            self.fault = self.fault or fault

    def record_one(self, name: str, number: int, game_number: int, env: Env) -> None:
        """One recording; failed episodes are played again from other start states."""
        args, task = self.args, self.cast.task(name)
        if args.weights and not self.good[name] and self.tried[name] >= 2 * args.attempts:
            return  # the policy cannot do it
        for attempt in range(args.attempts):
            options, seed, player = self.cast.begin(name, number, attempt, game_number)
            done = record(
                env,
                player,
                args.steps,
                args.prefix(name, number),
                behaviour=name,
                reset_options=options,
                judge=task.judge if task else lambda trace: (True, float(len(trace))),
                unit=task.measure_name if task else "steps",
                seed=seed,
                only_successful=args.only_successful,
                details={
                    "attempt": attempt,
                    "asked": {"steps": args.steps, "seed": args.seed},
                    **self.cast.details(name),
                },
            )
            self.tried[name] += 1
            self.good[name] += done.success
            if done.kept:
                self.kept[name] += 1
                return


def main(args: Args) -> int:
    """Record what is missing; 1 if some recordings are given up."""
    check_steps(args.steps)
    cores = os.cpu_count() or 1
    games = min(args.workers or min(cores, _MOST_GAMES), cores)
    cast = cast_of(args, games)
    tasks = plan(args, cast.counts)
    folder = output_path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder, work="record"):
        remove_half_written(folder, below=args.by_behaviour)
        todo = [task for task in tasks if not is_recorded(args.prefix(*task))]
        if len(todo) < len(tasks):
            print(message("recordings exist", count=len(tasks) - len(todo), total=len(tasks)))
        for line in differing_recordings(args, cast, tasks):
            print(f"  {padded(message('note'), 8)} {line}")
        work = Work(args, cast, deque(todo))
        games = min(games, len(todo))
        threads = [threading.Thread(target=work.run, args=(n,), name=f"recorder {n}") for n in range(games)]
        with shared_renderer(games):
            for thread in threads:
                thread.start()
            try:
                for thread in threads:
                    thread.join()
            except KeyboardInterrupt as fault:
                work.fault = fault
                for thread in threads:
                    thread.join()
        work.bar.close()
        if work.fault is not None:
            raise work.fault
        missing = [args.prefix(*task).name for task in tasks if not is_recorded(args.prefix(*task))]
    for name in sorted(work.tried):
        print(message("recorded", name=name, kept=work.kept[name], good=work.good[name], tried=work.tried[name]))
    print(message("recordings", folder=display(folder), count=len(tasks) - len(missing), total=len(tasks)))
    if missing:
        print(message("not recorded", attempts=args.attempts, names=", ".join(missing)))
    # What a policy cannot do is no fault; of scripted players it is.
    return int(len(missing) == len(tasks)) if args.weights else int(bool(missing))
