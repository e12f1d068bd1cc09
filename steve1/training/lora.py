"""Room `training`, low-rank additions (LoRA): layers keep their weights and learn a product of two narrow matrices beside them.

In: a policy, which layers, a rank. Out: the same policy with small trained parameters; its weights with the additions merged, under
the published names; and the additions alone, as an adapter file that can be merged into the same starting weights again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

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

ADAPTER_SUFFIX = ".lora.safetensors"
PARTS = ("lora_a", "lora_b")


class LoraLinear(nn.Linear):
    """A linear layer with an addition: W + scale B A. Made from an existing layer by `attach`, so names and tensors stay.

    `weight` is the sum, for whoever reads it; the layer's own forward pass takes the narrow way around.
    """

    scale: float
    lora_a: nn.Parameter
    lora_b: nn.Parameter

    @staticmethod
    def attach(layer: nn.Linear, rank: int, scale: float, rng_values: Tensor) -> None:
        """Turn `layer` into one with an addition of zero; `rng_values` (rank, in) are A's first values."""
        layer.weight.requires_grad_(False)
        if layer.bias is not None:
            layer.bias.requires_grad_(False)
        layer.register_parameter("lora_a", nn.Parameter(rng_values.to(layer.weight)))
        layer.register_parameter("lora_b", nn.Parameter(torch.zeros(layer.out_features, rank).to(layer.weight)))
        layer.__class__ = LoraLinear  # after the parameters: the class has a property where the layer has its weight
        layer.scale = scale  # type: ignore[assignment]

    @property
    def base(self) -> Tensor:
        """W alone."""
        found = self._parameters["weight"]
        assert found is not None
        return found

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """W + scale B A, differentiable."""
        return self.base + self.scale * (self.lora_b @ self.lora_a)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) → (..., out), without ever making a matrix of W's size."""
        return F.linear(x, self.base, self.bias) + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)

    def squared_length(self) -> Tensor:
        """Squared Frobenius norm of scale B A, from matrices of the rank's size."""
        return self.scale**2 * ((self.lora_b.T @ self.lora_b) * (self.lora_a @ self.lora_a.T)).sum()


def targets_of(policy: GoalPolicy, targets: Sequence[str]) -> list[tuple[str, nn.Linear]]:
    """(name, layer) of the layers that `targets` mean: attention, mlp, heads, goal, last."""
    net = policy.net
    groups: dict[str, list[nn.Module]] = {
        "attention": [
            layer
            for block in net.recurrent_layer.layers
            for attention in (block.attention,)
            for layer in (attention.q_layer, attention.k_layer, attention.v_layer, attention.proj_layer)
        ],
        "mlp": [layer for block in net.recurrent_layer.layers for layer in (block.mlp0.layer, block.mlp1_layer)],
        "heads": [policy.pi_head.camera.linear_layer, policy.pi_head.buttons.linear_layer],
        "goal": [net.mineclip_embed_linear],
        "last": [net.lastlayer.layer],
    }
    wanted = {id(layer) for target in targets for layer in groups[target]}
    return [
        (name, layer) for name, layer in policy.named_modules() if id(layer) in wanted and isinstance(layer, nn.Linear)
    ]


def add_lora(policy: GoalPolicy, targets: Sequence[str], rank: int, alpha: float, seed: int) -> None:
    """Give layers a trained addition of zero; everything else keeps what it is and is not trained.

    A starts as normal numbers of variance 1 / in, a function of (seed, layer's name); B at zero.

    Raises:
        UserError: the rank is larger than one of the layers allows.
    """
    policy.requires_grad_(False)
    for name, layer in targets_of(policy, targets):
        most = min(layer.in_features, layer.out_features)
        if rank > most:
            raise UserError(
                "This rank is not low for this layer.", where=name, expected=f"lora_rank <= {most}", got=str(rank)
            )
        values = generator(seed, "lora", name).standard_normal((rank, layer.in_features)) / layer.in_features**0.5
        LoraLinear.attach(layer, rank, alpha / rank, torch.from_numpy(values))


def lora_layers(policy: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """(name, layer) of the layers with an addition."""
    for name, module in policy.named_modules():
        if isinstance(module, LoraLinear):
            yield name, module


@torch.no_grad()
def merged_state(policy: GoalPolicy) -> dict[str, Tensor]:
    """The policy's tensors under the published names, additions merged; copies only of those."""
    state = {name: value for name, value in policy.state_dict().items() if name.rsplit(".", 1)[-1] not in PARTS}
    for name, layer in lora_layers(policy):
        state[f"{name}.weight"] = layer.weight.detach()
    return state


def adapter_path(weights: Path) -> Path:
    """Where the adapter of weights lies: <name>.lora.safetensors beside them."""
    return weights.with_name(weights.stem + ADAPTER_SUFFIX)


def write_adapter(policy: GoalPolicy, path: Path, base_sha256: str) -> None:
    """The additions alone, with the hash of the weights that they belong to; whole or not at all."""
    layers = dict(lora_layers(policy))
    tensors = {
        f"{name}.{part}": getattr(layer, part).detach().cpu().contiguous()
        for name, layer in layers.items()
        for part in PARTS
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
