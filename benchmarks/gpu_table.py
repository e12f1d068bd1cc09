"""Command: what `tools/measure_gpu.sh` reached of what was aimed at: `python -m benchmarks.gpu_table docs/benchmarks`.

Input: its JSON files, those that are there. Output: gpu.md beside them: the aims, then every measurement with where its time goes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from benchmarks.acting import TARGET_MS, TARGET_STEPS_PER_S
from steve1.commands.cli import run
from steve1.core.errors import UserError
from steve1.core.files import atomic_file, read_json
from steve1.core.messages import translated
from steve1.core.options import Option
from steve1.core.paths import display, resolve
from steve1.reporting.page import Block, markdown
from steve1.reporting.tables import Table, Value

FRAMES_PER_S, PEAK_GIB = 8000.0, 24.0  # aims: one H200 at 2x; the memory at B = 8, TRUNC_T = 64
SHARE = 46.0  # percent of a card's bf16 rate in matrix products, which those frames/s are of an H200's
TRAINED = ("train", "train_light", "train_compiled", "train_wide", "train_full", "train_cached")


@dataclasses.dataclass(frozen=True)
class Args:
    """Where the measurements lie."""

    folder: Annotated[Path, Option(positional=True)]
    """OUT_DIR of tools/measure_gpu.sh."""


def main(args: Args) -> None:
    """Print the table and write it."""
    folder = resolve(args.folder)
    records = {path.stem.removeprefix("gpu_"): read_json(path) for path in sorted(folder.glob("gpu_*.json"))}
    if not records:
        raise UserError("Nothing has been measured.", where=display(folder), todo="bash tools/measure_gpu.sh")
    blocks: list[Block] = [machine(records), aims(records), speeds(records), acting(records)]
    text = "\n\n".join(markdown(block) for block in blocks if block) + "\n"
    with atomic_file(folder / "gpu.md") as file:
        file.write(text.encode())
    print(text)
    print(translated(f"table: {display(folder / 'gpu.md')}"))


def machine(records: dict[str, Any]) -> str:
    """The devices, dates and commits of the measurements."""
    devices = sorted({str(record["figures"]["device"]) for record in records.values()})
    commits = sorted({str(record["commit"]) for record in records.values()})
    days = sorted({str(record["date"])[:10] for record in records.values()})
    return translated(f"{', '.join(devices)}; {', '.join(days)}; commit {', '.join(commits)}.")


def aims(records: dict[str, Any]) -> Table:
    """The aims, each beside the best that was measured."""
    full = {
        name: records[name]["figures"] for name in TRAINED if name in records and "full" in records[name]["figures"]
    }
    rows = []
    if full:
        best = max(full, key=lambda name: full[name]["full"]["frames_per_s"])
        found = full[best]["full"]
        reached = translated(f"{found['frames_per_s']:,.0f} ({found['percent']:.0f} % of the matrix-product rate)")
        aim = translated(f"{FRAMES_PER_S:,.0f} trained frames/s on an H200, {SHARE:.0f} % on any card")
        rows.append([aim, reached, best])
        held = min(
            (name for name in ("train", "train_light", "train_full") if name in full),
            key=lambda name: full[name]["full"]["peak_memory_mb"],
            default="",
        )
        if held:
            one = full[held]
            peak = one["full"]["peak_memory_mb"] / 1024
            memory = [(f"{PEAK_GIB:.0f}", 8, 64), (f"{peak:.1f}", one["batch"], one["trunc_t"])]
            aim, reached = (
                translated(f"{gib} GiB at B = {batch}, TRUNC_T = {length}") for gib, batch, length in memory
            )
            rows.append([aim, reached, held])
    steps = records["acting"]["figures"] if "acting" in records else {}
    for games, aim in (
        (1, translated(f"guided step at batch 1 in {TARGET_MS:g} ms")),
        (64, translated(f"{TARGET_STEPS_PER_S:,.0f} guided steps/s at batch 64")),
    ):
        kinds = steps.get(f"batch_{games}", {})
        if kinds:
            name = min(kinds, key=lambda kind: kinds[kind]["ms_per_step"])
            one = kinds[name]
            rows.append([aim, translated(f"{one['ms_per_step']:.2f} ms, {one['steps_per_s']:,.0f} steps/s"), name])
    return Table(["aim", "reached", "by"], rows).translated()


def speeds(records: dict[str, Any]) -> Table:
    """Every training measurement: speed, memory, and the time of its parts."""
    rows: list[dict[str, Value]] = []
    parts = ("data", "cnn", "transformer", "heads", "optimizer")
    for name in TRAINED:
        figures = records[name]["figures"] if name in records else {}
        for kind in ("full", "cached"):
            if kind in figures:
                one = figures[kind]
                rows.append(
                    {
                        "training": name if kind == "full" else translated(f"{name}, on the cache"),
                        "B x TRUNC_T": f"{figures['batch']} x {figures['trunc_t']}",
                        "frames/s": f"{one['frames_per_s']:,.0f}",
                        "% of matrix products": f"{one['percent']:.0f}",
                        "held GiB": f"{one['peak_memory_mb'] / 1024:.1f}",
                        "estimated": _gib(figures.get("estimated_gib"), kind == "full"),
                        "tensors GiB": _gib(one.get("peak_tensors_mb", 0.0) / 1024, True),
                        "estimated tensors": _gib(figures.get("estimated_tensors_gib"), kind == "full"),
                        "data, CNN, transformer, heads, optimizer (ms a step)": ", ".join(
                            f"{1000 * one['split_s'][part]:.1f}" for part in parts
                        ),
                    }
                )
    return Table.of(rows).translated()


def _gib(value: float | None, known: bool) -> str:
    return f"{value:.1f}" if value and known else "–"


def acting(records: dict[str, Any]) -> Table:
    """Every acting measurement."""
    steps = records["acting"]["figures"] if "acting" in records else {}
    rows = [
        [name.removeprefix("batch_"), kind, one["ms_per_step"], one["steps_per_s"]]
        for name, kinds in steps.items()
        if name.startswith("batch_")
        for kind, one in kinds.items()
    ]
    return Table(["games", "guided step", "ms", "steps/s"], rows, {"ms": ".2f", "steps/s": ",.0f"}).translated()


def cli() -> None:
    """Parse the command line and write."""
    run(Args, main, "What was reached on a GPU of what was aimed at.")


if __name__ == "__main__":
    cli()
