"""Cuts clips out of recordings by a list of times; each clip is a recording again (mp4, jsonl, options file).

A clip has exactly the frames and ticks of its times, and they convert to the same actions as in the whole recording: state
that a tick inherits from earlier ones is written out at the cut. The ticks keep their rate; where the video's differs from
it, the clip has the frame of each tick.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from steve1.core.errors import UserError, nearest
from steve1.core.files import atomic_file, read_json, sha256_file, write_json
from steve1.core.messages import translated
from steve1.core.paths import resolve
from steve1.core.reading.contents import read_text
from steve1.data.media.video import VideoWriter
from steve1.data.recordings.contractor import ContractorRecording, parsed_ticks, version_in
from steve1.data.recordings.pairing import SHOWN_BEFORE, Pairing, pair
from steve1.data.recordings.recording import Recording, Timing

#: first word of a header line
_HEADER = {"recording", "name", "video", "file"}
#: seconds by which a container may round the time of a frame
_ROUNDED = 1e-3


@dataclass(frozen=True)
class Moment:
    """A time in a recording: `seconds`, or the `frame` of its video unless that is negative."""

    seconds: float = 0.0
    frame: int = -1

    def number(self, rate: float, timing: Timing | None = None, video: Timing | None = None) -> int:
        """The frame shown then, of frames at `rate` per second, or by their own times.

        Args:
            timing: when the frames are shown.
            video: when the video's frames are shown, where they are not these; one of them becomes the first that shows it, or the next.
        """
        if self.frame < 0 and timing is not None and self.seconds < timing.duration - _ROUNDED:
            return max(0, int(np.searchsorted(timing.seconds, self.seconds + _ROUNDED, side="right")) - 1)
        if self.frame < 0 and timing is not None:
            return len(timing.seconds) + math.floor((self.seconds - timing.duration) * timing.rate + _ROUNDED)
        if self.frame < 0:
            # A frame is shown until the next one begins; the tolerance is for 0.15 s, which is 3 frames less a rounding error.
            return math.floor(self.seconds * rate + 1e-6)
        if video is None:
            return self.frame
        after = max(0, self.frame - (len(video.seconds) - 1))
        seconds = float(video.seconds[self.frame - after]) + after / video.rate
        return max(0, math.ceil((seconds - SHOWN_BEFORE / video.rate) * rate - 1e-6))


@dataclass(frozen=True)
class Clip:
    """A wanted part of a recording, up to but without the frame shown at `stop` (None: to the end)."""

    recording: str
    start: Moment
    stop: Moment | None
    name: str
    where: str


@dataclass(frozen=True)
class Span:
    """Frames (and ticks) start..stop-1 of a clip, and the path of its files without endings."""

    prefix: Path
    start: int
    stop: int


def read_times(path: str | Path) -> list[Clip]:
    """Clips from a text file: `recording, start, end[, name]` a line, separated by commas, tabs or spaces.

    Times are seconds (12.5), minutes (1:02.5), hours (1:00:02), or frames of the video (f1250); an end may be "end". The
    first frame of a clip is the one shown at `start`, the last the one before `end`. Blank lines and comments (#) are skipped.

    Raises:
        UserError: names file and line of every fault.
    """
    source = resolve(path)
    if not source.is_file():
        raise UserError("This list of times does not exist.", where=source)
    lines = read_text(source, "list of times").split("\n")
    clips: list[Clip] = []
    faults: list[str] = []
    named: dict[str, int] = {}
    for number, text in enumerate(lines, 1):
        separator = next((mark for mark in ",;\t，；" if mark in text), None)
        parts = [part.strip().strip('"') for part in text.strip().split(separator)]
        if not text.strip() or text.strip().startswith("#") or (not clips and _is_header(parts)):
            continue
        try:
            clips.append(_clip(parts, f"{source}:{number}"))
            if (name := clips[-1].name) and named.setdefault(name, number) != number:
                raise ValueError(f"the clip of line {named[name]} is named {name} too")
        except ValueError as fault:
            faults.append(f"line {number}: {fault}")
    if faults:
        raise UserError(
            "This list of times has invalid lines.", where=source, got="; ".join(map(translated, faults[:8]))
        )
    if not clips:
        raise UserError("This list of times is empty.", where=source, expected="recording, start, end")
    return clips


def _is_header(parts: list[str]) -> bool:
    """Whether these are the names of columns. A recording may be called "video" too, and has times behind its name."""
    return parts[0].lower() in _HEADER and not any(re.match(r"f?\d", part) for part in parts[1:3])


def _clip(parts: list[str], where: str) -> Clip:
    if not 3 <= len(parts) <= 4:
        raise ValueError(f"recording, start, end expected, {len(parts)} fields found")
    start = moment_of(parts[1])
    stop = None if parts[2].lower() in ("", "end") else moment_of(parts[2])
    alike = stop is None or (start.frame < 0) == (stop.frame < 0)
    if stop and alike and (stop.seconds, stop.frame) <= (start.seconds, start.frame):
        raise ValueError(f"it ends ({parts[2]}) before it starts ({parts[1]})")
    name = parts[3] if len(parts) == 4 else ""
    if name and (Path(name).name != name or name.startswith(".")):
        raise ValueError(f"{name!r} is no file name")
    return Clip(parts[0], start, stop, name, where)


def moment_of(text: str) -> Moment:
    """ "12.5", "1:02.5" or "1:00:02" as seconds, "f250" as a frame of the video. ValueError for anything else."""
    if re.fullmatch(r"f\d+", text):
        return Moment(frame=int(text[1:]))
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text):
        raise ValueError(f"{text!r} is not a time")
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return Moment(seconds)


def match_clips(clips: Sequence[Clip], recordings: Sequence[Recording]) -> dict[ContractorRecording, list[Clip]]:
    """The clips of each recording; they name it by path, file or name.

    Raises:
        UserError: a clip's recording does not exist, several have its name, or it is a folder of frames.
    """
    known: dict[str, list[Recording]] = {}
    for recording in recordings:
        for key in {recording.name, recording.video.name, recording.video.stem, str(recording.video)}:
            known.setdefault(key, []).append(recording)
    found: dict[ContractorRecording, list[Clip]] = {}
    for clip in clips:
        choices = known.get(clip.recording) or known.get(str(resolve(clip.recording))) or []
        if len(choices) != 1:
            what = "Several recordings have this name." if choices else "There is no such recording."
            got = ", ".join(str(recording.video) for recording in choices)
            expected = "" if choices else nearest(clip.recording, list(known))
            raise UserError(what, where=clip.where, expected=expected, got=got or clip.recording)
        if not isinstance(choices[0], ContractorRecording):
            got = f"{choices[0].video}, an episode"
            raise UserError("Clips are cut from recordings (mp4 + jsonl).", where=clip.where, got=got)
        found.setdefault(choices[0], []).append(clip)
    return found


@dataclass(frozen=True)
class Cuts:
    """The clips to cut out of one recording."""

    recording: ContractorRecording
    spans: list[Span]  #: its clips, sorted by time; they may overlap
    pairing: Pairing  #: of its ticks; their rate is the clips' frame rate
    ticks_sha256: str  #: of the file with its ticks, which tells recordings of one name apart

    @property
    def todo(self) -> list[Span]:
        """Those without a video, which gets its name last."""
        return [span for span in self.spans if not _beside(span.prefix, ".mp4").exists()]

    @property
    def end(self) -> int:
        """How many frames must be read."""
        return max((span.stop for span in self.todo), default=0)


def plan_cuts(recording: ContractorRecording, clips: Sequence[Clip], output_dir: Path, source_fps: float = 0.0) -> Cuts:
    """Find the frames of a recording's clips, both from `match_clips`.

    Args:
        output_dir: where the clips go; below a folder named after the recorder's version, if that is known.
        source_fps: true frames per second of the recording; 0: as its video says.

    Raises:
        UserError: a clip ends after the recording does or before it starts, or as `read_ticks` and `pair`.
    """
    ticks = recording.read_ticks()
    pairing, n_ticks = pair(recording, ticks, source_fps), len(ticks.actions)
    fps, video_fps, skipped = pairing.rates.ticks, pairing.rates.video, pairing.skipped
    times = Timing.even(source_fps, len(recording.timing.seconds)) if source_fps else recording.timing
    # With a tick for each frame, the video's own times say which one a player shows then: it may stall, or run at 20.8 a second.
    timing = None if source_fps or fps != video_fps else times
    video = None if fps == video_fps else times
    named = version_in([output_dir.name]) == recording.version
    folder = output_dir if named else output_dir / recording.version
    spans = []
    for clip in clips:
        start = clip.start.number(fps, timing, video) - skipped
        # Up to the end: of the video, where that ends before its ticks.
        to_end = clip.stop is None or (video is not None and clip.stop.frame == len(video.seconds))
        stop = len(pairing.frames) if clip.stop is None or to_end else clip.stop.number(fps, timing, video) - skipped
        if start < 0:
            got = f"{-start} frames before"
            raise UserError("This clip starts before the recording's first tick.", where=clip.where, got=got)
        if stop > n_ticks or start >= n_ticks:
            expected, got = f"at most {n_ticks} frames ({n_ticks / fps:.2f} s)", f"frames {start}..{stop - 1}"
            raise UserError("This clip ends after its recording.", where=clip.where, expected=expected, got=got)
        if start >= stop:
            got = f"from frame {start} to before {stop}, at {fps:g} a second"
            raise UserError("This clip is empty.", where=clip.where, got=got)
        spans.append(Span(folder / (clip.name or f"{recording.video.stem}_{start:06d}_{stop:06d}"), start, stop))
    spans.sort(key=lambda span: (span.start, span.stop))
    return Cuts(recording, spans, pairing, sha256_file(recording.actions_path))


def trim_recording(cuts: Cuts, *, crf: int = 14, on_frames: Callable[[int], object] = lambda count: None) -> list[Path]:
    """Cut clips out of one recording in one pass; returns the videos. Clips that exist are left alone.

    Args:
        crf: quality of the new video (lower is better); 14 is hard to tell from the source.
        on_frames: called with the number of frames read since the last call.

    Raises:
        UserError: the recording is broken.
    """
    _write_videos(cuts, crf, on_frames)
    return [_beside(span.prefix, ".mp4") for span in cuts.spans]


def _beside(prefix: Path, ending: str) -> Path:
    return prefix.with_name(prefix.name + ending)


def check_free(cuts: Cuts, others: Sequence[Cuts] = ()) -> None:
    """Refuse clips whose names other files or other clips have; a killed run leaves a clip's options, or its options and ticks.

    Raises:
        UserError: names the files, and how to keep both.
    """
    taken = {span.prefix for other in others for span in other.spans}
    for span in cuts.spans:
        if span.prefix in taken:
            todo = "give each clip a name of its own in the list, or leave out the second"
            raise UserError("Two clips have this name.", where=span.prefix, todo=todo)
        taken.add(span.prefix)
        there = [path for end in (".mp4", ".jsonl", "-options.json") if (path := _beside(span.prefix, end)).exists()]
        options = _beside(span.prefix, "-options.json")
        known = read_json(options) if options in there else {}
        wanted, found = _options(cuts, span)["clip"], known.get("clip")
        if isinstance(found, dict) and "ticks_sha256" not in found:  # as earlier versions wrote it
            del wanted["ticks_sha256"]
        if there and found != wanted:
            todo = "give the clip another name in the list, or name another --output_dir"
            raise UserError("Another clip has this name.", where=there[0], expected=wanted, got=found, todo=todo)


def _write_ticks(cuts: Cuts, span: Span) -> None:
    write_json(_beside(span.prefix, "-options.json"), _options(cuts, span))
    recording = cuts.recording
    rows = own_ticks(parsed_ticks(recording.actions_path), span.start, span.stop, may_stick=recording.may_stick)
    with atomic_file(_beside(span.prefix, ".jsonl"), "w") as handle:
        handle.writelines(json.dumps(row) + "\n" for row in rows)


def own_ticks(
    ticks: Iterable[dict[str, Any]], start: int, stop: int, *, may_stick: bool = True
) -> Iterator[dict[str, Any]]:
    """Ticks start..stop-1, changed so that they give the same actions as in their recording.

    Two things depend on earlier ticks: a mouse button that was down when the recorder started is no attack until it is
    pressed again, and a hotbar slot counts as chosen when it differs from the tick before (from slot 0 at the beginning).
    """
    stuck, held, changed = False, 0, False
    for number, given in enumerate(itertools.islice(ticks, stop)):
        pressed = (given.get("mouse") or {}).get("newButtons") or []
        stuck = may_stick and pressed == [0] if number == 0 else stuck and 0 not in pressed
        if start == 0:
            yield given
        elif number < start:
            held = given.get("hotbar", held)
        else:
            mouse = dict(given.get("mouse") or {})
            if stuck:
                mouse["buttons"] = [button for button in mouse.get("buttons") or [] if button != 0]
            if number == start and pressed == [0]:
                mouse["newButtons"] = []  # else the button would count as down since the recorder started
            tick = given | {"mouse": mouse}
            if not changed and "hotbar" in tick:
                changed = tick["hotbar"] != held
                if not changed:
                    tick["hotbarHeld"] = tick.pop("hotbar")
                elif tick["hotbar"] == 0:
                    keyboard = tick.get("keyboard") or {}
                    tick["keyboard"] = keyboard | {"keys": [*keyboard.get("keys", []), "key.keyboard.1"]}
            yield tick


def _options(cuts: Cuts, span: Span) -> dict[str, Any]:
    """The recording's options; those about the whole recording (success, value, steps) go below "clip"."""
    whole = cuts.recording.options
    of_whole = ("success", "value", "unit", "steps")
    kept = {key: value for key, value in whole.items() if key not in of_whole}
    clip = {"recording": cuts.recording.video.name, "start_frame": span.start, "stop_frame": span.stop}
    clip |= {"fps": round(cuts.pairing.rates.ticks, 4), "ticks_sha256": cuts.ticks_sha256}
    clip |= {key: whole[key] for key in of_whole if key in whole}
    return {**kept, "steps": span.stop - span.start, "clip": clip}


def _write_videos(cuts: Cuts, crf: int, on_frames: Callable[[int], object]) -> None:
    """One pass over the video; only the clips that contain the current frame are open."""
    waiting, end = cuts.todo, cuts.end
    if not end:
        return
    frames = cuts.recording.whole_frames(cuts.pairing.frames)
    rate = Fraction(cuts.pairing.rates.ticks).limit_denominator(1001)
    with contextlib.ExitStack() as everything:
        writing: list[tuple[Span, VideoWriter, contextlib.ExitStack]] = []
        count = 0
        for frame in frames:
            while waiting and waiting[0].start == count:
                span = waiting.pop(0)
                stack = everything.enter_context(contextlib.ExitStack())
                writer = VideoWriter(_beside(span.prefix, ".mp4"), frame.shape[1], frame.shape[0], rate, crf=crf)
                writing.append((span, stack.enter_context(writer), stack))
            count += 1
            for span, writer, stack in writing:
                writer.write(frame)
                if span.stop == count:  # the video gets its name last
                    _write_ticks(cuts, span)
                    stack.close()
            writing = [clip for clip in writing if clip[0].stop > count]
            on_frames(1)
            if count == end:
                return
        expected = f"at least {end} frames"
        raise UserError("The video ends before a clip does.", where=cuts.recording.video, expected=expected, got=count)
