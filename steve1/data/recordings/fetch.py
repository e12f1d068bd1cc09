"""Published recordings → episodes, with a bounded amount of disk.

In: entries of an index. Out: episodes; each recording is downloaded, converted and (unless it is to be kept) deleted
before many others follow. Only files that the run itself downloaded are deleted. The same run again goes on where the
last one was cut, in the middle of a file too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from steve1.core.download import Missing, download
from steve1.core.errors import UserError
from steve1.core.messages import progress
from steve1.data.recordings.contractor import ContractorRecording
from steve1.data.recordings.contractor_index import Entry
from steve1.data.recordings.convert import ConvertSettings, Result, convert_recording
from steve1.data.recordings.convert_folder import Summary, alone_in, finished, machine_fault, remove_leftovers
from steve1.data.recordings.shards import WHOLE, Shard, cluster_cpus, ray_results


@dataclass(frozen=True)
class FetchSettings:
    """How recordings are fetched.

    Attributes:
        n_episodes: stop when the output holds this many; 0 takes all.
        keep_recordings: keep the downloaded files after conversion.
        parallel: recordings on their way at once, and the most that lie on disk.
        workers: processes that convert; 1 converts in this one, 0 stands for Ray.
        attempts, backoff: see `core.download.download`.
    """

    n_episodes: int = 0
    keep_recordings: bool = False
    parallel: int = 4
    workers: int = 1
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

    An entry that the server does not have has the status "missing", one that cannot be fetched "failed"; both are
    counted, reported, and passed over.

    Args:
        entries: of an index, all of them.
        recordings_dir, output_dir: where downloads and episodes go; other machines see them at the same paths.
        convert, fetch: see there.
        shard: take this part of the entries, and of `fetch.n_episodes`, only; other machines take the others.
        ray: each machine of a Ray cluster downloads and converts, instead of this one alone.

    Raises:
        UserError: fewer episodes are wanted than there are parts, or something else writes to `output_dir`.
    """
    entries = shard.of(entries)
    fetch = dataclasses.replace(fetch, n_episodes=_part_of(fetch.n_episodes, shard))
    if ray:
        recordings_dir, output_dir = recordings_dir.absolute(), output_dir.absolute()
        fetch = dataclasses.replace(fetch, parallel=cluster_cpus() + 2, workers=0)
    recordings_dir.mkdir(parents=True, exist_ok=True)
    output_dir.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    with alone_in(output_dir, shard):
        remove_leftovers(output_dir, None if shard.whole else {entry.name for entry in entries})
        with progress(
            total=min(fetch.n_episodes or len(entries), len(entries)), desc="downloading and converting", unit="episode"
        ) as bar:
            stopped = ""
            try:
                for result in _each(entries, recordings_dir, output_dir, convert, fetch):
                    results.append(result)
                    bar.update(result.status in ("converted", "exists"))
            except OSError as fault:
                stopped = machine_fault(fault)
        return finished(results, output_dir, shard, stopped)


def _part_of(n_episodes: int, shard: Shard) -> int:
    part = len(shard.of(range(n_episodes)))
    if n_episodes and not part:
        raise UserError(
            "There are more parts than episodes wanted.",
            expected=f"at least {shard.count} episodes for {shard.count} parts",
            got=f"{n_episodes} episodes, of which part {shard.number} would get none",
        )
    return part


def _each(
    entries: Sequence[Entry], recordings: Path, output: Path, convert: ConvertSettings, fetch: FetchSettings
) -> Iterator[Result]:
    """Results as they come; never more on their way than could still be needed."""
    wanted = fetch.n_episodes or len(entries)
    good = 0
    rest = iter(entries)
    running: set[Future[Result]] = set()
    with (
        ThreadPoolExecutor(fetch.parallel, thread_name_prefix="fetch") as pool,
        _converters(fetch.workers) as converters,
    ):
        try:
            while True:
                room = min(fetch.parallel, wanted - good) - len(running)
                running |= {
                    pool.submit(_one_on_ray, entry, recordings, output, convert, fetch)
                    if fetch.workers == 0
                    else pool.submit(_one, entry, recordings, output, convert, fetch, converters)
                    for entry in itertools.islice(rest, max(0, room))
                }
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    good += result.status in ("converted", "exists")
                    yield result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _converters(workers: int) -> contextlib.AbstractContextManager[Executor | None]:
    if workers < 2:
        return contextlib.nullcontext()
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _one(
    entry: Entry,
    recordings: Path,
    output: Path,
    convert: ConvertSettings,
    fetch: FetchSettings,
    converters: Executor | None,
) -> Result:
    """Download and convert; then delete what this call downloaded, and nothing that was there before it."""
    downloaded: list[Path] = []
    keep = fetch.keep_recordings
    try:
        result = _download_and_convert(entry, recordings, output, convert, fetch, converters, downloaded)
        # Without its video a recording is of no use, kept or not.
        keep = keep and result.status != "missing"
    finally:
        # After any error too: the next run could not tell these files from the user's own.
        if not keep:
            for path in downloaded:
                path.unlink(missing_ok=True)
    return result


def _download_and_convert(
    entry: Entry,
    recordings: Path,
    output: Path,
    convert: ConvertSettings,
    fetch: FetchSettings,
    converters: Executor | None,
    downloaded: list[Path],
) -> Result:
    """The result for an entry; files that were not there and are now go into `downloaded`, also where an error follows."""

    def get(ending: str) -> None:
        path = recordings / f"{entry.name}{ending}"
        if not path.exists():
            url = entry.url if ending == ".mp4" else entry.beside(ending)
            download(url, path, attempts=fetch.attempts, backoff=fetch.backoff)
            downloaded.append(path)

    video = recordings / f"{entry.name}.mp4"
    recording = ContractorRecording(entry.name, video, entry.version)
    if not (output / entry.name).exists():
        try:
            # The small file first: where it is missing the large one is of no use.
            get(".jsonl")
            get(".mp4")
        except Missing as fault:
            return Result(entry.relpath, "missing", fault.got or fault.what)
        except UserError as fault:
            return Result(entry.relpath, "failed", fault.one_line)
        with contextlib.suppress(UserError):
            get("-options.json")
    if converters is None:
        result = convert_recording(recording, output, convert)
    else:
        result = converters.submit(convert_recording, recording, output, convert).result()
    result.recording = entry.relpath
    return result


def _one_on_ray(entry: Entry, recordings: Path, output: Path, convert: ConvertSettings, fetch: FetchSettings) -> Result:
    """The same on whichever machine of the cluster has room; this thread waits for it."""
    ((_, result),) = ray_results(_one, [(entry, recordings, output, convert, fetch, None)])
    if isinstance(result, OSError):
        raise result
    if isinstance(result, Exception):
        return Result(entry.relpath, "failed", " ".join(str(result).split())[:300])
    return result
