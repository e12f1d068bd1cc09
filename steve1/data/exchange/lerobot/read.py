"""Reads LeRobot's datasets of versions 3.0, 2.1 and 2.0, an episode at a time; little is held in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.errors import UserError
from steve1.core.files import json_lines, read_json
from steve1.core.paths import display
from steve1.data.exchange.lerobot import schema
from steve1.data.exchange.lerobot.columns import Columns, find_columns, read_mapping
from steve1.data.exchange.lerobot.schema import PATHS, READABLE, V21, V30
from steve1.data.exchange.lerobot.tables import read_table
from steve1.data.media.stored import read_timed

_PLACE = re.compile(r"\{(\w+)(?::0?(\d{0,2})d)?\}")
_LONGEST = 10_000_000  # frames of an episode: six days


@dataclass(frozen=True)
class Entry:
    """What meta/ says of an episode.

    Attributes:
        number: its episode_index.
        length: frames.
        tasks: its captions.
        data: the parquet file with its frames.
        video: the mp4 with its pictures, None where they are in the parquet file.
        start: seconds at which they begin in it.
    """

    number: int
    length: int
    tasks: tuple[str, ...]
    data: Path
    video: Path | None
    start: float


class LeRobotSet:
    """A dataset on disk.

    Raises:
        UserError: it has another version, no pictures, other actions, or a file of meta/ is missing or damaged.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.info: dict[str, Any] = read_json(root / schema.INFO)
        self.version = str(self.info.get("codebase_version"))
        if self.version not in READABLE:
            raise UserError(
                "This LeRobot dataset has a version that is not read here.",
                where=root / schema.INFO,
                expected=", ".join(READABLE),
                got=self.version,
                todo="convert it with LeRobot's own scripts (lerobot.datasets.v30.convert_dataset_v21_to_v30 and its predecessors)",
            )
        features, fps = self.info.get("features"), self.info.get("fps")
        if not isinstance(features, dict) or not all(isinstance(each, dict) for each in features.values()):
            raise UserError(
                "This dataset's features are not described.", where=root / schema.INFO, expected='"features"'
            )
        if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps < float("inf"):
            what = "This dataset has no frame rate."
            raise UserError(what, where=root / schema.INFO, expected='"fps", a positive number', got=fps)
        self.features, self.fps = features, float(fps)
        mapping, picture = read_mapping(root)
        self.picture = self._picture(picture)
        self.columns: Columns = find_columns(root, features, mapping)

    def _picture(self, named: str) -> str:
        pictures = [name for name, each in self.features.items() if each.get("dtype") in ("video", "image")]
        usual = [name for name in pictures if name == schema.PICTURE or len(pictures) == 1]
        if named in pictures or (usual and not named):
            return named or usual[0]
        raise UserError(
            "Which of this dataset's pictures does the player see?" if pictures else "This dataset has no pictures.",
            where=self.root,
            expected=", ".join(pictures) or "a feature of dtype video or image",
            got=named or f"{len(pictures)} features with pictures",
            todo=f"name one in {display(self.root / schema.MAPPING)}, such as: picture: {pictures[0]}"
            if pictures
            else "",
        )

    @property
    def picture_size(self) -> tuple[int, int]:
        """Width and height of the pictures; names say which number is which, and (3, H, W) occurs as well as (H, W, 3)."""
        shape = self.features[self.picture].get("shape")
        if not isinstance(shape, list) or len(shape) != 3 or not all(isinstance(side, int) for side in shape):
            where, got = f"{self.root / schema.INFO}, {self.picture}", str(shape)[:80]
            raise UserError("The shape of the pictures is not described.", where=where, expected="[H, W, 3]", got=got)
        return (shape[2], shape[1]) if shape[0] == 3 and shape[2] != 3 else (shape[1], shape[0])

    def _file(self, template: str, **values: Any) -> Path:
        """A file of the dataset by its template; never outside it."""

        def filled(match: re.Match[str]) -> str:
            value = values.get(match[1])
            if value is None:
                raise UserError(
                    "A path of this dataset cannot be filled in.", where=self.root / schema.INFO, got=template
                )
            return f"{value:0{int(match[2] or 1)}d}" if match[2] is not None else str(value)

        path = (self.root / _PLACE.sub(filled, template)).absolute()
        if not path.resolve().is_relative_to(self.root.resolve()) and ".." in template:
            raise UserError("A path of this dataset leads out of it.", where=self.root / schema.INFO, got=template)
        return path

    @cached_property
    def entries(self) -> list[Entry]:
        """All episodes, by number.

        Raises:
            UserError: a file of meta/ is missing or damaged.
        """
        try:
            found = list(self._entries_v3() if self.version == V30 else self._entries_v2())
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as fault:
            got = f"{type(fault).__name__}: {fault}"
            raise UserError(
                "The list of this dataset's episodes has another form.", where=self.root / "meta", got=got
            ) from None
        odd = [entry for entry in found if entry.number < 0 or not 0 < entry.length <= _LONGEST]
        if odd or len({entry.number for entry in found}) < len(found):
            got = f"episode {odd[0].number} of {odd[0].length} frames" if odd else "a number twice"
            raise UserError("The list of this dataset's episodes is damaged.", where=self.root / "meta", got=got)
        return sorted(found, key=lambda entry: entry.number)

    @cached_property
    def by_number(self) -> dict[int, Entry]:
        """The episodes by their numbers."""
        return {entry.number: entry for entry in self.entries}

    def _templates(self) -> tuple[str, str]:
        data, video = PATHS[V30 if self.version == V30 else V21]
        return str(self.info.get("data_path") or data), str(self.info.get("video_path") or video)

    @property
    def _in_video(self) -> bool:
        return self.features[self.picture]["dtype"] == "video"

    def _entries_v3(self) -> Iterator[Entry]:
        videos, (data, video) = f"videos/{self.picture}", self._templates()
        wanted = ["episode_index", "tasks", "length", "data/chunk_index", "data/file_index"]
        if self._in_video:
            wanted += [f"{videos}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
        files = sorted((self.root / schema.EPISODES_V3).rglob("*.parquet"))
        if not files:
            raise UserError("This dataset's list of episodes is missing.", where=self.root / schema.EPISODES_V3, todo="download the dataset again")  # fmt: skip
        for file in files:
            for row in read_table(file, wanted).to_pylist():
                # Other programs' tables may have fractions for whole numbers, and nothing for some.
                place = {"chunk_index": int(row["data/chunk_index"]), "file_index": int(row["data/file_index"])}
                pictures, start = None, 0.0
                if self._in_video:
                    chunk, number = int(row[f"{videos}/chunk_index"]), int(row[f"{videos}/file_index"])
                    pictures = self._file(video, video_key=self.picture, chunk_index=chunk, file_index=number)
                    start = float(row[f"{videos}/from_timestamp"])
                tasks = tuple(map(str, row["tasks"] or ()))
                number, length = int(row["episode_index"]), int(row["length"])
                yield Entry(number, length, tasks, self._file(data, **place), pictures, start)

    def _entries_v2(self) -> Iterator[Entry]:
        data, video = self._templates()
        size = max(1, int(self.info.get("chunks_size") or 1000))
        for row in _rows(self.root / schema.EPISODES_V2):
            number = int(row["episode_index"])
            place = {"episode_chunk": number // size, "episode_index": number}
            pictures = self._file(video, video_key=self.picture, **place) if self._in_video else None
            tasks = row.get("tasks") or ()
            tasks = (tasks,) if isinstance(tasks, str) else tuple(map(str, tasks))
            yield Entry(number, int(row["length"]), tasks, self._file(data, **place), pictures, 0.0)

    @cached_property
    def tasks(self) -> dict[int, str]:
        """Number → text."""
        if self.version != V30:
            return {int(row["task_index"]): str(row["task"]) for row in _rows(self.root / schema.TASKS_V2)}
        table = read_table(self.root / schema.TASKS_V3)
        text = next((name for name in ("task", "__index_level_0__") if name in table.column_names), "")
        if not text or "task_index" not in table.column_names:
            got = ", ".join(table.column_names)
            raise UserError("The tasks of this dataset have another form.", where=self.root / schema.TASKS_V3, got=got)
        return dict(zip(table["task_index"].to_pylist(), map(str, table[text].to_pylist())))

    @cached_property
    def own(self) -> dict[int, dict[str, Any]]:
        """What `steve1 export_dataset` noted about each episode; {} for datasets of others."""
        path = self.root / schema.OWN_EPISODES
        return {int(row["episode_index"]): row for row in _rows(path)} if path.exists() else {}

    def rows(self, entry: Entry, names: list[str]) -> dict[str, NDArray[Any]]:
        """These columns (N, k) of an episode.

        Raises:
            UserError: the file is missing or damaged, or has another number of rows than meta/ says.
        """
        table = _file_columns(entry.data, tuple(sorted({"episode_index", *names})))
        mine = np.flatnonzero(np.asarray(table["episode_index"]) == entry.number)
        if len(mine) != entry.length:
            what = "The rows of this episode do not fit the dataset's list of episodes."
            where = f"{entry.data}, episode {entry.number}"
            raise UserError(what, where=where, expected=f"{entry.length} frames", got=f"{len(mine)} rows")
        first, last = int(mine[0]), int(mine[-1])
        if last - first + 1 != entry.length:
            raise UserError("The rows of this episode are not together.", where=f"{entry.data}, episode {entry.number}")
        return {name: _array(table[name].slice(first, entry.length), entry, name) for name in names}

    def actions(self, entry: Entry) -> list[act.EnvAction]:
        """MineRL actions of an episode's frames."""
        return self.columns.actions(self.rows(entry, self.columns.features), f"{entry.data}, episode {entry.number}")

    def prompts(self, entry: Entry) -> list[tuple[int, str]]:
        """The episode's captions, each with the frame from which it holds."""
        numbers = self.rows(entry, ["task_index"])["task_index"][:, 0]
        starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist()]
        return [(start, self.tasks.get(int(numbers[start]), "")) for start in starts]

    def pictures(self, entry: Entry) -> Iterator[NDArray[np.uint8]]:
        """An episode's pictures, (H, W, 3) uint8 RGB.

        Raises:
            UserError: a file is missing, a frame is not at its time, or does not decode.
        """
        if entry.video is not None:
            yield from read_timed(entry.video, entry.start, self.fps, entry.length)
            return
        table = _file_columns(entry.data, ("episode_index", self.picture))
        mine = np.flatnonzero(np.asarray(table["episode_index"]) == entry.number)
        for number, row in enumerate(mine.tolist()):
            stored = table[self.picture][row].as_py() or {}
            data = stored.get("bytes")
            if not data and stored.get("path"):
                file = (self.root / str(stored["path"])).resolve()
                data = file.read_bytes() if file.is_relative_to(self.root.resolve()) and file.is_file() else b""
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
            if picture is None:
                raise UserError("A picture of this dataset does not open.", where=f"{entry.data}, episode {entry.number}, frame {number}")  # fmt: skip
            yield picture  # type: ignore[misc]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file of meta/."""
    try:
        for number, row, fault in json_lines(path):
            if fault:
                raise UserError("This line is not JSON.", where=f"{path}:{number}", got=fault)
            if isinstance(row, dict):
                yield row
    except FileNotFoundError:
        raise UserError("A file of this dataset is missing.", where=path, todo="download the dataset again") from None


@lru_cache(maxsize=2)
def _file_columns(path: Path, columns: tuple[str, ...]) -> Any:
    # Many episodes share a file: the last ones' columns are kept.
    return read_table(path, list(columns)).combine_chunks()


def _array(column: Any, entry: Entry, name: str) -> NDArray[Any]:
    """A column as (N, k)."""
    try:
        values = np.asarray(column.to_pylist())
        return values.reshape(len(values), -1)
    except (ValueError, TypeError) as fault:
        where = f"{entry.data}, episode {entry.number}"
        raise UserError(f"The column {name!r} is not rows of numbers.", where=where, got=str(fault)[:100]) from None


@lru_cache(maxsize=4)
def _opened(root: Path, changed: int) -> LeRobotSet:
    return LeRobotSet(root)


def open_set(root: Path) -> LeRobotSet:
    """The dataset at this folder; opened once in a process.

    Raises:
        UserError: as `LeRobotSet`.
    """
    file = root / schema.INFO
    return _opened(root, file.stat().st_mtime_ns if file.exists() else 0)
