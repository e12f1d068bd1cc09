"""A policy that acts: one frame and a goal in, one MineRL action out.

Comes in: a game's frames (any size) and a goal embedding. Goes out: actions, drawn from the guided distribution by a seeded
generator, or the likeliest ones. The memory of the episode is the agent's; `reset` forgets it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from steve1.actions import EnvAction, env_action
from steve1.agent.memory import RingMemory
from steve1.core.errors import UserError
from steve1.core.frames import agent_frame
from steve1.core.seeds import generator
from steve1.policy import GoalPolicy, PolicyState
from steve1.policy.prepared import PreparedPolicy

Goal = NDArray[np.floating] | Tensor | None


class Agent:
    """Acts step by step with classifier-free guidance.

    cond_scale s: log-probabilities are (1 + s) log p(a | goal) - s log p(a | no goal), normalised; 0 means no guidance.
    The two rows of guidance share one image encoding. deterministic: take the likeliest classes instead of drawing.
    temperature: classes are drawn with probabilities in proportion to p ** (1 / temperature); small policies, whose heads spread over
    thousands of classes that they hardly know, hold a key longer below 1.
    The policy's weights must not change while an agent uses it.
    """

    def __init__(
        self,
        policy: GoalPolicy,
        *,
        cond_scale: float | None = 6.0,
        seed: int = 0,
        deterministic: bool = False,
        temperature: float = 1.0,
    ) -> None:
        self.policy = policy.eval()
        self.cond_scale = 0.0 if cond_scale is None else float(cond_scale)
        if not np.isfinite(self.cond_scale) or self.cond_scale < 0:
            raise UserError("The guidance scale has to be a number of at least 0.", got=str(cond_scale))
        self.deterministic, self.temperature = deterministic, checked_temperature(temperature)
        self.tokens = (0, 0)
        """Button and camera class of the last action."""
        self._seed, self._episode = seed, 0
        self._random = generator(seed, "agent", 0)
        self._last_goal: tuple[NDArray[np.floating], Tensor] = (np.empty(0), torch.empty(0))
        self._last_rows: tuple[Tensor | None, Tensor] | None = None
        self._memory = RingMemory(policy, rows=2 if self.cond_scale else 1)
        self._prepared = PreparedPolicy(policy)
        heads = policy.net.recurrent_layer.layers[0].attention.heads
        self._heads, self._scale = heads, heads / policy.config.hidsize
        # The relative term is stored by distance; memory is read oldest first.
        self._bases = [block.attention.b_nd.detach().flip(1).float() for block in policy.net.recurrent_layer.layers]

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode: forget the last one. With a seed its random draws begin anew; without, they go on with fresh ones."""
        self._memory.clear()
        self._seed, self._episode = (self._seed, self._episode + 1) if seed is None else (seed, 0)
        self._random = generator(self._seed, "agent", self._episode)

    @property
    def state(self) -> PolicyState:
        """A copy of the memory in the policy's own form; row 0 is the goal's, row 1 (if guided) the unconditional one."""
        return self._memory.state()

    def act(self, frame: NDArray[np.uint8], goal: Goal) -> EnvAction:
        """The MineRL action for this frame (H, W, 3) u8 RGB under this goal (E,); None is the goal of no goal."""
        log_probs = self.action_log_probs(frame, goal)
        self.tokens = (self._choose(log_probs["buttons"]), self._choose(log_probs["camera"]))
        return env_action(*self.tokens)

    @torch.inference_mode()
    def action_log_probs(self, frame: NDArray[np.uint8], goal: Goal) -> dict[str, Tensor]:
        """{"buttons": (8641,), "camera": (121,)} float32 on the CPU, guided and normalised; advances the memory as `act` does."""
        goals = self._goal_rows(goal)
        pixels = torch.from_numpy(np.ascontiguousarray(agent_frame(frame))).to(self.policy.device)
        latent = self._advance(self._prepared.encode(pixels[None]), goals)
        latent = guided(latent[0], latent[1], self.cond_scale) if self.cond_scale else latent[0]
        head = self.policy.pi_head
        return {
            name: torch.log_softmax(module.logits(latent), dim=-1).cpu()
            for name, module in (("buttons", head.buttons), ("camera", head.camera))
        }

    def _goal_rows(self, goal: Goal) -> Tensor:
        """What the blocks read of the goal, and of no goal where guided, (R, H); computed when the goal changes."""
        wanted = None if goal is None else self._goal_tensor(goal)
        if self._last_rows is None or self._last_rows[0] is not wanted:
            goals = torch.zeros((self._memory.rows, self.policy.config.mineclip_embed_dim), device=self.policy.device)
            if wanted is not None:
                goals[0] = wanted
            self._last_rows = (wanted, self._prepared.goal(goals))
        return self._last_rows[1]

    def _goal_tensor(self, goal: NDArray[np.floating] | Tensor) -> Tensor:
        """The goal, checked; an episode's steps mostly share one, which is then only compared."""
        numbers = goal.detach().cpu().numpy() if isinstance(goal, Tensor) else np.asarray(goal)
        if not np.array_equal(numbers, self._last_goal[0]):
            self._last_goal = (numbers.copy(), self._checked_goal(goal))
        return self._last_goal[1]

    def _checked_goal(self, goal: NDArray[np.floating] | Tensor) -> Tensor:
        values = torch.as_tensor(goal, dtype=torch.float32)
        size = self.policy.config.mineclip_embed_dim
        if values.shape != (size,):
            raise UserError(
                "This goal does not fit the policy.",
                expected=f"one embedding of {size} numbers",
                got=f"shape {tuple(values.shape)}",
                todo="use the MineCLIP and prior that belong to these weights",
            )
        if not bool(torch.isfinite(values).all()):
            raise UserError(
                "This goal has entries that are not finite numbers.", todo="embed the prompt or episode again"
            )
        return values

    def _advance(self, features: Tensor, goals: Tensor) -> Tensor:
        """features (1, H), goals (R, H) → latent (R, H), one step on."""
        x = features + goals
        self._memory.begin_step()
        for number, block in enumerate(self._prepared.blocks):
            y, (key, value, query, basis) = block.read(x)
            keys, values = self._memory.push(number, key, value)
            x = block.write(y, self._attend(query, keys, values, basis, self._bases[number]))
        return self._prepared.finish(x)

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, basis: Tensor, distances: Tensor) -> Tensor:
        """query (R, H), keys and values (R, n, H), basis (R, h * 10), distances (10, W) → what is seen (R, H)."""
        rows, seen, size = keys.shape
        shape = (rows, self._heads, -1)
        bias = (basis.reshape(shape) @ distances[:, distances.shape[1] - seen :])[:, :, None]
        keys, values = (each.view(rows, seen, self._heads, -1).transpose(1, 2) for each in (keys, values))
        heads = F.scaled_dot_product_attention(
            query.reshape(shape)[:, :, None], keys, values, attn_mask=bias, scale=self._scale
        )
        return heads.reshape(rows, size)

    def _choose(self, log_probs: Tensor) -> int:
        return draw(log_probs, None if self.deterministic else self._random, self.temperature)


