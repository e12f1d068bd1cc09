"""Command: what `tools/measure_gpu.sh` reached of what was aimed at: `python -m benchmarks.gpu_table docs/benchmarks`.

In: its JSON files, those that are there. Out: gpu.md beside them: the aims, then every measurement with where its time goes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks.acting import TARGET_MS, TARGET_STEPS_PER_S
from steve1.core.cli import run
from steve1.core.errors import UserError
from steve1.core.files import atomic_file, read_json
from steve1.core.paths import display, resolve

FRAMES_PER_S, PEAK_GIB = 8000.0, 24.0  # aims: one H200 at 2x; the memory at B = 8, TRUNC_T = 64
TRAINED = ("train", "train_wide", "train_wide_compiled", "train_recompute", "train_cached")


@dataclasses.dataclass(frozen=True)
class Args:
    """Where the measurements lie."""

    folder: Annotated[Path, tyro.conf.Positional]
    """OUT_DIR of tools/measure_gpu.sh."""


def main(args: Args) -> None:
    """Print the table and write it."""
    folder = resolve(args.folder)
    records = {path.stem.removeprefix("gpu_"): read_json(path) for path in sorted(folder.glob("gpu_*.json"))}
    if not records:
        raise UserError("Nothing has been measured.", where=display(folder), todo="bash tools/measure_gpu.sh")
    text = (
        "\n".join([*machine_lines(records), "", *aims(records), "", *speeds(records), "", *acting(records)]).strip()
        + "\n"
    )
    with atomic_file(folder / "gpu.md") as file:
        file.write(text.encode())
    print(text)
    print(f"table: {display(folder / 'gpu.md')}")


def machine_lines(records: dict[str, Any]) -> list[str]:
    """On what, and of which commit."""
    devices = sorted({str(record["figures"]["device"]) for record in records.values()})
    commits = sorted({str(record["commit"]) for record in records.values()})
    days = sorted({str(record["date"])[:10] for record in records.values()})
    return [f"{', '.join(devices)}; {', '.join(days)}; commit {', '.join(commits)}."]


def aims(records: dict[str, Any]) -> list[str]:
    """The aims, each beside the best that was measured."""
    full = {
        name: records[name]["figures"] for name in TRAINED if name in records and "full" in records[name]["figures"]
    }
    rows = ["| aim | reached | by |", "|---|---|---|"]
    if full:
        best = max(full, key=lambda name: full[name]["full"]["frames_per_s"])
        found = full[best]
        rows.append(
            f"| {FRAMES_PER_S:,.0f} trained frames/s | {found['full']['frames_per_s']:,.0f} ({found['full']['percent']:.0f} % of the matrix-product rate) | {best} |"
        )
        held = min(
            (name for name in ("train", "train_recompute") if name in full),
            key=lambda name: full[name]["full"]["peak_memory_mb"],
            default="",
        )
        if held:
            one = full[held]
            rows.append(
                f"| {PEAK_GIB:.0f} GiB at B = 8, TRUNC_T = 64 | {one['full']['peak_memory_mb'] / 1024:.1f} GiB at B = {one['batch']}, TRUNC_T = {one['trunc_t']} | {held} |"
            )
    steps = records["acting"]["figures"] if "acting" in records else {}
    for games, aim in (
        (1, f"guided step at batch 1 in {TARGET_MS:g} ms"),
        (64, f"{TARGET_STEPS_PER_S:,.0f} guided steps/s at batch 64"),
    ):
        kinds = steps.get(f"batch_{games}", {})
        if kinds:
            name = min(kinds, key=lambda kind: kinds[kind]["ms_per_step"])
            rows.append(
                f"| {aim} | {kinds[name]['ms_per_step']:.2f} ms, {kinds[name]['steps_per_s']:,.0f} steps/s | {name} |"
            )
    return rows


def speeds(records: dict[str, Any]) -> list[str]:
    """Every training measurement: speed, memory, and the share of its parts."""
    rows = [
        "| training | B x TRUNC_T | frames/s | % of matrix products | peak GiB | data, CNN, transformer, heads, optimizer (ms a step) |",
        "|---|---|---|---|---|---|",
    ]
    for name in TRAINED:
        figures = records[name]["figures"] if name in records else {}
        for kind in ("full", "cached"):
            if kind not in figures:
                continue
            one = figures[kind]
            split = ", ".join(
                f"{1000 * one['split_s'][part]:.1f}" for part in ("data", "cnn", "transformer", "heads", "optimizer")
            )
            label = name if kind == "full" else f"{name}, on the cache"
            rows.append(
                f"| {label} | {figures['batch']} x {figures['trunc_t']} | {one['frames_per_s']:,.0f} | {one['percent']:.0f} | {one['peak_memory_mb'] / 1024:.1f} | {split} |"
            )
    return rows if len(rows) > 2 else []


def acting(records: dict[str, Any]) -> list[str]:
    """Every acting measurement."""
    steps = records["acting"]["figures"] if "acting" in records else {}
    rows = [
        f"| {name.removeprefix('batch_')} | {kind} | {one['ms_per_step']:.2f} | {one['steps_per_s']:,.0f} |"
        for name, kinds in steps.items()
        if name.startswith("batch_")
        for kind, one in kinds.items()
    ]
    return ["| games | guided step | ms | steps/s |", "|---|---|---|---|", *rows] if rows else []


def cli() -> None:
    """Parse the command line and write."""
    run(Args, main, "What was reached on a GPU of what was aimed at.")


if __name__ == "__main__":
    cli()
