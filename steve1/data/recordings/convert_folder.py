"""Converts a folder of recordings in parallel; a killed run is continued by the same command.

Output: episodes, `convert_report.jsonl` with a line per recording, and a summary.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2

from steve1.core.executor.pool import process_pool
from steve1.core.files import remove_half_written
from steve1.core.messages import message, progress
from steve1.core.paths import display
from steve1.data.recordings.convert import ConvertSettings, convert_recording
from steve1.data.recordings.layouts import find_recordings
from steve1.data.recordings.recording import Recording
from steve1.data.recordings.shards import WHOLE, Shard, alone_in, ray_results
from steve1.data.recordings.summary import Result, Summary, failed, write_report


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
        shard: convert this part of the recordings only; other machines convert the rest.
        ray: convert as tasks of a Ray cluster instead of in `workers` processes.

    Raises:
        UserError: nothing to convert, or another conversion writes to `output_dir`.
    """
    recordings, lonely = find_recordings(input_dir)
    recordings, lonely = shard.of(recordings), shard.of(lonely)
    target = Path(output_dir)
    target.mkdir(parents=True, exist_ok=True)
    with alone_in(target, shard):
        remove_half_written(target, None if shard.whole else {recording.name for recording in recordings})
        results = [Result(display(path), "refused", reason) for path, reason in lonely]
        with progress(total=sum(map(_length, recordings)) or None, desc=message("bar converting"), unit="frame") as bar:
            if ray:
                results += _on_ray(recordings, target, settings, bar)
            elif workers <= 1 or len(recordings) < 2:
                results += _one_by_one(recordings, target, settings, bar)
            else:
                results += _in_parallel(recordings, target, settings, min(workers, len(recordings)), bar)
        stopped = next((result.reason for result in results if result.status == "failed"), "")
        results.sort(key=lambda result: result.recording)
        return write_report(results, target, shard, stopped)


def _length(recording: Recording) -> int:
    """Frames, 0 if unknown."""
    with contextlib.suppress(Exception):  # converting it says what is wrong, by name
        return recording.expected_frames
    return 0


def _one_by_one(recordings: Sequence[Recording], target: Path, settings: ConvertSettings, bar: Any) -> Iterator[Result]:
    """Results in order; once the machine fails, the rest is not started."""
    fault = ""
    for recording in recordings:
        bar.set_postfix_str(recording.name[:40], refresh=False)
        if fault:
            yield failed(display(recording.video), f"not begun: {fault}")
            continue
        try:
            yield convert_recording(recording, target, settings, bar.update)
        except OSError as error:
            yield (result := failed(display(recording.video), error))
            fault = result.reason


def _on_ray(recordings: Sequence[Recording], target: Path, settings: ConvertSettings, bar: Any) -> Iterator[Result]:
    # Other machines resolve relative paths differently.
    calls = [(replace(r, video=r.video.absolute()), target.absolute(), settings) for r in recordings]
    for number, result in ray_results(convert_recording, calls):
        recording = recordings[number]
        bar.update(_length(recording))
        yield failed(display(recording.video), result) if isinstance(result, Exception) else result


_counter: Any = None


def _begin_worker(counter: Any) -> None:
    global _counter
    _counter = counter
    cv2.setNumThreads(0)


def _work(recording: Recording, target: Path, settings: ConvertSettings) -> Result:
    def count(frames: int) -> None:
        with _counter.get_lock():
            _counter.value += frames

    return convert_recording(recording, target, settings, count)


def _in_parallel(
    recordings: Sequence[Recording], target: Path, settings: ConvertSettings, workers: int, bar: Any
) -> Iterator[Result]:
    counter = multiprocessing.get_context("spawn").Value("q", 0)
    with process_pool(workers, _begin_worker, (counter,)) as pool:
        waiting: dict[Future[Result], Recording] = {pool.submit(_work, r, target, settings): r for r in recordings}
        fault = ""
        while waiting:
            done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            bar.update(counter.get_obj().value - bar.n)  # without its lock, which a killed worker may have held
            for future in done:
                result = _result_of(future, waiting.pop(future), fault)
                if result.status == "failed" and not fault:
                    fault = result.reason
                    for rest in waiting:
                        rest.cancel()
                yield result


def _result_of(future: Future[Result], recording: Recording, fault: str) -> Result:
    """Of a future that is done; `fault` is the machine's that cancelled it."""
    name = display(recording.video)
    if future.cancelled():
        return failed(name, f"not begun: {fault}")
    try:
        return future.result()
    except OSError as error:
        return failed(name, error)
    except BrokenProcessPool:
        why = "its worker process died (out of memory?); run the same command again with fewer --workers"
        return Result(name, "refused", why)
