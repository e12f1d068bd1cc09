"""Keys and values of the last W steps of each game: the recurrent state in a form that single steps can extend in place.

A step is written at its number modulo W, so that nothing ever moves; how far each slot lies in the past is worked out when it is
read. Games advance independently of one another.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from steve1.policy import PolicyConfig, PolicyState


class StepIndex(NamedTuple):
    """Where the R rows of a step lie in the cache, and what they see of its first S slots."""

    rows: Tensor
    """(R,) i64, rows of the cache; (0,): all of them, in order."""
    written: Tensor
    """(R,) i64, where this step goes: row * W + slot."""
    distance: Tensor
    """(R, heads, 1, S) i64, steps since each slot was written."""
    attn_bias: Tensor
    """(R, 1, 1, S) float32: 0, or -inf where a slot holds nothing of this episode; (0,): every slot is visible."""


class KVCache:
    """The memory of G games, one row each under the goal and, if guided, one more under no goal: row g and row G + g."""

    def __init__(self, config: PolicyConfig, games: int, *, guided: bool, device: torch.device) -> None:
        self.window, self.passes = config.memory, 2 if guided else 1
        self._heads = config.attention_heads
        shape = (config.n_recurrence_layers, 2, self.passes, games, config.memory, config.hidsize)
        self._memory = torch.zeros(shape, device=device)
        self._layers = self._views()
        self._steps = [0] * games  # of each episode; from W on modulo W, plus W
        self._index = functools.lru_cache(maxsize=2 * config.memory)(self._make_index)

    def _views(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Each block's keys and values (rows, W, H), and the same as (rows * W, H)."""
        layers = [layer.unbind() for layer in self._memory.flatten(2, 3)]
        return [(keys, values, keys.flatten(0, 1), values.flatten(0, 1)) for keys, values in layers]

    @property
    def games(self) -> int:
        """G."""
        return len(self._steps)

    def grow(self, games: int) -> None:
        """Make room for this many games; the present ones keep their memories."""
        more = list(self._memory.shape)
        more[3] = games - self.games
        self._memory = torch.cat([self._memory, self._memory.new_zeros(more)], dim=3)
        self._layers = self._views()
        self._steps += [0] * more[3]

    def reset(self, games: Sequence[int]) -> None:
        """Forget the episodes of these games."""
        for game in games:
            self._steps[game] = 0

    def advance(self, games: Sequence[int], *, whole: bool = False) -> StepIndex:
        """Begin a step of these games.

        Args:
            games: distinct numbers.
            whole: index all W slots even if none of the games has filled them, so that every step has the same shapes.
        """
        taken = tuple([self._steps[game] for game in games])
        for game, steps in zip(games, taken):
            self._steps[game] = steps + 1 if steps + 1 < 2 * self.window else self.window
        return self._index(tuple(games), taken, self.games, whole)

    def _make_index(self, games: tuple[int, ...], steps: tuple[int, ...], all_games: int, whole: bool) -> StepIndex:
        rows = np.concatenate([np.array(games) + number * all_games for number in range(self.passes)])
        taken = np.tile(steps, self.passes)
        used = self.window if whole else min(max(steps) + 1, self.window)
        slot = taken % self.window
        distance = (slot[:, None] - np.arange(used)) % self.window
        attn_bias = np.where(distance > taken[:, None], np.float32("-inf"), np.float32(0.0))
        written = rows * self.window + slot
        if np.array_equal(rows, np.arange(self.passes * all_games)):
            rows = rows[:0]
        if not whole and not attn_bias.any():
            attn_bias = attn_bias[:0]
        arrays = (rows, written, distance[:, None, None], attn_bias[:, None, None])
        index = StepIndex(*(torch.from_numpy(array).to(self._memory.device) for array in arrays))
        return index._replace(distance=index.distance.expand(-1, self._heads, -1, -1))

    def layers(self, index: StepIndex) -> list[LayerCache]:
        """Each block's memory for a step."""
        return [LayerCache(*views, index) for views in self._layers]

    def state(self) -> PolicyState:
        """The same memory as the policy's own state (a copy), all rows: (R, W, H), oldest first, and which are real."""
        steps = torch.from_numpy(np.tile(self._steps, self.passes)).to(self._memory.device)
        ages = torch.arange(self.window - 1, -1, -1, device=steps.device)  # of the rows: the newest is the last
        mask = ages < steps[:, None]
        slots = torch.where(mask, (steps[:, None] - 1 - ages) % self.window, 0)
        rows = self._memory.flatten(2, 3)[:, :, torch.arange(len(steps))[:, None], slots]
        rows = torch.where(mask[:, :, None], rows, 0.0)
        return PolicyState(tuple(rows[:, 0]), tuple(rows[:, 1]), mask[:, None])


class LayerCache(NamedTuple):
    """One block's keys and values (rows, W, H) at one step; a steve1.policy.attention.Memory."""

    keys: Tensor
    values: Tensor
    flat_keys: Tensor
    flat_values: Tensor
    step: StepIndex

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write this step's keys and values (R, 1, H); returns the first S slots of its rows, (R, S, H) each."""
        self.flat_keys.index_copy_(0, self.step.written, keys[:, 0])
        self.flat_values.index_copy_(0, self.step.written, values[:, 0])
        return self._seen(self.keys), self._seen(self.values)

    def _seen(self, stored: Tensor) -> Tensor:
        rows, used = self.step.rows, self.step.distance.shape[3]
        seen = stored if used == stored.shape[1] else stored[:, :used]
        return seen[rows] if rows.numel() else seen

    def bias(self, by_distance: Tensor) -> Tensor:
        """Relative term (R, heads, 1, W) by distance → by slot (R, heads, 1, S)."""
        by_slot = by_distance.gather(3, self.step.distance)
        return by_slot.add_(self.step.attn_bias) if self.step.attn_bias.numel() else by_slot
