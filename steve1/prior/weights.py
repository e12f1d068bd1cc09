"""The prior's weight files: the published `steve1_prior.pt` and our own `.safetensors`.

In: a path. Out: a `Prior` in evaluation mode, or a file. The sizes are read off the tensors; reading is strict.
"""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from steve1.core.errors import UserError
from steve1.core.files import atomic_file
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
    if not path.is_file():
        raise UserError(
            "prior weights not found",
            where=str(path),
            todo="bash 0_download_weights.sh, or train one: bash 4_train_prior.sh (the mini family's is "
            "data/mini/mini_prior.safetensors)",
        )
    tensors = {re.sub(r"^(module\.)?(model\.)?", "", key): value for key, value in _read(path).items()}
    prior = Prior(_sizes(tensors, path))
    wanted = prior.state_dict()
    faults = [f"{key} is missing" for key in wanted if key not in tensors]
    faults += [f"{key} is unknown" for key in tensors if key not in wanted]
    faults += [
        f"{key} has shape {tuple(tensors[key].shape)}, expected {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    if faults:
        raise UserError("these are not a prior's weights", where=str(path), got="; ".join(faults[:6]))
    prior.load_state_dict({key: value.float() for key, value in tensors.items()})
    prior.source = path
    return prior.to(device).eval().requires_grad_(False)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise UserError(
            "these prior weights cannot be read",
            where=str(path),
            expected="a file of tensors only",
            got=(str(error).splitlines() or [type(error).__name__])[0],
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError("these prior weights hold no state_dict", where=str(path), got=type(content).__name__)
    return content


def _sizes(tensors: dict[str, Tensor], path: Path) -> PriorConfig:
    """E, hidden and latent width, read off the two output layers."""
    ends = [tensors.get(f"{part}.6.weight") for part in ("encoder", "decoder")]
    if any(end is None or end.ndim != 2 for end in ends):
        raise UserError(
            "these are not a prior's weights",
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
