"""A whole folder of recordings: side by side, resumable, with a report.

In: an input folder, an output folder, settings. Out: episodes, `convert_report.jsonl` with one line a recording, and a
summary. What a killed run left half-written is removed; what it finished is kept.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.paths import display
from steve1.core.progress import progress

from .convert import ConvertSettings, Result, convert_recording
from .recordings import Recording, find_recordings
from .video import probe

REPORT = "convert_report.jsonl"
_LOCK = ".convert.lock"


@dataclass(frozen=True)
class Summary:
    """What a run did, recording by recording."""

    results: list[Result]
    output_dir: Path

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
        return "\n".join([*lines, f"report: {display(self.output_dir / REPORT)}"])


def convert_folder(
    input_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    settings: ConvertSettings,
    *,
    workers: int = 1,
) -> Summary:
    """Convert every recording below `input_dir`.

    Args:
        input_dir: recordings (mp4 + jsonl) or episode folders, at any depth.
        output_dir: where episodes are made; existing ones are left alone.
        settings: see there.
        workers: processes.

    Raises:
        UserError: nothing to convert, or another conversion writes to `output_dir`.
    """
    recordings, lonely = find_recordings(Path(input_dir))
    target = Path(output_dir)
    target.mkdir(parents=True, exist_ok=True)
    with alone_in(target):
        remove_leftovers(target)
        results = [Result(display(path), "refused", reason) for path, reason in lonely]
        for result in _convert_each(recordings, target, settings, max(1, workers)):
            results.append(result)
        results.sort(key=lambda result: result.recording)
        with atomic_file(target / REPORT, "w") as handle:
            handle.writelines(json.dumps(result.row(), ensure_ascii=False) + "\n" for result in results)
    return Summary(results, target)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; the system releases it when the process ends, however it ends.

    Raises:
        UserError: another process holds it.
    """
    import fcntl

    with open(folder / _LOCK, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "Another conversion is writing into this folder.",
                where=folder,
                todo="wait for it to end, or choose another --output_dir",
            ) from None
        yield


def remove_leftovers(folder: Path) -> None:
    """Half-written episodes of a run that was killed; the lock says that nobody is writing them now."""
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _convert_each(
    recordings: Sequence[Recording], target: Path, settings: ConvertSettings, workers: int
) -> Iterator[Result]:
    with progress(total=sum(map(_length, recordings)) or None, desc="converting", unit="frame") as bar:
        if workers == 1 or len(recordings) < 2:
            for recording in recordings:
                bar.set_postfix_str(recording.name[:40])
                yield convert_recording(recording, target, settings, bar.update)
        else:
            yield from _in_parallel(recordings, target, settings, min(workers, len(recordings)), bar)


def _length(recording: Recording) -> int:
    if recording.ticks is None:
        return 0
    with contextlib.suppress(UserError):
        return probe(recording.video).frames
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
        try:
            while waiting:
                done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                bar.update(counter.value - bar.n)
                for future in done:
                    yield _result_of(future, waiting.pop(future))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _result_of(future: Future[Result], recording: Recording) -> Result:
    try:
        return future.result()
    except BrokenProcessPool:
        return Result(
            display(recording.video),
            "refused",
            "its worker process died (out of memory?); run the same command again with fewer --workers",
        )
