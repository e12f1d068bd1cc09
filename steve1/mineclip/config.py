"""MineCLIP's sizes: the published "attn" configuration and any other, such as that of the mini weights."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import read_json
from steve1.core.messages import translated


@dataclass(frozen=True)
class MineCLIPConfig:
    """Sizes of every part. The defaults are those of the published `attn.pth`."""

    embed_dim: int = 512
    """E: width of image features, of text embeddings and of goals."""
    resolution: tuple[int, int] = (160, 256)
    """Height and width of the frames that the image tower sees."""
    patch: int = 16
    vision_width: int = 768
    vision_layers: int = 12
    vision_heads: int = 12
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    vocabulary: int = 49408
    context: int = 77
    """Tokens of a prompt, start and end tokens included."""
    temporal_layers: int = 2
    temporal_heads: int = 8
    """Heads of the temporal encoder; each always has 64 channels."""
    max_frames: int = 32
    """Rows of the learned positions in time; a clip may not be longer."""
    adapter_layers: int = 2
    """Linear layers of the reward head's video adapter; 0: none."""
    clip_frames: int = 16
    """Frames that one embedding describes."""

    @property
    def tokens_per_frame(self) -> int:
        """Image patches and the class token."""
        return (self.resolution[0] // self.patch) * (self.resolution[1] // self.patch) + 1

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that JSON can hold; `from_dict` reads it back."""
        return {**dataclasses.asdict(self), "resolution": list(self.resolution)}


def from_dict(values: dict[str, Any], where: str = "") -> MineCLIPConfig:
    """A configuration from plain values; all faults are named in one message.

    Raises:
        UserError: unknown keys, wrong types, or sizes that do not fit together.
    """
    known = {field.name for field in dataclasses.fields(MineCLIPConfig)}
    faults = [f"unknown key {key!r}" for key in values if key not in known]
    kept = {key: value for key, value in values.items() if key in known}
    resolution = kept.get("resolution", (160, 256))
    if not (isinstance(resolution, (list, tuple)) and len(resolution) == 2 and all(_count(v) for v in resolution)):
        faults.append(f"resolution must be [height, width], got {resolution!r}")
    faults += [
        f"{key} must be a whole number of at least 1, got {value!r}"
        if key != "adapter_layers"
        else f"{key} must be a whole number, got {value!r}"
        for key, value in kept.items()
        if key != "resolution" and not (_count(value) or (key == "adapter_layers" and value == 0))
    ]
    if not faults:
        config = MineCLIPConfig(**{**kept, "resolution": (int(resolution[0]), int(resolution[1]))})
        faults = _misfits(config)
    if faults:
        raise UserError(
            "The MineCLIP configuration is not usable.",
            where=where,
            got="; ".join(map(translated, faults)),
            expected=", ".join(sorted(known)),
        )
    return config


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _misfits(config: MineCLIPConfig) -> list[str]:
    """Sizes that contradict each other, each as one phrase."""
    height, width = config.resolution
    faults = []
    if height % config.patch or width % config.patch:
        faults.append(f"resolution {height}x{width} is not a multiple of patch {config.patch}")
    for tower in ("vision", "text"):
        width, heads = getattr(config, f"{tower}_width"), getattr(config, f"{tower}_heads")
        if width % heads:
            faults.append(f"{tower}_width {width} is not a multiple of {tower}_heads {heads}")
    if config.clip_frames > config.max_frames:
        faults.append(f"clip_frames {config.clip_frames} is more than max_frames {config.max_frames}")
    return faults


def read_config(config: str | Path | dict[str, Any] | MineCLIPConfig) -> MineCLIPConfig:
    """The configuration meant by "attn", a dict, the path of a JSON file, or a configuration itself.

    Raises:
        UserError: the file is missing or its contents do not make a configuration.
    """
    if isinstance(config, MineCLIPConfig):
        return config
    if isinstance(config, dict):
        return from_dict(config)
    if str(config) == "attn":
        return MineCLIPConfig()
    path = Path(config)
    if not path.is_file():
        raise UserError(
            "There is no such MineCLIP configuration.", where=config, expected='"attn" or a JSON file with sizes'
        )
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError("The MineCLIP configuration must be a JSON object.", where=path, got=type(values).__name__)
    return from_dict(values, where=str(path))
