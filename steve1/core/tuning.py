"""Chooses by measuring how work is spread over this processor: how many frames go through a network at once, on how many threads.

Input: candidates, the plain way first, and a function that does a piece of the work. Output: the fastest, never one that is slower than the
plain way. What a quiet machine found is kept in a file of the user's, by processor, cores, torch, network, precision and batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from steve1.core.errors import UserError
from steve1.core.files import read_json, write_json
from steve1.core.messages import message, say

ROUNDS = 3
SECONDS = 20.0
"""The most that one choice may take."""
SHARE = 0.03
"""And the most of the work's own time; where that is less than LEAST, nothing is measured."""
LEAST = 1.0
SLOW = 0.8  # of the fastest: a candidate below is not measured again
NEAR = 0.95  # of the fastest: candidates above are as good, and the one with the fewest threads is taken
Clock = Callable[[], float]
Piece = Callable[[int], float]


@dataclasses.dataclass(frozen=True)
class Choice:
    """How work is spread."""

    frames: int
    """Frames that go through the network at once."""
    threads: int
    """CPU threads of torch."""


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A choice and why it was made."""

    choice: Choice
    plain: Choice
    speed: float = 0.0
    """Frames/s of the work that was timed; 0 where nothing was."""
    plain_speed: float = 0.0

    def line(self) -> str:
        """For the console; empty where nothing was measured."""
        if not self.speed:
            return ""
        speeds = {
            name: f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}"
            for name, speed in (("speed", self.speed), ("plain_speed", self.plain_speed))
        }
        plain = {"plain_frames": self.plain.frames, "plain_threads": self.plain.threads}
        return message("tuned", frames=self.choice.frames, threads=self.choice.threads, **plain, **speeds)


def candidates(plain: Choice, most_frames: int, frames: int | None = None, threads: int | None = None) -> list[Choice]:
    """The plain way, and others around it: powers of two up to `most_frames`, and one, half and all of the plain way's threads.

    Args:
        frames, threads: what is decided already.
    """
    sizes = {plain.frames, *(2**power for power in range(12) if max(1, plain.frames // 4) <= 2**power <= most_frames)}
    counts = {plain.threads, max(1, plain.threads // 2), 1}
    sizes, counts = {frames} if frames else sizes, {threads} if threads else counts
    first = Choice(frames or plain.frames, threads or plain.threads)
    rest = (Choice(size, count) for count in sorted(counts) for size in sorted(sizes))
    return [first, *(choice for choice in rest if choice != first)]


def measure(
    choices: Sequence[Choice], attempt: Callable[[Choice], float], seconds: float, clock: Clock = time.perf_counter
) -> Tuned:
    """Time the choices in turns, the plain way (the first) in each round, and take the fastest.

    Args:
        attempt: does a piece of the work as the choice says and returns its frames.
        seconds: after these no other piece begins; a choice that was not timed by then is not taken.
    """
    plain, left = choices[0], list(choices)
    speeds: dict[Choice, list[float]] = {choice: [] for choice in choices}
    begun = clock()
    for choice in {Choice(plain.frames, each.threads): each for each in choices}.values():
        attempt(choice)  # threads start, memory is taken: not timed
        if clock() - begun > seconds / 4:
            break
    for _ in range(ROUNDS):
        for choice in left:
            if choice != plain and clock() - begun > seconds:
                continue
            before = clock()
            done = attempt(choice)
            speeds[choice].append(done / max(clock() - before, 1e-9))
        best = max(max(found) for found in speeds.values() if found)
        left = [choice for choice in left if choice == plain or (speeds[choice] and max(speeds[choice]) > SLOW * best)]
        if clock() - begun > seconds:
            break
    # Of one round each: what else the machine does weighs on both.
    ratios = {
        choice: statistics.median(own / other for own, other in zip(found, speeds[plain], strict=False))
        for choice, found in speeds.items()
        if found and choice in left
    }
    wanted = max(1.0, NEAR * max(ratios.values()))
    fast = [choice for choice, ratio in ratios.items() if ratio >= wanted]
    chosen = min(fast, key=lambda each: (each.threads, each != plain, -ratios[each], each.frames != plain.frames))
    return Tuned(chosen, plain, statistics.median(speeds[chosen]), statistics.median(speeds[plain]))


def tune(
    about: Mapping[str, Any],
    choices: Sequence[Choice],
    attempt: Callable[[Choice], float],
    total_frames: float,
    *,
    fresh: bool = False,
    keep: bool = True,
    clock: Clock = time.perf_counter,
) -> Tuned:
    """The choice for a piece of work: the one that the user's file has for it, or one that is measured now.

    Args:
        about: what the answer depends on beside the machine: the kind of work, the network's shape, precision, batch.
        choices: the plain way first.
        total_frames: of all the work; measuring takes at most SHARE of its time, and SECONDS.
        fresh: measure whatever the file says, and leave it as it is: the machine is busy.
        keep: false on processes beside the first.
    """
    plain = choices[0]
    if len(choices) == 1:
        return Tuned(plain, plain)
    file, key = cache_file(), ", ".join([*machine(), *(f"{name} {value}" for name, value in about.items())])
    kept = _read(file)
    if not fresh and (known := _known(kept.get(key), choices)) is not None:
        return known
    begun = clock()
    done = attempt(plain)
    took = clock() - begun
    seconds = min(SECONDS, SHARE * total_frames * took / max(done, 1e-9))
    if took * len(choices) > 2 * SECONDS:  # a large network or a very busy machine: threads alone
        choices = [choice for choice in choices if choice.frames == plain.frames]
    if seconds < LEAST or took * len(choices) > 2 * SECONDS:
        return Tuned(plain, plain)
    quiet = not fresh and os.getloadavg()[0] <= cores() / 2
    found = measure(choices, attempt, seconds, clock)
    if keep and quiet:
        _write(file, {**_read(file), key: {**dataclasses.asdict(found), "measured": time.strftime("%Y-%m-%d")}})
    return found


@contextlib.contextmanager
def spread(
    about: Mapping[str, Any], device: torch.device, plain_frames: int, most_frames: int, total_frames: int, piece: Piece
) -> Iterator[int]:
    """Frames at once for the work in the body, which runs on as many threads as were chosen; on a GPU the plain number.

    Args:
        about, total_frames: as for `tune`.
        piece: does a piece of the work with this many frames at once and returns its frames.
    """
    before = torch.get_num_threads()

    def attempt(choice: Choice) -> float:
        torch.set_num_threads(choice.threads)
        return piece(choice.frames)

    try:
        frames = plain_frames
        if device.type == "cpu":
            found = tune(about, candidates(Choice(plain_frames, before), most_frames), attempt, total_frames)
            torch.set_num_threads(found.choice.threads)
            frames = found.choice.frames
            if found.line():
                say(found.line())
        yield frames
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> tuple[str, str, str]:
    """Processor, cores and torch, of which a speed is."""
    described = Path("/proc/cpuinfo")  # of Linux alone
    lines = described.read_text().splitlines() if described.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model")]  # its number and its name
    return " ".join(names[:2]) or platform.processor() or platform.machine(), f"{cores()} cores", torch.__version__


def cache_file() -> Path:
    """Where choices are kept for this user on this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "steve1" / "tuning.json"


def _known(entry: Any, choices: Sequence[Choice]) -> Tuned | None:
    try:
        plain, choice = Choice(**entry["plain"]), Choice(**entry["choice"])
        found = Tuned(choice, plain, float(entry["speed"]), float(entry["plain_speed"]))
    except (TypeError, KeyError, ValueError):
        return None
    return found if choice in choices and plain == choices[0] else None


def _read(file: Path) -> dict[str, Any]:
    """What is kept; nothing where the file is not there or cannot be read, for it can be measured again."""
    try:
        found = read_json(file)
    except (OSError, UserError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(file: Path, content: dict[str, Any]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, content)
    except OSError:  # no home, no space: it is measured again the next time
        return
