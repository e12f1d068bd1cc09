"""The goal-conditioned policy: image encoder, goal, recurrent blocks, heads.

Input: frames, goals, episode starts and the carried state. Output: log-probabilities of actions, values and the next state,
or a loss for training. A pure function of its arguments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from steve1.core.errors import UserError
from steve1.policy.attention import ChunkMemory, Memory, RecurrentLayer, attention_mask
from steve1.policy.config import PolicyConfig
from steve1.policy.heads import ActionHeads, ValueHead
from steve1.policy.initial import HEAD_GAIN, RELU_GAIN, scale_image, scale_recurrent, unit_layers
from steve1.policy.loss import head_loss
from steve1.policy.state import PolicyState
from steve1.policy.vision import ActivationCheckpointing, ImageEncoder, NormLinear

GOAL_GAIN = 2.0


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
    """loss: mean over the counted frames of -(log p(buttons) + log p(camera)), differentiable; everything else is for logging.

    loss_buttons, loss_camera, accuracy_*, entropy_* (nats): scalars, means over the counted frames; frames: number counted.
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

    def forward(self, x: Tensor, memories: Sequence[Memory]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Everything between the goal and the heads.

        Args:
            x: (B, T, H), the output of `img_process` plus that of `mineclip_embed_linear`.
            memories: one per block.

        Returns:
            The latent (B, T, H) float32, and the keys and values (B, S, H) that each block saw.
        """
        seen = []
        for block, memory in zip(self.recurrent_layer.layers, memories, strict=True):
            x, keys, values = block(x, memory)
            seen.append((keys, values))
        return self.final_ln(self.lastlayer(x.relu())).float(), seen


class GoalPolicy(nn.Module):
    """The policy; `load_policy` builds it from files."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.net = Network(config)
        self.value_head = ValueHead(config.hidsize)
        self.pi_head = ActionHeads(config.hidsize, config.temperature)

    def initialise(self) -> GoalPolicy:
        """Draw all weights from torch's global generator; returns itself."""
        initialise(self)
        return self.to_channels_last()

    def to_channels_last(self) -> GoalPolicy:
        """Store the convolutions' weights channels last, as their inputs are, so that no call copies them; returns itself."""
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
        memory, blocks = self.config.memory, range(self.config.n_recurrence_layers)
        keys, values = (
            tuple(torch.zeros((batch, memory, self.config.hidsize), device=self.device) for _ in blocks) for _ in "kv"
        )
        return PolicyState(keys, values, torch.zeros((batch, 1, memory), dtype=torch.bool, device=self.device))

    def encode(self, frames: Tensor, *, activation_checkpointing: ActivationCheckpointing = "none") -> Tensor:
        """Features (B, T, H), which depend on neither goal nor memory.

        Args:
            frames: u8 (B, T, 128, 128, 3) RGB.
            activation_checkpointing: what the backward pass computes again in place of keeping it.
        """
        height, width, channels = self.config.img_shape
        encoder = self.net.img_process
        if frames.dtype != torch.uint8 or frames.ndim != 5 or tuple(frames.shape[2:]) != (height, width, channels):
            raise UserError(
                "These frames do not fit the policy.",
                expected=f"uint8 (B, T, {height}, {width}, {channels})",
                got=f"{frames.dtype} {tuple(frames.shape)}",
            )
        return encoder(frames.flatten(0, 1), activation_checkpointing).unflatten(0, frames.shape[:2])

    def forward_recurrent(
        self, features: Tensor, goals: Tensor, first: Tensor, state: PolicyState
    ) -> tuple[Tensor, PolicyState]:
        """features (B, T, H), goals (B, T, E), first (B, T) → latent (B, T, H) and the state after the last step."""
        shape = tuple(features.shape[:2])
        if goals.shape != (*shape, self.config.mineclip_embed_dim) or first.shape != shape:
            raise UserError(
                "Goals and episode starts do not fit the frames.",
                expected=f"goals {(*shape, self.config.mineclip_embed_dim)}, first {shape}",
                got=f"goals {tuple(goals.shape)}, first {tuple(first.shape)}",
            )
        visible, mask = attention_mask(state.mask, first)
        attn_bias = torch.zeros(visible.shape, device=features.device).masked_fill_(~visible, float("-inf"))[:, None]
        memories = [ChunkMemory(keys, values, attn_bias) for keys, values in zip(state.keys, state.values)]
        x = features + self.net.mineclip_embed_linear(goals.to(features.device))
        latent, seen = self.net(x, memories)
        keys, values = (tuple(rows[:, -self.config.memory :] for rows in each) for each in zip(*seen))
        return latent, PolicyState(keys, values, mask)

    def forward(self, frames: Tensor, goals: Tensor, first: Tensor, state: PolicyState) -> PolicyOutput:
        """frames u8 (B, T, 128, 128, 3) RGB, goals f32 (B, T, E), first bool (B, T), state → PolicyOutput."""
        latent, state = self.forward_recurrent(self.encode(frames), goals, first, state)
        head = self.pi_head
        return PolicyOutput(head.buttons(latent), head.camera(latent), self.value_head(latent), latent, state)

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
        """Behaviour cloning loss of a chunk; needs less memory than forward and leaves out the value head.

        Args:
            frames, goals, first, state: as for forward.
            buttons, camera: i64 (B, T), recorded joint classes.
            mask: (B, T), how much each frame counts; None: 1 each.
        """
        latent, state = self.forward_recurrent(self.encode(frames), goals, first, state)
        return self.bc_loss(latent, state, buttons, camera, mask)

    def bc_loss(
        self, latent: Tensor, state: PolicyState, buttons: Tensor, camera: Tensor, mask: Tensor | None = None
    ) -> LossOutput:
        """As `loss`, from the latent (B, T, H) and the state after it."""
        if mask is None:
            mask = torch.ones(latent.shape[:2], device=latent.device)
        counted = mask.to(latent.device, torch.float32)
        frames_counted = counted.sum()
        weight = (counted / frames_counted.clamp(min=1)).flatten()
        flat, buttons, camera = latent.flatten(0, 1), buttons.flatten(), camera.flatten()
        by_buttons = head_loss(self.pi_head.buttons, flat, buttons, weight)
        by_camera = head_loss(self.pi_head.camera, flat, camera, weight)
        return LossOutput(
            loss=by_buttons.loss + by_camera.loss,
            loss_buttons=by_buttons.loss.detach(),
            loss_camera=by_camera.loss.detach(),
            state=state,
            accuracy_buttons=weight @ (by_buttons.best == buttons).float(),
            accuracy_camera=weight @ (by_camera.best == camera).float(),
            entropy_buttons=weight @ by_buttons.entropy,
            entropy_camera=weight @ by_camera.entropy,
            frames=frames_counted,
        )


@torch.no_grad()
def initialise(policy: GoalPolicy) -> None:
    """Draw every parameter of the policy from torch's global generator, scaled by fan-in as VPT's were."""
    unit_layers(policy)
    for parameter in policy.value_head.normalizer.parameters():
        parameter.zero_()
    for head in (policy.pi_head.camera, policy.pi_head.buttons):
        head.linear_layer.weight.mul_(HEAD_GAIN)
    policy.net.lastlayer.layer.weight.mul_(RELU_GAIN)
    policy.net.mineclip_embed_linear.weight.mul_(GOAL_GAIN)
    scale_image(policy.net.img_process)
    scale_recurrent(policy.net.recurrent_layer)
