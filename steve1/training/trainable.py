"""Applies a fine-tuning mode to a policy: which parameters are trained, low-rank additions (LoRA), a tuned goal.

Weights files hold the policy's tensors under the published names, additions merged; an adapter file holds the additions alone and can be
merged into the same starting weights again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from steve1.core.errors import UserError
from steve1.core.files import atomic_path
from steve1.core.paths import display
from steve1.core.seeds import generator
from steve1.policy import GoalPolicy
from steve1.reporting.numbers import percent
from steve1.training.config import LORA_TARGETS, TrainSettings
from steve1.training.optim.optimizers import BYTES_OF_MOMENTS

ADAPTER_SUFFIX = ".lora.safetensors"
FACTORS = ("lora_a", "lora_b")
TUNED_GOAL = "tuned_goal"


def apply_mode(policy: GoalPolicy, settings: TrainSettings, goal: Tensor | None = None) -> None:
    """Let only what `settings.finetune_mode` says take gradients, in place.

    Args:
        goal: (E,) f32, where goal tuning begins.
    """
    mode = settings.mode
    for name, parameter in policy.named_parameters():
        trained = mode.trains(name, policy.config.n_recurrence_layers)
        parameter.requires_grad_(parameter.requires_grad and trained)  # never the value head
    match mode.adds:
        case "nothing":
            return
        case "lora":
            add_lora(policy, settings.lora_target_names, settings.lora_rank, settings.lora_alpha, settings.seed)
        case "goal":
            assert goal is not None, "goal tuning begins somewhere"
            first = goal.detach().clone().float().to(policy.device)
            policy.register_parameter(TUNED_GOAL, nn.Parameter(first))
        case _:
            assert_never(mode.adds)


def trained_parameters(policy: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that take gradients, by name."""
    return {name: parameter for name, parameter in policy.named_parameters() if parameter.requires_grad}


def describe(policy: GoalPolicy, settings: TrainSettings) -> list[str]:
    """Sentences: how much is trained, and the memory of weights, gradients and optimizer.

    Raises:
        UserError: nothing is trained.
    """
    mode = settings.mode
    every = sum(parameter.numel() for parameter in policy.parameters())
    trained = sum(parameter.numel() for parameter in trained_parameters(policy).values())
    if not trained:
        raise UserError("Nothing would be trained.", got=f"finetune_mode {settings.finetune_mode}")
    copies = settings.l2sp_coef > 0 and mode.adds != "lora", settings.ema_decay > 0
    moments = BYTES_OF_MOMENTS[settings.optimizer]
    held = 4 * every + trained * (4 + moments + 4 * sum(copies))  # weights; gradients, the optimizer's moments, copies
    held += 4 * copied_parameters(policy) if settings.kl_weight > 0 else 0
    details = f" of rank {settings.lora_rank} to {settings.lora_targets}" if mode.adds == "lora" else ""
    return [
        f"trains {mode.help}{details}: {trained:,} of {every:,} parameters ({percent(trained / every)})",
        f"memory: {held / 2**20:,.0f} MiB for weights, gradients and optimizer",
    ]


# ---- low-rank additions and the tuned goal ----


class LoraLinear(nn.Module):
    """A linear layer and its addition: W + scale B A.

    Args:
        base: the layer, which keeps its weights.
        scale: the product's factor.
        first: (rank, in), A's first values; B starts at zero.
    """

    def __init__(self, base: nn.Linear, scale: float, first: Tensor) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = scale
        self.lora_a = nn.Parameter(first.to(base.weight))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, len(first)).to(base.weight))
        self.in_features, self.out_features = base.in_features, base.out_features

    @property
    def weight(self) -> Tensor:
        """W + scale B A, differentiable: for code that reads a layer's weight instead of calling the layer."""
        return self.base.weight + self.scale * (self.lora_b @ self.lora_a)

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) → (..., out), without ever making a matrix of W's size."""
        return self.base(x) + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)

    def squared_length(self) -> Tensor:
        """Squared Frobenius norm of scale B A, from matrices of the rank's size."""
        return self.scale**2 * ((self.lora_b.T @ self.lora_b) * (self.lora_a @ self.lora_a.T)).sum()


