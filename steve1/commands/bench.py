"""Benchmarks: `python -m steve1.commands.bench policy` and others, one room each.

Comes in: which one. Goes out: a table, and on request the raw figures with machine, commit and date as JSON.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import tyro

from steve1.core.cli import run
from steve1.core.errors import UserError, nearest
from steve1.core.files import write_json
from steve1.core.paths import ROOT

# name -> functions "module:function"; each returns a dict of plain figures
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "actions": ("steve1.actions.bench:measure",),
    "policy": ("steve1.policy.bench:measure_training", "steve1.agent.bench:measure_steps"),
    "load": ("steve1.data.bench:measure_load",),
    "convert": ("steve1.data.bench_convert:measure_convert",),
    "embed": ("steve1.mineclip.bench:measure_embed",),
    "game": ("steve1.envs.bench:measure",),
    "protocol": ("steve1.envs.worker.bench:measure",),
}


@dataclass(frozen=True)
class Args:
    """What to measure."""

    what: Annotated[str, tyro.conf.Positional]
    """One of: actions, policy, load, convert, embed, game, protocol."""
    output: Path | None = None
    """JSON file for the raw figures, with command, machine, commit and date."""
    model: Path | None = None
    """For `policy`: a .model file to measure instead of the small network of the published comparison."""
    dataset: Path | None = None
    """For `load`: a folder of embedded episodes instead of ones made for the purpose."""


def main(args: Args) -> None:
    """Measure, print, write."""
    if args.what not in BENCHMARKS:
        raise UserError("There is no such benchmark.", got=args.what, expected=nearest(args.what, list(BENCHMARKS)))
    figures: dict[str, Any] = {}
    for entry in BENCHMARKS[args.what]:
        figures.update(_call(entry, args))
    record = {"benchmark": args.what, "command": _command(), **machine(), "figures": figures}
    for name, value in _flat(figures):
        print(f"{name:<36} {_shown(value)}")
    print(f"{'machine':<36} {record['processor']}, {record['cores']} cores, load {record['load_1min']}")
    print(f"{'commit':<36} {record['commit']}")
    if args.output is not None:
        write_json(args.output, record)
        print(f"raw figures: {args.output}")


def _call(entry: str, args: Args) -> dict[str, Any]:
    module, function = entry.split(":")
    try:
        measure: Callable[..., dict[str, Any]] = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UserError("This benchmark's room is not part of this installation.", where=module) from None
    given: dict[str, Any] = {}
    if args.model is not None and args.what == "policy":
        given["model"] = str(args.model)
    if args.dataset is not None and args.what == "load":
        given["dataset_dir"] = args.dataset
    return measure(**given)


def machine() -> dict[str, Any]:
    """Where and on what a figure was measured."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S%z"),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The checked-out commit, marked where files differ from it; empty outside git."""
    try:
        answers = [
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answers[0] + (" with changes" if answers[1] else "")


def _command() -> str:
    return "python -m steve1.commands.bench " + " ".join(sys.argv[1:])


def _flat(figures: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _shown(value: Any) -> str:
    return (
        f"{value:,.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )


def cli() -> None:
    """The command line."""
    run(Args, main, "Measure one part of the project on this machine.")


if __name__ == "__main__":
    cli()
