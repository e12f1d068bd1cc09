"""Plays by weights on another machine: frames go to `steve1 serve`, actions come back.

Needs numpy and websockets, and nothing else of this project: copy this file beside your game.

    policy = RemotePolicy("http://gpu-machine:8766/?token=...", prompt="chop a tree")
    action = policy.act(frame)      # frame: uint8 (H, W, 3) RGB; action: MineRL's dict, camera in degrees
"""

from __future__ import annotations

import json
import urllib.parse
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.sync.client import connect

try:
    import cv2
except ImportError:  # frames then travel in full size
    cv2 = None  # type: ignore[assignment]


class PolicyServerError(Exception):
    """The server refused something; its sentence."""


class RemotePolicy:
    """One game's connection, with a memory of its own on the server.

    Args:
        url: what `steve1 serve` printed, token included.
        prompt: what to do; None with no goal: without a goal.
        seed: of the sampled actions.
        timeout_s: longest wait for one answer.

    Attributes:
        ms: of the last answer: "wait" in the server's queue, "policy" for the batch that it was in.
    """

    def __init__(self, url: str, prompt: str | None = None, *, seed: int = 0, timeout_s: float = 60.0) -> None:
        place = urllib.parse.urlsplit(url)
        scheme = {"http": "ws", "https": "wss"}.get(place.scheme, place.scheme)
        address = urllib.parse.urlunsplit((scheme, place.netloc, "/socket", place.query, ""))
        self._timeout_s, self._prompt, self._seed = timeout_s, prompt, seed
        self._goal: bytes | None = None
        self._socket = connect(address, compression=None, max_size=1 << 20, open_timeout=timeout_s)
        self.ms: dict[str, float] = {}
        try:
            self.reset()
        except BaseException:
            self._socket.close()  # nobody else could
            raise

    def reset(self, seed: int | None = None, prompt: str | None = None) -> None:
        """Begin an episode: the server forgets this game's last one; a prompt replaces the one before."""
        self._seed = self._seed if seed is None else seed
        self._prompt = self._prompt if prompt is None else prompt
        self._begin(None)

    def _begin(self, goal: NDArray[np.float32] | None) -> None:
        numbers = None if goal is None else [float(value) for value in goal]
        self._ask(json.dumps({"do": "begin", "prompt": self._prompt, "goal": numbers, "seed": self._seed}))
        self._goal = None if goal is None else goal.tobytes()

    def act(self, frame: NDArray[np.uint8], goal: NDArray[Any] | None = None) -> dict[str, Any]:
        """The MineRL action for a frame, uint8 (H, W, 3) RGB: every button 0 or 1, "camera" [pitch, yaw] in degrees.

        Args:
            goal: (E,), in place of the prompt; a new one begins an episode.

        Raises:
            ValueError: the frame has another form.
            PolicyServerError: the server refused it.
            TimeoutError: the server has not answered in time; the connection is closed.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:  # of 0 to 1, all would be black
            raise ValueError(f"a frame is uint8 (H, W, 3) RGB, not {frame.dtype} {frame.shape}")
        wanted = None if goal is None else np.ascontiguousarray(goal, np.float32)
        if wanted is not None and wanted.tobytes() != self._goal:
            self._begin(wanted)
        picture: Any = frame
        if cv2 is not None and frame.shape[:2] != (128, 128):  # as the policy sees it: 14 times less to send
            picture = cv2.resize(picture, (128, 128), interpolation=cv2.INTER_LINEAR)
        height, width = picture.shape[:2]
        header = json.dumps({"width": int(width), "height": int(height)}).encode()
        answer = self._ask(len(header).to_bytes(4, "big") + header + np.ascontiguousarray(picture, np.uint8).tobytes())
        self.ms = answer["ms"]
        action: dict[str, Any] = answer["action"]
        return action

    def _ask(self, message: str | bytes) -> dict[str, Any]:
        self._socket.send(message)
        try:
            answer: dict[str, Any] = json.loads(self._socket.recv(timeout=self._timeout_s))
        except TimeoutError:
            self._socket.close()  # a late answer would be taken for that to the next frame
            raise
        if answer["kind"] == "refused":
            raise PolicyServerError(answer["text"])
        return answer

    def close(self) -> None:
        """Leave; the server forgets this game."""
        self._socket.close()

    def __enter__(self) -> RemotePolicy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
