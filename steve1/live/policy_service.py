"""Weights that play games on other machines: each connection is a game; frames that wait at the same time are one batch.

Input: of each game a prompt or goal, then frames. Output: actions, with what each part of the way took.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steve1.agent import Agent
from steve1.core.errors import UserError
from steve1.core.frames import agent_frame
from steve1.data.episodes.parts import plain_action
from steve1.goals import Goal, GoalEncoder
from steve1.live.host import messages
from steve1.live.protocol import POLICY_COMMANDS, BadMessage, Command, parse, unpack

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

#: how long the first frame of a batch waits for those of other games
_GATHER_S = 0.002
_MOST_SIDE = 2000
#: messages a second of a game; a small policy on a GPU answers several hundred frames
_RATE = 2000
_REMEMBERED = 2000


@dataclasses.dataclass
class Job:
    """Something to be computed for a game: an episode begins (`begin`), or a frame u8 (128, 128, 3) wants an action."""

    game: int
    answer: asyncio.Future[dict[str, Any]]
    begin: Command | None = None
    frame: NDArray[np.uint8] | None = None
    came: float = dataclasses.field(default_factory=time.perf_counter)


class PolicyService:
    """A `Service`; `run` computes, in the thread that calls it.

    Args:
        agent: its games are the connections.
        encoder: of the agent's weights.
        seed: draws the prior's code of prompts.

    Attributes:
        connected: how many games are.
        took: (seconds waited, seconds computed, size of the batch) of the last frames.
        answered: frames so far.
    """

    files: Mapping[str, bytes] = {"/": b"A policy answers here; steve1/live/client.py talks to it.\n"}
    max_message = 4096 + 3 * _MOST_SIDE * _MOST_SIDE

    def __init__(self, agent: Agent, encoder: GoalEncoder, *, seed: int = 0) -> None:
        self._agent, self._encoder, self._seed = agent, encoder, seed
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._goals: dict[int, Goal | None] = {}
        self._free: list[int] = []
        self._begun: set[int] = set()
        self._games = self.connected = self.answered = 0
        self.took: deque[tuple[float, float, int]] = deque(maxlen=_REMEMBERED)

    # ---- the server's thread ----

    async def serve(self, connection: ServerConnection) -> None:
        if not self._free:
            self._free.append(self._games)
            self._games += 1
        game = self._free.pop()
        self.connected += 1
        try:
            async for job in messages(connection, functools.partial(self._job, game), _RATE):
                self._jobs.put(job)
                answer = await job.answer
                if answer["kind"] == "begun":
                    self._begun.add(game)
                await connection.send(json.dumps(answer))
        finally:
            self.connected -= 1
            self._begun.discard(game)
            self._free.append(game)

    def _job(self, game: int, message: str | bytes) -> Job:
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        if isinstance(message, str):
            return Job(game, answer, begin=parse(message, POLICY_COMMANDS))
        if game not in self._begun:
            raise BadMessage("a frame before the episode has begun")
        header, body = unpack(message)
        width, height = header.get("width"), header.get("height")
        if not all(type(side) is int and 1 <= side <= _MOST_SIDE for side in (width, height)):
            raise BadMessage("a frame needs a width and a height")
        if len(body) != 3 * width * height:  # type: ignore[operator]
            raise BadMessage(f"a frame of {width}x{height} has {3 * width * height} bytes, not {len(body)}")  # type: ignore[operator]
        frame = np.frombuffer(bytearray(body), np.uint8).reshape(height, width, 3)  # type: ignore[arg-type]
        return Job(game, answer, frame=agent_frame(frame))

    # ---- the policy's thread ----

    def run(self, call: Callable[..., None]) -> None:
        """Compute until `stop`. `call(function, *arguments)` calls in the server's thread."""
        while True:
            job = self._jobs.get()
            if job is None:
                return
            if job.begin is not None:
                call(_resolve, job.answer, self._begin(job.game, job.begin))
                continue
            batch, later, over = self._gathered(job)
            began = time.perf_counter()
            actions = self._agent.act_batch(
                [each.frame for each in batch],  # type: ignore[misc]
                [self._goals[each.game] for each in batch],
                [each.game for each in batch],
            )
            done = time.perf_counter()
            for each, action in zip(batch, actions):
                waited, computed = began - each.came, done - began
                self.took.append((waited, computed, len(batch)))
                self.answered += 1
                ms = {"wait": round(1000 * waited, 2), "policy": round(1000 * computed, 2)}
                call(_resolve, each.answer, {"kind": "action", "action": plain_action(action), "ms": ms})
            if later is not None:
                self._jobs.put(later)
            if over:
                return

    def _gathered(self, first: Job) -> tuple[list[Job], Job | None, bool]:
        """The frames that come within _GATHER_S of the first, at most one a game; what came in place of a frame; whether to stop."""
        batch = [first]
        until = time.perf_counter() + _GATHER_S
        while len(batch) < self.connected:
            try:
                job = self._jobs.get(timeout=max(0.0, until - time.perf_counter()))
            except queue.Empty:
                break
            if job is None or job.begin is not None or job.game in {each.game for each in batch}:
                return batch, job, job is None
            batch.append(job)
        return batch, None, False

    def stop(self) -> None:
        """End `run`."""
        self._jobs.put(None)

    def _begin(self, game: int, asked: Command) -> dict[str, Any]:
        try:
            goal: Goal | None = None
            if asked["goal"] is not None:
                goal = self._encoder.checked(np.asarray(asked["goal"], np.float32), "the goal that a client sent")
            elif asked["prompt"]:
                goal = self._encoder.encode([asked["prompt"]], seed=self._seed)[asked["prompt"]]
        except UserError as fault:
            return {"kind": "refused", "text": fault.one_line}
        self._goals[game] = goal
        self._agent.reset(int(asked["seed"]), games=[game])
        return {"kind": "begun"}

    def latency(self) -> str:
        """Latency of recent frames, as text."""
        if not self.took:
            return "no frames yet"
        waited, computed, sizes = (np.array(column) for column in zip(*self.took))
        parts = [
            f"{name} {1000 * float(np.median(values)):.1f} ms (99 %: {1000 * float(np.quantile(values, 0.99)):.1f})"
            for name, values in (("waited", waited), ("policy", computed))
        ]
        return f"{', '.join(parts)}, {float(sizes.mean()):.1f} frames a batch"


def _resolve(answer: asyncio.Future[dict[str, Any]], value: dict[str, Any]) -> None:
    if not answer.done():  # the client may have left
        answer.set_result(value)
