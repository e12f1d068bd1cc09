"""Command: weights between base and fine-tuned ones: `python tools/interpolate_weights.py --base a.weights --tuned b.weights --alpha 0:1:0.25`.

Writes a weights file for each alpha and its losses as interpolation.md, .json and .png: often a point between keeps most of the old skills
and of the new one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from steve1.core.checkpoint_metadata import (
    checkpoint_metadata_path,
    read_checkpoint_metadata,
    write_checkpoint_metadata,
)
from steve1.core.device import choose_precision
from steve1.core.errors import UserError
from steve1.core.files import atomic_file, atomic_path, check_writable, read_json, sha256_file, write_json
from steve1.core.messages import heading, translated
from steve1.core.paths import display, output_path, resolve
from steve1.data.loading.lists import read_list
from steve1.policy import GoalPolicy, load_policy, save_weights
from steve1.reporting.lettering import label
from steve1.reporting.tables import Table
from steve1.training.batches import windows_of
from steve1.training.checks import faults
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks, local_device
from steve1.training.logging.pictures import line_plot
from steve1.training.report.card import owner_of
from steve1.training.trainable import ADAPTER_SUFFIX, merge_adapter
from steve1.training.validate import validate


@dataclasses.dataclass(frozen=True)
class Args:
    """Mix weights and measure both losses."""

    base: str
    """Weights that fine-tuning started from."""
    tuned: str = ""
    """The fine-tuned weights."""
    adapter: str = ""
    """A .lora.safetensors file instead of --tuned; it is first merged into the base, as <adapter>.weights in the output folder."""
    alpha: str = "0:1:0.25"
    """Shares of the fine-tuned weights: from:to:step, or a list such as 0.3,0.7."""
    sampling: str = ""
    """Sampling of the new task: its loss is measured on <sampling_dir>/<name>_val.txt."""
    retention_sampling: str = ""
    """Sampling of old skills: their loss is measured on <sampling_dir>/<name>_val.txt."""
    sampling_dir: str = "data/samplings"
    """Folder of the sampling lists."""
    out_dir: str = ""
    """Output folder; default: data/interpolations/<tuned>."""
    no_weights: bool = False
    """Only measure; write no weights."""
    overwrite: bool = False
    """Replace what an interpolation of other weights wrote into the output folder."""
    in_model: str = ""
    """The .model file; default: from <weights>.json."""
    T: int = 320
    """Frames per window, as in training."""
    trunc_t: int = 64
    """Frames per forward pass."""
    max_btwn_goals: int = 100
    """Maximum frames between two hindsight goals, as in training."""
    batch_size: int = 8
    """Windows per batch."""
    val_windows: int = 0
    """Measure on this many windows, spread over each list; 0: all."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:N or mps."""


def main(args: Args) -> None:
    """Check, mix, measure, say where it lies."""
    if bool(args.tuned) == bool(args.adapter):
        raise UserError(
            "There is nothing to interpolate with.",
            expected="--tuned or --adapter",
            got=f"tuned {args.tuned!r}, adapter {args.adapter!r}",
        )
    name = Path(args.tuned or args.adapter).name.split(".")[0]
    folder = output_path(args.out_dir or f"data/interpolations/{name}")
    check_writable(folder)
    interpolate(args, folder)
    print((folder / "interpolation.md").read_text(encoding="utf-8"))
    print(translated(f"written: {display(folder)}"))


@dataclasses.dataclass(frozen=True)
class Point:
    """One policy on the line."""

    share: float
    weights: Path | None
    task_loss: float | None = None
    retention_loss: float | None = None


