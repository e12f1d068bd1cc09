"""Records scripted players at 20 steps a second together with a video of 20, 30 or 60 frames a second of the same play.

The game draws three pictures in each step, so that no frame of the video repeats another: what a player's screen recorder sees, whose game
goes on between two of the policy's frames. Output: recordings as usual, and a video of each, small and coded as the web does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.files import remove
from steve1.core.messages import message, progress
from steve1.data.media.video import VideoWriter
from steve1.envs.interface import Action, Env, Info, Observation
from steve1.envs.luanti.env import LuantiEnv
from steve1.evaluation.casts import ScriptedCast
from steve1.rollout.play import Actor
from steve1.rollout.record import is_recorded, record

PICTURES = 3  # in a step of 50 ms: 60 a second
RATES = (20, 30, 60)
_ATTEMPTS = 6


class Drawing(Protocol):
    """An environment that keeps the pictures that it drew within a step (`LuantiEnv`)."""

    between: list[NDArray[np.uint8]]


class Filmed(Actor):
    """A player that also hands on every picture, those within a step too.

    Args:
        on_frame: gets each picture, u8 (H, W, 3), of the 60 a second; the last step's are missing, since no action follows them.
    """

    def __init__(self, player: Actor, env: Drawing, on_frame: Callable[[NDArray[np.uint8]], None]) -> None:
        self._player, self._env, self._on_frame = player, env, on_frame

    def reset(self, obs: Observation, info: Info) -> None:
        self._player.reset(obs, info)
        self._begun = False

    def act(self, obs: Observation, info: Info) -> Action:
        for frame in [*(self._env.between if self._begun else []), obs["pov"]]:
            self._on_frame(frame)
        self._begun = True
        action = self._player.act(obs, info)
        self.who = self._player.who
        return action


class WebVideo:
    """A video as the web has it: small, reduced by averaging. Used as a context manager, as `VideoWriter`.

    Args:
        fps: frames a second of the video; it is given 60, of which it keeps every so many.
    """

    def __init__(self, path: Path, fps: int, height: int, crf: int) -> None:
        if fps not in RATES:
            expected = " or ".join(map(str, RATES))
            raise UserError("Videos of this rate cannot be made.", expected=expected, got=fps)
        self.height, self.width, self._every = height, round(height * 16 / 9 / 2) * 2, 20 * PICTURES // fps
        self._writer, self._seen = VideoWriter(path, self.width, height, fps, crf=crf), 0

    def __enter__(self) -> WebVideo:
        self._writer.__enter__()
        return self

    def __exit__(self, *fault: Any) -> None:
        self._writer.__exit__(*fault)

    def add(self, frame: NDArray[np.uint8]) -> None:
        """The next picture."""
        if self._seen % self._every == 0:
            self._writer.write(cv2.resize(frame, (self.width, self.height), interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
        self._seen += 1


def record_both(
    tasks: tuple[str, ...], count: int, steps: int, seed: int, recordings: Path, videos: Path, *, rates: Sequence[int], height: int, crf: int,
    split: str = "demo", first_place: int = 0, make_env: Callable[[], Env] = lambda: LuantiEnv(frames_per_step=PICTURES),
) -> None:  # fmt: skip
    """`count` successful recordings of each behaviour, and their videos, of the given rates by turns. What is there is not made again.

    Raises:
        UserError: a behaviour that does not succeed in any attempt.
        GameDied: run it again.
    """
    cast = ScriptedCast(tasks, seed, split, first_place)
    wanted = [(name, number) for name in tasks for number in range(count)]
    missing = [each for each in wanted if not _made(_prefix(recordings, *each), videos)]
    if not missing:
        return
    env = make_env()
    try:
        for name, number in progress(missing, desc=message("bar recording"), unit="episode"):
            for attempt in range(_ATTEMPTS):
                fps = rates[number % len(rates)]
                if _record_once(cast, env, name, number, attempt, steps, recordings, videos, fps, height, crf):
                    break
            else:
                raise UserError("The scripted player succeeded in no attempt.", got=f"{name}, episode {number}")
    finally:
        env.close()


def _prefix(recordings: Path, name: str, number: int) -> Path:
    return recordings / name / f"{name}_{number:03d}"


def _made(prefix: Path, videos: Path) -> bool:
    return is_recorded(prefix) and (videos / f"{prefix.name}.mp4").is_file()


def _record_once(
    cast: ScriptedCast, env: Any, name: str, number: int, attempt: int, steps: int, recordings: Path, videos: Path, fps: int, height: int, crf: int
) -> bool:  # fmt: skip
    options, seed, player = cast.begin(name, number, attempt, 0)
    task, prefix = cast.task(name), _prefix(recordings, name, number)
    assert task is not None
    prefix.parent.mkdir(parents=True, exist_ok=True)
    videos.mkdir(parents=True, exist_ok=True)
    film = videos / f"{prefix.name}.mp4"
    with WebVideo(film, fps, height, crf) as video:
        done = record(
            env, Filmed(player, env, video.add), steps, prefix, behaviour=name, reset_options=options, judge=task.judge, seed=seed,
            only_successful=True, details=cast.details(name),
        )  # fmt: skip
    if not done.kept:
        remove(film)
    return done.kept
