"""Converts policy weights from one file format into another: `.weights` ↔ `.safetensors`, float32 ↔ float16.

Output: the same weights, checked key by key on the way, with `<weights>.json` beside them.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch

from steve1.core.checkpoint_metadata import read_checkpoint_metadata, write_checkpoint_metadata
from steve1.core.errors import UserError
from steve1.core.files import check_writable, sha256_file
from steve1.core.paths import display, output_path, resolve
from steve1.policy import load_policy, save_weights


@dataclasses.dataclass(frozen=True)
class Args:
    """Which weights, and into what."""

    in_weights: str
    """Weights to read."""
    out_weights: str
    """Path of the converted weights: .weights or .safetensors."""
    in_model: str = ""
    """The .model file; default: from <in_weights>.json."""
    dtype: Literal["float32", "float16"] = "float32"
    """float16 halves the file."""
    mineclip: str = ""
    """MineCLIP to name in <out_weights>.json; default: unchanged."""
    prior: str = ""
    """Prior to name in <out_weights>.json; default: unchanged."""
    env: str = ""
    """Game to name in <out_weights>.json; default: unchanged."""
    cond_scale: float | None = None
    """Guidance scale to store in <out_weights>.json; default: unchanged."""
    temperature: float | None = None
    """Sampling temperature to store in <out_weights>.json; default: unchanged."""
    prior_code: Literal["", "sample", "middle"] = ""
    """How prompts become goals, to store in <out_weights>.json: sample the prior, or take its middle; default: unchanged."""
    overwrite: bool = False
    """Replace an existing file."""


def main(args: Args) -> None:
    """Read strictly, write atomically."""

    source = resolve(args.in_weights)
    target = output_path(args.out_weights)
    if target.exists() and not args.overwrite:
        raise UserError(
            "These weights exist already.", where=target, todo="choose another --out_weights, or add --overwrite"
        )
    check_writable(target)
    metadata = read_checkpoint_metadata(source).updated(
        model=args.in_model,
        mineclip=args.mineclip,
        prior=args.prior,
        env=args.env,
        cond_scale=args.cond_scale,
        temperature=args.temperature,
        prior_code=args.prior_code,
    )
    policy = load_policy(resolve(metadata.model), source)
    save_weights(policy, target, dtype=getattr(torch, args.dtype))
    write_checkpoint_metadata(
        target, dataclasses.replace(metadata, hashes={**metadata.hashes, "weights": sha256_file(target)})
    )
    print(f"{display(target)}: {target.stat().st_size / 1e6:.1f} MB, {args.dtype}")
