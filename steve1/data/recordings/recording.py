"""Recordings as a recorder left them: a video, its ticks, and what else lies beside it.

In: a folder. Out: every recording below it, its ticks reduced to what conversion needs, and its actions. Nothing here
decodes a frame.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
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
from steve1.data.episodes.episode import Episode, find_episodes
from steve1.data.episodes.formats.registry import format_of
from steve1.data.episodes.parts import MINECLIP_VIDEO, PACK

_OURS = (".mp4", ".jsonl")
#: what other recorders write; their pictures would be readable, but which file is the recording must be plain
_OTHER_VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".flv", ".m4v", ".wmv")
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
    """Recordings anywhere below `folder` (linked folders too), sorted; and what cannot be one, with the reason.

    Raises:
        UserError: no such folder, or nothing recorded in it.
    """
    root = resolve(folder)
    if not root.is_dir():
        raise UserError("This folder of recordings does not exist.", where=root)
    files, folders, lonely = _tree(root)
    found: list[Recording] = []
    episodes = {path for parent in folders for path in find_episodes(parent)}
    episodes |= {root} if format_of(root) else set()
    # Episodes of our own need no conversion; an output folder may lie inside the input folder.
    found += [Recording(_name(path, root), path, None) for path in sorted(episodes) if not (path / PACK).exists()]
    beside = {path for path in files if not episodes & set(path.parents) and path.name != MINECLIP_VIDEO}
    for path in sorted(beside):
        if path.suffix == ".mp4":
            ticks = path.with_suffix(".jsonl")
            version = version_in(path.relative_to(root.parent).parts[:-1])
            if ticks in beside:
                found.append(Recording(_name(path.with_suffix(""), root), path, ticks, version))
            elif ticks not in {place for place, _ in lonely}:
                reason = f"a video without actions: {ticks.name} is missing, and training needs what was pressed at each frame"
                lonely.append((path, reason))
        elif path.with_suffix(".mp4") not in beside and not path.name.startswith("convert_report"):
            lonely.append((path, f"actions without a video: {path.stem}.mp4 is missing"))
    if not found and not lonely:
        raise UserError(
            "There is nothing to convert.",
            where=root,
            expected="recordings as name.mp4 with name.jsonl, or folders with frames/ and actions.jsonl",
        )
    return _with_names_of_their_own(found, lonely)


def _tree(root: Path) -> tuple[list[Path], list[Path], list[tuple[Path, str]]]:
    """Videos and ticks below a folder, the folders themselves, and what can be neither, with the reason; hidden ones left out."""
    files: list[Path] = []
    folders: list[Path] = []
    odd: list[tuple[Path, str]] = []
    seen: set[Path] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        # Links are followed, but no folder is searched twice: one may lead back to where it stands.
        if folder.resolve() in seen:
            odd.append((folder, "a link to a folder that is searched already"))
            continue
        seen.add(folder.resolve())
        folders.append(folder)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as fault:
            odd.append((folder, f"a folder that cannot be read: {fault.strerror}"))
            continue
        for entry in entries:
            path = folder / entry.name
            kind = "" if entry.name.startswith(".") else _kind(path)
            if kind == "folder":
                # An episode's own frames folder is no place to look for episodes, and may hold thousands of files.
                waiting += [path] if path.name != "frames" else []
                odd += [(path, "a folder that is named like a file of a recording")] if path.suffix in _OURS else []
            elif kind == "file" and path.suffix not in _OURS and path.suffix.lower() in _OTHER_VIDEOS:
                odd.append((path, _renamed(path)))
            elif kind and path.suffix in _OURS:
                if kind == "file":
                    files.append(path)
                else:
                    odd.append((path, kind))
    return files, folders, odd


def _renamed(path: Path) -> str:
    """What to do about a video whose name does not end in .mp4."""
    target = path.with_suffix(".mp4").name
    how = f"rename it to {target}" if path.suffix.lower() == ".mp4" else f"ffmpeg -i {path.name} -c copy {target}"
    return f"a video in another container than mp4; {how}, with its actions beside it as {path.stem}.jsonl"


def _kind(path: Path) -> str:
    """ "file", "folder", or what is wrong with it."""
    try:
        mode = os.stat(path).st_mode
    except OSError as fault:
        return f"it cannot be opened: {fault.strerror}"
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "it is neither a file nor a folder"


def _name(path: Path, root: Path) -> str:
    return "_".join(path.relative_to(root).parts) or root.name


def _with_names_of_their_own(
    found: list[Recording], lonely: list[tuple[Path, str]]
) -> tuple[list[Recording], list[tuple[Path, str]]]:
    """Recordings without those whose episode would get the name of an earlier one."""
    first: dict[str, Recording] = {}
    for recording in found:
        other = first.setdefault(recording.name, recording)
        if other is not recording:
            lonely.append((recording.video, f"it would become the same episode as {other.video}: rename one of them"))
    return list(first.values()), sorted(lonely)


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
        keep = ~act.is_null(*episode.tokens())  # which also raises where there are more or fewer actions than frames
        actions = episode.actions()
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
                    "This line of the recording is no tick.",
                    where=f"{path}:{torn[0]}",
                    got=torn[1],
                    todo="repair or remove this recording",
                )
            try:
                tick = json.loads(raw)
                if not isinstance(tick, dict):
                    raise ValueError(f"a {type(tick).__name__} instead of a tick")
                yield _reduced(tick)
            except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as fault:
                torn = (number, f"no {fault}" if isinstance(fault, KeyError) else str(fault)[:120])
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
        kept["keyboard"] = {"keys": [key for key in tick["keyboard"]["keys"] if key in act.contractor.KEYS]}
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
