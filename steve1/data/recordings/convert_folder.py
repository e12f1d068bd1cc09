"""A whole folder of recordings: side by side, resumable, with a report.

In: an input folder, an output folder, settings. Out: episodes, `convert_report.jsonl` with one line a recording, and a
summary. What a killed run left half-written is removed; what it finished is kept.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.messages import progress
from steve1.core.paths import display
from steve1.data.media.video import probe
from steve1.data.recordings.convert import ConvertSettings, Result, convert_recording
from steve1.data.recordings.layouts import find_recordings
from steve1.data.recordings.recording import Recording
from steve1.data.recordings.shards import WHOLE, Shard, alone_in, ray_results

REPORT = "convert_report.jsonl"
_LEFTOVER = re.compile(r"\.(.+)\.\d+\.[0-9a-f]{8}\.\w+")


@dataclass(frozen=True)
class Summary:
    """What a run did, recording by recording.

    Attributes:
        results: one for each recording.
        output_dir: where the episodes are.
        report: the .jsonl with the same.
        stopped: why the rest was not begun (a full disk), "" where nothing stopped it.
    """

    results: list[Result]
    output_dir: Path
    report: Path
    stopped: str = ""

    def count(self, status: str) -> int:
        """Recordings with this status: converted, exists, refused; of downloads also missing and failed."""
        return sum(result.status == status for result in self.results)

    @property
    def text(self) -> str:
        """For people: totals, then each warning and each refusal by name."""
        frames = sum(result.frames for result in self.results)
        lines = [
            f"{self.count('converted')} converted, {self.count('exists')} there already, {self.count('refused')} refused"
            + "".join(f", {self.count(status)} {status}" for status in ("missing", "failed") if self.count(status))
            + ": "
            f"{frames:,} frames ({frames / 20 / 60:.1f} minutes) in {display(self.output_dir)}"
        ]
        lines += [f"  note     {r.recording}: {note}" for r in self.results for note in r.notes or ()]
        lines += [f"  {r.status:<8} {r.recording}: {r.reason}" for r in self.results if r.reason]
        lines += [f"  stopped: {self.stopped}"] if self.stopped else []
        return "\n".join([*lines, f"report: {display(self.report)}"])

    def check_finished(self) -> None:
        """Raises UserError where the run could not go on; what it did is in `text` and in the report."""
        if self.stopped:
            raise UserError(
                "The run could not go on.",
                where=self.output_dir,
                got=self.stopped,
                todo="mend that and run the same command again",
            )


def convert_folder(
    input_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    settings: ConvertSettings,
    *,
    workers: int = 1,
    shard: Shard = WHOLE,
    ray: bool = False,
) -> Summary:
    """Convert every recording below `input_dir`.

    Args:
        input_dir: recordings (mp4 + jsonl) or episode folders, at any depth.
        output_dir: where episodes are made; existing ones are left alone.
        settings: see there.
        workers: processes.
        shard: take this part of the recordings only; other machines take the others.
        ray: convert as tasks of a Ray cluster instead of in `workers` processes.

    Raises:
        UserError: nothing to convert, or another conversion writes to `output_dir`.
    """
    recordings, lonely = find_recordings(Path(input_dir))
    recordings, lonely = shard.of(recordings), shard.of(lonely)
    target = Path(output_dir)
    target.mkdir(parents=True, exist_ok=True)
    with alone_in(target, shard):
        remove_leftovers(target, None if shard.whole else {recording.name for recording in recordings})
        results = [Result(display(path), "refused", reason) for path, reason in lonely]
        stopped = ""
        for result in _convert_each(recordings, target, settings, 0 if ray else max(1, workers)):
            results.append(result)
            stopped = stopped or (result.reason if result.status == "failed" else "")
        results.sort(key=lambda result: result.recording)
        return finished(results, target, shard, stopped)


def finished(results: list[Result], target: Path, shard: Shard = WHOLE, stopped: str = "") -> Summary:
    """Write the report; a disk that is too full even for that is told in the summary."""
    path = target / REPORT.replace(".jsonl", f"{shard.suffix}.jsonl")
    try:
        with atomic_file(path, "w") as handle:
            handle.writelines(json.dumps(result.row(), ensure_ascii=False) + "\n" for result in results)
    except OSError as fault:
        stopped = f"{stopped}; " * bool(stopped) + f"the report could not be written: {fault.strerror or fault}"
    return Summary(results, target, path, stopped)


def remove_leftovers(folder: Path, names: Collection[str] | None = None) -> None:
    """Half-written episodes of a run that was killed; the lock says that nobody is writing them now.

    Args:
        folder: the dataset.
        names: leave all others alone, since another shard may be at work on them; None: nobody is.
    """
    for path in folder.glob(".*.tmp"):
        match = _LEFTOVER.fullmatch(path.name)
        if names is not None and (match is None or match[1] not in names):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _convert_each(
    recordings: Sequence[Recording], target: Path, settings: ConvertSettings, workers: int
) -> Iterator[Result]:
    """Results as they come; workers 0 stands for Ray. Once the machine fails, the rest is not begun."""
    with progress(total=sum(map(_length, recordings)) or None, desc="converting", unit="frame") as bar:
        if workers == 0:
            yield from _on_ray(recordings, target, settings, bar)
        elif workers == 1 or len(recordings) < 2:
            failed = ""
            for recording in recordings:
                bar.set_postfix_str(recording.name[:40])
                if failed:
                    yield Result(display(recording.video), "failed", f"not begun: {failed}")
                    continue
                try:
                    yield convert_recording(recording, target, settings, bar.update)
                except OSError as fault:
                    failed = machine_fault(fault)
                    yield Result(display(recording.video), "failed", failed)
        else:
            yield from _in_parallel(recordings, target, settings, min(workers, len(recordings)), bar)


def machine_fault(fault: OSError) -> str:
    """What the system said, with the file where it names one."""
    return f"{fault.strerror or fault}" + (f": {fault.filename}" if fault.filename else "")


def _on_ray(recordings: Sequence[Recording], target: Path, settings: ConvertSettings, bar: Any) -> Iterator[Result]:
    # Other machines resolve relative paths from elsewhere.
    calls = [(recording.absolute(), target.absolute(), settings) for recording in recordings]
    for number, result in ray_results(convert_recording, calls):
        recording = recordings[number]
        bar.update(_length(recording))
        if isinstance(result, Exception):
            yield Result(display(recording.video), "failed", " ".join(str(result).split())[:300])
        else:
            yield result


def _length(recording: Recording) -> int:
    """Frames by the video's header, 0 if unknown."""
    with contextlib.suppress(UserError, OSError):
        return 0 if recording.episode else probe(recording.video).frames
    return 0


