"""Reading and writing the policy's weights, strictly.

Input: `.weights` (a torch state dict) or `.safetensors`, with any prefix that VPT, STEVE-1 or MineStudio published.
Output: a policy whose every parameter came from the file, or an error that lists the keys. Nothing in a file is executed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.paths import download_advice
from steve1.core.reading.pickles import check_tensors, read_tensors
from steve1.policy.config import PolicyConfig, read_model
from steve1.policy.network import GoalPolicy

PREFIXES = ("module.policy.", "policy.", "module.")
GOAL_KEYS = ("net.mineclip_embed_linear.weight", "net.mineclip_embed_linear.bias")


def load_policy(
    model: str | os.PathLike[str] | Mapping[str, Any] | PolicyConfig,
    weights: str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device = "cpu",
    from_vpt: bool = False,
) -> GoalPolicy:
    """A policy from its settings and weights, in eval mode and float32; the goal's size E is read from the weights.

    Args:
        model: a `.model` file, a `.json` file, or a dict nested like its contents.
        weights: `.weights` or `.safetensors`; None: initial weights from torch's global generator.
        from_vpt: the goal's linear layer may be missing and then starts at zero, so that the policy begins as VPT's.

    Raises:
        UserError: a file is missing, hostile or damaged, or keys or shapes do not match (it lists them).
    """
    config = read_model(model)
    if weights is None:
        return GoalPolicy(config).initialise().to(device).eval()
    state = read_weights(weights)
    if from_vpt and not any(key in state for key in GOAL_KEYS):
        state[GOAL_KEYS[0]] = torch.zeros(config.hidsize, config.mineclip_embed_dim)
        state[GOAL_KEYS[1]] = torch.zeros(config.hidsize)
    goal = state.get(GOAL_KEYS[0])
    if goal is not None and goal.ndim == 2 and goal.shape[1] != config.mineclip_embed_dim:
        config = dataclasses.replace(config, mineclip_embed_dim=goal.shape[1])
    with torch.device("meta"):
        policy = GoalPolicy(config)
    wanted = policy.state_dict()
    todo = "use the .model file that belongs to these weights"
    if set(wanted) - set(state) == set(GOAL_KEYS):
        todo = "these look like VPT's weights: say from_vpt (--from_vpt) to start from them"
    check_tensors(wanted, state, "The weights do not match the model.", weights, todo=todo)
    trains = [parameter.requires_grad for parameter in policy.parameters()]
    policy.load_state_dict({key: value.float() for key, value in state.items()}, strict=True, assign=True)
    for parameter, needs_grad in zip(policy.parameters(), trains, strict=True):
        parameter.requires_grad_(needs_grad)
    return policy.to_channels_last().to(device).eval()


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Tensors by key, published prefixes removed. The file is read without executing anything in it."""
    content, _ = read_tensors(Path(path), "policy weights", download_advice(path))
    state: dict[str, Tensor] = {}
    for key, value in content.items():
        prefix = next((prefix for prefix in PREFIXES if key.startswith(prefix)), "")
        short = key.removeprefix(prefix)
        if short in state:
            raise UserError(
                "The weights file has a key twice once prefixes are removed.", where=f"{path}: {key}", got=short
            )
        state[short] = value
    return state


def save_weights(model: nn.Module, path: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32) -> None:
    """Write all parameters of a policy or an inverse dynamics model under the published names to `.weights` (a torch state dict) or `.safetensors`, whole or not at all.

    dtype: torch.float16 halves the file (the readers of other programs want float32).
    """
    path = Path(path)
    state = {key: value.detach().to("cpu", dtype).contiguous().clone() for key, value in model.state_dict().items()}
    with atomic_file(path) as file:
        if path.suffix == ".safetensors":
            file.write(safetensors_bytes(state))
        else:
            torch.save(state, file)
