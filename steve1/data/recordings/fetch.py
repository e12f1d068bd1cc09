"""Downloads published recordings and converts them as they arrive, with a bounded amount of disk.

Each recording is deleted after conversion unless it is to be kept; only files that the run itself downloaded are deleted.
A killed run is continued by the same command, in the middle of a file too.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from steve1.actions.contractor import GUI_SCALE
from steve1.core.download import Missing, download, give_up
from steve1.core.errors import UserError
from steve1.core.executor.pool import end_pool, process_pool
from steve1.core.files import remove, remove_half_written, write_json
from steve1.core.messages import message, progress
from steve1.data.recordings.contractor import VERSION, ContractorRecording
from steve1.data.recordings.contractor_index import Entry
from steve1.data.recordings.convert import ConvertSettings, convert_recording
from steve1.data.recordings.shards import WHOLE, Shard, alone_in, cluster_resources, ray_results
from steve1.data.recordings.summary import Result, Summary, failed, write_report


@dataclass(frozen=True)
class FetchSettings:
    """How recordings are fetched; `attempts` and `backoff` as in `core.download.download`."""

    n_episodes: int = 0  #: stop when the output has this many; 0 fetches all
    keep_recordings: bool = False  #: keep the downloaded files after conversion
    parallel: int = 4  #: recordings in progress at a time, and the most that are on disk
    workers: int = 1  #: processes that convert; 1 converts in this one
    attempts: int = 6
    backoff: float = 1.0


def fetch_and_convert(
    entries: Sequence[Entry],
    recordings_dir: Path,
    output_dir: Path,
    convert: ConvertSettings,
    fetch: FetchSettings,
    *,
    shard: Shard = WHOLE,
    ray: bool = False,
) -> Summary:
    """Turn entries into episodes until there are enough.

    An entry that the server does not have gets the status "missing", one that cannot be fetched "failed"; the others go on.

    Args:
        entries: of an index, all of them.
        recordings_dir, output_dir: where downloads and episodes go; the same paths on all machines.
        shard: only this part of the entries, and of `fetch.n_episodes`; other machines take the rest.
        ray: each machine of a Ray cluster downloads and converts, instead of this one alone.

    Raises:
        UserError: fewer episodes are wanted than there are parts, or something else writes to `output_dir`.
    """
    entries = shard.of(entries)
    part = len(shard.of(range(fetch.n_episodes)))
    if fetch.n_episodes and not part:
        expected = f"at least {shard.count} episodes for {shard.count} parts"
        got = f"{fetch.n_episodes} episodes, of which part {shard.number} would get none"
        raise UserError("There are more parts than episodes wanted.", expected=expected, got=got)
    if ray:
        recordings_dir, output_dir = recordings_dir.absolute(), output_dir.absolute()
        fetch = replace(fetch, parallel=int(cluster_resources().get("CPU", 1)) + 2, workers=1)
    for folder in (recordings_dir, output_dir):
        folder.mkdir(parents=True, exist_ok=True)
    wanted = part or len(entries)
    results: list[Result] = []
    stopped = ""
    with contextlib.ExitStack() as stack:
        stack.enter_context(alone_in(output_dir, shard))
        remove_half_written(output_dir, None if shard.whole else {entry.name for entry in entries})
        pool: ProcessPoolExecutor | None = None
        job = _Job(recordings_dir, output_dir, convert, fetch)

        def stop() -> None:
            job.stopping.append(True)
            if pool is not None:
                end_pool(pool)

        call: Callable[[Entry], Result] = job.on_ray if ray else job
        if fetch.workers > 1:
            pool = stack.enter_context(process_pool(fetch.workers))
            call = functools.partial(job, converters=pool)
        with progress(
            total=min(wanted, len(entries)), desc=message("bar downloading and converting"), unit="episode"
        ) as bar:
            try:
                for result in _each(entries, wanted, fetch.parallel, call, stop):
                    results.append(result)
                    bar.update(result.status in ("converted", "exists"))
            except OSError as fault:
                stopped = failed("", fault).reason
        return write_report(results, output_dir, shard, stopped)


def _each(
    entries: Sequence[Entry], wanted: int, parallel: int, call: Callable[[Entry], Result], stop: Callable[[], None]
) -> Iterator[Result]:
    """Results as they come; never more in progress than could still be needed. An error ends the others by `stop`."""
    good = 0
    rest = iter(entries)
    running: set[Future[Result]] = set()
    with ThreadPoolExecutor(parallel, thread_name_prefix="fetch") as pool:
        try:
            while True:
                free = max(0, min(parallel, wanted - good) - len(running))
                running |= {pool.submit(call, entry) for entry in itertools.islice(rest, free)}
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    good += result.status in ("converted", "exists")
                    yield result
        except BaseException:
            stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Stopped(BaseException):
    """Ends a download or conversion of a run that is over; no fault of the recording."""


@dataclass(frozen=True)
class _Job:
    """Downloads and converts one entry."""

    recordings: Path
    output: Path
    convert: ConvertSettings
    fetch: FetchSettings
    stopping: list[bool] = field(default_factory=list)  #: filled once the run is to end

    def _go_on(self, *_progress: int) -> None:
        if self.stopping:
            raise _Stopped

    def __call__(self, entry: Entry, converters: Executor | None = None) -> Result:
        """Download and convert; then delete what this call downloaded, and nothing that existed before."""
        downloaded: list[Path] = []
        keep = self.fetch.keep_recordings
        try:
            result = self._result(entry, converters, downloaded)
            # Without its video a recording is useless.
            keep = keep and result.status != "missing"
            return result
        finally:
            # After any error too: the next run could not tell these files from the user's own.
            for path in () if keep else downloaded:
                remove(path)
            give_up(self.recordings / f"{entry.name}-options.json")  # the next run does not ask for it again

    def on_ray(self, entry: Entry) -> Result:
        """The same on any machine of the cluster; this thread waits for it."""
        ((_, result),) = ray_results(self, [(entry,)])
        if isinstance(result, OSError):
            raise result
        return failed(entry.relpath, result) if isinstance(result, Exception) else result

    def _result(self, entry: Entry, converters: Executor | None, downloaded: list[Path]) -> Result:
        """The result for an entry; new files are added to `downloaded`, even if an error follows."""
        recording = ContractorRecording(entry.name, self.recordings / f"{entry.name}.mp4", entry.version)
        if not (self.output / entry.name).exists():
            try:
                # The small file first: without it the large one is useless.
                for ending in (".jsonl", ".mp4"):
                    self._get(entry, ending, downloaded)
            except Missing as fault:
                return Result(entry.relpath, "missing", fault.got or fault.what)
            except UserError as fault:
                return Result(entry.relpath, "failed", fault.one_line)
            with contextlib.suppress(UserError):
                with contextlib.suppress(Missing):
                    self._get(entry, "-options.json", downloaded)
                self._note_version(recording, downloaded)
        if converters is None:
            result = convert_recording(recording, self.output, self.convert, self._go_on)
        else:
            result = converters.submit(convert_recording, recording, self.output, self.convert).result()
        result.recording = entry.relpath
        return result

    def _note_version(self, recording: ContractorRecording, downloaded: list[Path]) -> None:
        """Write a version that changes the actions into the options of a recording that is kept, for later conversions of its folder."""
        path = self.recordings / f"{recording.name}-options.json"
        if not (self.fetch.keep_recordings and recording.version in GUI_SCALE and recording.video in downloaded):
            return
        if path.exists() and (path not in downloaded or not recording.options):  # the user's own, or damaged
            return
        write_json(path, recording.options | {VERSION: recording.version})
        downloaded += [] if path in downloaded else [path]

    def _get(self, entry: Entry, ending: str, downloaded: list[Path]) -> None:
        path = self.recordings / f"{entry.name}{ending}"
        if not path.exists():
            attempts, backoff = self.fetch.attempts, self.fetch.backoff
            download(entry.beside(ending), path, attempts=attempts, backoff=backoff, on_bytes=self._go_on)
            downloaded.append(path)