def guided(latent: Tensor, free: Tensor, scale: float | Tensor) -> Tensor:
    """Latents (..., H) under the goal and under none → the latent whose logits are (1 + scale) times the one's less scale times the other's.

    The heads are linear, so one pass over their weights does for both; their rows' own normalisers would cancel in the last one.
    """
    return (1.0 + scale) * latent - scale * free


def checked_temperature(temperature: float) -> float:
    """The temperature.

    Raises:
        UserError: not a finite number above 0.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise UserError(
            "The temperature has to be a number above 0.",
            got=str(temperature),
            todo="for the likeliest action pass --deterministic",
        )
    return float(temperature)


def draw(log_probs: Tensor, random: np.random.Generator | None, temperature: float = 1.0) -> int:
    """A class by its log-probability (n,), on the CPU, at a temperature; the likeliest one without a generator."""
    if random is None:
        return int(log_probs.argmax())
    if temperature != 1.0:
        log_probs = (log_probs - log_probs.max()) / temperature
    cumulative = log_probs.exp().cumsum(0, dtype=torch.float64).numpy()
    # the draw is scaled by the sum, so that rounding cannot lead past the last class
    place = np.searchsorted(cumulative, random.random() * cumulative[-1], side="right")
    return int(place.clip(max=len(cumulative) - 1))
