"""A fine-tuning run's record of itself, and the output files that it may replace; lock and comparison: `core/run_folder.py`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform

import numpy as np
import torch
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import read_json, remove, sha256_file
from steve1.core.messages import translated
from steve1.core.paths import display, resolve
from steve1.core.run_folder import Record, RunFolder, commit
from steve1.data.episodes.formats.replay import is_pack, pack_of
from steve1.data.episodes.parts import fingerprint
from steve1.data.loading.lists import read_list
from steve1.training.checkpoint.exports import sidecar_files
from steve1.training.config import TrainSettings
from steve1.training.distributed import Ranks

RESULT_FILE = "result.json"
REPORT_FILE = "report.html"


def claim_run_folder(settings: TrainSettings, record: Record) -> RunFolder:
    """The run's folder and its output files, held for this process.

    Raises:
        UserError: the folder or the output weights belong to something else.
    """

    def differences(earlier: Record, now: Record) -> list[str]:
        found = settings.differences(earlier.get("settings", {}))
        for part in ("resolved", "sha256"):
            then = dict(earlier.get(part, {}))
            if "precision" in then:
                then["precision"] = _precision(earlier.get("settings", {}).get("precision"), then["precision"])
            for name in sorted({*then, *now[part]}):
                before, after = then.get(name), now[part].get(name)
                if before != after:
                    one, other = str(before)[:12], str(after)[:12]
                    found.append(
                        f"{name}: content {one} then, {other} now"
                        if part == "sha256"
                        else f"{name}: {one} then, {other} now"
                    )
        then, today = earlier.get("episodes", {}), now.get("episodes", {})
        changed = [name for name in then if today.get(name, then[name]) != then[name]]
        if changed:
            more = translated(f" and {len(changed) - 3} more") if len(changed) > 3 else ""
            found.append(f"the content of {', '.join(changed[:3])}{more} has changed since")
        return found

    folder = RunFolder(
        settings.run_dir, record, settings.overwrite, force=settings.force_resume, differences=differences
    )
    try:
        _claim_outputs(settings)
    except BaseException:
        folder.close()
        raise
    return folder


def _claim_outputs(settings: TrainSettings) -> None:
    """Refuse to replace weights that an earlier run of this folder did not write; with `overwrite` delete them."""
    outputs = [settings.out_path, settings.beside("best"), settings.beside("ema")]
    if settings.overwrite:
        for path in outputs:
            for file in sidecar_files(path, settings):
                remove(file, asked=True)
        return
    if not any(path.exists() for path in outputs):
        return
    result = settings.run_dir / RESULT_FILE
    written = read_json(result) if result.is_file() else {}
    # A run killed between its last two files has the weights, but not yet the record of them.
    kinds = [settings.run_dir.glob(f"*_{kind}{settings.suffix}") for kind in ("latest", "best", "ema")]
    own = {sha256_file(path) for paths in kinds for path in paths}
    for path in outputs:
        if path.exists() and sha256_file(path) not in {written.get("out_sha256"), written.get("best_sha256"), *own}:
            raise UserError(
                "The output weights exist already and are not this run's.",
                where=display(path),
                todo="choose another OUT_WEIGHTS, or --overwrite to replace them",
            )


def _precision(asked: object, dtype: str) -> str:
    """The precision of a run: its tensors' dtype, or tf32, whose tensors are float32 (which earlier versions recorded)."""
    return "tf32" if asked == "tf32" else dtype


def judged_by(settings: TrainSettings, record: Record) -> str:
    """What the losses that choose the best weights are measured on; they can be compared where this is the same."""
    lists = ["val_list", "goal", *(["retention_list", "replay"] if settings.best_by == "task+retention" else [])]
    shapes = ("T", "min_btwn_goals", "max_btwn_goals", "goal_switch", "first_frame", "p_uncond", "seed")
    facts = [getattr(settings, name) for name in ("best_by", "val_windows", *shapes)]
    facts += [record["sha256"].get(name) for name in lists]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def describe_run(
    settings: TrainSettings, ranks: Ranks, precision: torch.dtype, goal: NDArray[np.float32] | None = None
) -> Record:
    """Everything that the weights of this run will depend on, as JSON; `goal` (E,): the fixed one, or where tuning begins."""
    files = {
        "in_model": resolve(settings.in_model),
        "train_list": settings.train_path,
        "in_weights": None if settings.starts_empty else resolve(settings.in_weights),
        "val_list": settings.val_path,
        "retention_list": settings.retention_path,
        "replay": settings.replay_path,
    }
    hashes = {name: sha256_file(path) for name, path in files.items() if path is not None}
    if ranks.device.type == "cuda":
        device = torch.cuda.get_device_name(ranks.device)
    else:
        device = f"{ranks.device.type}, {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    if goal is not None:
        hashes["goal"] = hashlib.sha256(np.ascontiguousarray(goal, dtype="<f4").tobytes()).hexdigest()
    replayed = None if settings.replay_path is None or is_pack(settings.replay_path) else settings.replay_path
    lists = (settings.train_path, settings.val_path, settings.retention_path, replayed) if ranks.is_main else ()
    paths = [entry.path for each in lists if each is not None for entry in read_list(each)]
    packs = {pack for pack in map(pack_of, paths) if pack is not None}
    hashes |= {display(pack): sha256_file(pack) for pack in sorted(packs)}
    return {
        "settings": dataclasses.asdict(settings),
        "resolved": {
            "processes": ranks.world,
            "precision": _precision(settings.precision, str(precision).removeprefix("torch.")),
        },
        "sha256": hashes,
        "episodes": {display(path): fingerprint(path) for path in paths if pack_of(path) is None},
        "made_by": {
            "commit": commit(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": platform.platform(),
            "device": device,
        },
    }
