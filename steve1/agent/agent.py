"""A policy that acts: a frame and a goal of each game in, a MineRL action out.

Input: frames of any size and goal embeddings. Output: actions, sampled from the guided distribution by seeded generators, or the
most probable ones. The agent keeps the memory of each game's episode; `reset` forgets it.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steve1.actions import EnvAction, env_action
from steve1.agent.cuda_graph import CudaGraph
from steve1.agent.kv_cache import KVCache, StepIndex
from steve1.agent.packed import PackedEncoder, can_pack, pack_policy
from steve1.core.errors import UserError
from steve1.core.frames import agent_frame
from steve1.core.seeds import generator
from steve1.policy import GoalPolicy, PolicyState

Goal = NDArray[np.floating] | Tensor | None
HEADS = ("buttons", "camera")


class Agent:
    """Acts in one game or in several, step by step, with classifier-free guidance.

    Args:
        policy: its weights must not change while an agent uses it.
        games: how many; `reset` of a higher number adds games.
        cond_scale: guidance scale s. Log-probabilities are (1 + s) log p(a | goal) - s log p(a | no goal), normalised; the two
            passes share the image's encoding. 0 or None: no guidance.
        seed: game g samples with `seed` + g.
        deterministic: take the most probable classes instead of sampling.
        temperature: classes are sampled in proportion to p ** (1 / temperature); small policies, whose heads spread over
            thousands of classes that they hardly know, hold a key longer below 1.
        precision: torch.bfloat16 acts with a copy of the policy whose matrices and convolutions are in that precision.
        cuda_graph: record the step as a CUDA graph, once for each number of games that act together.
    """

    def __init__(
        self,
        policy: GoalPolicy,
        *,
        games: int = 1,
        cond_scale: float | None = 6.0,
        seed: int = 0,
        deterministic: bool = False,
        temperature: float = 1.0,
        precision: torch.dtype = torch.float32,
        cuda_graph: bool = False,
    ) -> None:
        self.cond_scale = 0.0 if cond_scale is None else float(cond_scale)
        if not 0 <= self.cond_scale < np.inf:
            raise UserError("The guidance scale has to be a number of at least 0.", got=str(cond_scale))
        if not 0 < temperature < np.inf:
            raise UserError(
                "The temperature has to be a number above 0.",
                got=str(temperature),
                todo="for the most probable action pass --deterministic",
            )
        if games < 1:
            raise UserError("There has to be at least one game.", got=str(games))
        if cuda_graph and policy.device.type != "cuda":
            raise UserError("CUDA graphs need a CUDA device.", got=str(policy.device), todo="leave out cuda_graph=True")
        self.policy = weights_lowp(policy, precision).eval()
        self.deterministic, self.temperature = deterministic, float(temperature)
        self._precision, self._cuda_graph = precision, cuda_graph
        self._packed: Callable[[Tensor], Tensor] | None = None
        if precision == torch.float32 and can_pack(policy.net.img_process):
            self._packed = PackedEncoder(policy.net.img_process, policy.config.img_shape[0])
            self.policy = pack_policy(self.policy)
        self.guided = self.cond_scale > 0
        """Whether it computes what it would do without a goal; if so, `cond_scale` may be set anew between two steps."""
        self._cache = KVCache(policy.config, games, guided=self.guided, device=policy.device)
        self._device = policy.device
        # The goals of the last step, and what the network reads of them.
        self._goals: tuple[list[bytes], Tensor] = ([], torch.empty(0))
        self._embed = functools.lru_cache(maxsize=256)(self._embed_goal)
        self._step = CudaGraph(self._decode_step) if cuda_graph else self._decode_step
        self._seed = seed
        self._episodes = {game: (seed + game, 0) for game in range(games)}  # what each game's generator is made from
        self._random = {game: generator(seed + game, "agent", 0) for game in range(games)}

    @property
    def games(self) -> int:
        """How many games it acts in."""
        return self._cache.games

    def reset(self, seed: int | None = None, games: Sequence[int] | None = None) -> None:
        """Begin an episode in some games (default: in all): forget the last one.

        With a seed sampling starts again, in the i-th of these games from `seed` + i; without, the next episode's numbers follow.
        """
        chosen = range(self.games) if games is None else games
        if max(chosen) >= self.games:
            self._cache.grow(max(chosen) + 1)
            if self._cuda_graph:  # what was recorded reads the smaller cache
                self._step = CudaGraph(self._decode_step)
        self._cache.reset(chosen)
        for place, game in enumerate(chosen):
            old_seed, episode = self._episodes.get(game, (self._seed + game, -1))
            self._episodes[game] = (old_seed, episode + 1) if seed is None else (seed + place, 0)
            new_seed, episode = self._episodes[game]
            self._random[game] = generator(new_seed, "agent", episode)

    @property
    def state(self) -> PolicyState:
        """A copy of the memory as the policy's own state: row g is game g's under its goal, row G + g (if guided) that under no goal."""
        return self._cache.state()

    def act(self, frame: NDArray[np.uint8], goal: Goal) -> EnvAction:
        """The MineRL action of the first game for this frame (H, W, 3) u8 RGB and goal (E,); None: no goal."""
        return self.act_batch([frame], [goal], [0])[0]

    def act_batch(
        self, frames: Sequence[NDArray[np.uint8]], goals: Sequence[Goal], games: Sequence[int] | None = None
    ) -> list[EnvAction]:
        """The MineRL action of each of these games (default: of all); arguments as for `log_probs`."""
        log_probs = self.log_probs(frames, goals, games)
        rows = zip(range(self.games) if games is None else games, *(log_probs[name].cpu().unbind() for name in HEADS))
        return [env_action(self._sample(buttons, game), self._sample(camera, game)) for game, buttons, camera in rows]

    def action_log_probs(self, frame: NDArray[np.uint8], goal: Goal) -> dict[str, Tensor]:
        """{"buttons": (8641,), "camera": (121,)} float32 on the CPU, guided and normalised; advances the memory as `act` does."""
        return {name: rows[0].cpu() for name, rows in self.log_probs([frame], [goal], [0]).items()}

    @torch.inference_mode()
    def log_probs(
        self, frames: Sequence[NDArray[np.uint8]], goals: Sequence[Goal], games: Sequence[int] | None = None
    ) -> dict[str, Tensor]:
        """One step of these n games.

        Args:
            frames: u8 (H, W, 3) RGB, one for each.
            goals: (E,) or None, one for each.
            games: distinct numbers; None: all.

        Returns:
            {"buttons": (n, 8641), "camera": (n, 121)} float32 on the policy's device, guided and normalised; with cuda_graph the
            next call overwrites them.
        """
        if games is None:
            games = range(self.games)
        if not len(frames) == len(goals) == len(games):
            raise UserError(
                "Each game needs one frame and one goal.",
                expected=f"{len(games)} of each",
                got=f"{len(frames)} frames, {len(goals)} goals",
            )
        small = [np.ascontiguousarray(agent_frame(frame)) for frame in frames]
        pixels = torch.from_numpy(small[0][None] if len(small) == 1 else np.stack(small)).to(self._device)
        wanted = [self._checked_goal(goal).tobytes() for goal in goals]
        if wanted != self._goals[0]:
            embedded = [self._embed(goal) for goal in wanted]
            if self.guided:
                embedded += [self._embed(bytes(4 * self.policy.config.mineclip_embed_dim))] * len(goals)
            self._goals = wanted, torch.stack(embedded)
        return self._step(pixels, self._goals[1], *self._cache.advance(games, whole=self._cuda_graph))

    def _embed_goal(self, goal: bytes) -> Tensor:
        """What `mineclip_embed_linear` makes of a goal's float32 numbers, (1, H)."""
        values = np.frombuffer(goal, np.float32)
        if not np.isfinite(values).all():
            raise UserError(
                "This goal has entries that are not finite numbers.", todo="embed the prompt or episode again"
            )
        with autocast(self._device.type, self._precision):
            return self.policy.net.mineclip_embed_linear(torch.tensor(values, device=self._device))[None]

    def _decode_step(self, frames: Tensor, goals: Tensor, *index: Tensor) -> dict[str, Tensor]:
        """frames u8 (n, 128, 128, 3), embedded goals (R, 1, H), a StepIndex → log-probabilities. Asks the device for no number."""
        with autocast(self._device.type, self._precision):
            single = frames.shape[0] == 1
            if single and self._packed is not None:
                features = self._packed(frames)[:, None]
            else:
                features = self.policy.encode(frames[:, None])
            if self.guided and not single:  # both passes share the encoding; that of one frame is broadcast
                features = features.repeat(2, 1, 1)
            latent = self.policy.net(features + goals, self._cache.layers(StepIndex(*index)))[0][:, 0]
            if self.guided:
                # The heads are linear: guided latents give guided logits, and rows' normalisers cancel in the softmax.
                cond, uncond = latent.chunk(2)
                latent = (1.0 + self.cond_scale) * cond - self.cond_scale * uncond
            return {"buttons": self.policy.pi_head.buttons(latent), "camera": self.policy.pi_head.camera(latent)}

    def _checked_goal(self, goal: Goal) -> NDArray[np.float32]:
        size = self.policy.config.mineclip_embed_dim
        if goal is None:
            return np.zeros(size, np.float32)
        values = np.asarray(goal.detach().cpu() if isinstance(goal, Tensor) else goal, np.float32)
        if values.shape != (size,):
            raise UserError(
                "This goal does not fit the policy.",
                expected=f"one embedding of {size} numbers",
                got=f"shape {values.shape}",
                todo="use the MineCLIP and prior that belong to these weights",
            )
        return values

    def _sample(self, log_probs: Tensor, game: int) -> int:
        return sample(log_probs, None if self.deterministic else self._random[game], self.temperature)


def autocast(kind: str, precision: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """Autocast to `precision`, if it is not float32."""
    return contextlib.nullcontext() if precision == torch.float32 else torch.autocast(kind, precision)


def weights_lowp(policy: GoalPolicy, precision: torch.dtype) -> GoalPolicy:
    """A copy whose matrices and convolutions are in `precision`, so that autocast has nothing to cast; the policy itself in float32."""
    if precision == torch.float32:
        return policy
    policy = copy.deepcopy(policy)
    for module in policy.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(precision)
    return policy.to_channels_last()


def sample(log_probs: Tensor, random: np.random.Generator | None, temperature: float = 1.0) -> int:
    """A class by its log-probability (n,), on the CPU, at a temperature; without a generator the most probable one."""
    if random is None:
        return int(log_probs.argmax())
    if temperature != 1.0:
        log_probs = (log_probs - log_probs.max()) / temperature
    cumulative = log_probs.exp().cumsum(0, dtype=torch.float64).numpy()
    # Scaled by the sum, so that rounding cannot lead past the last class.
    place = cumulative.searchsorted(random.random() * cumulative[-1], side="right")
    return min(int(place), len(cumulative) - 1)
