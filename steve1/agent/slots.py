"""Games that take their steps independently through one policy: whichever wait are advanced together.

Comes in: frames and goals of those slots (games) that wait for an action. Goes out: each slot's guided log-probabilities, equal to those
of an `Agent` of its own within rounding. Slots advance independently: any subset may take the next step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from steve1.agent.agent import guided
from steve1.core.frames import agent_frame
from steve1.policy import GoalPolicy
from steve1.policy.attention import Block


class SlotAgent:
    """The memories of several episodes, and one policy that advances any of them together.

    Each slot has two rows of memory: under the goal, and under no goal (used where guidance asks for it). A memory is a true ring: its
    rows stay where they were written, and each row's distance in time is worked out when it is read.
    """

    def __init__(self, policy: GoalPolicy) -> None:
        self.policy = policy.eval()
        self.window = policy.config.memory
        self._steps = np.zeros(0, dtype=np.int64)
        shape = (policy.config.n_recurrence_layers, 2, 0, self.window, policy.config.hidsize)
        self._memory = torch.zeros(shape, device=policy.device)
        self._bases = [block.attention.b_nd.detach().float() for block in policy.net.recurrent_layer.layers]

    def begin(self, slot: int) -> None:
        """Forget what the slot remembers; slots are made as they are needed."""
        missing = slot + 1 - len(self._steps)
        if missing > 0:
            self._steps = np.concatenate([self._steps, np.zeros(missing, dtype=np.int64)])
            shape = list(self._memory.shape)
            shape[2] = 2 * missing
            self._memory = torch.cat([self._memory, self._memory.new_zeros(shape)], dim=2)
        self._steps[slot] = 0

    @torch.inference_mode()
    def step(
        self,
        slots: Sequence[int],
        frames: Sequence[NDArray[np.uint8]],
        goals: NDArray[np.float32],
        scales: Sequence[float],
    ) -> dict[str, Tensor]:
        """Advance `slots`, each once.

        Args:
            slots: distinct numbers that have begun.
            frames: u8 (H, W, 3) RGB, one for each.
            goals: float (n, E).
            scales: guidance of each; 0: none.

        Returns:
            {"buttons": (n, 8641), "camera": (n, 121)} float32 log-probabilities on the CPU.
        """
        device = self.policy.device
        pixels = torch.from_numpy(np.stack([agent_frame(frame) for frame in frames])).to(device)
        features = self.policy.encode(pixels[:, None])[:, 0]
        both = [index for index, scale in enumerate(scales) if scale]
        # First the rows under goals, in the slots' order, then those under no goal of the guided ones.
        source = torch.tensor([*range(len(slots)), *both], device=device)
        wanted = torch.zeros((len(source), goals.shape[1]), device=device)
        wanted[: len(slots)] = torch.as_tensor(goals, dtype=torch.float32, device=device)
        rows = np.array([2 * slot for slot in slots] + [2 * slots[index] + 1 for index in both])
        steps = self._steps[[row // 2 for row in rows]]
        latent = self._advance(
            features[source], wanted, torch.from_numpy(rows).to(device), torch.from_numpy(steps).to(device)
        )
        self._steps[list(slots)] += 1
        latent, free = latent[: len(slots)], latent[len(slots) :]
        if both:
            latent[both] = guided(
                latent[both], free, torch.tensor([scales[index] for index in both], device=device)[:, None]
            )
        head = self.policy.pi_head
        return {"buttons": head.buttons(latent).cpu(), "camera": head.camera(latent).cpu()}

    def _advance(self, features: Tensor, goals: Tensor, rows: Tensor, steps: Tensor) -> Tensor:
        """features (R, H), goals (R, E), memory rows (R,), steps taken so far (R,) → latent (R, H)."""
        net = self.policy.net
        x = features + net.mineclip_embed_linear(goals)
        place = steps % self.window
        # Nothing lies yet behind the furthest written row.
        used = min(int(steps.max()) + 1, self.window)
        distance = (place[:, None] - torch.arange(used, device=x.device)) % self.window
        unseen = distance > steps[:, None]
        for number, block in enumerate(net.recurrent_layer.layers):
            x = self._block_step(number, block, x, rows, place, distance, unseen)
        return net.finish(x)

    def _block_step(
        self, number: int, block: Block, x: Tensor, rows: Tensor, place: Tensor, distance: Tensor, unseen: Tensor
    ) -> Tensor:
        attention = block.attention
        count, size = x.shape
        y = block.pre_r_ln(x)
        memory = self._memory[number]
        memory[0, rows, place] = attention.k_layer(y).to(memory.dtype)
        memory[1, rows, place] = attention.v_layer(y).to(memory.dtype)
        keys, values = memory[:, rows, : distance.shape[1]]
        basis = attention.r_layer(y).view(count, attention.heads, -1)
        by_distance = basis @ self._bases[number]
        bias = by_distance.gather(2, distance[:, None].expand(-1, attention.heads, -1))
        bias = bias.masked_fill(unseen[:, None], float("-inf"))[:, :, None]
        query = attention.q_layer(y).view(count, attention.heads, 1, -1)
        heads = F.scaled_dot_product_attention(
            query, attention.split(keys), attention.split(values), attn_mask=bias, scale=attention.heads / size
        )
        return block.pointwise(y + attention.proj_layer(heads.reshape(count, size)))
