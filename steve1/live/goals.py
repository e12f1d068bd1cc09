"""Goals while a game is played: prompts are encoded, and what is seen is compared with the goal, in a thread beside the game's."""

from __future__ import annotations

import dataclasses
import queue
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from steve1.core.errors import UserError
from steve1.core.messages import message
from steve1.goals import Goal, GoalEncoder
from steve1.mineclip.model import EpisodeStream

_BATCH = 4
#: frames that may wait to be embedded; more, and this machine is too slow for it
_MOST_WAITING = 64


@dataclasses.dataclass(frozen=True)
class EncodedPrompt:
    """A prompt and its goal (E,); `note`: what there is to say about how it was read; `fault`: why there is no goal."""

    prompt: str
    goal: Goal | None
    note: str = ""
    fault: str = ""


class LiveGoals:
    """Encodes one prompt after another, and follows an episode's frames.

    Args:
        encoder: of the weights that play.
        seed: draws the prior's code, so that a prompt has the same goal each time.
        compare: follow frames; `similarity` is then known 16 frames after `restart`.

    Attributes:
        similarity: cosine of the last 16 frames' embedding with the goal; None while unknown.
    """

    def __init__(self, encoder: GoalEncoder, *, seed: int = 0, compare: bool = True) -> None:
        self._encoder, self._seed = encoder, seed
        self._pool = ThreadPoolExecutor(1, "goals")
        self._asked: Future[EncodedPrompt] | None = None
        self._measuring: Future[None] | None = None
        self._waiting: deque[NDArray[np.uint8]] = deque()
        self._stream: EpisodeStream | None = None
        self._anew = False  # the next frames follow no earlier ones
        self._goal: Goal | None = None
        self._why_not: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.compares = compare
        self.similarity: float | None = None

    @property
    def no_goal(self) -> Goal:
        """What the policy pursues before the first prompt."""
        return self._encoder.no_goal

    def ask(self, prompt: str) -> None:
        """Begin to encode a prompt; an earlier one that is not ready yet is forgotten."""
        self._asked = self._pool.submit(self._encode, prompt)

    def ready(self, wait: bool = False) -> EncodedPrompt | None:
        """The prompt that was asked for, once, when it is encoded; None before."""
        if self._asked is None or not (wait or self._asked.done()):
            return None
        asked, self._asked = self._asked, None
        found = asked.result()
        if found.goal is not None:
            self._goal, self.similarity = found.goal, None
        return found

    def _encode(self, prompt: str) -> EncodedPrompt:
        try:
            goal = self._encoder.encode([prompt], seed=self._seed)[prompt]
        except UserError as fault:
            return EncodedPrompt(prompt, None, fault=fault.one_line)
        english, notes = self._encoder.reading(prompt)
        return EncodedPrompt(prompt, goal, " ".join([*notes, *self._encoder.cut_short(english)]))

    def restart(self) -> None:
        """Another episode begins."""
        self._waiting.clear()
        self._anew = True  # after the frames: those that are measured now belong to the last episode
        self.similarity = None

    def see(self, frame: NDArray[np.uint8]) -> None:
        """One frame (H, W, 3) u8 of the episode, in order."""
        if not self.compares:
            return
        self._waiting.append(frame)
        if len(self._waiting) > _MOST_WAITING and self._is_occupied():
            self.restart()
        elif len(self._waiting) > _MOST_WAITING:
            self._waiting.clear()
            self._stop_comparing(message("live similarity slow"))
        elif len(self._waiting) >= _BATCH and (self._measuring is None or self._measuring.done()):
            self._measuring = self._pool.submit(self._measure)

    def _is_occupied(self) -> bool:
        """Whether the thread loads MineCLIP or encodes a prompt: frames then wait, however fast the machine compares them."""
        return self._stream is None or (self._asked is not None and not self._asked.done())

    def _stop_comparing(self, why: str) -> None:
        self.compares, self.similarity = False, None
        self._why_not.put(why)

    def why_stopped(self) -> str:
        """Why the similarity is no longer known, once; "" when there is nothing to tell."""
        return "" if self._why_not.empty() else self._why_not.get()

    def _measure(self) -> None:
        anew, self._anew = self._anew, False
        frames = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if self._stream is not None and anew:
            self._stream.reset()
        if not frames:
            return
        try:
            self._stream = self._stream or EpisodeStream(self._encoder.mineclip)
            last = self._stream.push_many(frames)[-1]
        except UserError as fault:
            self._stop_comparing(message("live similarity fault", fault=fault.one_line))
            return
        goal = self._goal
        if self.compares and not self._anew and goal is not None and np.isfinite(last).all():
            self.similarity = float(last @ goal / max(float(np.linalg.norm(last) * np.linalg.norm(goal)), 1e-12))

    def close(self) -> None:
        """Let the thread end."""
        self._pool.shutdown(wait=True, cancel_futures=True)
