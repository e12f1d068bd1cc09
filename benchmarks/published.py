"""Ours against the published code on this machine: the same weights and inputs, in turns, one round after the other.

Input: the path of a checkout of STEVE-1 (its repository has VPT's network code). Output: steps/s, frames/s and ratios, and what the machine's
matrix products would allow. Nothing of the published code is part of this project; it runs in a process of its own.
"""

from __future__ import annotations

import copy
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.policy import TINY, make_batch, matmul_rate, training_step
from steve1.agent import Agent
from steve1.core import tuning
from steve1.core.device import keep_freed_memory
from steve1.core.errors import UserError
from steve1.core.messages import heading
from steve1.core.paths import ROOT
from steve1.core.tuning import Choice, candidates
from steve1.policy import GoalPolicy, PolicyConfig, read_model
from steve1.policy.flops import flop_count
from steve1.reporting.tables import Table

NETWORKS: dict[str, Callable[[], PolicyConfig]] = {
    "tiny": lambda: TINY,
    "mini": lambda: read_model(ROOT / "data/mini/mini.model"),
    "2x": PolicyConfig,
}
BATCHES = {"tiny": (2, 64), "mini": (2, 64), "2x": (1, 32)}  # windows, frames of a window
MEASURES = {
    "train_bf16": "training step, bf16",
    "train_fp32": "training step, fp32",
    "single": "single step",
    "guided": "guided step",
}
SECONDS = 2.5  # of a measurement
ROUNDS = (2, 9)  # at least, at most
SAME_LOSS = 1e-2  # relative: bf16 rounds differently on both sides
Timing = dict[str, float]
Row = dict[str, Any]


