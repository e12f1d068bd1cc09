"""Measures how fast recordings become episodes, compared with decoding alone, and how much memory a long one takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2

from benchmarks.load import view, world
from steve1.core.errors import UserError
from steve1.core.files import made, remove
from steve1.core.paths import ROOT
from steve1.core.seeds import generator
from steve1.data.media.video import FPS, VideoWriter
from steve1.data.recordings.convert import ConvertSettings, convert_recording
from steve1.data.recordings.layouts import find_recordings

#: required of one core, times real time
TARGET = 8.0
#: limit for converting a one-hour recording, MB
MEMORY_LIMIT = 1500
_SIZE = (640, 360)


def measure_convert(n_frames: int = 600) -> dict[str, Any]:
    """Convert a 640x360 recording in this process and on one thread, after decoding it alone.

    It decodes about five times faster than a game's recording, so most of the time is conversion's own.

    Args:
        n_frames: length of the recording that is made.

    Returns:
        frames_per_s (wall), frames_per_cpu_s, times_real_time (of a core's own time), target, decode_frames_per_cpu_s
        (PyAV alone), percent_of_decode, frames, frame_bytes (agent frames on disk, a frame).
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="steve1_bench_") as folder:
            video = make_recording(Path(folder) / "in", n_frames)
            _, decode_busy = _timed(lambda: _decode(video))
            (recording,), _ = find_recordings(Path(folder) / "in")
            settings = ConvertSettings(keep_nulls=True)
            seconds, busy = _timed(lambda: convert_recording(recording, Path(folder) / "out", settings))
            packed = (Path(folder) / "out" / recording.name / "frames.jpgs").stat().st_size
    finally:
        cv2.setNumThreads(threads)
    return {
        "frames_per_s": round(n_frames / seconds, 1),
        "frames_per_cpu_s": round(n_frames / busy, 1),
        "times_real_time": round(n_frames / busy / FPS, 2),
        "target": TARGET,
        "decode_frames_per_cpu_s": round(n_frames / decode_busy, 1),
        "percent_of_decode": round(100 * decode_busy / busy, 1),
        "frames": n_frames,
        "frame_bytes": round(packed / n_frames),
    }


def measure_memory(minutes: float = 60.0) -> dict[str, Any]:
    """Convert one long 640x360 recording by the command in another process, and measure its memory.

    Args:
        minutes: length of the recording, which repeats half a minute of material.

    Returns:
        peak_rss_mb (of the whole process, Python and libraries included), limit_mb, frames, seconds, times_real_time (wall).

    Raises:
        UserError: the conversion failed; with what it said.
    """
    with tempfile.TemporaryDirectory(prefix="steve1_bench_") as folder:
        n_frames = round(minutes * 60 * FPS)
        make_long_recording(Path(folder) / "in", n_frames)
        command = [
            sys.executable,
            "-m",
            "steve1",
            "convert",
            "--input_dir",
            f"{folder}/in",
            "--output_dir",
            f"{folder}/out",
        ]
        command += ["--workers", "1", "--keep_nulls"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        begun = time.perf_counter()
        with open(Path(folder) / "said", "w+b") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said, env=environment, cwd=ROOT)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            if process.returncode:
                raise UserError("The conversion failed.", got=said.read()[-500:].decode(errors="replace"))
        seconds = time.perf_counter() - begun
        report = (Path(folder) / "out" / "convert_report.jsonl").read_text()
    # ru_maxrss counts KiB on Linux and bytes on macOS.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return {
        "peak_rss_mb": round(peak, 1),
        "limit_mb": MEMORY_LIMIT,
        "frames": json.loads(report)["frames"],
        "seconds": round(seconds, 1),
        "times_real_time": round(n_frames / FPS / seconds, 2),
    }


def make_long_recording(folder: Path, n_frames: int, repeated: int = 600) -> Path:
    """rec.mp4 and rec.jsonl of `n_frames`: the first `repeated` of them are encoded, and their packets come again and again."""
    part = make_recording(made(folder / "part"), min(repeated, n_frames))
    video = folder / "rec.mp4"
    with av.open(str(video), "w") as target:
        stream: Any = None
        written, shift = 0, 0
        while written < n_frames:
            with av.open(str(part)) as source:
                template = source.streams.video[0]
                stream = stream or target.add_stream_from_template(template)
                step = round(1 / (FPS * (template.time_base or 1)))
                for packet in source.demux(template):
                    if packet.dts is None or written == n_frames:
                        continue
                    packet.dts, packet.pts = packet.dts + shift, (packet.pts or 0) + shift
                    packet.stream = stream
                    target.mux(packet)
                    written += 1
                shift += repeated * step
    rows = part.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    with open(folder / "rec.jsonl", "w", encoding="utf-8") as ticks:
        for number in range(n_frames):
            ticks.write(json.dumps(json.loads(rows[number % len(rows)]) | {"tick": number}) + "\n")
    remove(folder / "part")
    return video


def make_recording(folder: Path, n_frames: int) -> Path:
    """rec.mp4 (640x360, looking around) and rec.jsonl below `folder`."""
    folder.mkdir(parents=True)
    rng = generator(0, "bench convert")
    place = world(rng)
    with VideoWriter(folder / "rec.mp4", *_SIZE) as video, open(folder / "rec.jsonl", "w", encoding="utf-8") as ticks:
        for number in range(n_frames):
            video.write(cv2.resize(view(place, number), _SIZE))  # type: ignore[arg-type]
            mouse = {"dx": float(rng.normal(0, 20)), "dy": float(rng.normal(0, 8)), "buttons": [], "newButtons": []}
            tick = {"mouse": mouse, "keyboard": {"keys": ["key.keyboard.w"]}, "isGuiOpen": False, "hotbar": 0}
            ticks.write(json.dumps(tick | {"tick": number}) + "\n")
    return folder / "rec.mp4"


def _decode(video: Path) -> int:
    with av.open(str(video)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in container.decode(video=0))


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    begun, begun_busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - begun_busy
