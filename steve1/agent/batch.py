"""Many games at once, or one as fast as a GPU allows: the same step as `Agent`'s over memory that never moves.

Comes in: frames and goals of G games. Goes out: their guided log-probabilities, or actions. Every step is the same sequence of operations on the same
memory, so that on CUDA it can be recorded once and replayed (a CUDA graph), which spares hundreds of launches.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from steve1.actions import EnvAction, env_action
from steve1.agent.agent import checked_temperature, draw, guided
from steve1.core.errors import UserError
from steve1.core.frames import agent_frame
from steve1.core.seeds import generator
from steve1.policy import GoalPolicy, PolicyState
from steve1.policy.attention import Block

WARM_UP = 3  # steps before a recording, in which libraries choose their kernels


class BatchAgent:
    """Acts in G games; each has its own goal, memory and random draws.

    Args:
        policy: its weights must not change while this is used.
        games: G.
        cond_scale: as Agent's; 0 or None: no guidance.
        seed: game g draws as an Agent with seed + g does.
        temperature: as Agent's.
        precision: torch.bfloat16 computes matrix products and convolutions with weights that are cast once, here (a copy of the policy).
        graph: record the step as a CUDA graph and replay it.
    """

    def __init__(
        self,
        policy: GoalPolicy,
        games: int,
        *,
        cond_scale: float | None = 6.0,
        seed: int = 0,
        temperature: float = 1.0,
        precision: torch.dtype = torch.float32,
        graph: bool = False,
    ) -> None:
        if graph and policy.device.type != "cuda":
            raise UserError("CUDA graphs need a CUDA device.", got=str(policy.device), todo="leave out graph=True")
        if games < 1:
            raise UserError("There has to be at least one game.", got=str(games))
        self.policy = lower_weights(policy, precision).eval()
        self.games, self.cond_scale = games, float(cond_scale or 0.0)
        self._precision, self._wants_graph = precision, graph
        self._graph: Any = None
        self.temperature = checked_temperature(temperature)
        config, device = policy.config, policy.device
        if device.type == "cuda":  # every step has the same shapes
            torch.backends.cudnn.benchmark = True
        self._rows = games * (2 if self.cond_scale else 1)
        self._frames = torch.zeros((games, *config.img_shape), dtype=torch.uint8, device=device)
        self._goals = torch.zeros(
            (self._rows, config.mineclip_embed_dim), device=device
        )  # the second half stays zero: no goal
        shape = (config.n_recurrence_layers, 2, self._rows, config.memory, config.hidsize)
        self._memory = torch.zeros(shape, device=device)
        self._at = torch.zeros((), dtype=torch.long, device=device)  # where the next step is written, the same for all
        self._filled = torch.zeros(self._rows, dtype=torch.long, device=device)
        self._slots = torch.arange(config.memory, device=device)
        self._answers: dict[str, Tensor] = {}
        self._random = [generator(seed + game, "agent", 0) for game in range(games)]

    def reset(self, games: NDArray[np.bool_] | list[int] | None = None) -> None:
        """Forget the memory of these games (indices or a mask); None: of all."""
        chosen = torch.zeros(self.games, dtype=torch.bool)
        chosen[torch.as_tensor(games) if games is not None else slice(None)] = True
        rows = chosen.repeat(self._rows // self.games).to(self._filled.device)
        self._filled.masked_fill_(rows, 0)

    @property
    def state(self) -> PolicyState:
        """A copy of the memory in the policy's own form: row g is game g's under its goal; where there is guidance, row G + g under no goal."""
        window = len(self._slots)
        rows = self._memory.index_select(
            3, (self._slots + self._at) % window
        )  # the next slot to be written holds the oldest step
        mask = self._slots >= window - self._filled[:, None]
        rows = torch.where(mask[None, None, :, :, None], rows, torch.zeros_like(rows))
        return PolicyState(tuple(rows[:, 0]), tuple(rows[:, 1]), mask[:, None])

    @torch.inference_mode()
    def log_probs(self, frames: NDArray[np.uint8], goals: NDArray[np.floating] | Tensor) -> dict[str, Tensor]:
        """{"buttons": (G, 8641), "camera": (G, 121)} float32 on the policy's device, guided and normalised; one step on.

        frames: u8 (G, 128, 128, 3) RGB; goals: (G, E). The tensors are written anew by the next call.
        """
        self._frames.copy_(torch.from_numpy(np.ascontiguousarray(frames)))
        self._goals[: self.games].copy_(torch.as_tensor(goals))
        if self._wants_graph and self._graph is None:
            self._record()
        if self._graph is not None:
            self._graph.replay()
        else:
            self._answers = self._step()
        return self._answers

    def act(self, frames: list[NDArray[np.uint8]], goals: NDArray[np.floating] | Tensor) -> list[EnvAction]:
        """A MineRL action for each game's frame (H, W, 3) u8 RGB under its goal, drawn as Agent draws."""
        found = self.log_probs(np.stack([agent_frame(frame) for frame in frames]), goals)
        chosen = [
            [draw(row, random, self.temperature) for random, row in zip(self._random, found[name].cpu(), strict=True)]
            for name in ("buttons", "camera")
        ]
        return [env_action(buttons, camera) for buttons, camera in zip(*chosen, strict=True)]

    def _record(self) -> None:
        """Record one step; the warm-up's steps leave no trace in the memory that counts."""
        before = [tensor.clone() for tensor in (self._memory, self._at, self._filled)]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._answers = self._step()
        for tensor, value in zip((self._memory, self._at, self._filled), before, strict=True):
            tensor.copy_(value)
        self._graph = graph

    def _step(self) -> dict[str, Tensor]:
        """Everything of a step, on the fixed tensors and without asking the device for a number."""
        policy, kind = self.policy, self._frames.device.type
        low = self._precision != torch.float32
        with torch.autocast(kind, self._precision if low else torch.bfloat16, enabled=low):
            features = policy.encode(self._frames[:, None])[:, 0]
            features = features.repeat(self._rows // self.games, 1)  # both rows of guidance share one encoding
            x = features + policy.net.mineclip_embed_linear(self._goals)
            self._filled.add_(1).clamp_(max=len(self._slots))
            distance = (self._at - self._slots) % len(self._slots)  # steps since each slot was written
            hidden = torch.zeros((self._rows, len(self._slots)), device=x.device)
            hidden.masked_fill_(distance[None] >= self._filled[:, None], float("-inf"))
            for number, block in enumerate(policy.net.recurrent_layer.layers):
                x = self._block_step(number, block, x, distance, hidden)
            self._at.add_(1).remainder_(len(self._slots))
            latent = policy.net.finish(x)
            if self.cond_scale:
                latent = guided(latent[: self.games], latent[self.games :], self.cond_scale)
            return {"buttons": policy.pi_head.buttons(latent), "camera": policy.pi_head.camera(latent)}

    def _block_step(self, number: int, block: Block, x: Tensor, distance: Tensor, hidden: Tensor) -> Tensor:
        attention = block.attention
        y = block.pre_r_ln(x)
        keys, values = self._memory[number]
        for stored, new in ((keys, attention.k_layer(y)), (values, attention.v_layer(y))):
            stored.index_copy_(1, self._at[None], new.float()[:, None])
        basis = attention.r_layer(y).float().unflatten(-1, (attention.heads, -1))
        query = attention.split(attention.q_layer(y).float()[:, None])
        with torch.autocast(x.device.type, enabled=False):  # as in training: logits and softmax in float32
            bias = (basis @ attention.b_nd.float()).index_select(2, distance) + hidden[:, None]
            scale = attention.heads / y.shape[-1]
            seen = F.scaled_dot_product_attention(
                query, attention.split(keys), attention.split(values), attn_mask=bias[:, :, None], scale=scale
            )
        return block.pointwise(y + attention.proj_layer(seen.flatten(1)))


def lower_weights(policy: GoalPolicy, precision: torch.dtype) -> GoalPolicy:
    """A copy whose matrices and convolutions are kept in `precision`, so that autocast has nothing to cast; the policy itself in float32."""
    if precision == torch.float32:
        return policy
    lean = copy.deepcopy(policy)
    for module in lean.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(precision)
    return lean.laid_out()
