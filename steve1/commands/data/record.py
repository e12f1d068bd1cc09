"""Command: record demonstrations of scripted players in the game, in the contractors' format (mp4 + jsonl)."""

from __future__ import annotations

import functools
import json
import os
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from steve1.core.errors import UserError
from steve1.core.files import read_json, remove_half_written
from steve1.core.messages import progress, some
from steve1.core.paths import display, output_path
from steve1.data.episodes.captions import Captions, read_captions
from steve1.data.recordings.shards import alone_in
from steve1.envs import Env, make_env
from steve1.envs.worker.resources import shared_renderer
from steve1.evaluation.tasks.suite import Suite, load_suite
from steve1.rollout.players import MINI, behaviour
from steve1.rollout.record import FORMAT, check_steps, demonstration, is_recorded, record
from steve1.rollout.supervise import SupervisedEnv

_MOST_DEATHS = 5
_MOST_GAMES = 4


@dataclass(frozen=True)
class Args:
    output_dir: str
    """Folder for the recordings: <behaviour>_<number>.mp4, .jsonl, -options.json."""
    behaviours: tuple[str, ...] = MINI
    """Which behaviours, in turns. NAME=COUNT gives one its own number of episodes."""
    episodes: int = 4
    """Recordings of each behaviour that names no count."""
    steps: int = 300
    """Game ticks of 50 ms per recording."""
    seed: int = 0
    """Places, views and players are a function of it."""
    only_successful: bool = True
    """Keep only episodes that pass the rule of the task of the same name; others are played again elsewhere (--no_only_successful keeps all)."""
    attempts: int = 6
    """Tries for one recording before it is given up."""
    split: str = "demo"
    """Which start places: "demo" or "eval"."""
    by_behaviour: bool = False
    """Put each behaviour into its own folder: <output_dir>/<behaviour>/<behaviour>_<number>."""
    workers: int = 0
    """Games side by side; 0: one for each processor, at most four."""

    def prefix(self, name: str, number: int) -> Path:
        """Path of a recording without its ending."""
        folder = output_path(self.output_dir)
        return (folder / name if self.by_behaviour else folder) / f"{name}_{number:03d}"


def plan(args: Args) -> list[tuple[str, int]]:
    """(behaviour, number) of every recording, in turns, so that a part of them is balanced."""
    counts: dict[str, int] = {}
    for entry in args.behaviours:
        name, _, count = entry.partition("=")
        behaviour(name)
        if count and not count.isdigit():
            raise UserError("A behaviour's count is not a number.", got=entry, expected="NAME or NAME=COUNT")
        counts[name] = int(count) if count else args.episodes
    most = max(counts.values(), default=0)
    # A behaviour with fewer recordings is spread over the whole time.
    slots = [((n + 0.5) * most / count, name, n) for name, count in counts.items() for n in range(count)]
    return [(name, n) for _, name, n in sorted(slots)]


def differing_recordings(args: Args, tasks: Sequence[tuple[str, int]]) -> list[str]:
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
            found.setdefault("not asked for now, and part of this folder all the same", []).append(prefix.name)
            continue
        name, number = wanted[prefix]
        options, seed, _ = demonstration(behaviour(name), args.seed, number, known.get("attempt", 0), split=args.split)
        asked = known.get("asked", {})
        pairs = {
            "behaviour": (known.get("behaviour"), name),
            "steps": (asked.get("steps", known.get("steps")), args.steps),
            "seed": (args.seed if known.get("seed") == seed else asked.get("seed", "another"), args.seed),
            "split": (known.get("split", args.split), args.split),
        }
        differing = [f"{key} {then} (now {now})" for key, (then, now) in pairs.items() if then != now]
        reasons = ["made with " + ", ".join(differing)] if differing else []
        if not differing and known.get("reset") != json.loads(json.dumps(options)):
            reasons = ["made from other start places than the behaviour has now"]
        if args.only_successful and not known.get("success"):
            reasons.append("not successful")
        if reasons:
            found.setdefault(", ".join(reasons), []).append(prefix.name)
    new = "they stay as they are; to record new ones, name another --output_dir (of 1_generate_dataset.sh: another OUTPUT_DIR)"
    return [f"{some(names)}: {why}; {new}" for why, names in found.items()]


@dataclass
class Work:
    """Shared by the threads: the recordings (behaviour, number) to make, and counts of those made."""

    args: Args
    tasks: deque[tuple[str, int]]
    suite: Suite = field(default_factory=load_suite)
    captions: dict[str, Captions] = field(default_factory=read_captions)
    tried: Counter[str] = field(default_factory=Counter)
    good: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    fault: BaseException | None = None

    def __post_init__(self) -> None:
        self.bar = progress(total=len(self.tasks), desc="recording", unit="episode")

    def run(self, game_number: int) -> None:
        """Make recordings until none is left; a game that dies is opened anew, at most _MOST_DEATHS times."""
        try:
            with SupervisedEnv(lambda: make_env("luanti", instance=game_number), max_restarts=_MOST_DEATHS) as game:
                while self.fault is None:
                    try:
                        name, number = self.tasks.popleft()
                    except IndexError:
                        break
                    game.episode(functools.partial(self.record_one, name, number))
                    self.bar.update()
                    self.bar.set_postfix({n: f"{self.good[n]}/{self.tried[n]}" for n in sorted(self.tried)})
        except BaseException as fault:
            self.fault = self.fault or fault

    def record_one(self, name: str, number: int, env: Env) -> None:
        """One recording; failed episodes are played again from other start states."""
        args, task = self.args, self.suite.tasks[name]
        for attempt in range(args.attempts):
            options, seed, player = demonstration(behaviour(name), args.seed, number, attempt, split=args.split)
            done = record(
                env,
                player,
                args.steps,
                args.prefix(name, number),
                behaviour=name,
                reset_options=options,
                judge=task.judge,
                captions=self.captions[name].train,
                unit=task.measure_name,
                seed=seed,
                only_successful=args.only_successful,
                details={"split": args.split, "attempt": attempt, "asked": {"steps": args.steps, "seed": args.seed}},
            )
            self.tried[name] += 1
            self.good[name] += done.success
            if done.kept:
                self.kept[name] += 1
                return


def main(args: Args) -> int:
    """Record what is missing; 1 if some recordings are given up."""
    check_steps(args.steps)
    tasks = plan(args)
    folder = output_path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder, work="record"):
        remove_half_written(folder, below=args.by_behaviour)
        todo = [task for task in tasks if not is_recorded(args.prefix(*task))]
        if len(todo) < len(tasks):
            print(f"{len(tasks) - len(todo)} of {len(tasks)} recordings are there already.")
        for line in differing_recordings(args, tasks):
            print(f"  note     {line}")
        work = Work(args, deque(todo))
        cores = os.cpu_count() or 1
        games = min(args.workers or min(cores, _MOST_GAMES), cores, len(todo))
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
        print(f"{name:14} kept {work.kept[name]:3}   success {work.good[name]}/{work.tried[name]} episodes")
    print(f"recordings: {display(folder)} ({len(tasks) - len(missing)} of {len(tasks)})")
    if missing:
        print(f"not succeeded in {args.attempts} attempts: {', '.join(missing)}")
    return 1 if missing else 0
