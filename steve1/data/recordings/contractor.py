"""Recordings in the contractors' format: name.mp4, name.jsonl with a tick per line, and perhaps name-options.json."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError, nearest
from steve1.core.files import read_json
from steve1.core.messages import translated
from steve1.core.reading.contents import refuse_other_content
from steve1.data.episodes.parts import MINECLIP_VIDEO
from steve1.data.media.video import decoded_frames, frame_times, probe, recorder_size, to_rgb, turn_of
from steve1.data.recordings.recording import (
    Found,
    Pictures,
    Recording,
    Ticks,
    Timing,
    Tree,
    actions_of,
    file_digests,
    picked,
)

_VERSION = re.compile(r"^(?:all_)?(\d{1,2}\.\d{1,2})(?:$|[_-])")
#: height of the recorder's own window; the pointer's position is in its pixels
_RECORDER_HEIGHT = 720
#: as `who` of a tick, not imitated: a policy acted, or a scripted player that looked away on purpose
POLICY, DISTURBANCE = "policy", "disturbance"
#: as `who` of a tick, imitated as any other word is: who acts when the policy does not
PERSON, PLAYER = "person", "player"
#: names of what this project's tools write beside recordings and episodes: no ticks
_REPORTS = ("convert_report", "label_report", "filter_report")
#: in the options of a downloaded recording: the recorder's version, which the index's paths name
VERSION = "recorder_version"


@dataclass(frozen=True)
class ContractorRecording(Recording):
    """A video and its ticks, which lie beside it."""

    kind = "recording"

    @classmethod
    def find(cls, tree: Tree) -> Found:
        found: list[Recording] = []
        lonely: list[tuple[Path, str]] = []
        files = {path for path in tree.files if path.name != MINECLIP_VIDEO}
        odd = {path for path, _ in tree.odd}
        for path in sorted(files):
            ticks = actions_of(path)
            if path.suffix != ".mp4":
                video = path.with_name(path.name.removesuffix(".gz").removesuffix(".jsonl") + ".mp4")
                if video not in files and not path.name.startswith(_REPORTS):
                    lonely.append((path, f"actions without a video: {video.name} is missing"))
            elif ticks in files:
                version = version_in(path.relative_to(tree.root.parent).parts[:-1])
                found.append(cls(tree.name_of(path.with_suffix("")), path, version))
            elif ticks not in odd:
                why = f"a video without actions: {ticks.name} is missing, and training needs what was pressed at each frame (SOURCE=videos labels it)"
                lonely.append((path, why))
        return found, lonely

    @property
    def actions_path(self) -> Path:
        return actions_of(self.video)

    @property
    def options(self) -> dict[str, Any]:
        with contextlib.suppress(UserError):  # `read_ticks` notes it
            return self._read_options()
        return {}

    def _read_options(self) -> dict[str, Any]:
        path = self.video.with_name(self.video.stem + "-options.json")
        found: dict[str, Any] = read_json(path) if path.exists() else {}
        return found

    @property
    def recorder_version(self) -> str:
        """The recorder's version, "" if unknown. What was downloaded lies in a folder that does not name it; its options do."""
        return self.version or str(self.options.get(VERSION) or "")

    @property
    def may_stick(self) -> bool:
        """Whether its recorder may have written a stuck attack; this project's names its format, and has no such fault."""
        return "format" not in self.options

    @property
    def warnings(self) -> list[str]:
        return self.pictures.notes

    def read_ticks(self, camera_rounding: str = "float", *, esc_as_inventory: bool = False) -> Ticks:
        notes: list[str] = []
        try:
            self._read_options()
        except UserError as fault:
            notes.append(f"its captions and other options are left out: {fault.one_line}")
        unknown: Counter[str] = Counter()
        ticks = list(parsed_ticks(self.actions_path, notes, partial(_reduced, unknown=unknown)))
        if not ticks:
            raise UserError("This recording has no ticks.", where=self.actions_path)
        notes += _unknown_keys(ticks, unknown, self.actions_path)
        _check_slots(ticks, self.actions_path)
        try:
            actions, keep = act.from_contractor(
                ticks,
                camera_rounding,
                # A folder such as "6.8" of other recorders may be named after a day.
                recorder_version=self.recorder_version if self.may_stick else "",
                esc_as_inventory=esc_as_inventory,
                may_stick=self.may_stick,
            )
        except UserError as fault:
            fault.where = f"{self.actions_path}, {fault.where}"
            raise
        numbers, milli = (_column(ticks, name) for name in ("tick", "milli"))
        counted = None if numbers is None or (numbers % 1).any() else numbers.astype(np.int64)
        acted = np.array([tick.get("who") not in (POLICY, DISTURBANCE) for tick in ticks])
        imitated = None if acted.all() else acted
        return Ticks(actions, keep, _pointers(ticks), notes, np.arange(len(actions)), counted, milli, imitated)

    @cached_property
    def timing(self) -> Timing:
        return Timing(*frame_times(self.video))

    def frames(self, numbers: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        return map(recorder_size, self.whole_frames(numbers))

    def whole_frames(self, numbers: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """As `frames`, as large as the video has them."""
        return map(to_rgb, picked(self._in_time(), numbers))

    def _in_time(self) -> Iterator[VideoFrame]:
        """The video's frames; UserError where one is left out, since the next would be taken for it."""
        start, seconds = self.timing.start, self.timing.seconds
        for number, frame in enumerate(decoded_frames(self.video)):
            if start is None or frame.time is None or number >= len(seconds):
                late = 0.0
            else:
                late = abs(frame.time - start - seconds[number])
            if late > 0.5 / self.timing.rate:
                where = f"{self.video}, frame {number} ({seconds[number]:.2f} s)"
                raise UserError(
                    "A frame of this video does not decode.", where=where, todo="record or download it again"
                )
            yield frame

    @cached_property
    def pictures(self) -> Pictures:
        """The form of its pictures."""
        info, turn = probe(self.video), turn_of(self.video)
        if turn % 180:
            return Pictures(info.height, info.width, 1 / info.aspect, turn)
        return Pictures(info.width, info.height, info.aspect, turn)

    def digests(self) -> Iterator[tuple[str, str]]:
        return file_digests([self.actions_path, self.video])

    def facts(self) -> dict[str, Any]:
        return {
            "source_size": [self.pictures.width, self.pictures.height],
            "source_fps": round(probe(self.video).fps, 4),
        }


def version_in(parts: Iterable[str]) -> str:
    """The recorder's version from the nearest folder that looks like one ("6.8", "all_6.8_…"); "" without."""
    matches = (_VERSION.match(part) for part in reversed(tuple(parts)))
    return next((match[1] for match in matches if match), "")


def parsed_ticks(
    path: Path, notes: list[str] | None = None, reduce: Callable[[dict[str, Any]], dict[str, Any]] = lambda tick: tick
) -> Iterator[dict[str, Any]]:
    """The ticks of a jsonl, one by one.

    Args:
        path: the jsonl.
        notes: a torn last line (the recorder was killed) is dropped and noted here; without, it is refused.
        reduce: what to keep of each tick.

    Raises:
        UserError: a line is not a tick; names file and line.
    """
    refuse_other_content(path, empty=True)
    torn, where = "", 0
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as lines:
        for number, raw in enumerate(_unpacked(lines, path), 1):
            if not raw.strip():
                continue
            if torn:
                break
            try:
                tick = json.loads(raw)
            except (ValueError, RecursionError) as fault:
                torn, where = str(fault)[:120], number
                continue
            try:
                if not isinstance(tick, dict):
                    raise TypeError(f"a {type(tick).__name__} instead of a tick")
                yield reduce(tick)
            except (KeyError, TypeError, ValueError, AttributeError) as fault:
                torn, where = f"{fault} is missing" if isinstance(fault, KeyError) else str(fault)[:120], number
                break
        else:
            if torn and notes is not None:
                notes.append(f"the last line ({where}) was cut off and is dropped")
                torn = ""
    if torn:
        what = "This line of the recording is not a tick."
        raise UserError(what, where=f"{path}:{where}", got=torn, todo="repair or remove this recording")


def _unpacked(lines: Iterable[bytes], path: Path) -> Iterator[bytes]:
    try:
        yield from lines
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        todo = "copy or download it again"
        raise UserError("This file does not unpack.", where=path, got=str(fault), todo=todo) from None


def _reduced(tick: dict[str, Any], unknown: Counter[str]) -> dict[str, Any]:
    """The fields that conversion needs: an hour of whole ticks takes gigabytes. Keys of no known name are counted.

    Raises:
        TypeError: a field holds another kind of value than the recorders write.
    """
    kept: dict[str, Any] = {key: tick[key] for key in ("isGuiOpen", "hotbar", "tick", "milli", "who") if key in tick}
    if kept.get("isGuiOpen") not in (True, False, None):
        raise TypeError(f"isGuiOpen is {json.dumps(kept['isGuiOpen'])[:40]}; it is true or false, without quotes")
    if not isinstance(kept.get("who", ""), str):
        raise TypeError(f'who is {json.dumps(kept["who"])[:40]}; it is a text such as "{POLICY}"')
    if isinstance(tick.get("mouse"), dict):
        fields = ("x", "y", "dx", "dy", "dwheel", "buttons", "newButtons")
        kept["mouse"] = {key: tick["mouse"][key] for key in fields if key in tick["mouse"]}
        for name in ("buttons", "newButtons"):
            _check_list(kept["mouse"].get(name, []), f"mouse.{name}", (int, float), "it is a list of numbers")
    if isinstance(tick.get("keyboard"), dict):
        keys = tick["keyboard"]["keys"]
        _check_list(keys, "keyboard.keys", (str,), "it is a list of names")
        unknown.update(set(keys) - act.contractor.MINECRAFT_KEYS)
        kept["keyboard"] = {"keys": [key for key in keys if key in act.contractor.KEYS]}
    return kept


def _check_list(value: Any, name: str, kinds: tuple[type, ...], what: str) -> None:
    odd = [m for m in value if not isinstance(m, kinds) or isinstance(m, bool)] if isinstance(value, list) else [value]
    if odd:
        raise TypeError(f"{name} holds {json.dumps(odd[0])[:60]}; {what}")


def _unknown_keys(ticks: list[dict[str, Any]], unknown: Counter[str], path: Path) -> list[str]:
    """A note on each key that means nothing here; UserError if no key means anything."""
    if not unknown:
        return []
    counts = [f'"{name}" in {count} of {len(ticks)} ticks' for name, count in unknown.most_common(3)]
    counts += [f"and {len(unknown) - 3} more"] if len(unknown) > 3 else []
    shown = ", ".join(map(translated, counts))
    hint = nearest(unknown.most_common(1)[0][0], list(act.contractor.KEYS))
    if not any(tick.get("keyboard", {}).get("keys") for tick in ticks):
        raise UserError(
            "The keys of this recording are not named as in Minecraft.",
            where=path,
            expected="key.keyboard.w, key.keyboard.left.shift, …",
            got=shown,
            todo="write its keys as docs/technical/DATA_FORMATS.md names them",
        )
    return [f"{shown}: a key of this name means nothing here (known: {hint})"]


def _check_slots(ticks: list[dict[str, Any]], path: Path) -> None:
    """UserError if `hotbar` holds pressed keys, with 0 between them, in place of the selected slot.

    Who selects slot 1 again presses its key or turns the wheel.
    """
    slots = [tick.get("hotbar") for tick in ticks]
    presses, row = [], 0
    for slot, group in itertools.groupby(slots):
        start, row = row, row + sum(1 for _ in group)
        if slot != 0:
            if row - start > 3 or row == len(ticks) or slots[row] != 0:
                return
            near = ticks[max(start, row - 2) : row + 1]
            if any(
                "key.keyboard.1" in t.get("keyboard", {}).get("keys", ()) or t.get("mouse", {}).get("dwheel")
                for t in near
            ):
                return
            presses.append(f"{slot} at line {start + 1}")
    if len(presses) > 2:
        raise UserError(
            "The hotbar of this recording goes back to 0 after each choice, as if it were the pressed key.",
            where=path,
            expected="the selected slot, 0 to 8, until another one is selected",
            got=", ".join(map(translated, presses[:3])),
            todo="write the selected slot into each line, or leave hotbar out",
        )


def _column(ticks: list[dict[str, Any]], name: str) -> NDArray[np.float64] | None:
    """A number of each tick, None unless all have it."""
    values = [tick.get(name) for tick in ticks]
    if not all(isinstance(value, (int, float)) and abs(value) < 2**53 for value in values):
        return None
    return np.asarray(values, np.float64)


def _pointers(ticks: list[dict[str, Any]]) -> NDArray[np.float64]:
    found = np.full((len(ticks), 2), np.nan)
    for row, tick in enumerate(ticks):
        if tick.get("isGuiOpen"):
            # Where the recorder did not note the pointer's position, the frame stays as it is.
            with contextlib.suppress(KeyError, TypeError, ValueError):
                found[row] = float(tick["mouse"]["x"]) / _RECORDER_HEIGHT, float(tick["mouse"]["y"]) / _RECORDER_HEIGHT
    return found
