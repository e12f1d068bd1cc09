"""Recordings in the contractors' format: name.mp4, name.jsonl with a tick per line, and perhaps name-options.json."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.contents import refuse_other_content
from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.data.episodes.parts import MINECLIP_VIDEO
from steve1.data.media.video import decoded_frames, probe, recorder_size, to_rgb
from steve1.data.recordings.recording import Found, Pace, Recording, Ticks, Tree
from steve1.data.recordings.resample import at_game_rate

_VERSION = re.compile(r"^(?:all_)?(\d{1,2}\.\d{1,2})(?:$|[_-])")
#: height of the recorder's own window; the pointer's position is in its pixels
_RECORDER_HEIGHT = 720


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
            ticks = path.with_suffix(".jsonl")
            if path.suffix == ".jsonl":
                if path.with_suffix(".mp4") not in files and not path.name.startswith("convert_report"):
                    lonely.append((path, f"actions without a video: {path.stem}.mp4 is missing"))
            elif ticks in files:
                version = version_in(path.relative_to(tree.root.parent).parts[:-1])
                found.append(cls(tree.name_of(path.with_suffix("")), path, version))
            elif ticks not in odd:
                why = f"{ticks.name} is missing, and training needs what was pressed at each frame"
                lonely.append((path, f"a video without actions: {why}"))
        return found, lonely

    @property
    def actions_path(self) -> Path:
        return self.video.with_suffix(".jsonl")

    @property
    def options(self) -> dict[str, Any]:
        with contextlib.suppress(UserError):  # `read_ticks` notes it
            return self._read_options()
        return {}

    def _read_options(self) -> dict[str, Any]:
        path = self.video.with_name(self.video.stem + "-options.json")
        found: dict[str, Any] = read_json(path) if path.exists() else {}
        return found

    def read_ticks(self, camera_rounding: str = "float", *, esc_as_inventory: bool = False) -> Ticks:
        notes: list[str] = []
        try:
            self._read_options()
        except UserError as fault:
            notes.append(f"its captions and other options are left out: {fault.one_line}")
        ticks = list(parsed_ticks(self.actions_path, notes, _reduced))
        if not ticks:
            raise UserError("This recording has no ticks.", where=self.actions_path)
        _check_numbers(ticks, notes)
        try:
            actions, keep = act.from_contractor(
                ticks, camera_rounding, recorder_version=self.version, esc_as_inventory=esc_as_inventory
            )
        except UserError as fault:
            fault.where = f"{self.actions_path}, {fault.where}"
            raise
        return Ticks(actions, keep, _pointers(ticks), notes, np.arange(len(actions)))

    def timing(self, n_ticks: int, source_fps: float) -> tuple[float, int]:
        info = probe(self.video)
        rate = source_fps or info.fps
        return rate, info.frames or round(info.seconds * (info.fps or rate))

    def frames(self, rate: float, pace: Pace) -> Iterator[NDArray[np.uint8]]:
        # The file's time stamps are compared with its own rate, also where `rate` replaces a wrong one.
        frames = pace.watch(decoded_frames(self.video), probe(self.video).fps or rate)
        for frame in at_game_rate(frames, rate):
            yield recorder_size(to_rgb(frame))

    @property
    def identifying_files(self) -> list[Path]:
        return [self.actions_path, self.video]

    def facts(self) -> dict[str, Any]:
        info = probe(self.video)
        return {"source_size": [info.width, info.height], "source_fps": round(info.fps, 4)}


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
        UserError: a line is no tick; names file and line.
    """
    refuse_other_content(path, empty=True)
    torn = ""
    with open(path, "rb") as lines:
        for number, raw in enumerate(lines, 1):
            if not raw.strip():
                continue
            if torn:
                break
            try:
                tick = json.loads(raw)
                if not isinstance(tick, dict):
                    raise ValueError(f"a {type(tick).__name__} instead of a tick")
                yield reduce(tick)
            except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as fault:
                torn = f"no {fault}" if isinstance(fault, KeyError) else str(fault)[:120]
                where = number
        else:
            if torn and notes is not None:
                notes.append(f"the last line ({where}) was cut off and is dropped")
                torn = ""
    if torn:
        what = "This line of the recording is no tick."
        raise UserError(what, where=f"{path}:{where}", got=torn, todo="repair or remove this recording")


def _reduced(tick: dict[str, Any]) -> dict[str, Any]:
    """The fields that conversion needs: an hour of whole ticks takes gigabytes."""
    kept: dict[str, Any] = {key: tick[key] for key in ("isGuiOpen", "hotbar", "tick") if key in tick}
    if isinstance(tick.get("mouse"), dict):
        fields = ("x", "y", "dx", "dy", "buttons", "newButtons")
        kept["mouse"] = {key: tick["mouse"][key] for key in fields if key in tick["mouse"]}
    if isinstance(tick.get("keyboard"), dict):
        kept["keyboard"] = {"keys": [key for key in tick["keyboard"]["keys"] if key in act.contractor.KEYS]}
    return kept


def _check_numbers(ticks: list[dict[str, Any]], notes: list[str]) -> None:
    """Note a jump in the tick numbers: lines were lost, and with them the pairing of frames and actions."""
    numbers = [tick.get("tick") for tick in ticks]
    if not all(isinstance(number, int) for number in numbers):
        return
    for line, (before, after) in enumerate(itertools.pairwise(numbers), 2):
        if after != before + 1:  # type: ignore[operator]
            notes.append(f"tick numbers go from {before} to {after} at line {line}")
            return


def _pointers(ticks: list[dict[str, Any]]) -> NDArray[np.float64]:
    found = np.full((len(ticks), 2), np.nan)
    for row, tick in enumerate(ticks):
        if tick.get("isGuiOpen"):
            # Where the recorder did not note the pointer's position, the frame stays as it is.
            with contextlib.suppress(KeyError, TypeError, ValueError):
                found[row] = float(tick["mouse"]["x"]) / _RECORDER_HEIGHT, float(tick["mouse"]["y"]) / _RECORDER_HEIGHT
    return found
