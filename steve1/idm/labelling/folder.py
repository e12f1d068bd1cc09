"""Labels a folder of videos with several processes or on a Ray cluster; the same command continues a stopped run.

Output: episodes; below `.labelling/` a record of each five minutes, which says that they are done; `label_report.html` and `.jsonl`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import multiprocessing
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from steve1.core.device import choose_device
from steve1.core.errors import UserError
from steve1.core.executor import ExecutorConfig, WorkerDied, job_results
from steve1.core.files import HALF_WRITTEN, atomic_file, read_json, remove, remove_half_written, sha256_file, write_json
from steve1.core.messages import message, progress
from steve1.core.paths import display
from steve1.data.recordings.shards import WHOLE, Shard, alone_in, cluster_resources
from steve1.data.videos.find import find_videos
from steve1.idm.labelling.calibration import Calibration, calibrate, read_calibration
from steve1.idm.labelling.checks import Thresholds
from steve1.idm.labelling.page import page
from steve1.idm.labelling.part import PartLabeller, Record
from steve1.idm.labelling.parts import PART, Part, parts_of
from steve1.idm.labelling.settings import IdmFiles, LabelSettings, recording_of, same_settings
from steve1.idm.weights import load_idm

RECORDS, PAGE, LINES = ".labelling", "label_report.html", "label_report.jsonl"
_NOT_OURS = ("calibrate",)  # settings that are in the thresholds
_ENDS = {"episodes": ("",), "recordings": (".mp4", ".jsonl", "-options.json")}  # of what is made, by form
_RECORD = re.compile(r".+_\d{6}\.json", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where the work is done."""

    device: str = "auto"
    workers: int = 1
    shard: Shard = WHOLE
    ray: bool = False


@dataclasses.dataclass
class LabelSummary:
    """What a run did. Counts are of parts (five minutes of video each)."""

    output_dir: Path
    idle: bool = False  #: every part belongs to other shards
    labelled: int = 0
    there: int = 0  #: done by an earlier run
    records: list[Record] = dataclasses.field(default_factory=list)
    left_out: list[tuple[Path, str]] = dataclasses.field(default_factory=list)
    changed: list[str] = dataclasses.field(default_factory=list)  #: done before with other settings
    lost: dict[str, str] = dataclasses.field(default_factory=dict)  #: parts whose worker died, with the reason

    @property
    def episodes(self) -> list[dict[str, Any]]:
        """Episodes that the parts of this run have, those of earlier runs too."""
        return [episode for record in self.records for episode in record["episodes"]]

    @property
    def frames(self) -> int:
        """Frames of these episodes."""
        return sum(int(episode["frames"]) for episode in self.episodes)

    @property
    def rejected(self) -> list[tuple[str, str]]:
        """Videos, or parts of them, of which nothing is kept, with the reason."""
        found = []
        for record in self.records:
            if not record["episodes"]:
                reasons = [record["fault"], *(each["reason"] for each in record["rejected"])]
                found.append((_title(record), next(filter(None, reasons), "no stretch is long enough")))
        return found


def _title(record: Record) -> str:
    return f"{record['source']}, from {record['first'] // 1200}:{record['first'] // 20 % 60:02d}"


