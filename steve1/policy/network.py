"""The goal-conditioned policy: image encoder, goal, recurrent blocks, heads.

Comes in: frames, goals, episode starts and the carried state. Goes out: log-probabilities of actions, values, the next state;
or, for training, a loss. A pure function of its arguments.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steve1.core.errors import UserError
from steve1.policy.attention import RecurrentLayer, visibility
from steve1.policy.config import PolicyConfig
from steve1.policy.heads import ActionHeads, ValueHead
from steve1.policy.initialization import initialise
from steve1.policy.loss import head_loss
from steve1.policy.state import PolicyState
from steve1.policy.vision import ImageEncoder, NormLinear


@dataclasses.dataclass(frozen=True)
class PolicyOutput:
    """buttons (B, T, 8641) and camera (B, T, 121) log-probabilities, value (B, T) in units of the return, latent (B, T, H)."""

    buttons: Tensor
    camera: Tensor
    value: Tensor
    latent: Tensor
    state: PolicyState


@dataclasses.dataclass(frozen=True)
class LossOutput:
    """loss: mean over the counted frames of -(log p(buttons) + log p(camera)), differentiable; everything else is for reports.

    loss_buttons, loss_camera, accuracy_*, entropy_* (nats): scalars, means over the counted frames; frames: how many counted.
    """

    loss: Tensor
    loss_buttons: Tensor
    loss_camera: Tensor
    state: PolicyState
    accuracy_buttons: Tensor
    accuracy_camera: Tensor
    entropy_buttons: Tensor
    entropy_camera: Tensor
    frames: Tensor


class Network(nn.Module):
    """Everything before the heads, under the published names."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.img_process = ImageEncoder(config)
        self.recurrent_layer = RecurrentLayer(config)
        self.lastlayer = NormLinear(config.hidsize, config.hidsize)
        self.final_ln = nn.LayerNorm(config.hidsize)
        self.mineclip_embed_linear = nn.Linear(config.mineclip_embed_dim, config.hidsize)

    def finish(self, x: Tensor) -> Tensor:
        """What follows the blocks: (..., H) → latent (..., H) float32."""
        return self.final_ln(self.lastlayer(F.relu(x))).float()


