"""Videos of 30 and 60 frames a second of a play that is recorded at 20 steps a second."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research.fast_videos import WebVideo, record_both
from steve1.core.errors import UserError
from steve1.data.media.video import probe, read_frames
from steve1.envs.luanti.env import LuantiEnv
from tests.rollout.test_record import PlainGame


class ThreePictures(PlainGame):
    """Draws two pictures in each step before the one that it returns; each is as bright as its number."""

    drawn = 0

    def _picture(self) -> np.ndarray:
        self.drawn += 1
        return np.full((360, 640, 3), self.drawn % 250, np.uint8)

    def reset(self, **more: Any) -> Any:
        self.drawn, self.between = 0, []
        obs, info = super().reset(**more)
        return {**obs, "pov": self._picture()}, info

    def step(self, action: dict[str, Any]) -> Any:
        self.between = [self._picture(), self._picture()]
        obs, *rest = super().step(action)
        return {**obs, "pov": self._picture()}, *rest


@pytest.mark.parametrize(("fps", "each"), [(60, 1), (30, 2), (20, 3)])
def test_videos_have_every_picture_once_and_fit_the_recording(tmp_path: Path, fps: int, each: int) -> None:
    def make() -> None:
        record_both(("look_at_sky",), 1, 60, 3, tmp_path / "raw", tmp_path / "videos", rates=(fps,), height=36, crf=10, make_env=ThreePictures)  # type: ignore[arg-type]  # fmt: skip

    make()
    recording, video = (
        tmp_path / "raw" / "look_at_sky" / "look_at_sky_000.mp4",
        tmp_path / "videos" / "look_at_sky_000.mp4",
    )
    assert probe(recording).frames == 60
    found = probe(video)
    assert (found.fps, found.width, found.height) == (fps, 64, 36)
    assert found.frames == len(range(0, 59 * 3 + 1, each))
    bright = [float(frame.mean()) for frame in read_frames(video)]
    np.testing.assert_allclose(bright, np.arange(0, 59 * 3 + 1, each) + 1, atol=3)
    before = video.stat().st_mtime_ns
    make()
    assert video.stat().st_mtime_ns == before, "what is there is not made again"
    video.unlink()
    make()
    assert probe(video).frames == found.frames


def test_a_rate_that_does_not_divide_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rate"):
        WebVideo(tmp_path / "x.mp4", 25, 36, 20)


@pytest.mark.game
def test_the_game_draws_three_pictures_a_step_and_moves_as_far() -> None:
    env = LuantiEnv(frames_per_step=3)
    try:
        first, _ = env.reset(seed=3)
        begin, last = first["location_stats"], first["pov"]
        for _ in range(20):
            obs, *_ = env.step({"forward": 1, "camera": [0.0, 1.65]})
            pictures = [last, *env.between, obs["pov"]]
            assert len(pictures) == 4
            last = obs["pov"]
            assert all((a != b).any() for a, b in itertools.pairwise(pictures))
        end = obs["location_stats"]
        assert end["yaw"] - begin["yaw"] == pytest.approx(33.0, abs=0.2)
        assert 2.5 < np.hypot(end["xpos"] - begin["xpos"], end["zpos"] - begin["zpos"]) < 4.5
        assert env.step({"camera": [0.0, 0.0]})[4]["step"] == 21
    finally:
        env.close()
    with pytest.raises(UserError, match="pictures a step"):
        LuantiEnv(backend="portable", frames_per_step=3)
