"""How fast videos are labelled, against what the processor could do.

Input: an inverse dynamics model. Output: frames/s of labelling agent frames, of the whole way from an H.264 file, and percent of the bound that the
arithmetic sets at the matrix-product rate measured in the same run.
"""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.embed import matmul_flops
from steve1.actions import BUTTONS, N_BINS
from steve1.core.seeds import generator
from steve1.data.media.video import VideoWriter
from steve1.data.videos.form import look_at
from steve1.data.videos.stream import game_frames, stretches
from steve1.idm.config import REACH, IdmConfig, read_idm_model
from steve1.idm.motion import PAIRS, PLACES, WINDOW, correlations
from steve1.idm.network import InverseDynamicsModel
from steve1.idm.training.settings import MINI
from steve1.policy.flops import flop_count


def frame_flop(config: IdmConfig) -> float:
    """Floating-point operations of one frame that is encoded once, in whole windows; a multiply-add counts two."""
    height, width, channels = config.img_shape
    size, windows = config.hidsize, 2  # each frame is in two windows
    first = 2.0 * 3 * (2 * REACH + 1) * channels * height * width
    block = 2.0 * (4 + 2 * config.pointwise_ratio) * size**2 + 2.0 * 2 * config.timesteps * size
    heads = 2.0 * size * (2 * len(BUTTONS) + 2 * N_BINS)
    motion = 0.0
    if config.motion_reach:
        transform = 2.5 * WINDOW**2 * math.log2(WINDOW**2)
        layers = correlations(config) + 4 * (PLACES + 1) * PAIRS + size
        motion = 2.0 * layers * size + (2 * PLACES + 1) * transform
    encoded = first + flop_count(config).cnn + 2.0 * 256 * size + motion
    return encoded + windows * (config.n_recurrence_layers * block + heads)


def measure_label(model: str = "", *, frames: int = 0, seconds: float = 20.0) -> dict[str, Any]:
    """Label random frames, then a film of 1280x720 at 60 frames/s.

    Args:
        model: a .model file; "": the mini family's sizes.
        frames: how many; 0: eight windows, and on until `seconds` have passed.
        seconds: time to measure each, at least.
    """
    config = read_idm_model(model) if model else MINI
    torch.manual_seed(0)
    idm = InverseDynamicsModel(config).initialise().eval()
    count = frames or 8 * config.timesteps
    shown = generator(0, "bench label").integers(0, 256, (count, 128, 128, 3), dtype=np.uint8)
    idm.label(shown[: config.timesteps])
    before = matmul_flops(torch.float32, torch.device("cpu"), 1.0)
    idm.encoded = labelled = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not labelled:
        labelled += len(idm.label(iter(shown)).buttons)
    rate, encodings = labelled / elapsed, idm.encoded / labelled
    after = matmul_flops(torch.float32, torch.device("cpu"), 1.0)
    matmul, flop = (before + after) / 2, frame_flop(config)
    return {
        "frames_per_s": rate,
        "encodings_per_frame": encodings,
        "gflop_per_frame": flop / 1e9,
        "matmul_gflops": matmul / 1e9,
        "matmul_gflops_before_after": [before / 1e9, after / 1e9],
        "percent_of_bound": 100 * rate * flop / matmul,
        "decoding_720p60_frames_per_s": _decoding(min(seconds, 10.0)),
        "parameters": sum(parameter.numel() for parameter in idm.parameters()),
        "window": config.timesteps,
        "threads": torch.get_num_threads(),
    }


def _decoding(seconds: float) -> float:
    """Frames (of 20 a second) that an H.264 film gives per second, ready for the model; on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        with VideoWriter(path, 1280, 720, 60, preset="ultrafast") as writer:
            for frame in itertools.islice(_film(), 300):
                writer.write(frame)
        form, count, start = look_at(path), 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds or not count:
            for stretch in stretches(game_frames(path, form)):
                count += sum(1 for _ in stretch.frames)
    return count / elapsed


def _film() -> Iterator[NDArray[np.uint8]]:
    rng = generator(0, "bench film")
    scene = np.kron(rng.integers(0, 256, (100, 200, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
    for number in itertools.count():
        x = 4 * number % (scene.shape[1] - 1280)
        yield np.ascontiguousarray(scene[100:820, x : x + 1280])
