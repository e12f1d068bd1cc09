"""A tiny world in this process with MineRL's observations, so that rollouts and evaluations are tested without a game."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steve1 import actions
from steve1.data.media.video import VideoWriter
from steve1.envs.interface import GameDied


class FakeEnv:
    """A plain world: walking moves, attack held for 5 steps digs one dirt, use with jump puts one below the feet.

    `die_at`: steps since opening at which the game dies (once per listed number, over all instances that share `deaths`).
    """

    def __init__(
        self, *, size: tuple[int, int] = (128, 224), die_at: tuple[int, ...] = (), deaths: list[int] | None = None
    ) -> None:
        self.size, self.die_at, self.deaths = size, die_at, deaths if deaths is not None else []
        self.steps_alive, self.closed, self.resets = 0, False, []  # type: ignore[var-annotated]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        options = options or {}
        start = options.get("start") or {"x": 0.0, "y": 10.0, "z": 0.0, "yaw": 0.0}
        self.resets.append((seed, options))
        self.random = np.random.default_rng(seed)
        self.place = np.array([start["x"], start["y"], start["z"]], dtype=np.float64)
        self.pitch, self.yaw, self.held, self.step_number = 0.0, float(start.get("yaw", 0.0)), 0, 0
        self.items = dict(options.get("inventory") or {})
        self.dug: dict[str, int] = {}
        self.placed: dict[str, int] = {}
        self.wet = options.get("biome") == "shore"
        return self._state()

    def _state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        rows = np.arange(self.size[0])[:, None] + self.step_number
        columns = np.arange(self.size[1])[None, :] + int(10 * self.yaw)
        frame = np.stack([rows + 0 * columns, 0 * rows + columns, rows + columns], axis=-1).astype(np.uint8)
        x, y, z = self.place
        where = {"xpos": x, "ypos": y, "zpos": z, "pitch": self.pitch, "yaw": self.yaw}
        obs = {"pov": frame, "inventory": dict(self.items), "location_stats": where, "is_gui_open": False}
        info = {"dug": dict(self.dug), "placed": dict(self.placed), "crafted": {}, "in_water": self.wet, "health": 20.0}
        return obs, {**info, "start": None, "step": self.step_number}

    def step(self, action: dict[str, Any]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.steps_alive += 1
        if self.steps_alive in self.die_at and self.steps_alive not in self.deaths:
            self.deaths.append(self.steps_alive)
            raise GameDied("The game ended.", where="fake")
        self.step_number += 1
        pitch, yaw = action["camera"]
        self.pitch, self.yaw = float(np.clip(self.pitch + pitch, -90, 90)), self.yaw + float(yaw)
        heading = np.radians(self.yaw)
        if action.get("forward", 0):
            self.place += 0.2 * np.array([-np.sin(heading), 0.0, np.cos(heading)])
        self.held = self.held + 1 if action.get("attack", 0) else 0
        if self.held == 5:
            self.held = 0
            self.items["dirt"] = self.items.get("dirt", 0) + 1
            self.dug["dirt"] = self.dug.get("dirt", 0) + 1
        if (
            action.get("use", 0)
            and action.get("jump", 0)
            and self.items.get("dirt", 0) > 0
            and self.step_number % 10 == 0
        ):
            self.items["dirt"] -= 1
            self.placed["dirt"] = self.placed.get("dirt", 0) + 1
            self.place[1] += 1.0
        obs, info = self._state()
        return obs, 0.0, False, False, info

    def close(self) -> None:
        self.closed = True


class FakeAgent:
    """Does what the goal's largest number says: 0 attack, 1 look up, 2 forward, 3 jump and use; a zero goal: nothing."""

    def __init__(self) -> None:
        self.resets, self.frames = 0, 0

    def reset(self) -> None:
        self.resets += 1

    def act(self, frame: np.ndarray[Any, Any], goal: np.ndarray[Any, Any]) -> dict[str, Any]:
        assert frame.dtype == np.uint8
        self.frames += 1
        action = actions.null_action()
        if not goal.any():
            return action
        choice = int(np.argmax(goal))
        names = {0: ("attack",), 2: ("forward",), 3: ("jump", "use")}
        for name in names.get(choice, ()):
            action[name] = 1
        if choice == 1:
            action["camera"] = [-10.0, 0.0]
        return action


def goal(choice: int) -> np.ndarray[Any, Any]:
    """The fake agent's goal for a choice."""
    return np.eye(4, dtype=np.float32)[choice]


def fake_starts(env: str, biome: str, split: str) -> list[dict[str, Any]]:
    """Three start states."""
    return [{"id": f"{biome}-{n}", "x": 100.0 * n, "y": 10.0, "z": 5.0, "yaw": 30.0 * n} for n in range(3)]


def interrupt_at_frame(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Ctrl-C while the encoder is at this frame of a video: Python notices it before anybody has what the encoder gives back."""

    class Interrupted:
        def __init__(self, stream: Any) -> None:
            self._stream, self._frames = stream, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

        def encode(self, frame: Any) -> Any:
            packets = self._stream.encode(frame)
            self._frames += 1
            if self._frames == number:
                os.kill(os.getpid(), signal.SIGINT)
            return packets

    def entered(writer: VideoWriter) -> VideoWriter:
        enter(writer)
        writer._stream = Interrupted(writer._stream)  # type: ignore[assignment]
        return writer

    enter = VideoWriter.__enter__
    monkeypatch.setattr(VideoWriter, "__enter__", entered)


class OpenFake:
    """Picklable: opens a fake world in a worker. `trouble`: a folder; the first worker to make a file there dies or hangs."""

    def __init__(self, trouble: str = "", how: str = "kill", times: int = 1) -> None:
        self.trouble, self.how, self.times = trouble, how, times

    def __call__(self, instance: int) -> FakeEnv:
        for number in range(self.times if self.trouble else 0):
            try:
                (Path(self.trouble) / f"{self.how}{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)
        return FakeEnv()
