"""Real recordings and episodes, small, written by the tests themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from steve1 import actions as act
from steve1.data.episodes.episode import write_goals
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.media.video import VideoWriter


def picture(number: int, height: int = 72, width: int = 128, seed: int = 0) -> np.ndarray:
    """A smooth uint8 (height, width, 3) picture that differs for every number."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    wave = np.sin((x * 1.5 + y + number * 3 + seed * 40) / 10) * 80
    # Colours that change slowly: video halves their resolution, and tests compare pixels.
    tint = np.stack([x / width, y / height, 1 - x / width], axis=2) * 60
    return (wave[..., None] + tint + 100).clip(0, 255).astype(np.uint8)


def action(number: int) -> dict[str, Any]:
    """A MineRL action that is never null and differs from its neighbours."""
    found = act.null_action()
    found["forward"] = 1
    found["attack"] = number % 2
    found["camera"] = [float(number % 7) - 3.0, float(number % 5) * 1.5]
    return found


def embeds(n_frames: int, size: int = 24, seed: int = 0) -> np.ndarray:
    """Goal embeddings float32 (n_frames, size); row i holds i in its first column."""
    rows = np.random.default_rng(seed).normal(size=(n_frames, size)).astype(np.float32)
    rows[:, 0] = np.arange(n_frames)
    rows[:15] = np.nan
    return rows


def make_episode(path: Path, n_frames: int = 80, *, goals: bool = True, size: int = 24, seed: int = 0) -> Path:
    """A native episode."""
    with EpisodeWriter(path, {"source": "test"}) as writer:
        for number in range(n_frames):
            writer.add(picture(number, seed=seed), action(number))
    if goals:
        write_goals(path, embeds(n_frames, size, seed))
    return path


def make_dataset(folder: Path, lengths: list[int], **more: Any) -> Path:
    """Episodes ep00, ep01, … of these lengths."""
    for number, length in enumerate(lengths):
        make_episode(folder / f"ep{number:02d}", length, seed=number, **more)
    return folder


def tick(number: int, **changes: Any) -> dict[str, Any]:
    """A contractor tick: walking forward and turning."""
    found: dict[str, Any] = {
        "mouse": {
            "x": 640.0,
            "y": 360.0,
            "dx": 20.0 + number % 3,
            "dy": -7.0,
            "scaledX": 0,
            "scaledY": 0,
            "dwheel": 0,
            "buttons": [],
            "newButtons": [],
        },
        "keyboard": {"keys": ["key.keyboard.w"], "newKeys": [], "chars": ""},
        "isGuiOpen": False,
        "hotbar": 0,
        "yaw": 0.0,
        "pitch": 0.0,
        "xpos": 0.0,
        "ypos": 64.0,
        "zpos": 0.0,
        "tick": number,
        "milli": number * 50,
        "inventory": [],
        "serverTick": number,
    }
    mouse = changes.pop("mouse", {})
    return found | changes | {"mouse": found["mouse"] | mouse}


def null_tick(number: int, **changes: Any) -> dict[str, Any]:
    """A tick at which nothing is done."""
    return tick(number, **{"keyboard": {"keys": []}, "mouse": {"dx": 0, "dy": 0}, **changes})


def make_recording(
    folder: Path,
    name: str = "rec",
    ticks: list[dict[str, Any]] | int = 40,
    frames: int | None = None,
    *,
    fps: int = 20,
    width: int = 320,
    height: int = 180,
) -> Path:
    """name.mp4 and name.jsonl; returns the mp4's path."""
    rows = [tick(n, milli=n * 1000 / fps) for n in range(ticks)] if isinstance(ticks, int) else ticks
    folder.mkdir(parents=True, exist_ok=True)
    with VideoWriter(folder / f"{name}.mp4", width, height, fps) as video:
        for number in range(len(rows) if frames is None else frames):
            video.write(picture(number, height, width))
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / f"{name}.mp4"
