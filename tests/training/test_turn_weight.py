"""Frames that turn the view can count more: the weighted loss is the weighted mean of the frames' losses."""

from __future__ import annotations

import torch

from steve1.actions import N_BINS, N_BUTTONS, N_CAMERA, NULL_CAMERA
from steve1.policy import GoalPolicy, PolicyConfig
from steve1.training.objectives import BehaviorCloning, LossModule


def test_the_weighted_loss_is_the_weighted_mean_over_frames() -> None:
    torch.manual_seed(0)
    config = PolicyConfig(hidsize=32, attention_heads=2, attention_memory_size=16, timesteps=8, n_recurrence_layers=1, impala_width=1, impala_chans=(2, 2, 2), mineclip_embed_dim=4)  # fmt: skip
    policy = GoalPolicy(config).initialise()
    part = {
        "frames": torch.randint(0, 255, (1, 4, 128, 128, 3), dtype=torch.uint8),
        "goals": torch.randn(1, 4, 4),
        "first": torch.tensor([[True, False, False, False]]),
        "buttons": torch.randint(0, N_BUTTONS, (1, 4)),
        # still, far up, a drift of 1.6 degrees on both axes, far down and right
        "camera": torch.tensor([[NULL_CAMERA, 3, NULL_CAMERA + 2 * N_BINS + 2, N_CAMERA - 1]]),
    }
    state = policy.initial_state(1)
    with torch.no_grad():
        output = policy(part["frames"], part["goals"], part["first"], state)
        each = -(
            output.buttons.gather(2, part["buttons"][..., None]) + output.camera.gather(2, part["camera"][..., None])
        ).flatten()
        weights = torch.tensor([1.0, 3.0, 1.0, 3.0])
        torch.testing.assert_close(
            LossModule(policy, [BehaviorCloning(policy, 3.0)])(part, state).loss, (weights * each).sum() / 8
        )
        torch.testing.assert_close(LossModule(policy, [BehaviorCloning(policy)])(part, state).loss, each.mean())
