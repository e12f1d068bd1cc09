"""Initial weights, scaled by fan-in as VPT's were: of the parts that the policy and the inverse dynamics model share.

Each output unit's weights have a fixed length, so that signals keep their size; layers that add to a residual stream start smaller the more
of them there are.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from steve1.policy.attention import RecurrentLayer
from steve1.policy.vision import ImageEncoder

RELU_GAIN = math.sqrt(2.0)
HEAD_GAIN = 0.01  # heads begin nearly uniform


def unit_layers(model: nn.Module) -> None:
    """Norms become the identity; weights are drawn anew, each output unit's of length 1; biases become 0."""
    for module in model.modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            _unit_rows(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _unit_rows(weight: Tensor) -> None:
    """Draw normal numbers and scale each output unit's weights to length 1."""
    nn.init.normal_(weight)
    flat = weight.flatten(1)
    flat.div_(flat.norm(dim=1, keepdim=True).clamp(min=1e-12))


def scale_image(encoder: ImageEncoder) -> None:
    """Gains of the image encoder's layers."""
    branches = sum(len(stack.residuals) for stack in encoder.cnn.layers)
    for stack in encoder.cnn.layers:
        stack.firstconv.layer.weight.mul_(RELU_GAIN)
        for block in stack.residuals:
            block.conv0.layer.weight.mul_(RELU_GAIN)
            block.conv1.layer.weight.mul_(RELU_GAIN / math.sqrt(branches))
    encoder.cnn.dense.layer.weight.mul_(RELU_GAIN)
    encoder.linear.layer.weight.mul_(RELU_GAIN)


def scale_recurrent(layer: RecurrentLayer) -> None:
    """Gains of the blocks' layers."""
    branch_gain = 1.0 / math.sqrt(2 * len(layer.layers))
    for block in layer.layers:
        attention = block.attention
        attention.proj_layer.weight.mul_(branch_gain)
        attention.r_layer.weight.mul_(0.1)
        nn.init.normal_(attention.b_nd)
        block.mlp0.layer.weight.mul_(RELU_GAIN)
        block.mlp1_layer.weight.mul_(branch_gain)
