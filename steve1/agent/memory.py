"""What an acting policy remembers: the last W keys and values of each block, in place.

Comes in: one step's keys and values. Goes out: contiguous views of the last W, oldest first, without copying them every step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steve1.policy import GoalPolicy, PolicyState


class RingMemory:
    """Keys and values of R rows in buffers twice as long as the window.

    A step is written behind the last one; when the buffer is full the last W - 1 rows move to its front, once in W steps.
    """

    def __init__(self, policy: GoalPolicy, rows: int) -> None:
        self.window = policy.config.memory
        self.rows = rows
        shape = (policy.config.n_recurrence_layers, 2, rows, 2 * self.window, policy.config.hidsize)
        self._buffer = torch.zeros(shape, device=policy.device)
        self._end = 0
        self._filled = 0

    def clear(self) -> None:
        """Forget everything."""
        self._end = self._filled = 0

    def begin_step(self) -> None:
        """Make room for one more step; call once a step, before the blocks `push`."""
        if self._end == self._buffer.shape[3]:
            kept = self.window - 1
            # source and target do not overlap: the buffer has 2 W rows
            self._buffer[..., :kept, :] = self._buffer[..., self._end - kept : self._end, :]
            self._end = kept
        self._end += 1
        self._filled = min(self._filled + 1, self.window)

    def push(self, block: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store this step's key and value (R, H) of a block; returns the keys and values (R, n, H) it sees, n ≤ W, oldest first."""
        self._buffer[block, 0, :, self._end - 1] = key
        self._buffer[block, 1, :, self._end - 1] = value
        seen = self._buffer[block, :, :, self._end - self._filled : self._end]
        return seen[0], seen[1]

    def state(self) -> PolicyState:
        """The same memory as the policy's own state (a copy): rows (R, W, H), oldest first, and which are real."""
        full = torch.zeros((*self._buffer.shape[:3], self.window, self._buffer.shape[4]), device=self._buffer.device)
        if self._filled:
            full[..., self.window - self._filled :, :] = self._buffer[..., self._end - self._filled : self._end, :]
        mask = torch.arange(self.window, device=full.device) >= self.window - self._filled
        return PolicyState(tuple(full[:, 0]), tuple(full[:, 1]), mask.expand(self.rows, 1, -1).clone())