def label_folder(
    videos: str | os.PathLike[str],
    output_dir: Path,
    settings: LabelSettings,
    machine: Machine,
    *,
    overwrite: bool = False,
) -> LabelSummary:
    """Label every video below a folder, or one video.

    Args:
        output_dir: where episodes are made.
        overwrite: label parts again whose settings have changed; their earlier episodes are removed.

    Raises:
        UserError: there is no video, a file of the model is missing, another run labels into `output_dir`, or the disk is full.
    """
    files = IdmFiles.of(settings.idm_model, settings.idm_weights)
    known = recording_of(settings.calibrate) if settings.calibrate else None
    found = find_videos(videos)
    videos_by_name = _named_as_before(found.videos, output_dir)
    settings.check_masks(videos_by_name)
    every = [part for name, path in videos_by_name.items() for part in parts_of(name, path, settings)]
    parts = machine.shard.of(every)
    output_dir.mkdir(parents=True, exist_ok=True)
    with alone_in(output_dir, machine.shard, "label"):
        _tidy(output_dir, None if machine.shard.whole else parts)
        calibration = read_calibration(output_dir, files, known)
        if known and calibration is None:
            calibration = _calibrated(known, files, machine, output_dir)
        limits = calibration.thresholds if calibration else Thresholds()
        summary = LabelSummary(output_dir, idle=bool(every) and not parts, left_out=found.left_out)
        if (others := _divided_otherwise(output_dir, every)) and overwrite and not machine.shard.whole:
            raise UserError(
                "These videos were labelled in other parts before, as with another --start, and one shard cannot remove what the others label again.",
                where=output_dir,
                got=", ".join(path.stem for path in others[:3]),
                todo="choose another output folder, or run once without --shard",
            )
        todo = _not_done(parts, settings, files, limits, summary, overwrite, others)
        with progress(
            total=sum(part.length for part in todo) or None, desc=message("bar labelling"), unit="frame"
        ) as bar:
            for part, record in _labelled(
                todo, _Recipe(files, settings, limits, output_dir, machine.device), machine, bar
            ):
                if isinstance(record, str):
                    summary.lost[part.key] = record
                    continue
                write_json(_path(output_dir, part), record)
                summary.records.append(record)
                summary.labelled += 1
        _report(output_dir, machine.shard, summary, calibration)
    return summary


def _named_as_before(videos: Mapping[str, Path], output_dir: Path) -> dict[str, Path]:
    """Videos by the names that they were labelled by, if they were: "walk" is called "walk.mp4" since there is a walk.mkv, or has moved to another folder.

    Under its new name a video would be labelled again, beside its earlier episodes, which show the same frames.
    """
    known: dict[str, tuple[int, str]] = {}  # {name: (bytes, sha256)}, by a video's first record
    for path in sorted((output_dir / RECORDS).glob("*.json")):
        name = path.stem.rpartition("_")[0]
        if _RECORD.fullmatch(path.name) and name not in known:
            record = read_json(path)
            known[name] = (record.get("made_with") or {}).get("bytes", -1), record.get("sha256", "")
    sizes = {name: path.stat().st_size for name, path in videos.items()}
    before = {name: name for name, size in sizes.items() if name in known and known[name][0] == size}
    for name in [name for name in videos if name not in before] if known else ():
        free = {known[each][1]: each for each in known.keys() - before.values() if known[each][0] == sizes[name]}
        if free and (digest := sha256_file(videos[name])) in free:
            before[name] = free[digest]
    found: dict[str, Path] = {}
    for name, path in videos.items():
        own = before.get(name, name)
        # It may be called now what one that was labelled was called then.
        while name not in before and (own in before.values() or own in found):
            own += path.suffix
        found[own] = path
    return found


def _tidy(folder: Path, mine: Sequence[Part] | None) -> None:
    """Remove what killed runs left half-written: everything, or what belongs to these parts."""
    if mine is None:
        remove_half_written(folder)
        return
    starts = {(part.name, first) for part in mine for first in range(part.first, (part.stop or part.first + 2 * PART))}
    names = {match[1] for item in folder.glob(".*") if (match := HALF_WRITTEN.fullmatch(item.name))}
    cut = {name: re.fullmatch(r"(.+)_(\d{6,})", name, re.DOTALL) for name in names}
    remove_half_written(folder, {name for name, at in cut.items() if at and (at[1], int(at[2])) in starts})


def _calibrated(video: Path, files: IdmFiles, machine: Machine, output_dir: Path) -> Calibration:
    """Calibrate here, with a bar, and keep the result."""
    model = load_idm(files.model, files.weights, device=choose_device(machine.device))
    with progress(desc=message("bar calibrating"), unit="frame") as bar:
        found = calibrate(video, model, files, bar.update)
    found.save(output_dir)
    return found


