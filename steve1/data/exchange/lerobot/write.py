"""Writes a LeRobot dataset: v3.0 (many episodes in a file) or v2.1 (one file each).

Input: episodes, one after another. Output: meta/, data/, videos/, and steve1/episodes.jsonl with what LeRobot has no place for.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.actions import ENV_BUTTONS
from steve1.core.errors import UserError
from steve1.core.files import write_json
from steve1.data.exchange.lerobot import schema, stats
from steve1.data.exchange.lerobot.schema import PATHS, PICTURE, V21, V30, Limits
from steve1.data.exchange.lerobot.tables import EpisodeTable, frame_table, parquet, write_tasks
from steve1.data.exchange.store import Shown, StoreWriter
from steve1.data.media.video import FPS, VideoWriter
from steve1.reporting.cards import Contents, DataFacts, data_card

LIMITS = Limits()


class LeRobotWriter(StoreWriter):
    """What both versions share: features, rows, statistics, tasks."""

    extra = "lerobot"
    version: ClassVar[str]

    def __init__(self, folder: Path, limits: Limits = LIMITS) -> None:
        super().__init__(folder)
        parquet()  # before anything is written
        self.limits = limits
        self.size: tuple[int, int] | None = None  #: height and width of all pictures
        self.contents = Contents()
        self.tasks: dict[str, int] = {}
        self._merged = stats.Merged()
        self._checked: tuple[str, stats.Stats, tuple[int, int]] | None = None  #: name, pictures, their size
        (folder / "meta").mkdir()
        self._own = self._lines(schema.OWN_EPISODES)

    def _lines(self, name: str) -> IO[str]:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        return self.stack.enter_context(open(path, "w", encoding="utf-8", errors="backslashreplace"))

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """As in meta/info.json."""
        return schema.features(*(self.size or (0, 0)))

    def check(self, episode: Shown) -> None:
        counted, chosen, number = stats.PictureCounts(), set(stats.sampled(len(episode)).tolist()), -1
        size = self.size
        for number, picture in enumerate(episode.episode.source_frames()):
            height, width = picture.shape[:2]
            if (height, width) != (size or (height, width)) or height % 2 or width % 2:
                raise UserError(
                    "The pictures do not fit the dataset: all have one size, of even width and height.",
                    where=f"{episode.episode.path}, frame {number}",
                    expected=f"{size[1]}x{size[0]}" if size else "an even width and height",
                    got=f"{width}x{height}",
                    todo="export episodes of this size into a dataset of their own, or convert them first (tools/convert_recordings.py)",
                )
            size = (height, width)
            if number in chosen:
                counted.add(picture)
        if number + 1 != len(episode):
            what = "The frames do not fit the actions."
            raise UserError(what, where=episode.episode.path, expected=len(episode), got=number + 1)
        assert size is not None, "an episode has frames"
        self._checked = episode.name, counted.stats(), size

    def add(self, episode: Shown) -> None:
        assert self._checked is not None, "check the episode first"
        assert self._checked[0] == episode.name, "check the episode first"
        self.size = self._checked[2]  # of large pictures that are reduced not the size of their files
        columns = self._columns(episode)
        found = {PICTURE: self._checked[1]} | {name: stats.of_rows(values) for name, values in columns.items()}
        self._merged.add(found)
        table = frame_table(self.features, columns)
        self._place(episode, table, found)
        known = {"episode_index": self.contents.episodes, "name": episode.name, "length": len(episode)}
        # Where nobody took over, `intervention` alone does not tell one player from a policy whose frames are all context.
        masked = {"masked": True} if episode.episode.imitated is not None else {}
        self._own.write(json.dumps({**known, **masked, "metadata": episode.kept}) + "\n")
        self.contents.add(len(episode), episode.task, episode.kept.get("source_kind"))

    def _columns(self, episode: Shown) -> dict[str, NDArray[Any]]:
        length = len(episode)
        pressed = np.array([[action[name] for name in ENV_BUTTONS] for action in episode.actions], np.float32)
        numbers = np.arange(length)
        return {
            "action": np.concatenate([pressed, episode.camera.astype(np.float32)], axis=1),
            schema.CAMERA: episode.camera,
            schema.JOINT: np.stack(act.to_joint(episode.actions), axis=1).astype(np.int64),
            schema.INTERVENTION: episode.taken_over(),
            "timestamp": (numbers / FPS).astype(np.float32),
            "frame_index": numbers,
            "episode_index": np.full(length, self.contents.episodes),
            "index": self.contents.frames + numbers,
            "task_index": np.full(length, self.tasks.setdefault(episode.task, len(self.tasks))),
        }

    @abc.abstractmethod
    def _place(self, episode: Shown, table: Any, found: dict[str, stats.Stats]) -> None:
        """Write rows, pictures and what meta/ says of the episode."""

    def _video(self, path: Path) -> VideoWriter:
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = self.size or (0, 0)
        # Key frames are close, since training reads single frames: two is LeRobot's own choice.
        return VideoWriter(path, width, height, FPS, crf=18, gop=2)

    def _counts(self) -> dict[str, int]:
        return {
            "total_episodes": self.contents.episodes,
            "total_frames": self.contents.frames,
            "total_tasks": len(self.tasks),
        }

    def finish(self) -> Sequence[str]:
        write_json(self.folder / schema.INFO, schema.info(self.version, self.features, self._counts(), self.limits))
        (self.folder / "README.md").write_text(self._card(), encoding="utf-8", errors="backslashreplace")
        return ()

    def _card(self) -> str:
        """README.md, with the head that the hub's viewers look for."""
        size = self.size or (0, 0)
        limits = [
            "Frames without any action may have been left out: then the time between frames is longer than 1/20 s."
        ]
        if size[0] == size[1]:
            limits.insert(0, "The game's wide picture is squeezed to a square, as the policy sees it.")
        facts = DataFacts(
            "Minecraft episodes",
            f"LeRobot {self.version}; pictures of {size[1]}x{size[0]}",
            self.contents,
            tags=["LeRobot"],
            head={
                "task_categories": ["robotics"],
                "configs": [{"config_name": "default", "data_files": "data/*/*.parquet"}],
            },
            limits=limits,
        )
        return data_card(facts)