_counter: Any = None


def _begin_worker(counter: Any) -> None:
    global _counter
    _counter = counter
    import cv2

    cv2.setNumThreads(0)


def _work(recording: Recording, target: Path, settings: ConvertSettings) -> Result:
    def count(frames: int) -> None:
        with _counter.get_lock():
            _counter.value += frames

    return convert_recording(recording, target, settings, count)


def _in_parallel(
    recordings: Sequence[Recording], target: Path, settings: ConvertSettings, workers: int, bar: Any
) -> Iterator[Result]:
    # Spawned, not forked: this process may hold threads (progress bar, torch) that a fork would tear.
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=(counter,)) as pool:
        waiting: dict[Future[Result], Recording] = {pool.submit(_work, r, target, settings): r for r in recordings}
        failed = ""
        try:
            while waiting:
                done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                bar.update(counter.value - bar.n)
                for future in done:
                    result = _result_of(future, waiting.pop(future), failed)
                    if result.status == "failed" and not failed:
                        failed = result.reason
                        for rest in waiting:
                            rest.cancel()
                    yield result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _result_of(future: Future[Result], recording: Recording, failed: str) -> Result:
    if future.cancelled():
        return Result(display(recording.video), "failed", f"not begun: {failed}")
    try:
        return future.result()
    except OSError as fault:
        return Result(display(recording.video), "failed", machine_fault(fault))
    except BrokenProcessPool:
        return Result(
            display(recording.video),
            "refused",
            "its worker process died (out of memory?); run the same command again with fewer --workers",
        )
