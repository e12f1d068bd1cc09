"""Command: record demonstrations of scripted players in the game, in the contractors' format (mp4 + jsonl)."""

from __future__ import annotations

import functools
import os
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.messages import progress
from steve1.core.paths import display, output_path
from steve1.data.episodes.captions import Captions, read_captions
from steve1.data.recordings.shards import alone_in
from steve1.envs import Env, make_env
from steve1.envs.worker.resources import shared_renderer
from steve1.evaluation.tasks.suite import Suite, load_suite
from steve1.rollout.players import MINI, behaviour
from steve1.rollout.record import check_steps, demonstration, is_recorded, record
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
    """Put each behaviour into a folder of its own: <output_dir>/<behaviour>/<behaviour>_<number>."""
    workers: int = 0
    """Games side by side; 0: one for each processor, at most four."""

    def prefix(self, folder: Path, name: str, number: int) -> Path:
        """Path of a recording without its ending."""
        return (folder / name if self.by_behaviour else folder) / f"{name}_{number:03d}"


@dataclass
class Work:
    """Shared by the workers: the recordings to make, and counts of those made."""

    tasks: deque[tuple[str, int]]
    suite: Suite = field(default_factory=load_suite)
    captions: dict[str, Captions] = field(default_factory=read_captions)
    tried: Counter[str] = field(default_factory=Counter)
    good: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    fault: BaseException | None = None


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


def record_one(args: Args, folder: Path, name: str, number: int, work: Work, env: Env) -> None:
    """One recording; failed episodes are played again from other start states."""
    task = work.suite.tasks[name]
    for attempt in range(args.attempts):
        options, seed, player = demonstration(behaviour(name), args.seed, number, attempt, split=args.split)
        done = record(
            env, player, args.steps, args.prefix(folder, name, number), behaviour=name, reset_options=options,
            judge=task.judge, captions=work.captions[name].train, unit=task.measure_name, seed=seed,
            only_successful=args.only_successful, details={"split": args.split, "attempt": attempt},
        )  # fmt: skip
        work.tried[name] += 1
        work.good[name] += done.success
        if done.kept:
            work.kept[name] += 1
            return


def worker(number: int, args: Args, folder: Path, work: Work, bar: Any) -> None:
    """Take recordings from the queue until none is left; a game that dies is opened anew, at most _MOST_DEATHS times."""
    try:
        with SupervisedEnv(lambda: make_env("luanti", instance=number), max_restarts=_MOST_DEATHS) as game:
            while work.fault is None:
                try:
                    name, episode = work.tasks.popleft()
                except IndexError:
                    break
                game.episode(functools.partial(record_one, args, folder, name, episode, work))
                bar.update()
                bar.set_postfix({n: f"{work.good[n]}/{work.tried[n]}" for n in sorted(work.tried)})
    except BaseException as fault:
        work.fault = work.fault or fault


def main(args: Args) -> int:
    check_steps(args.steps)
    tasks = plan(args)
    folder = output_path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder, work="record"):
        return record_all(args, folder, tasks)


def record_all(args: Args, folder: Path, tasks: list[tuple[str, int]]) -> int:
    """Record what is missing; returns the exit code."""
    todo = [(name, n) for name, n in tasks if not is_recorded(args.prefix(folder, name, n))]
    if len(todo) < len(tasks):
        print(f"{len(tasks) - len(todo)} of {len(tasks)} recordings are there already.")
    work = Work(deque(todo))
    bar = progress(total=len(todo), desc="recording", unit="episode")
    cores = os.cpu_count() or 1
    games = min(args.workers or min(cores, _MOST_GAMES), cores, len(todo))
    crew = [
        threading.Thread(target=worker, args=(n, args, folder, work, bar), name=f"recorder {n}") for n in range(games)
    ]
    with shared_renderer(games):
        for thread in crew:
            thread.start()
        try:
            for thread in crew:
                thread.join()
        except KeyboardInterrupt as fault:
            work.fault = fault
            for thread in crew:
                thread.join()
    bar.close()
    if work.fault is not None:
        raise work.fault
    missing = [f"{name}_{n:03d}" for name, n in tasks if not is_recorded(args.prefix(folder, name, n))]
    for name in sorted(work.tried):
        print(f"{name:14} kept {work.kept[name]:3}   success {work.good[name]}/{work.tried[name]} episodes")
    print(f"recordings: {display(folder)} ({len(tasks) - len(missing)} of {len(tasks)})")
    if missing:
        print(f"not succeeded in {args.attempts} attempts: {', '.join(missing)}")
    return 1 if missing else 0
