"""Recordings as a recorder left them: a video, its ticks, and what else lies beside it.

In: a folder. Out: every recording below it, its ticks reduced to what conversion needs, and its actions. Nothing here
decodes a frame.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.paths import resolve

from .episode import Episode, find_episodes
from .layouts import MINECLIP_VIDEO, PACK

_VERSION = re.compile(r"^(?:all_)?(\d{1,2}\.\d{1,2})(?:$|[_-])")
#: The height of the recorder's own window; the pointer's place is told in its pixels.
_RECORDER_HEIGHT = 720


@dataclass(frozen=True)
class Recording:
    """A video and its ticks, or a folder of frames and actions.

    Attributes:
        name: of the episode that it becomes; a function of its place below the input folder.
        video: the mp4, or the folder of an episode in the guide's or STEVE-1's layout.
        ticks: the jsonl beside the video; None for a folder.
        version: the recorder's, such as "6.8", where the path tells it.
    """

    name: str
    video: Path
    ticks: Path | None
    version: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """`<recording>-options.json`, {} where there is none or it is not readable."""
        path = self.video.with_name(self.video.stem + "-options.json")
        if self.ticks is None or not path.exists():
            return {}
        try:
            found = read_json(path)
        except UserError:
            return {}
        return found if isinstance(found, dict) else {"options": found}


def find_recordings(folder: str | Path) -> tuple[list[Recording], list[tuple[Path, str]]]:
    """Recordings anywhere below `folder`, sorted, and files that lack their other half with the reason.

    Raises:
        UserError: no such folder, nothing recorded in it, or two recordings that would get one name.
    """
    root = resolve(folder)
    if not root.is_dir():
        raise UserError("This folder of recordings does not exist.", where=root)
    found: list[Recording] = []
    lonely: list[tuple[Path, str]] = []
    episodes = {path for parent in (root, *_folders(root)) for path in find_episodes(parent)}
    # Episodes of our own need no conversion; an output folder may lie inside the input folder.
    found += [Recording(_name(path, root), path, None) for path in sorted(episodes) if not (path / PACK).exists()]
    for video in sorted(root.rglob("*.mp4")):
        if video.name.startswith(".") or video.name == MINECLIP_VIDEO or episodes & set(video.parents):
            continue
        ticks = video.with_suffix(".jsonl")
        if ticks.exists():
            found.append(
                Recording(
                    _name(video.with_suffix(""), root),
                    video,
                    ticks,
                    version_in(video.relative_to(root.parent).parts[:-1]),
                )
            )
        else:
            lonely.append(
                (
                    video,
                    f"a video without actions: {ticks.name} is missing, and training needs what was pressed at each frame",
                )
            )
    for ticks in sorted(root.rglob("*.jsonl")):
        if (
            not ticks.with_suffix(".mp4").exists()
            and not episodes & set(ticks.parents)
            and not ticks.name.startswith(("convert_report", "."))
        ):
            lonely.append((ticks, f"actions without a video: {ticks.stem}.mp4 is missing"))
    if not found and not lonely:
        raise UserError(
            "There is nothing to convert.",
            where=root,
            expected="recordings as name.mp4 with name.jsonl, or folders with frames/ and actions.jsonl",
        )
    _check_names(found)
    return found, lonely


def _folders(root: Path) -> Iterator[Path]:
    # An episode's own frames folder is no place to look for episodes, and may hold thousands of files.
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name != "frames" and not path.name.startswith(".") and not path.is_symlink():
            yield path
            yield from _folders(path)


def _name(path: Path, root: Path) -> str:
    return "_".join(path.relative_to(root).parts)


def _check_names(found: list[Recording]) -> None:
    seen: dict[str, Recording] = {}
    for recording in found:
        other = seen.setdefault(recording.name, recording)
        if other is not recording:
            raise UserError(
                "Two recordings would become one episode.",
                where=f"{other.video} and {recording.video}",
                todo="rename one of them",
            )


def version_in(parts: Iterable[str]) -> str:
    """The recorder's version, told by the nearest folder that looks like one ("6.8", "all_6.8_…"); "" where none does."""
    for part in reversed(tuple(parts)):
        match = _VERSION.match(part)
        if match:
            return match[1]
    return ""