def add_lora(policy: GoalPolicy, targets: Sequence[str], rank: int, alpha: float, seed: int) -> None:
    """Give the layers of `targets` (names of `LORA_TARGETS`) an addition of zero, which alone is trained there.

    A starts as normal numbers of variance 1 / in, a function of (seed, layer's name); B at zero. UserError where the rank is too high for
    a layer.
    """
    net, blocks = policy.net, list(policy.net.recurrent_layer.layers)
    groups: dict[str, list[nn.Module]] = {
        "attention": [
            layer
            for attention in (block.attention for block in blocks)
            for layer in (attention.q_layer, attention.k_layer, attention.v_layer, attention.proj_layer)
        ],
        "mlp": [layer for block in blocks for layer in (block.mlp0.layer, block.mlp1_layer)],
        "action_heads": [policy.pi_head.camera.linear_layer, policy.pi_head.buttons.linear_layer],
        "goal": [net.mineclip_embed_linear],
        "lastlayer": [net.lastlayer.layer],
    }
    assert groups.keys() == set(LORA_TARGETS)
    wanted = {id(layer) for target in targets for layer in groups[target]}
    for name, layer in list(policy.named_modules()):
        if id(layer) not in wanted or not isinstance(layer, nn.Linear):
            continue
        most = min(layer.in_features, layer.out_features)
        if rank > most:
            raise UserError(
                "The LoRA rank is too large for this layer.", where=name, expected=f"lora_rank <= {most}", got=str(rank)
            )
        values = generator(seed, "lora", name).standard_normal((rank, layer.in_features)) / layer.in_features**0.5
        parent, _, own = name.rpartition(".")
        setattr(policy.get_submodule(parent), own, LoraLinear(layer, alpha / rank, torch.from_numpy(values)))


def lora_layers(policy: nn.Module) -> dict[str, LoraLinear]:
    """The layers with an addition, by name."""
    return {name: module for name, module in policy.named_modules() if isinstance(module, LoraLinear)}


def tuned_goal(policy: nn.Module) -> Tensor | None:
    """The goal vector (E,) that is being tuned; None where weights are."""
    return policy._parameters.get(TUNED_GOAL)


# ---- the plain form ----


@torch.no_grad()
def plain_state(policy: GoalPolicy) -> dict[str, Tensor]:
    """The policy's tensors under the published names: additions merged (copies only of those), no tuned goal."""
    layers = lora_layers(policy)
    state: dict[str, Tensor] = {}
    for name, value in policy.state_dict().items():
        owner, _, kind = name.rpartition(".")
        layer = owner.removesuffix(".base")
        if kind in FACTORS or name == TUNED_GOAL:
            continue
        if layer in layers:
            name, value = f"{layer}.{kind}", layers[layer].weight.detach() if kind == "weight" else value
        state[name] = value
    return state


def plain_policy(policy: GoalPolicy) -> GoalPolicy:
    """A policy of the published form with `plain_state`'s tensors (shared with `policy` where nothing had to be merged)."""
    with torch.device("meta"):
        plain = GoalPolicy(policy.config)
    plain.load_state_dict(plain_state(policy), strict=True, assign=True)
    return plain.requires_grad_(False).eval()


def frozen_copy(policy: GoalPolicy) -> GoalPolicy:
    """The policy as it is now, to compare with later: shares every tensor that is not trained, copies the rest, a tuned goal too."""
    trained = trained_parameters(policy)
    copy = plain_policy(policy)
    for name, parameter in copy.named_parameters():
        if name in trained:
            parameter.data = parameter.data.clone()
    if (goal := tuned_goal(policy)) is not None:
        copy.register_parameter(TUNED_GOAL, nn.Parameter(goal.detach().clone(), requires_grad=False))
    return copy


def copied_parameters(policy: GoalPolicy) -> int:
    """How many parameters `frozen_copy` does not share: the trained ones, and whole layers where these are additions."""
    layers = lora_layers(policy).values()
    if layers:
        return sum(layer.base.weight.numel() for layer in layers)
    return sum(parameter.numel() for parameter in trained_parameters(policy).values())


# ---- adapter files ----


def adapter_path(weights: Path) -> Path:
    """Where the adapter of weights lies: <name>.lora.safetensors beside them."""
    return weights.with_name(weights.stem + ADAPTER_SUFFIX)


def write_adapter(policy: GoalPolicy, path: Path, base_sha256: str) -> None:
    """The additions alone, with the hash of the weights that they belong to; whole or not at all."""
    layers = lora_layers(policy)
    tensors = {
        f"{name}.{factor}": getattr(layer, factor).detach().cpu().contiguous()
        for name, layer in layers.items()
        for factor in FACTORS
    }
    scales = {name: layer.scale for name, layer in layers.items()}
    with atomic_path(path) as part:
        save_file(tensors, part, metadata={"base_sha256": base_sha256, "scales": json.dumps(scales)})


@torch.no_grad()
def merge_adapter(policy: GoalPolicy, path: Path) -> str:
    """Add an adapter's products to the weights of a plain policy, in place; returns the hash of the weights it was made for.

    Raises:
        UserError: the file is no adapter, or was made for another network.
    """
    weights = dict(policy.named_parameters())
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            for name, scale in json.loads(facts["scales"]).items():
                product = file.get_tensor(f"{name}.lora_b") @ file.get_tensor(f"{name}.lora_a")
                weights[f"{name}.weight"].add_(product.to(weights[f"{name}.weight"]), alpha=scale)
            return facts["base_sha256"]
    except (SafetensorError, OSError, KeyError, RuntimeError, json.JSONDecodeError) as fault:
        raise UserError(
            "This adapter cannot be merged into these weights.",
            where=display(path),
            expected="a .lora.safetensors file of a training with finetune_mode lora, from weights of this model",
            got=f"{type(fault).__name__}: {str(fault).splitlines()[0] if str(fault) else ''}",
        ) from fault