def _path(output_dir: Path, part: Part) -> Path:
    return output_dir / RECORDS / f"{part.key}.json"


def _fingerprint(settings: LabelSettings, files: IdmFiles, limits: Thresholds, part: Part) -> dict[str, Any]:
    """What a part's episodes depend on; of the video, its size."""
    kept = {field.name: getattr(settings, field.name) for field in dataclasses.fields(LabelSettings)}
    for field in ("idm_model", "idm_weights", *_NOT_OURS):
        del kept[field]
    kept["mask"] = [list(box) for box in settings.masks_for(part.name)]
    kept["bytes"] = part.video.stat().st_size
    of_model = {"weights_sha256": files.sha256, "model_fov": files.fov, "button_thresholds": files.button_thresholds}
    return {**kept, **of_model, "env": files.env, "thresholds": dataclasses.asdict(limits)}


def _not_done(
    parts: Sequence[Part],
    settings: LabelSettings,
    files: IdmFiles,
    limits: Thresholds,
    summary: LabelSummary,
    overwrite: bool,
    others: Sequence[Path],
) -> list[Part]:
    """The parts without a record, and those whose video could not be read; the others are counted in the summary.

    Args:
        others: of `_divided_otherwise`. They are removed with `overwrite`; else they stay, and their videos are not labelled beside them.
    """
    todo, kept = [], set()
    for path in others:
        record = read_json(path)
        if overwrite:
            _remove(summary.output_dir, path, record)
            continue
        kept.add(record["video"])
        summary.changed.append(path.stem)
        summary.records.append(record)
        summary.there += 1
    for part in parts:
        path = _path(summary.output_dir, part)
        if not path.exists():
            if part.name not in kept:
                todo.append(part)
            continue
        record = read_json(path)
        same = same_settings(record.get("made_with"), _fingerprint(settings, files, limits, part))
        if (not same and overwrite) or (record["fault"] and not record["episodes"]):
            _remove(summary.output_dir, path, record)
            todo.append(part)
            continue
        if not same:
            summary.changed.append(part.key)
        summary.records.append(record)
        summary.there += 1
    return todo


def _divided_otherwise(output_dir: Path, every: Sequence[Part]) -> list[Path]:
    """Records of these videos that begin where no part of today does, as after another --start: their frames are in today's parts too."""
    sizes = {part.name: part.video.stat().st_size for part in every}
    keys = {part.key for part in every}
    found = []
    for path in sorted((output_dir / RECORDS).glob("*.json")):
        name = path.stem.rpartition("_")[0]
        if name in sizes and path.stem not in keys and _RECORD.fullmatch(path.name):
            record = read_json(path)
            same_video = (record.get("made_with") or {}).get("bytes") == sizes[name]
            if record["episodes"] and same_video:
                found.append(path)
    return found


def _remove(output_dir: Path, path: Path, record: Record) -> None:
    """Remove a part's episodes, or recordings, and its record. Files beside an episode that have its name are the user's."""
    form = str((record.get("made_with") or {}).get("form"))
    for episode in record["episodes"]:
        for end in _ENDS.get(form, [end for ends in _ENDS.values() for end in ends]):
            remove(output_dir / f"{episode['name']}{end}", asked=True)
    remove(path, ours=_RECORD)


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """Builds the labeller of a worker."""

    files: IdmFiles
    settings: LabelSettings
    limits: Thresholds
    output_dir: Path
    device: str
    frames: int = 0  #: to be labelled in this process, as far as the headers say; of several processes none measures
    counter: Any = None  #: of the frames that all processes here have labelled

    def __call__(self, index: int) -> _Worker:
        return _Worker(self)

    def count(self, frames: int) -> None:
        """Note labelled frames."""
        if self.counter is not None:
            with self.counter.get_lock():
                self.counter.value += frames