@dataclass(frozen=True)
class Ticks:
    """What conversion needs of a recording's ticks, N of them.

    Attributes:
        actions: one MineRL action a tick.
        keep: bool (N,), False where nothing was done.
        pointer: float (N, 2), x and y of the mouse as shares of the window's height while a menu is open, else NaN.
        notes: warnings for the report.
        rows: i64 (N,), the recorded tick with which each begins; several where ticks were merged.
    """

    actions: list[act.EnvAction]
    keep: NDArray[np.bool_]
    pointer: NDArray[np.float64]
    notes: list[str]
    rows: NDArray[np.int64]

    @property
    def gui_share(self) -> float:
        """Share of the ticks with a menu open."""
        return float(np.isfinite(self.pointer[:, 0]).mean())


def read_ticks(recording: Recording, camera_rounding: str = "float", *, esc_as_inventory: bool = False) -> Ticks:
    """The actions of a recording.

    Raises:
        UserError: a line is no tick (names file and line), or ticks are missing in between.
    """
    if recording.ticks is None:
        episode = Episode(recording.video)
        actions = episode.actions()
        if len(actions) != len(episode):
            raise UserError(
                "The actions do not fit the frames.",
                where=recording.video,
                expected=f"{len(episode)}",
                got=f"{len(actions)}",
            )
        keep = ~act.is_null(*act.to_joint(actions))
        return Ticks(actions, keep, np.full((len(actions), 2), np.nan), [], np.arange(len(actions)))
    notes: list[str] = []
    ticks = list(_parsed(recording.ticks, notes))
    if not ticks:
        raise UserError("This recording has no ticks.", where=recording.ticks)
    _check_numbers(ticks, recording.ticks, notes)
    try:
        actions, keep = act.from_contractor(
            ticks, camera_rounding, recorder_version=recording.version, esc_as_inventory=esc_as_inventory
        )
    except UserError as fault:
        raise UserError(
            fault.what,
            where=f"{recording.ticks}, {fault.where}",
            expected=fault.expected,
            got=fault.got,
            todo=fault.todo,
        ) from None
    return Ticks(actions, keep, _pointers(ticks), notes, np.arange(len(actions)))


def _parsed(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Ticks one by one, reduced; a torn last line (a recorder that was killed) is dropped with a note."""
    torn: tuple[int, str] | None = None
    with open(path, "rb") as lines:
        for number, raw in enumerate(lines, 1):
            if not raw.strip():
                continue
            if torn:
                raise UserError(
                    "This line of the recording is not JSON.",
                    where=f"{path}:{torn[0]}",
                    got=torn[1],
                    todo="repair or remove this recording",
                )
            try:
                tick = json.loads(raw)
                if not isinstance(tick, dict):
                    raise ValueError(f"a {type(tick).__name__} instead of a tick")
                yield _reduced(tick)
            except (ValueError, RecursionError, AttributeError, TypeError) as fault:
                torn = (number, str(fault)[:120])
    if torn:
        notes.append(f"the last line ({torn[0]}) was cut off and is dropped")


def _reduced(tick: dict[str, Any]) -> dict[str, Any]:
    """Only the fields that are needed: an hour of whole ticks would take gigabytes."""
    kept: dict[str, Any] = {key: tick[key] for key in ("isGuiOpen", "hotbar", "tick") if key in tick}
    if isinstance(tick.get("mouse"), dict):
        kept["mouse"] = {
            key: tick["mouse"][key] for key in ("x", "y", "dx", "dy", "buttons", "newButtons") if key in tick["mouse"]
        }
    if isinstance(tick.get("keyboard"), dict):
        kept["keyboard"] = {"keys": [key for key in tick["keyboard"].get("keys", ()) if key in act.contractor.KEYS]}
    return kept


def _check_numbers(ticks: list[dict[str, Any]], path: Path, notes: list[str]) -> None:
    """Tick numbers that jump mean lines that were lost, and with them the pairing of frames and actions."""
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
            try:
                found[row] = float(tick["mouse"]["x"]) / _RECORDER_HEIGHT, float(tick["mouse"]["y"]) / _RECORDER_HEIGHT
            except (KeyError, TypeError, ValueError):
                continue  # recorders without the pointer's place: the frame stays as it is
    return found
