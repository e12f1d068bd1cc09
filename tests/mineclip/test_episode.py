"""Whole episodes: each frame once, the same numbers as window by window, bounded memory, named faults."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from steve1.core.errors import UserError
from steve1.mineclip.model import EpisodeStream, MineCLIP


def frames_of(n: int, seed: int = 0, size: tuple[int, int] = (80, 128)) -> list[np.ndarray]:
    """Random uint8 frames."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(n)]


def count_rows(model: MineCLIP) -> list[int]:
    """The rows of every call of the vision tower from now on."""
    rows: list[int] = []
    model.vision.register_forward_hook(lambda _module, inputs, _output: rows.append(len(inputs[0])))
    return rows


@pytest.mark.parametrize("batch", [1, 7, 16, 64])
def test_each_frame_passes_the_vision_tower_once(small: MineCLIP, batch: int) -> None:
    rows = count_rows(small)
    embeds = small.embed_episode(iter(frames_of(41)), batch=batch)
    assert sum(rows) == 41
    assert embeds.shape == (41, 64)
    assert embeds.dtype == np.float32
    assert np.isnan(embeds[:15]).all()
    assert np.isfinite(embeds[15:]).all()


@pytest.mark.parametrize("batch", [1, 5, 32])
def test_same_as_window_by_window(small: MineCLIP, batch: int) -> None:
    """Row i equals encode_video on frames i-15..i."""
    frames = frames_of(37)
    embeds = small.embed_episode(frames, batch=batch)
    windows = np.stack([np.stack(frames[i - 15 : i + 1]) for i in range(15, 37)])
    assert np.abs(embeds[15:] - small.encode_video(windows).numpy()).max() < 1e-5


def test_order_in_time_matters(small: MineCLIP) -> None:
    frames = np.stack(frames_of(16))
    forward, backward = small.encode_video(np.stack([frames, frames[::-1]])).numpy()
    assert np.abs(forward - backward).max() > 1e-6


def test_push_gives_none_and_then_the_same_rows(small: MineCLIP) -> None:
    frames = frames_of(20)
    embeds = small.embed_episode(frames)
    stream = EpisodeStream(small)
    for i, frame in enumerate(frames):
        row = stream.push(frame)
        if i < 15:
            assert row is None
        else:
            assert row is not None
            assert np.abs(row - embeds[i]).max() < 1e-5
    stream.reset()
    assert stream.push(frames[0]) is None


@pytest.mark.parametrize("n", [0, 1, 15, 16])
def test_short_episodes(small: MineCLIP, n: int) -> None:
    embeds = small.embed_episode(frames_of(n))
    assert embeds.shape == (n, 64)
    assert int(np.isfinite(embeds).all(axis=1).sum()) == max(n - 15, 0)


def test_frames_do_not_pile_up(small: MineCLIP) -> None:
    """While an episode is read, never more frames live than one batch and the one on its way."""
    alive = 0
    most = 0

    class Frame(np.ndarray):
        """A frame that tells when it goes."""

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def source() -> Iterator[np.ndarray]:
        nonlocal alive, most
        for frame in frames_of(200):
            alive += 1
            most = max(most, alive)
            yield frame.view(Frame)

    small.embed_episode(source(), batch=8)
    assert most <= 2 * 8 + 1


def test_not_finite_names_the_frame(small: MineCLIP) -> None:
    """A NaN born at frame 23 shows in frames 23..38; the first of them is named."""
    frames = frames_of(40)
    seen = 0

    def poison(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        row = 23 - seen
        seen += len(output)
        if 0 <= row < len(output):
            output[row] = torch.nan
        return output

    small.vision.register_forward_hook(poison)
    with pytest.raises(UserError) as caught:
        small.embed_episode(frames, batch=10)
    assert "frame 23" in str(caught.value)


def test_bfloat16_stays_near(small: MineCLIP) -> None:
    frames = frames_of(20)
    exact = small.embed_episode(frames)[15:]
    small.autocast = True
    rough = small.embed_episode(frames)[15:]
    assert rough.dtype == np.float32
    difference = np.abs(rough - exact).max()
    assert 0 < difference < 0.05 * np.abs(exact).max()


def test_any_size_is_resized_like_a_recording(small: MineCLIP) -> None:
    """A live 360x640 frame and the same frame stored at 160x256 give the same features."""
    from steve1.core.frames import mineclip_frame

    large = frames_of(16, size=(360, 640))
    stored = [mineclip_frame(frame) for frame in large]
    assert np.array_equal(small.embed_episode(large)[15], small.embed_episode(stored)[15])


def test_clips_of_the_wrong_form(small: MineCLIP) -> None:
    with pytest.raises(UserError, match="wrong form"):
        small.encode_video(np.zeros((1, 16, 80, 128, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="wrong form"):
        small.encode_video(np.zeros((16, 80, 128, 3), np.uint8))
    with pytest.raises(UserError, match="frames"):
        small.encode_video(np.zeros((1, 33, 80, 128, 3), np.uint8))
