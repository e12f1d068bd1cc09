"""Versions, features and paths of LeRobot's dataset formats, and what a Minecraft policy's dataset holds in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steve1.actions import ENV_BUTTONS
from steve1.data.media.video import FPS

V30, V21, V20 = "v3.0", "v2.1", "v2.0"
READABLE = (V30, V21, V20)
PICTURE = "observation.images.pov"
CAMERA_NAMES = ("camera_pitch", "camera_yaw")
#: the 25 numbers of "action": buttons 0 or 1, then degrees in this tick (down and right are positive)
ACTION_NAMES = (*ENV_BUTTONS, *CAMERA_NAMES)
#: our own features; their names keep them out of a LeRobot policy's inputs and outputs
JOINT, CAMERA, INTERVENTION = "steve1.joint", "steve1.camera", "intervention"
#: LeRobot's own columns, compulsory and last
INDEX_COLUMNS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
INFO, STATS, OWN_EPISODES, MAPPING = "meta/info.json", "meta/stats.json", "steve1/episodes.jsonl", "steve1/mapping.yaml"
TASKS_V3, TASKS_V2 = "meta/tasks.parquet", "meta/tasks.jsonl"
EPISODES_V3, EPISODES_V2, STATS_V2 = "meta/episodes", "meta/episodes.jsonl", "meta/episodes_stats.jsonl"

PATHS = {
    V30: (
        "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    ),
    V21: (
        "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    ),
}


@dataclass(frozen=True)
class Limits:
    """When a new file or folder is begun.

    Attributes:
        data_mb, video_mb: v3.0: megabytes of a parquet file and of an mp4.
        chunk: v3.0: files in a folder; v2.1: episodes in one.
    """

    data_mb: float = 100
    video_mb: float = 200
    chunk: int = 1000


def features(height: int, width: int, codec: str = "h264") -> dict[str, dict[str, Any]]:
    """The features of a dataset with pictures of this size, in the order of its columns; only the pictures have no column."""
    info = {
        "video.height": height,
        "video.width": width,
        "video.codec": codec,
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": FPS,
        "video.channels": 3,
        "has_audio": False,
    }
    found: dict[str, dict[str, Any]] = {
        PICTURE: {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": info,
        },
        "action": {"dtype": "float32", "shape": [len(ACTION_NAMES)], "names": list(ACTION_NAMES)},
        CAMERA: {"dtype": "float64", "shape": [2], "names": list(CAMERA_NAMES)},
        JOINT: {"dtype": "int64", "shape": [2], "names": ["buttons", "camera"]},
        INTERVENTION: {"dtype": "bool", "shape": [1], "names": None},
    }
    for name in INDEX_COLUMNS:
        found[name] = {"dtype": "float32" if name == "timestamp" else "int64", "shape": [1], "names": None}
    return found


def info(version: str, shown: dict[str, dict[str, Any]], counts: dict[str, int], limits: Limits) -> dict[str, Any]:
    """meta/info.json; `counts` are its total_… entries."""
    data_path, video_path = PATHS[version]
    sizes = {"data_files_size_in_mb": limits.data_mb, "video_files_size_in_mb": limits.video_mb}
    return {
        "codebase_version": version,
        "robot_type": "minecraft",
        **counts,
        "chunks_size": limits.chunk,
        **(sizes if version == V30 else {}),
        "fps": FPS,
        "splits": {"train": f"0:{counts['total_episodes']}"},
        "data_path": data_path,
        "video_path": video_path,
        "features": shown,
    }