class WriterV3(LeRobotWriter):
    """v3.0: episodes follow one another in files that are begun anew at a size; a row group each."""

    version = V30

    def __init__(self, folder: Path, limits: Limits = LIMITS) -> None:
        super().__init__(folder, limits)
        self._data_file, self._video_file = -1, -1
        self._rows: Any = None
        self._row_bytes: IO[bytes] | None = None
        self._pictures: VideoWriter | None = None
        self._last = {"data": 0, "video": 0}  # bytes of the last episode
        self._table: EpisodeTable | None = None

    def _path(self, which: int, number: int) -> Path:
        chunk, file = divmod(number, self.limits.chunk)
        return self.folder / PATHS[V30][which].format(video_key=PICTURE, chunk_index=chunk, file_index=file)

    def _place(self, episode: Shown, table: Any, found: dict[str, stats.Stats]) -> None:
        if self._table is None:
            shapes = {name: feature["dtype"] == "video" for name, feature in self.features.items()}
            self._table = EpisodeTable(self.folder / schema.EPISODES_V3 / "chunk-000" / "file-000.parquet", shapes)
        self._begin_files(table)
        assert self._pictures is not None
        data, video = self._sizes()
        start = self._pictures.frames
        self._rows.write_table(table, row_group_size=len(episode))
        for picture in episode.episode.source_frames():
            self._pictures.write(picture)
        self._last = {"data": self._sizes()[0] - data, "video": self._sizes()[1] - video}
        chunk = self.limits.chunk
        row = {
            "episode_index": self.contents.episodes,
            "tasks": [episode.task],
            "length": len(episode),
            "data/chunk_index": self._data_file // chunk,
            "data/file_index": self._data_file % chunk,
            "dataset_from_index": self.contents.frames,
            "dataset_to_index": self.contents.frames + len(episode),
            f"videos/{PICTURE}/chunk_index": self._video_file // chunk,
            f"videos/{PICTURE}/file_index": self._video_file % chunk,
            f"videos/{PICTURE}/from_timestamp": start / FPS,
            f"videos/{PICTURE}/to_timestamp": (start + len(episode)) / FPS,
        }
        self._table.add(row, found)

    def _sizes(self) -> tuple[int, int]:
        assert self._row_bytes is not None
        assert self._pictures is not None
        return self._row_bytes.tell(), self._pictures.bytes

    def _begin_files(self, table: Any) -> None:
        """Begin a file that the next episode, if it is like the last, would fill beyond its limit."""
        data, video = self._sizes() if self._pictures is not None else (0, 0)
        if self._rows is None or data + self._last["data"] > self.limits.data_mb * 1e6:
            self._close_rows()
            self._data_file += 1
            path = self._path(0, self._data_file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._row_bytes = open(path, "wb")  # noqa: SIM115  (open until the file is full)
            self._rows = parquet().ParquetWriter(self._row_bytes, table.schema, compression="snappy")
        if self._pictures is None or video + self._last["video"] > self.limits.video_mb * 1e6:
            self._close_pictures()
            self._video_file += 1
            self._pictures = self._video(self._path(1, self._video_file)).__enter__()

    def _close_rows(self) -> None:
        if self._rows is not None and self._row_bytes is not None:
            self._rows.close()
            self._row_bytes.close()

    def _close_pictures(self, *fault: Any) -> None:
        pictures, self._pictures = self._pictures, None
        if pictures is not None:
            pictures.__exit__(*(fault or (None, None, None)))

    def finish(self) -> Sequence[str]:
        notes = super().finish()
        assert self._table is not None
        self._close_rows()
        self._close_pictures()
        self._table.close()
        write_tasks(self.folder / schema.TASKS_V3, self.tasks)
        write_json(self.folder / schema.STATS, self._merged.as_json())
        return notes

    def __exit__(self, kind: Any, fault: Any, trace: Any) -> bool | None:
        self._close_pictures(kind, fault, trace)
        return super().__exit__(kind, fault, trace)


class WriterV21(LeRobotWriter):
    """v2.1: a parquet file and an mp4 for each episode."""

    version = V21

    def __init__(self, folder: Path, limits: Limits = LIMITS) -> None:
        super().__init__(folder, limits)
        self._episodes, self._stats = self._lines(schema.EPISODES_V2), self._lines(schema.STATS_V2)

    def _path(self, which: int, number: int) -> Path:
        chunk = number // self.limits.chunk
        return self.folder / PATHS[V21][which].format(video_key=PICTURE, episode_chunk=chunk, episode_index=number)

    def _place(self, episode: Shown, table: Any, found: dict[str, stats.Stats]) -> None:
        path = self._path(0, self.contents.episodes)
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet().write_table(table, path, compression="snappy", row_group_size=len(episode))
        with self._video(self._path(1, self.contents.episodes)) as pictures:
            for picture in episode.episode.source_frames():
                pictures.write(picture)
        number = {"episode_index": self.contents.episodes}
        shown = {name: stats.as_json(each, quantiles=False) for name, each in found.items()}
        for lines, row in (
            (self._episodes, number | {"tasks": [episode.task], "length": len(episode)}),
            (self._stats, number | {"stats": shown}),
        ):
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")

    def _counts(self) -> dict[str, int]:
        chunks = -(-self.contents.episodes // self.limits.chunk)
        return {**super()._counts(), "total_videos": self.contents.episodes, "total_chunks": chunks}

    def finish(self) -> Sequence[str]:
        notes = super().finish()
        lines = self._lines(schema.TASKS_V2)
        for task, number in self.tasks.items():
            lines.write(json.dumps({"task_index": number, "task": task}, ensure_ascii=False) + "\n")
        return notes
