"""Benchmarks: `python -m benchmarks policy` and others, one for each package.

Output: a table, and on request the raw figures with machine, commit and date as JSON.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from steve1.commands.cli import run
from steve1.core.errors import UserError, nearest
from steve1.core.files import write_json
from steve1.core.messages import heading, padded, translated
from steve1.core.options import Option
from steve1.core.run_folder import commit

# name -> functions "module:function"; each returns a dict of plain figures
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "actions": ("benchmarks.actions:measure",),
    "policy": ("benchmarks.policy:measure_training", "benchmarks.agent_step:measure_steps"),
    "published": ("benchmarks.published:measure",),
    "train": ("benchmarks.train:measure_train",),
    "acting": ("benchmarks.acting:measure_acting",),
    "train_memory": ("benchmarks.train:measure_memory",),
    "load": ("benchmarks.load:measure_load",),
    "convert": ("benchmarks.convert:measure_convert",),
    "memory": ("benchmarks.convert:measure_memory",),
    "embed": ("benchmarks.embed:measure_embed",),
    "label": ("benchmarks.label:measure_label",),
    "game": ("benchmarks.game:measure",),
    "protocol": ("benchmarks.protocol:measure",),
    "evaluation": ("benchmarks.evaluation:measure",),
    "live": ("benchmarks.live:measure_live",),
    "soak": ("benchmarks.soak:measure_soak",),
}
_OF_A_MODEL = ("policy", "acting", "train", "train_memory", "label")


@dataclass(frozen=True)
class Args:
    """What to measure."""

    what: Annotated[str, Option(positional=True)]
    """One of: actions, policy, published, acting, train, train_memory, load, convert, memory, embed, label, game, protocol, evaluation, live, soak."""
    output: Path | None = None
    """JSON file for the raw figures, with command, machine, commit and date."""
    model: str = ""
    """For `policy`, `acting`, `train`, `train_memory`: a .model file instead of the small network of the published comparison; for the last three also 2x. For `label`: the .model file of an inverse dynamics model instead of the mini one."""
    batch: int = 2
    """For `train`: windows of a micro-batch."""
    steps: int = 64
    """For `train`: frames of a window (TRUNC_T)."""
    accumulation: int = 2
    """For `train`: micro-batches of an optimizer step."""
    rounds: int = 3
    """For `train`: optimizer steps that are measured of each kind."""
    device: str = "auto"
    """For `train` and `acting`: auto, cpu, cuda, cuda:N or mps."""
    precision: str = "auto"
    """For `train`: auto, bf16, tf32 or fp32."""
    activation_checkpointing: Literal["none", "light", "full"] = "none"
    """For `train`: what the backward pass computes again."""
    optimizer: str = "adamw"
    """For `train`: adamw or factored."""
    compile: bool = False
    """For `train`: with torch.compile."""
    cached_only: bool = False
    """For `train`: leave out full training, which takes minutes at 2x on a CPU."""
    full_only: bool = False
    """For `train`: leave out training on cached features, so that the memory is that of full training alone."""
    against: Path | None = None
    """For `published`: a checkout of https://github.com/Shalev-Lifshitz/STEVE-1, whose network is measured beside ours."""
    networks: tuple[str, ...] = ("tiny", "mini", "2x")
    """For `published`: which of tiny, mini, 2x."""
    slow: bool = False
    """For `published`: also 2x on one thread, which takes some minutes more."""
    neighbour: bool = True
    """For `published`: measure also beside a busy process of low priority."""
    dataset: Path | None = None
    """For `load`: a folder of embedded episodes instead of ones made for the purpose."""
    ticks: int = 1000
    """For `live`: ticks that are played, 20 a second."""
    h264: bool = False
    """For `live`: the client asks for H.264, as a browser that decodes it does."""
    minutes: float = 60.0
    """For `soak`: how long two games are played and a policy is trained beside them."""
    folder: Path | None = None
    """For `soak`: where its dataset, logs and samples.csv stay; otherwise nothing is kept."""


def main(args: Args) -> None:
    """Measure, print, write."""
    if args.cached_only and args.full_only:
        raise UserError("cached_only and full_only leave nothing to measure.", todo="give one of them, or neither")
    if args.what not in BENCHMARKS:
        raise UserError("There is no such benchmark.", got=args.what, expected=nearest(args.what, list(BENCHMARKS)))
    figures: dict[str, Any] = {}
    for entry in BENCHMARKS[args.what]:
        figures.update(_call(entry, args))
    record = {"benchmark": args.what, "command": _command(), **machine(), "figures": figures}
    for name, value in _flat({name: each for name, each in figures.items() if name != "rows"}):  # printed as they came
        print(f"{name:<36} {_shown(value)}")
    where = translated(f"{record['processor']}, {record['cores']} cores, load {record['load_1min']}")
    for name, value in (("machine", where), ("commit", record["commit"])):
        print(f"{padded(heading(name), 36)} {value}")
    if args.output is not None:
        write_json(args.output, record)
        print(translated(f"raw figures: {args.output}"))


def _call(entry: str, args: Args) -> dict[str, Any]:
    module, function = entry.split(":")
    try:
        measure: Callable[..., dict[str, Any]] = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UserError("This benchmark needs a part that is not installed.", where=module) from None
    given: dict[str, Any] = {"model": args.model} if args.model and args.what in _OF_A_MODEL else {}
    if args.what == "acting":
        given["device"] = args.device
    if args.what == "train":
        given |= {
            "batch": args.batch, "steps": args.steps, "accumulation": args.accumulation, "rounds": args.rounds,
            "device": args.device, "precision": args.precision, "activation_checkpointing": args.activation_checkpointing,
            "optimizer": args.optimizer, "compiled": args.compile,
            "kinds": tuple(kind for kind, left_out in (("cached", args.full_only), ("full", args.cached_only)) if not left_out),
        }  # fmt: skip
    if args.what == "published":
        given = {"against": args.against, "networks": args.networks, "slow": args.slow, "neighbour": args.neighbour}
    if args.dataset is not None and args.what == "load":
        given["dataset_dir"] = args.dataset
    if args.what == "live":
        given |= {"ticks": args.ticks, "h264": args.h264}
    if args.what == "soak":
        given |= {"minutes": args.minutes, "folder": args.folder}
    return measure(**given)


def machine() -> dict[str, Any]:
    """Where and on what a figure was measured."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": commit(short=True) or "not known",
        "date": time.strftime("%Y-%m-%d %H:%M:%S%z"),
    }


def _processor() -> str:
    described = Path("/proc/cpuinfo")  # of Linux alone
    lines = described.read_text().splitlines() if described.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _command() -> str:
    return "python -m benchmarks " + " ".join(sys.argv[1:])


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