class GoalPolicy(nn.Module):
    """The policy; `load_policy` builds it from files."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.net = Network(config)
        self.value_head = ValueHead(config.hidsize)
        self.pi_head = ActionHeads(config.hidsize, config.temperature)

    def initialise(self) -> GoalPolicy:
        """Draw all weights afresh (torch's global generator); returns itself."""
        initialise(self)
        return self.laid_out()

    def laid_out(self) -> GoalPolicy:
        """Convolutions' weights channels last, as their inputs are, or each call would copy them; returns itself."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.net.final_ln.weight.device

    def initial_state(self, batch: int) -> PolicyState:
        """An empty memory for `batch` rows."""
        shape = (batch, self.config.memory, self.config.hidsize)
        empty = [torch.zeros(shape, device=self.device) for _ in range(2 * self.config.n_recurrence_layers)]
        mask = torch.zeros((batch, 1, self.config.memory), dtype=torch.bool, device=self.device)
        half = self.config.n_recurrence_layers
        return PolicyState(tuple(empty[:half]), tuple(empty[half:]), mask)

    def encode(self, frames: Tensor) -> Tensor:
        """Features (B, T, H) of frames u8 (B, T, 128, 128, 3); they depend on neither goal nor memory.

        In the frames' place their dense features, float (B, T, 256), as `net.img_process.dense` makes them and a cache keeps them.
        """
        height, width, channels = self.config.img_shape
        encoder = self.net.img_process
        if frames.is_floating_point() and frames.ndim == 3 and frames.shape[2] == encoder.dense_size:
            return encoder(frames.to(self.device))
        if frames.dtype != torch.uint8 or frames.ndim != 5 or tuple(frames.shape[2:]) != (height, width, channels):
            raise UserError(
                "These frames do not fit the policy.",
                expected=f"uint8 (B, T, {height}, {width}, {channels})",
                got=f"{frames.dtype} {tuple(frames.shape)}",
            )
        return encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def advance(self, features: Tensor, goals: Tensor, first: Tensor, state: PolicyState) -> tuple[Tensor, PolicyState]:
        """features (B, T, H), goals (B, T, E), first (B, T) → latent (B, T, H) and the state after the last step."""
        if goals.shape != (*features.shape[:2], self.config.mineclip_embed_dim) or first.shape != features.shape[:2]:
            raise UserError(
                "Goals and episode starts do not fit the frames.",
                expected=f"goals {(*features.shape[:2], self.config.mineclip_embed_dim)}, first {tuple(features.shape[:2])}",
                got=f"goals {tuple(goals.shape)}, first {tuple(first.shape)}",
            )
        x = features + self.net.mineclip_embed_linear(goals.to(features.device))
        visible, mask = visibility(state.mask, first)
        hidden = torch.zeros(visible.shape, device=x.device).masked_fill_(~visible, float("-inf"))[:, None]
        keys, values = [], []
        for block, old_keys, old_values in zip(self.net.recurrent_layer.layers, state.keys, state.values, strict=True):
            x, new_keys, new_values = block(x, old_keys, old_values, hidden)
            keys.append(new_keys)
            values.append(new_values)
        return self.net.finish(x), PolicyState(tuple(keys), tuple(values), mask)

    def forward(self, frames: Tensor, goals: Tensor, first: Tensor, state: PolicyState) -> PolicyOutput:
        """frames u8 (B, T, 128, 128, 3) RGB, goals f32 (B, T, E), first bool (B, T), state → PolicyOutput."""
        latent, state = self.advance(self.encode(frames), goals, first, state)
        return PolicyOutput(
            self.pi_head.buttons(latent), self.pi_head.camera(latent), self.value_head(latent), latent, state
        )

    def loss(
        self,
        frames: Tensor,
        goals: Tensor,
        first: Tensor,
        state: PolicyState,
        buttons: Tensor,
        camera: Tensor,
        mask: Tensor | None = None,
    ) -> LossOutput:
        """Imitation loss of a chunk; needs less memory than forward and does not touch the value head.

        As forward, and buttons, camera: recorded joint classes i64 (B, T); mask: bool (B, T), frames that count (default all).
        """
        latent, state = self.advance(self.encode(frames), goals, first, state)
        return self.imitation(latent, state, buttons, camera, mask)

    def imitation(
        self, latent: Tensor, state: PolicyState, buttons: Tensor, camera: Tensor, mask: Tensor | None = None
    ) -> LossOutput:
        """What `loss` does with latent (B, T, H) and the state after it."""
        counted = (
            torch.ones(latent.shape[:2], device=latent.device)
            if mask is None
            else mask.to(latent.device, torch.float32)
        )
        frames_counted = counted.sum()
        weight = (counted / frames_counted.clamp(min=1)).flatten()
        flat = latent.flatten(0, 1)
        by_buttons = head_loss(self.pi_head.buttons, flat, buttons.flatten(), weight)
        by_camera = head_loss(self.pi_head.camera, flat, camera.flatten(), weight)
        return LossOutput(
            loss=by_buttons.loss + by_camera.loss,
            loss_buttons=by_buttons.loss.detach(),
            loss_camera=by_camera.loss.detach(),
            state=state,
            accuracy_buttons=weight @ by_buttons.correct,
            accuracy_camera=weight @ by_camera.correct,
            entropy_buttons=weight @ by_buttons.entropy,
            entropy_camera=weight @ by_camera.entropy,
            frames=frames_counted,
        )

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Two groups for an optimizer: decay on tensors of two or more dimensions except `b_nd`, none on the rest."""
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                (decayed if parameter.ndim >= 2 and not name.endswith("b_nd") else plain).append(parameter)
        return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