def interpolate(args: Args, folder: Path) -> list[Point]:
    """Mix, measure, write into `folder`; returns the points in order.

    Raises:
        UserError: settings that cannot be used; weights of different networks; lists that cannot be used; mixtures of other weights in the folder.
    """
    device = local_device(args.device)
    trunc_t, longest = min(args.trunc_t, args.T), args.max_btwn_goals
    settings = TrainSettings(
        T=args.T, trunc_t=trunc_t, max_btwn_goals=longest, batch_size=args.batch_size, val_windows=args.val_windows
    )
    if found := faults(settings):
        raise UserError("These settings cannot be used.", got="; ".join(map(translated, found)))
    ranks, precision = Ranks(0, 1, device), choose_precision("auto", device)
    base_path, model = resolve(args.base), resolve(args.in_model or read_checkpoint_metadata(args.base).model)
    tuned_path = resolve(args.tuned) if args.tuned else merged(model, base_path, resolve(args.adapter), folder)
    base, tuned, mixture = (load_policy(model, path, device=device) for path in (base_path, tuned_path, base_path))
    if {n: v.shape for n, v in base.state_dict().items()} != {n: v.shape for n, v in tuned.state_dict().items()}:
        raise UserError(
            "These weights are of different networks.", where=f"{display(base_path)}, {display(tuned_path)}"
        )
    samplings = {"task": args.sampling, "retention": args.retention_sampling}
    lists = {name: resolve(Path(args.sampling_dir) / f"{each}_val.txt") for name, each in samplings.items() if each}
    datasets = {name: windows_of(settings, read_list(path), fixed=True) for name, path in lists.items()}
    files = {"base": base_path, "tuned": tuned_path}
    made_of = {name: sha256_file(file) for name, file in files.items()}
    paths = {share: folder / f"{tuned_path.stem}_alpha{share:g}{tuned_path.suffix}" for share in shares(args.alpha)}
    if not args.overwrite:
        _check_free(folder, files, made_of, () if args.no_weights else paths.values())
    folder.mkdir(parents=True, exist_ok=True)
    points = []
    for share in paths:
        mixture.load_state_dict(mixed_state(base, tuned, share))
        losses = {name: validate(mixture, each, settings, ranks, precision)["loss"] for name, each in datasets.items()}
        path = None
        if not args.no_weights:
            path = paths[share]
            with atomic_path(path) as part:
                save_weights(mixture, part)
            hashes = {**made_of, "weights": sha256_file(path)}
            write_checkpoint_metadata(path, dataclasses.replace(read_checkpoint_metadata(tuned_path), hashes=hashes))
        points.append(Point(share, path, losses.get("task"), losses.get("retention")))
        said = [f"alpha {share:g}:", *(f"{heading(f'{name} loss')} {loss:.4f}" for name, loss in losses.items())]
        print("  ".join(said), flush=True)
    facts: dict[str, str | None] = {"base": display(base_path), "tuned": display(tuned_path)}
    for name in samplings:
        facts[f"{name}_list"] = display(lists[name]) if name in lists else None
    _report(folder, points, facts)
    return points


def _check_free(folder: Path, files: dict[str, Path], made_of: dict[str, str], paths: Iterable[Path]) -> None:
    """UserError where the folder holds mixtures of other weights, or files that are none, under the names that are written."""
    for path in paths:
        if not path.exists():
            continue
        known = read_checkpoint_metadata(path).hashes if checkpoint_metadata_path(path).exists() else {}
        if known.get("weights") != sha256_file(path) or any(known.get(name) != made_of[name] for name in made_of):
            raise UserError(
                "Other weights lie where the mixed ones go, and would be replaced.",
                where=display(path),
                todo="choose another --out_dir, or --overwrite to replace them",
            )
    record = folder / "interpolation.json"
    kept = read_json(record) if record.exists() else {}
    if other := [str(kept[name]) for name in made_of if kept.get(name) and resolve(str(kept[name])) != files[name]]:
        raise UserError(
            "This folder holds the losses between other weights, which would be replaced.",
            where=display(record),
            got=", ".join(other),
            todo="choose another --out_dir, or --overwrite to replace them",
        )


