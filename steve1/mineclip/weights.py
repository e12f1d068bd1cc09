"""MineCLIP's weights files: the published `attn.pth`, and `.safetensors` with the sizes inside.

Reading is strict: every parameter must be there once, the published aliases must agree, and nothing may be left over.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from steve1.core.files import atomic_file
from steve1.core.paths import download_advice
from steve1.core.reading.pickles import check_tensors, read_tensors
from steve1.mineclip.config import MineCLIPConfig, from_dict, read_config
from steve1.mineclip.model import MineCLIP

FORMAT = "steve1-mineclip-1"
PUBLISHED_MD5 = "b5ece9198337cfd117a3bfbd921e56da"

# One tensor has up to three names in attn.pth; the first of each pair is an alias of the second.
_ALIASES = (
    (re.compile(r"^image_encoder\."), "clip_model.vision_model."),
    (re.compile(r"^reward_head\.clip_model\."), "clip_model."),
)
_PREFIXES = (
    ("vision.", "clip_model.vision_model."),
    ("text.", "clip_model.text_model."),
    ("adapter.residual_weight", "reward_head.video_residual_weight"),
    ("logit_scale", "clip_model.logit_scale"),
)
_TEMPORAL = "temporal_encoder.attn.model."
_TEMPORAL_PARTS = {  # our name inside a block → (0: attention layer, 1: feed-forward layer; published name there)
    "norm_attn": (0, "0.0"),
    "to_q": (0, "1.to_q"),
    "to_k": (0, "1.to_k"),
    "to_v": (0, "1.to_v"),
    "to_out": (0, "1.to_out"),
    "norm_ff": (1, "0.0"),
    "ff_in": (1, "1.net.0.proj"),
    "ff_out": (1, "1.net.3"),
}


def published_name(name: str) -> str:
    """The key that the published files use for one of our parameters (the last of its aliases)."""
    for ours, theirs in _PREFIXES:
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    if name == "temporal.pos_emb":
        return _TEMPORAL + "pos_emb.emb.weight"
    if match := re.fullmatch(r"temporal\.blocks\.(\d+)\.(\w+)\.(weight|bias)", name):
        half, part = _TEMPORAL_PARTS[match[2]]
        return f"{_TEMPORAL}attn_layers.layers.{2 * int(match[1]) + half}.{part}.{match[3]}"
    if match := re.fullmatch(r"adapter\.layers\.(\d+)\.(weight|bias)", name):
        return f"reward_head.video_adapter.{3 * int(match[1])}.{match[2]}"  # norm and ReLU lie between, without weights
    return name.replace("temporal.", _TEMPORAL)


def load_mineclip(
    weights: str | Path,
    config: str | Path | dict[str, Any] | MineCLIPConfig = "attn",
    *,
    device: str | torch.device = "cpu",
) -> MineCLIP:
    """Read MineCLIP weights, strictly.

    Args:
        weights: the published `attn.pth`, another torch file of such keys, or a `.safetensors` of ours.
        config: "attn" for the published sizes, a dict or a JSON file for others. A `.safetensors` of ours has its
            sizes inside.
        device: where to put the model.

    Returns:
        The model in evaluation mode, float32, without gradients.

    Raises:
        UserError: the file is missing, not of this kind, holds other objects than tensors, or does not fit.
    """
    path = Path(weights)
    tensors, metadata = read_tensors(
        path,
        "MineCLIP weights",
        download_advice(path) or "name another file (mini weights: data/mini/mini_mineclip.safetensors)",
    )
    if "config" in metadata and str(config) == "attn":
        config = from_dict(json.loads(metadata["config"]), where=f"{path}, metadata")
    model = MineCLIP(read_config(config))
    fill(model, tensors, where=str(path))
    return model.to(device).eval().requires_grad_(False)


def fill(model: MineCLIP, tensors: dict[str, Tensor], where: str = "") -> None:
    """Copy published-name tensors into a model: aliases are merged, prefixes `model.` and `module.` dropped.

    Raises:
        UserError: one report of everything that is missing, unknown, contradictory or of another shape.
    """
    merged: dict[str, Tensor] = {}
    faults = []
    for key, tensor in tensors.items():
        name = re.sub(r"^(module\.)?(model\.)?", "", key)
        for alias, target in _ALIASES:
            name = alias.sub(target, name)
        if name in merged and not torch.equal(merged[name], tensor):
            faults.append(f"{key} differs from another name of the same tensor")
        merged[name] = tensor
    wanted = {published_name(name): parameter for name, parameter in model.named_parameters()}
    todo = "name the configuration that belongs to these weights with --config"
    check_tensors(wanted, merged, "These are not the MineCLIP weights that were expected.", where, faults, todo)
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(merged[name])


def save_mineclip(
    model: MineCLIP, path: str | Path, *, half: bool = False, notes: dict[str, str] | None = None
) -> None:
    """Write a model as `.safetensors`: the published keys without aliases, the sizes in the metadata.

    Args:
        path: written beside and renamed, so that a whole file is there or none.
        half: float16 instead of float32, half the size.
        notes: further strings for the metadata.
    """
    dtype = torch.float16 if half else torch.float32
    tensors = {
        published_name(name): value.detach().to("cpu", dtype, copy=True).contiguous()
        for name, value in model.named_parameters()
    }
    metadata = {"format": FORMAT, "config": json.dumps(model.config.to_dict()), **(notes or {})}
    with atomic_file(path) as file:
        file.write(save(tensors, metadata))
