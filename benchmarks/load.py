"""Measures how fast windows load: what one worker can feed to training.

Input: a dataset of native episodes, or nothing (then one is made).
Output: frames/s of distinct windows, read by a new process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1 import actions as act
from steve1.core.frames import AGENT_SIZE
from steve1.core.paths import ROOT
from steve1.core.seeds import generator
from steve1.data.episodes.episode import find_episodes
from steve1.data.episodes.formats.native import EpisodeWriter
from steve1.data.loading.batches import batches
from steve1.data.loading.lists import ListEntry
from steve1.data.loading.windows import WindowDataset

#: required of one worker, frames/s
TARGET = 5000
_EMBED_DIM = 512


def measure_load(
    dataset_dir: str | os.PathLike[str] | None = None, *, T: int = 320, batch_size: int = 4, min_frames: int = 20_000
) -> dict[str, Any]:
    """Load every window once in a fresh process with one thread, as one worker does.

    Args:
        dataset_dir: embedded episodes; None makes some in a temporary folder (game-like pictures, E=512).
        T: frames of a window.
        batch_size: windows stacked to one batch of tensors.
        min_frames: length of the dataset that is made.

    Returns:
        frames_per_s (wall), frames_per_cpu_s (of a core's own time), target, frames, seconds, open_seconds, windows, T, batch_size, pixel_sum and pixel_sum_expected (equal: every pixel was decoded),
        decode_frames_per_s (JPEG decoding alone, same process), percent_of_decode,
        bytes_per_frame, cold ("page cache dropped" where the system allows it, "fresh process" otherwise), dataset.
    """
    with tempfile.TemporaryDirectory(prefix="steve1_bench_") as folder:
        dataset = Path(dataset_dir) if dataset_dir is not None else make_dataset(Path(folder) / "dataset", min_frames)
        episodes = find_episodes(dataset)
        cold = _drop_caches([p for episode in episodes for p in episode.iterdir() if p.is_file()])
        command = [sys.executable, "-m", "benchmarks.load", str(dataset), str(T), str(batch_size)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        found["pixel_sum_expected"] = sum(_pixel_sum(path, found["starts"].get(path.name, []), T) for path in episodes)
        packed = sum((path / "frames.jpgs").stat().st_size for path in episodes)
    del found["starts"]
    bytes_per_frame = packed / max(1, found.pop("episode_frames"))
    return found | {
        "target": TARGET,
        "cold": cold,
        "bytes_per_frame": round(bytes_per_frame),
        "dataset": str(dataset_dir or "made"),
    }


def make_dataset(folder: Path, n_frames: int, episode_frames: int = 2000) -> Path:
    """Episodes of pictures with the detail of a game's (8 to 9 KB a frame), with random actions and goals."""
    for number in range(-(-n_frames // episode_frames)):
        rng = generator(0, "bench", number)
        with EpisodeWriter(folder / f"episode_{number:03d}", {"source": "bench"}, keep_mineclip_frames=False) as writer:
            place = world(rng)
            for frame in range(episode_frames):
                writer.add(view(place, frame), _action(rng))
            goals = rng.standard_normal((episode_frames, _EMBED_DIM), dtype=np.float32).astype(np.float16)
            goals[:15] = np.nan
            writer.goals = goals
    return folder


def world(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A wide picture to look around in: coloured blocks with grain below a sky; it packs to about the size of game frames."""
    size = (2048, 384)
    blocks = cv2.resize(rng.integers(40, 200, (6, 32, 3)).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    grain = cv2.resize(rng.integers(0, 30, (96, 512)).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    world = cv2.add(blocks, cv2.merge([grain] * 3))
    world[:120] = (150, 190, 240)
    return world  # type: ignore[return-value]


def view(world: NDArray[np.uint8], frame: int) -> NDArray[np.uint8]:
    left = (frame * 5) % (world.shape[1] - 512)
    return world[40:328, left : left + 512]


def _action(rng: np.random.Generator) -> act.EnvAction:
    action = act.null_action()
    action["forward"] = 1
    action["camera"] = rng.normal(0, 4, 2).tolist()
    return action


def _drop_caches(files: Sequence[Path]) -> str:
    """Ask the system to forget the files' pages, so that the disk is measured too."""
    if not hasattr(os, "posix_fadvise"):
        return "fresh process"
    for path in files:
        with open(path, "rb") as handle:
            os.fsync(handle.fileno())
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return "fresh process, page cache dropped"


def _pixel_sum(path: Path, starts: list[int], T: int) -> int:
    """Sum of all pixels of an episode's windows, decoded here from the pack alone."""
    offsets = np.load(path / "frames_index.npy")
    data = (path / "frames.jpgs").read_bytes()
    sums = np.zeros(len(offsets), np.int64)
    for number in {n for start in starts for n in range(start, start + T)}:
        picture: Any = cv2.imdecode(
            np.frombuffer(data[offsets[number] : offsets[number + 1]], np.uint8), cv2.IMREAD_COLOR
        )
        assert picture.shape[:2] == AGENT_SIZE
        sums[number] = int(picture.sum(dtype=np.int64))
    return int(sum(sums[start : start + T].sum() for start in starts))


def _worker(dataset: str, T: int, batch_size: int) -> dict[str, Any]:
    """Runs in the new process: every window once; opening and checking the episodes is timed separately."""
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    entries = [ListEntry(path) for path in find_episodes(dataset)]
    opened = time.perf_counter()
    windows = WindowDataset(entries, T, min_btwn_goals=15, max_btwn_goals=200, p_uncond=0.1, seed=0)
    open_seconds = time.perf_counter() - opened
    source = batches(windows, batch_size)
    rounds = len(windows) // batch_size
    decode = _decode_rate(windows.paths[0])
    seconds, busy, pixels = 0.0, 0.0, 0
    starts: dict[str, list[int]] = {}
    for _ in range(rounds):
        begun, begun_busy = time.perf_counter(), time.process_time()
        batch = next(source)
        seconds += time.perf_counter() - begun
        busy += time.process_time() - begun_busy
        # Outside the clock: proof that every pixel arrived, and of which windows.
        pixels += int(batch["frames"].sum(dtype=torch.int64))
        for episode, start in zip(batch["episode"], batch["start"]):
            starts.setdefault(Path(episode).name, []).append(start)
    frames = rounds * batch_size * T
    return {
        "frames_per_s": round(frames / seconds, 1),
        "frames_per_cpu_s": round(frames / busy, 1),
        "frames": frames,
        "seconds": round(seconds, 4),
        "open_seconds": round(open_seconds, 4),
        "windows": rounds * batch_size,
        "decode_frames_per_s": round(decode, 1),
        "percent_of_decode": round(100 * frames / seconds / decode, 1),
        "T": T,
        "batch_size": batch_size,
        "pixel_sum": pixels,
        "starts": starts,
        "episode_frames": windows.n_frames,
    }


def _decode_rate(path: Path, seconds: float = 0.5) -> float:
    """Frames/s of nothing but JPEG decoding, from memory: the bound of this machine at this moment."""
    offsets = np.load(path / "frames_index.npy")
    data = np.fromfile(path / "frames.jpgs", np.uint8, count=int(offsets[min(200, len(offsets) - 1)]))
    pieces = [data[offsets[n] : offsets[n + 1]] for n in range(min(200, len(offsets) - 1))]
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for piece in pieces:
            cv2.imdecode(piece, cv2.IMREAD_COLOR_RGB)
        done += len(pieces)
    return done / (time.perf_counter() - begun)


if __name__ == "__main__":
    print(json.dumps(_worker(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