class Published:
    """The published code in its process."""

    def __init__(self, checkout: Path) -> None:
        if not (checkout / "steve1/embed_conditioned_policy.py").is_file():
            raise UserError(
                "This is no checkout of the published code.",
                where=str(checkout),
                expected="the folder of a clone of STEVE-1, with steve1/embed_conditioned_policy.py and steve1/VPT/",
                todo="git clone https://github.com/Shalev-Lifshitz/STEVE-1, and give its path with --against",
            )
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        script = Path(__file__).with_name("published_side.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(checkout.resolve())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip

    def ask(self, name: str, *arguments: Any) -> Timing:
        """Call a method of the other side; returns its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: PT018
        try:
            self._process.stdin.write(json.dumps([name, arguments]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._log.seek(0)
            said = self._log.read().strip().splitlines()
            raise UserError(
                "The published code failed.", got=said[-1] if said else "no message", todo="see whether it runs alone"
            )
        found: Timing = json.loads(answer)
        return found

    def load(self, policy: GoalPolicy, batch: dict[str, Tensor]) -> None:
        """Give it the weights and inputs."""
        args = policy.config.to_model()["model"]["args"]
        given = {"net": args["net"]["args"], "pi_head_opts": args["pi_head_opts"], "batch": batch}
        with tempfile.NamedTemporaryFile(suffix=".pt") as file:
            torch.save(given | {"weights": policy.state_dict()}, file.name)
            self.ask("load", file.name)

    def close(self) -> None:
        """End its process."""
        self._process.kill()
        self._process.wait()
        self._log.close()


def measure(
    against: Path | None, *, networks: Sequence[str] = (), slow: bool = False, neighbour: bool = True
) -> dict[str, Any]:
    """Both sides of each measurement, in turns.

    Args:
        against: the checkout.
        networks: names of NETWORKS; empty: all.
        slow: also 2x on one thread.
        neighbour: also beside a busy process of low priority.

    Returns:
        rows, one for each network, number of threads and measure: `quiet` and `busy`, each with published and ours (frames/s or steps/s, medians),
        ratio (median of the rounds), ratios, cpu_ratio; and limit (frames/s or steps/s at the machine's matrix-product rate).
    """
    if against is None:
        raise UserError(
            "The published code is not part of this project.",
            todo="git clone https://github.com/Shalev-Lifshitz/STEVE-1, and give its path with --against",
        )
    unknown = set(networks) - set(NETWORKS)
    if unknown:
        raise UserError("There is no such network.", got=", ".join(unknown), expected=", ".join(NETWORKS))
    rows: list[Row] = []
    before = torch.get_num_threads()
    published = Published(against)
    print(table([]), flush=True)
    try:
        for network in networks or NETWORKS:
            for threads in sorted({1, os.cpu_count() or 1}):
                if network == "2x" and threads == 1 and not slow:
                    continue
                torch.set_num_threads(threads)
                published.ask("threads", threads)
                for row in _measured(NETWORKS[network](), BATCHES[network], published, neighbour):
                    rows.append({"network": network, "threads": threads} | row)
                    print(table(rows[-1:]).splitlines()[-1], flush=True)
    finally:
        published.close()
        torch.set_num_threads(before)
    return {"rows": rows}


def table(rows: list[Row]) -> str:
    """The rows as a table in Markdown."""
    rates = [heading("published"), heading("ours"), heading("ratio")]
    head = [
        heading("network, threads"),
        "",
        *rates,
        heading("limit"),
        *(f"{each}, {heading('busy')}" for each in rates),
    ]
    cells_of = []
    for row in rows:
        quiet, busy = row["quiet"], row.get("busy")
        cells = [f"{row['network']}, {row['threads']}", heading(MEASURES[row["measure"]]), *_cells(quiet)]
        cells += [_rate(row["limit"]), *(_cells(busy) if busy else ["–"] * 3)]
        cells_of.append(cells)
    return Table(head, cells_of).markdown()


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cells(found: dict[str, Any]) -> list[str]:
    least, most = min(found["ratios"]), max(found["ratios"])
    return [_rate(found["published"]), _rate(found["ours"]), f"**{found['ratio']:.2f}** ({least:.2f}–{most:.2f})"]


class Ours:
    """This project's side, with the methods of the other."""

    def __init__(self, policy: GoalPolicy, batch: dict[str, Tensor]) -> None:
        keep_freed_memory()  # as training does on a CPU
        self._frames, self._goals = batch["frames"][0].numpy(), batch["goals"][0].numpy()
        # Agents keep what they made of the weights: those must not be trained meanwhile.
        still = copy.deepcopy(policy)
        self._agents = {False: Agent(still, cond_scale=0.0), True: Agent(still, cond_scale=6.0)}
        self._steps = {bf16: training_step(policy, batch, bf16) for bf16 in (False, True)}
        self._encoder = policy.net.img_process
        self.frames_at_once = {
            bf16: self._chosen(policy, batch["frames"].flatten(0, 1), bf16) for bf16 in (False, True)
        }

    def _chosen(self, policy: GoalPolicy, frames: Tensor, bf16: bool) -> int:
        """Frames that go through the convolutions at once, as training chooses them, for this number of threads."""
        plain = Choice(self._encoder.plain_frames, torch.get_num_threads())
        piece, trained = frames[None, : 8 * plain.frames], list(self._encoder.parameters())

        def attempt(choice: Choice) -> float:
            self._encoder.frames_at_once = choice.frames
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                features = policy.encode(piece).float().sum()
            torch.autograd.grad(features, trained)
            return float(piece.shape[1])

        choices = candidates(plain, piece.shape[1], threads=plain.threads)
        return tuning.measure(choices, attempt, SECONDS).choice.frames

    def train(self, bf16: bool) -> Timing:
        """A whole optimizer step."""
        self._encoder.frames_at_once = self.frames_at_once[bf16]
        wall, own = time.perf_counter(), time.process_time()
        loss = self._steps[bf16]()
        return {"wall": time.perf_counter() - wall, "own": time.process_time() - own, "loss": loss}

    def act(self, guided: bool, count: int) -> Timing:
        """Single steps; the median of `count`."""
        walls, owns = [], []
        for number in range(count):
            wall, own = time.perf_counter(), time.process_time()
            self._agents[guided].act(self._frames[number % len(self._frames)], self._goals[number % len(self._goals)])
            walls.append(time.perf_counter() - wall)
            owns.append(time.process_time() - own)
        return {"wall": statistics.median(walls), "own": statistics.median(owns)}


def _measured(config: PolicyConfig, shape: tuple[int, int], published: Published, neighbour: bool) -> Iterator[Row]:
    """The rows of a network at the present number of threads, without its name."""
    policy = GoalPolicy(config).initialise()
    batch = make_batch(config, *shape)
    published.load(policy, batch)
    ours = Ours(policy, batch)
    flop = flop_count(config)
    at_once = max(2, round(0.1 / ours.act(False, 4)["wall"]))
    calls: dict[str, tuple[str, tuple[Any, ...], int, float]] = {
        "train_bf16": ("train", (True,), math.prod(shape), flop_count(config, shape[1]).train),
        "train_fp32": ("train", (False,), math.prod(shape), flop_count(config, shape[1]).train),
        "single": ("act", (False, at_once), 1, flop.forward),
        "guided": ("act", (True, at_once), 1, flop.forward + flop.blocks),
    }
    for name, (method, arguments, count, cost) in calls.items():
        both = tuple(partial(side, *arguments) for side in (partial(published.ask, method), getattr(ours, method)))
        first = [call() for call in both]
        if method == "train" and abs(first[0]["loss"] - first[1]["loss"]) > SAME_LOSS * first[0]["loss"]:
            losses = ", ".join(f"{each['loss']:.4f}" for each in first)
            raise UserError("The two sides' losses differ.", where=MEASURES[name], got=f"{losses} (published, ours)")
        rates: list[float] = []
        row: Row = {
            "measure": name,
            "quiet": _rounds(both, count, torch.bfloat16 if "bf16" in name else torch.float32, rates),
        }
        row["limit"] = max(rates) / cost
        if method == "train":
            row["frames_at_once"] = ours.frames_at_once["bf16" in name]
        if neighbour:
            with _busy_neighbour():
                row["busy"] = _rounds(both, count)
        yield row


def _rounds(
    both: Sequence[Callable[[], Timing]], count: int, dtype: torch.dtype | None = None, rates: list[float] | None = None
) -> dict[str, Any]:
    """Calls in turns until SECONDS are over; with a dtype also the matrix-product rate, between rounds."""
    taken: list[list[Timing]] = []
    began = time.perf_counter()
    while len(taken) < ROUNDS[0] or (time.perf_counter() - began < SECONDS and len(taken) < ROUNDS[1]):
        if rates is not None and dtype is not None:
            rates.append(matmul_rate(dtype, clock=time.perf_counter))
        taken.append([call() for call in both])
    ratios = [theirs["wall"] / ours["wall"] for theirs, ours in taken]
    published, ours = (count / statistics.median(each[side]["wall"] for each in taken) for side in (0, 1))
    return {
        "published": published,
        "ours": ours,
        "ratio": statistics.median(ratios),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "cpu_ratio": statistics.median(theirs["own"] / ours["own"] for theirs, ours in taken),
    }


@contextmanager
def _busy_neighbour() -> Iterator[None]:
    """A process of the lowest priority that computes without end."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import os\nos.setpriority(os.PRIO_PROCESS, 0, 19)\nwhile True: pass"]
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()
