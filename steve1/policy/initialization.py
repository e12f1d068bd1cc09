"""Initial weights of a policy that is trained from scratch, scaled by fan-in as VPT's were.

Each output unit's weights have a fixed length, so that signals keep their size; layers that add to a residual stream start
smaller the more of them there are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from steve1.policy.network import GoalPolicy

RELU_GAIN = math.sqrt(2.0)
HEAD_GAIN = 0.01  # both heads begin nearly uniform
GOAL_GAIN = 2.0


@torch.no_grad()
def initialise(policy: GoalPolicy) -> None:
    """Draw every parameter of the policy from torch's global generator."""
    for module in policy.modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear | nn.Conv2d):
            unit_rows(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for parameter in policy.value_head.normalizer.parameters():
        parameter.zero_()
    for head in (policy.pi_head.camera, policy.pi_head.buttons):
        head.linear_layer.weight.mul_(HEAD_GAIN)
    policy.net.lastlayer.layer.weight.mul_(RELU_GAIN)
    policy.net.mineclip_embed_linear.weight.mul_(GOAL_GAIN)
    _scale_image(policy)
    _scale_recurrent(policy)


def unit_rows(weight: Tensor) -> None:
    """Draw normal numbers and scale each output unit's weights to length 1."""
    nn.init.normal_(weight)
    flat = weight.flatten(1)
    flat.div_(flat.norm(dim=1, keepdim=True).clamp(min=1e-12))


def _scale_image(policy: GoalPolicy) -> None:
    encoder = policy.net.img_process
    branches = sum(len(stack.residuals) for stack in encoder.cnn.layers)
    for stack in encoder.cnn.layers:
        stack.firstconv.layer.weight.mul_(RELU_GAIN)
        for block in stack.residuals:
            block.conv0.layer.weight.mul_(RELU_GAIN)
            block.conv1.layer.weight.mul_(RELU_GAIN / math.sqrt(branches))
    encoder.cnn.dense.layer.weight.mul_(RELU_GAIN)
    encoder.linear.layer.weight.mul_(RELU_GAIN)


def _scale_recurrent(policy: GoalPolicy) -> None:
    blocks = policy.net.recurrent_layer.layers
    branch_gain = 1.0 / math.sqrt(2 * len(blocks))
    for block in blocks:
        attention = block.attention
        attention.proj_layer.weight.mul_(branch_gain)
        attention.r_layer.weight.mul_(0.1)
        nn.init.normal_(attention.b_nd)
        block.mlp0.layer.weight.mul_(RELU_GAIN)
        block.mlp1_layer.weight.mul_(branch_gain)