def merged(model: Path, base: Path, adapter: Path, folder: Path) -> Path:
    """The base with an adapter merged into it, written to `folder`.

    Raises:
        UserError: the adapter was made for other weights, or others lie where the merged ones go.
    """
    policy = load_policy(model, base)
    wanted = merge_adapter(policy, adapter)
    if wanted != sha256_file(base):
        raise UserError(
            "This adapter was made for other weights.",
            where=display(adapter),
            expected=f"sha256 {wanted[:12]}…",
            got=f"{display(base)}: {sha256_file(base)[:12]}…",
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (adapter.name.removesuffix(ADAPTER_SUFFIX) + ".weights")
    known = read_checkpoint_metadata(path).hashes if path.exists() else {}
    if path.exists() and not ("adapter" in known and known.get("weights") == sha256_file(path)):
        raise UserError(
            "The weights of the training that made this adapter lie there and would be replaced."
            if path.parent.samefile(adapter.parent)
            else "Other weights lie where the merged ones go, and would be replaced.",
            where=display(path),
            todo="choose another --out_dir, or take them: --tuned",
        )
    with atomic_path(path) as part:
        save_weights(policy, part)
    owner = owner_of(adapter)  # what it was trained for; the base may be played with another guidance
    metadata = read_checkpoint_metadata(owner if checkpoint_metadata_path(owner).exists() else base)
    hashes = {"base": wanted, "adapter": sha256_file(adapter), "weights": sha256_file(path)}
    write_checkpoint_metadata(path, dataclasses.replace(metadata, hashes=hashes))
    return path


def shares(text: str) -> list[float]:
    """ "0:1:0.25" (from, to, step; the end included where a step falls on it) or "0.3,0.7" as numbers.

    Raises:
        UserError: neither, or nothing in it.
    """
    try:
        if ":" in text:
            first, last, step = (float(part) for part in text.split(":"))
            count = math.floor((last - first) / step + 1e-6) if step > 0 else -1  # 0.6 / 0.2 is a little less than 3
            found = [first + step * number for number in range(min(count, 200) + 1)]
        else:
            found = [float(part) for part in text.split(",") if part.strip()]
    except (ValueError, OverflowError):
        found = []
    if not found or len(found) > 200 or not all(map(math.isfinite, found)):
        raise UserError(
            "These are not shares.", expected="from:to:step as in 0:1:0.25, or a list as in 0.3,0.7", got=text
        )
    return [round(share, 6) for share in found]


def mixed_state(base: GoalPolicy, tuned: GoalPolicy, share: float) -> dict[str, torch.Tensor]:
    """(1 - share) of the base's tensors and `share` of the tuned ones'; exactly the one or the other at 0 and 1."""
    other = tuned.state_dict()
    if share in (0.0, 1.0):
        return dict((tuned if share else base).state_dict())
    return {name: torch.lerp(value, other[name], share) for name, value in base.state_dict().items()}


def _report(folder: Path, points: Sequence[Point], facts: dict[str, str | None]) -> None:
    """interpolation.json, .md and, where something was measured, .png."""
    rows = [{**vars(point), "weights": display(point.weights) if point.weights else None} for point in points]
    write_json(folder / "interpolation.json", {**facts, "points": rows})
    table = []
    for p in points:
        losses = ["" if loss is None else f"{loss:.4f}" for loss in (p.task_loss, p.retention_loss)]
        table.append([f"{p.share:g}", *losses, p.weights.name if p.weights else ""])
    text = Table(["alpha", "task loss", "retention loss", "weights"], table).translated().markdown()
    with atomic_file(folder / "interpolation.md") as file:
        file.write(f"{text}\n".encode())
    if facts["task_list"] or facts["retention_list"]:
        title, across = label("Between base and fine-tuned"), label("alpha: 0 the base, 1 the fine-tuned weights")
        with line_plot(folder / "interpolation.png", title, across, label("validation loss")) as axes:
            for name, colour in (("task", "#3c6ca8"), ("retention", "#b04a3a")):
                seen = [(p.share, loss) for p in points if (loss := getattr(p, f"{name}_loss")) is not None]
                if seen:
                    axes.plot(*zip(*seen), marker="o", color=colour, label=label(f"{name} loss"))