class _Worker:
    """Labels parts, one after the other, with a model that is loaded once."""

    def __init__(self, recipe: _Recipe) -> None:
        model = load_idm(recipe.files.model, recipe.files.weights, device=choose_device(recipe.device))
        self._recipe = recipe
        self._spread = contextlib.ExitStack()
        self._spread.enter_context(model.spread(recipe.frames))
        self._labeller = PartLabeller(
            model, recipe.files, recipe.settings, recipe.limits, recipe.output_dir, recipe.count
        )

    def run(self, part: Part) -> Record:
        """The part's record."""
        recipe = self._recipe
        record = self._labeller.label(part)
        return record | {"made_with": _fingerprint(recipe.settings, recipe.files, recipe.limits, part)}

    def close(self) -> None:
        """Give the threads back."""
        self._spread.close()


def _labelled(todo: Sequence[Part], recipe: _Recipe, machine: Machine, bar: Any) -> Iterator[tuple[Part, Record | str]]:
    """The record of each part as they end, or why its worker was lost."""
    local = not machine.ray and min(machine.workers, len(todo)) > 1
    counter = multiprocessing.get_context("spawn").Value("q", 0) if not machine.ray else None
    frames = 0 if local or machine.ray else sum(part.length for part in todo)
    recipe = dataclasses.replace(recipe, frames=frames, counter=counter, output_dir=recipe.output_dir.absolute())
    todo = [dataclasses.replace(part, video=part.video.absolute()) for part in todo]
    with _watched(counter, bar):
        for result in job_results(todo, recipe, _config(machine, len(todo), local, recipe.device)):
            if isinstance(result.error, WorkerDied):
                yield result.job, f"its worker died ({result.error}); run the same command again, with fewer --workers"
            elif isinstance(result.error, (UserError, OSError)):  # the machine's, or the settings'
                raise result.error
            elif result.error is not None:  # one video that breaks a decoder must not end a night's run
                yield result.job, f"{type(result.error).__name__}: {' '.join(str(result.error).split())[:300]}"
            else:
                assert result.value is not None
                if machine.ray:
                    bar.update(result.value["frames"])
                yield result.job, result.value


def _config(machine: Machine, jobs: int, local: bool, device: str) -> ExecutorConfig:
    if machine.ray:
        resources = cluster_resources()
        on_gpu = device.startswith("cuda") or (device == "auto" and resources.get("GPU", 0) > 0)
        workers = max(1, int(resources.get("GPU" if on_gpu else "CPU", 1)))
        return ExecutorConfig(
            workers, timeout_s=math.inf, max_restarts=3 * jobs, attempts=3, ray=True, gpus=1.0 if on_gpu else 0.0
        )
    workers = min(machine.workers, jobs) if local else 0
    threads = max(1, (os.cpu_count() or 1) // max(1, workers)) if local else torch.get_num_threads()
    return ExecutorConfig(workers, threads, timeout_s=math.inf, max_restarts=3 * jobs, attempts=2)


@contextlib.contextmanager
def _watched(counter: Any, bar: Any) -> Iterator[None]:
    """Keep the bar where the counter is."""
    if counter is None:
        yield
        return
    over = threading.Event()

    def follow() -> None:
        while not over.wait(0.5):
            bar.update(counter.get_obj().value - bar.n)  # without its lock, which a killed worker may have held

    watcher = threading.Thread(target=follow, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        bar.update(counter.get_obj().value - bar.n)


def _report(output_dir: Path, shard: Shard, summary: LabelSummary, calibration: Calibration | None) -> None:
    """Write the page over everything that has been labelled into the folder, and a line for each part of this run."""
    with atomic_file(output_dir / LINES.replace(".jsonl", f"{shard.suffix}.jsonl"), "w") as handle:
        for record in summary.records:
            kept = {key: value for key, value in record.items() if key not in ("sheet", "made_with")}
            handle.write(json.dumps(kept, ensure_ascii=False) + "\n")
    everything = [read_json(path) for path in sorted((output_dir / RECORDS).glob("*.json"))]
    with atomic_file(output_dir / PAGE, "w") as handle:
        handle.write(page(everything, calibration, display(output_dir)))
