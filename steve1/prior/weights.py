"""The prior's weights files: the published `steve1_prior.pt` and our `.safetensors`.

Reading is strict; the sizes are read off the tensors.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from steve1.core.errors import UserError
from steve1.core.files import atomic_file
from steve1.core.paths import download_advice
from steve1.core.reading.pickles import check_tensors, read_tensors
from steve1.prior.cvae import Prior, PriorConfig

FORMAT = "steve1-prior-1"


def load_prior(weights: str | Path, *, device: str | torch.device = "cpu") -> Prior:
    """Read prior weights, strictly; nothing in the file is executed.

    Args:
        weights: `steve1_prior.pt` (a torch file of tensors) or one of our `.safetensors`.

    Returns:
        The prior in evaluation mode, float32, without gradients.

    Raises:
        UserError: the file is missing, holds other objects than tensors, or its tensors are not a prior's.
    """
    path = Path(weights)
    todo = download_advice(path) or "train one: bash 4_train_prior.sh (mini weights: data/mini/mini_prior.safetensors)"
    content, _ = read_tensors(path, "prior weights", todo)
    tensors = {re.sub(r"^(module\.)?(model\.)?", "", key): value for key, value in content.items()}
    prior = Prior(_sizes(tensors, path))
    check_tensors(prior.state_dict(), tensors, "These are not the prior weights that were expected.", path)
    prior.load_state_dict({key: value.float() for key, value in tensors.items()})
    prior.source = path
    return prior.to(device).eval().requires_grad_(False)


def _sizes(tensors: dict[str, Tensor], path: Path) -> PriorConfig:
    """E, hidden and latent width, read off the two output layers."""
    ends = [tensors.get(f"{part}.6.weight") for part in ("encoder", "decoder")]
    if any(end is None or end.ndim != 2 for end in ends):
        raise UserError(
            "These are not a prior's weights.",
            where=str(path),
            expected="encoder.6.weight and decoder.6.weight, among others",
            got=", ".join(sorted(tensors)[:6]) or "nothing",
        )
    encoder, decoder = (end for end in ends if end is not None)
    return PriorConfig(embed_dim=len(decoder), hidden_dim=decoder.shape[1], latent_dim=len(encoder) // 2)


def save_prior(prior: Prior, path: str | Path, *, half: bool = False, notes: dict[str, str] | None = None) -> None:
    """Write a prior: `.safetensors` with the sizes in the metadata, or `.pt` as STEVE-1 reads it.

    Args:
        path: written beside and renamed, so that a whole file is there or none.
        half: float16 instead of float32.
        notes: further strings for the `.safetensors` metadata.
    """
    dtype = torch.float16 if half else torch.float32
    tensors = {key: value.detach().to("cpu", dtype, copy=True) for key, value in prior.state_dict().items()}
    with atomic_file(path) as file:
        if Path(path).suffix == ".safetensors":
            config = json.dumps(asdict(prior.config))
            file.write(save(tensors, {"format": FORMAT, "config": config, **(notes or {})}))
        else:
            torch.save(tensors, file)
