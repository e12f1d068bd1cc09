"""Which files belong to a policy's weights.

In: the path of a weights file. Out: the model settings, MineCLIP, prior, environment, guidance scale and temperature that go with it,
from `<weights>.json` beside it; without that file, the published 2x family under `data/weights/`.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import read_json, write_json
from steve1.core.paths import display, resolve


@dataclasses.dataclass(frozen=True)
class CheckpointMetadata:
    """Paths are relative to the project's root (or absolute); the defaults are the published 2x family."""

    model: str = "data/weights/vpt/2x.model"
    mineclip: str = "data/weights/mineclip/attn.pth"
    mineclip_config: str = "attn"
    prior: str = "data/weights/steve1/steve1_prior.pt"
    # The published weights belong to Minecraft; which one plays it, and what does where none is installed, is decided where it is played.
    env: str = "minecraft"
    cond_scale: float = 6.0
    # Of the drawn actions: below 1 nearer the likeliest. The published policies play at 1.
    temperature: float = 1.0
    run: str = ""
    hashes: dict[str, str] = dataclasses.field(default_factory=dict)

    def updated(self, **changes: Any) -> CheckpointMetadata:
        """A copy with every change that is not None or empty."""
        return dataclasses.replace(self, **{name: value for name, value in changes.items() if value not in (None, "")})


def checkpoint_metadata_path(weights: str | os.PathLike[str]) -> Path:
    """`<weights>.json`, beside the weights."""
    path = Path(weights)
    return path.with_name(path.name + ".json")


def read_checkpoint_metadata(weights: str | os.PathLike[str]) -> CheckpointMetadata:
    """The family of `weights`; the published 2x defaults where no family file lies beside them."""
    path = checkpoint_metadata_path(resolve(weights))
    if not path.exists():
        return CheckpointMetadata()
    content = read_json(path)
    names = {field.name for field in dataclasses.fields(CheckpointMetadata)}
    if not isinstance(content, dict) or not isinstance(content.get("model"), str):
        raise UserError(
            "This family file does not name a model.",
            where=path,
            expected='a JSON object with "model"',
            got=str(content)[:200],
        )
    for name in ("model", "mineclip", "prior"):
        found = resolve(content.get(name) or "", path.parent)
        if found.is_file():
            content[name] = display(found)
    return CheckpointMetadata(**{name: value for name, value in content.items() if name in names})


def write_checkpoint_metadata(weights: str | os.PathLike[str], metadata: CheckpointMetadata) -> Path:
    """Write `<weights>.json` atomically; paths below the project's root are stored relative to it."""
    content = dataclasses.asdict(metadata)
    for name in ("model", "mineclip", "prior", "run"):
        if content[name]:
            found = resolve(content[name])
            content[name] = display(found) if found.exists() else content[name]
    path = checkpoint_metadata_path(weights)
    write_json(path, content)
    return path
