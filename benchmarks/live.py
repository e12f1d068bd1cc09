"""What a session in a browser costs: how late its ticks begin, and how long a frame takes to the page (`python -m benchmarks live`).

Input: weights that act, and a game. Output: lateness of ticks, milliseconds from a frame to its arrival at a client on this machine,
milliseconds of encoding a frame as JPEG and as H.264, and its bytes.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steve1.core.errors import UserError, optional_package
from steve1.core.frames import jpeg_bytes
from steve1.core.paths import ROOT
from steve1.core.processes import end, limit_threads
from steve1.data.media.h264 import H264Stream
from steve1.envs import make_env, start_states
from steve1.envs.interface import FPS, Env
from steve1.evaluation.policies import PolicyCache, environment_threads, parse_policies
from steve1.evaluation.tasks.suite import load_suite
from steve1.goals import GoalEncoder
from steve1.live.goals import LiveGoals
from steve1.live.host import Host
from steve1.live.session import Session, SessionSettings
from steve1.live.session_page import SessionPage
from steve1.rollout.supervise import SupervisedEnv

#: p99 of a tick's lateness, and of encoding and sending a frame
TARGET_MS = 5.0
#: frames on which the encoders are measured
_KEPT = 200


def measure_live(
    *, ticks: int = 1000, h264: bool = False, prompt: str = "collect seeds", similarity: bool = True, game: Callable[[], Env] | None = None, rate: float = FPS,
) -> dict[str, Any]:  # fmt: skip
    """Let the mini weights act in Luanti at 20 ticks a second while one client reads every frame.

    Args:
        ticks: how long.
        h264: the client asks for H.264; else it is sent JPEGs.
        similarity: follow the frames with MineCLIP too, as a session does by default.
        game: opens the game; default: Luanti.
        rate: ticks a second.

    Returns:
        lateness_ms: of the ticks, p50 and p99. frame_ms: from a frame's being shown to its arrival at the client, p50, p99 and max;
            encoding, the server's thread and the socket are in it. encoders: for jpeg and h264, on the same successive frames of
            the game, processor time of encoding one (ms, median), and its bytes (mean).
        bytes_per_frame: median of what arrived, with its header. ticks: that were played; frames: that arrived; missed: that did not, since a newer one was there.

    Raises:
        UserError: websockets or the game is missing; the client failed.
    """
    optional_package("websockets.sync.client", "live", "This benchmark")
    spec = parse_policies([str(ROOT / "data/mini/mini.weights")])[0]
    suite = load_suite("luanti")
    limit_threads(environment_threads(1))
    goals = LiveGoals(GoalEncoder(spec.metadata, translations=suite.translations), compare=similarity)
    shown: dict[int, float] = {}
    frames: list[np.ndarray] = []
    with tempfile.TemporaryDirectory() as scratch:
        settings = SessionSettings(
            env="luanti", title="mini", folder=Path(scratch) / "session", recordings=Path(scratch) / "recordings",
            starts=lambda where: start_states("luanti", where, "demo"),
        )  # fmt: skip
        supervised = SupervisedEnv(game or (lambda: make_env("luanti")))
        session = Session(
            settings, supervised, suite, agent=PolicyCache().agent(spec), goals=goals, prompt=prompt, rate=rate
        )
        page = SessionPage(session)
        with Host(page, port=0) as host:

            def changed() -> None:
                view = session.screen.view
                if view is not None and view.facts["tick"] not in shown:
                    shown[view.facts["tick"]] = time.perf_counter()
                    if len(frames) < _KEPT and view.facts["tick"] > 0:
                        frames.append(view.frame)
                    if view.facts["tick"] == ticks - 1:  # it is obeyed before the next tick, which is the last
                        session.post({"do": "finish"})
                host.call(page.wake_all)

            session.screen.listen(changed)
            reader = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.live_reader", host.url, *(["h264"] if h264 else [])], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, start_new_session=True,
            )  # fmt: skip
            try:
                session.run()  # it waits for the reader
            except BaseException:
                end(reader)
                raise
        text, faults = reader.communicate(timeout=60)
    if reader.returncode:
        raise UserError("The client of this benchmark failed.", got=faults.strip()[-300:])
    arrived = [(tick, when, size) for tick, when, size in json.loads(text) if tick > 0]
    late = session.screen.lateness_ms()
    return {
        "lateness_ms": {"p50": round(late[0], 2), "p99": round(late[1], 2)},
        "frame_ms": _quantiles([1000 * (when - shown[tick]) for tick, when, _ in arrived]),
        "encoders": _encoders(frames),
        "sent": "h264" if h264 else "jpeg",
        "bytes_per_frame": round(statistics.median(size for *_, size in arrived)),
        "picture": f"{frames[0].shape[1]}x{frames[0].shape[0]}",
        "ticks": session.screen.tick,
        "frames": len(arrived),
        "missed": session.screen.tick - len(arrived),
        "target_ms": TARGET_MS,
    }


def _encoders(frames: Sequence[np.ndarray]) -> dict[str, dict[str, float]]:
    """What each encoder takes and gives for successive frames (H, W, 3) u8."""
    stream = H264Stream(frames[0].shape[1], frames[0].shape[0])
    ways: dict[str, Callable[[np.ndarray], bytes]] = {
        "jpeg": jpeg_bytes,
        "h264": lambda frame: stream.encode(frame).data,
    }
    found = {}
    for name, encode in ways.items():
        took, sizes = [], []
        for frame in frames:
            began = time.thread_time()
            sizes.append(len(encode(frame)))
            took.append(1000 * (time.thread_time() - began))
        found[name] = {"ms": round(statistics.median(took), 2), "bytes": round(statistics.fmean(sizes))}
    return found


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    return {name: round(float(np.quantile(values, at)), 2) for name, at in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}
