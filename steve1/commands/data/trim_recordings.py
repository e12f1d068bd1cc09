"""Command: cut clips out of recordings by a list of times.

Input: a folder of recordings, and lines `recording, start, end`.
Output: an mp4, a jsonl and an options file for each clip, ready for `tools/convert_recordings.py`.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from steve1.core.errors import UserError
from steve1.core.files import remove_half_written
from steve1.core.messages import message, progress, say_next, translated
from steve1.core.paths import display, output_path, quoted, resolve
from steve1.data.recordings.layouts import find_recordings
from steve1.data.recordings.recording import Recording
from steve1.data.recordings.shards import alone_in
from steve1.data.recordings.trim import Cuts, check_free, match_clips, plan_cuts, read_times, trim_recording


@dataclass(frozen=True)
class Args:
    """Flags of `tools/trim_recordings.py`."""

    input_dir: str
    """Folder of recordings, at any depth: name.mp4 with name.jsonl beside it."""
    times: str
    """Text or CSV file with one clip per line: recording, start, end[, name]. Times as 12.5, 1:02.5, 1:00:02 or f250 (frame 250); the end may be "end"."""
    output_dir: str
    """Output folder for the clips; existing ones are kept."""
    crf: int = 14
    """Quality of the clips, from 0 (lossless) to 51 (H.264 CRF)."""
    source_fps: float = 0.0
    """True frame rate of the recordings, if the files state a wrong one."""


def main(args: Args) -> int:
    """Match, cut, report; 1 if a recording's clips could not be cut."""
    if not 0 <= args.crf <= 51:
        raise UserError("--crf must be between 0 and 51.", got=str(args.crf))
    groups = match_clips(read_times(args.times), find_recordings(args.input_dir)[0])
    target = output_path(args.output_dir)
    if target.resolve() == resolve(args.input_dir).resolve():
        raise UserError("--output_dir is the folder of the recordings.", where=target, todo="name another folder")
    target.mkdir(parents=True, exist_ok=True)
    with alone_in(target, work="trim"):
        remove_half_written(target, below=True)
        plans: list[Cuts] = []
        made, failed = 0, 0

        @contextlib.contextmanager
        def refusing(recording: Recording) -> Iterator[None]:
            nonlocal failed
            try:
                yield
            except UserError as fault:
                failed += 1
                print(translated(f"  refused  {display(recording.video)}: {fault.one_line}"))

        for recording, clips in groups.items():
            with refusing(recording):
                cuts = plan_cuts(recording, clips, target, args.source_fps)
                check_free(cuts, plans)
                plans.append(cuts)
        for cuts in plans:
            name, rates = display(cuts.recording.video), cuts.pairing.rates
            if rates.resampled:
                own = rates.ticks == rates.video
                kept = "which its clips keep" if own else "its clips have the frame of each of the 20 ticks"
                print(
                    translated(
                        f"  note     {name}: {rates.video:g} frames a second, {kept}; conversion makes 20 of them"
                    )
                )
            for note in cuts.pairing.notes:
                print(translated(f"  note     {name}: {note}"))
        with progress(total=sum(cuts.end for cuts in plans), desc=message("bar trimming"), unit="frame") as bar:
            for cuts in plans:
                with refusing(cuts.recording):
                    made += len(trim_recording(cuts, crf=args.crf, on_frames=bar.update))
    refused = f", {failed} refused" if failed else ""
    print(translated(f"{made} clips of {len(groups) - failed} recordings in {display(target)}{refused}"))
    say_next(
        f"python tools/convert_recordings.py --input_dir {quoted(target)} --output_dir data/{shlex.quote(f'dataset_{target.name}')}"
    )
    return 1 if failed else 0
