"""Reading the inverse dynamics model's weights, strictly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from steve1.core.errors import UserError
from steve1.core.reading.pickles import check_tensors
from steve1.idm.config import IdmConfig, read_idm_model
from steve1.idm.network import InverseDynamicsModel
from steve1.policy.weights import read_weights

_CONV = "net.conv3d_layer.layer.weight"


def load_idm(
    model: str | os.PathLike[str] | Mapping[str, Any] | IdmConfig,
    weights: str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device = "cpu",
) -> InverseDynamicsModel:
    """An inverse dynamics model from its settings and weights, in eval mode and float32.

    Args:
        model: a `.model` file, a `.json` file, or a dict nested like its contents.
        weights: `.weights` or `.safetensors`; None: fresh weights from torch's global generator.

    Raises:
        UserError: a file is missing, hostile or damaged, it is a policy's, or keys or shapes do not match (it lists them).
    """
    config = read_idm_model(model)
    if weights is None:
        return InverseDynamicsModel(config).to(device).eval()
    state = read_weights(weights)
    if _CONV not in state:
        what = (
            "These are a policy's weights, not an inverse dynamics model's."
            if "net.img_process.linear.layer.weight" in state
            else "These are not an inverse dynamics model's weights."
        )
        raise UserError(
            what,
            where=os.fspath(weights),
            expected=f"{_CONV} and others",
            todo="name the .weights file of the inverse dynamics model",
        )
    with torch.device("meta"):
        found = InverseDynamicsModel(config)
    wanted = found.state_dict()
    for name, tensor in wanted.items():
        if name.endswith("b_nd") and name not in state:  # empty, and lost by some programs
            state[name] = torch.empty(tuple(tensor.shape))
    check_tensors(
        wanted,
        state,
        "The weights do not match the model.",
        weights,
        todo="use the .model file that belongs to these weights",
    )
    found.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=True, assign=True)
    for module in found.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return found.to(device).eval()
