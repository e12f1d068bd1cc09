"""Writes a `.model` file of any size, for training from scratch; this project and VPT's own code read it."""

from __future__ import annotations

import dataclasses

import torch

from steve1.core.errors import UserError
from steve1.core.messages import translated
from steve1.core.paths import display, output_path
from steve1.policy import GoalPolicy, PolicyConfig, write_model


@dataclasses.dataclass(frozen=True)
class Args:
    """Sizes of a policy network (the defaults are those of the mini weights)."""

    output: str = "data/mini/mini.model"
    """Path of the .model file."""
    hidsize: int = 192
    """Width H of the recurrent layers."""
    attention_heads: int = 4
    """Attention heads; must divide hidsize."""
    memory: int = 64
    """Number of past frames that attention sees."""
    n_recurrence_layers: int = 2
    """Transformer blocks."""
    impala_chans: tuple[int, int, int] = (8, 16, 16)
    """Channels of the three image stacks."""
    mineclip_embed_dim: int = 64
    """Size E of a goal embedding: that of the MineCLIP it goes with."""
    temperature: float = 2.0
    """Both action heads' logits are divided by this."""
    overwrite: bool = False
    """Replace an existing file."""


def main(args: Args) -> None:
    """Write the file and say how large the network is."""

    path = output_path(args.output)
    config = PolicyConfig(
        hidsize=args.hidsize,
        attention_heads=args.attention_heads,
        attention_memory_size=2 * args.memory,
        timesteps=args.memory,
        n_recurrence_layers=args.n_recurrence_layers,
        impala_width=1,
        impala_chans=args.impala_chans,
        mineclip_embed_dim=args.mineclip_embed_dim,
        temperature=args.temperature,
    )
    if path.exists() and not args.overwrite:
        raise UserError(
            "This model file exists already.", where=path, todo="choose another --output, or add --overwrite"
        )
    write_model(config, path)
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in GoalPolicy(config).parameters())
    print(translated(f"{display(path)}: {count:,} parameters, E = {config.mineclip_embed_dim}"))
