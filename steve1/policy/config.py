"""Settings of the policy network, read from and written to `.model` files.

Input: a `.model` pickle, a `.json` file with the same nesting, or such a dict. Output: one frozen dataclass.
Only the network that VPT and STEVE-1 published is built here; settings that ask for another one are refused, all at once.
"""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steve1.core.errors import UserError
from steve1.core.files import atomic_file, read_json
from steve1.core.messages import translated
from steve1.core.paths import download_advice
from steve1.core.reading.pickle_machine import Record
from steve1.core.reading.pickles import load_inert, load_restricted

GOAL_DIM = 512  # of every published MineCLIP

# What the published architecture fixes: named in `.model` files, accepted only with these values.
_FIXED: dict[str, Any] = {
    "attention_mask_style": "clipped_causal",
    "diff_mlp_embedding": False,
    "impala_kwargs": {"post_pool_groups": 1},
    "init_norm_kwargs": {"batch_norm": False, "group_norm_groups": 1},
    "only_img_input": True,
    "pointwise_use_activation": False,
    "recurrence_is_residual": True,
    "recurrence_type": "transformer",
    "use_pointwise_layer": True,
    "use_pre_lstm_ln": False,
}
_SIZES = ("attention_heads", "attention_memory_size", "timesteps", "hidsize", "n_recurrence_layers", "impala_width")
_READ = (*_SIZES, *_FIXED, "impala_chans", "pointwise_ratio", "img_shape", "mineclip_embed_dim", "temperature")
_LARGEST = 1 << 20  # of any size: what lies above is no network


@dataclasses.dataclass(frozen=True)
class PolicyConfig:
    """Sizes of the network (published 2x as defaults)."""

    hidsize: int = 2048
    """H, width of the recurrent layers."""
    attention_heads: int = 16
    attention_memory_size: int = 256
    timesteps: int = 128
    n_recurrence_layers: int = 4
    impala_width: int = 8
    impala_chans: tuple[int, ...] = (16, 32, 32)
    """Channels of each image stack, before multiplication by impala_width."""
    pointwise_ratio: int = 4
    img_shape: tuple[int, int, int] = (128, 128, 3)
    mineclip_embed_dim: int = GOAL_DIM
    """E, size of a goal embedding."""
    temperature: float = 2.0
    """Both action heads' logits are divided by this."""

    def __post_init__(self) -> None:
        faults = [
            f"{name} = {getattr(self, name)!r} is no size of a network"
            for name in _SIZES
            if not 1 <= getattr(self, name) <= _LARGEST
        ]
        if not faults and self.hidsize % self.attention_heads:
            faults.append(f"hidsize {self.hidsize} is not a multiple of attention_heads {self.attention_heads}")
        if self.attention_memory_size <= self.timesteps:
            faults.append(
                f"attention_memory_size {self.attention_memory_size} does not exceed timesteps {self.timesteps}"
            )
        if len(self.impala_chans) != 3 or min(self.impala_chans, default=0) < 1:
            faults.append(f"impala_chans {self.impala_chans} is not three positive numbers")
        if len(self.img_shape) != 3 or self.img_shape[2] != 3 or min(self.img_shape) < 1:
            faults.append(f"img_shape {self.img_shape} is not (height, width, 3)")
        if self.mineclip_embed_dim < 1 or not self.temperature > 0:
            faults.append("mineclip_embed_dim and temperature have to be positive")
        if faults:
            raise UserError("These model settings contradict one another.", got="; ".join(map(translated, faults)))

    @property
    def norm_first(self) -> bool:
        """Whether the very first convolution has a norm in front."""
        return False

    @property
    def memory(self) -> int:
        """W, how many of the last keys a step sees, itself included, and how many rows the carried state has."""
        return self.attention_memory_size - self.timesteps

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the three image stacks."""
        return tuple(self.impala_width * chans for chans in self.impala_chans)

    @property
    def sizes(self) -> str:
        """What the time of a frame depends on."""
        stacks = "-".join(map(str, self.channels))
        return f"{stacks}, {self.n_recurrence_layers} blocks of {self.hidsize}, {self.img_shape[0]}x{self.img_shape[1]}"

    @property
    def stack_shapes(self) -> list[tuple[int, int, int]]:
        """(C, h, w) of each image stack's output; a stack halves the image, rounding up."""
        height, width = self.img_shape[:2]
        shapes = []
        for channels in self.channels:
            height, width = (height + 1) // 2, (width + 1) // 2
            shapes.append((channels, height, width))
        return shapes

    def to_model(self) -> dict[str, Any]:
        """The nested dict of a `.model` file; plain containers only, so that VPT's and STEVE-1's programs read it too."""
        net: dict[str, Any] = {name: getattr(self, name) for name in _SIZES}
        net.update(
            pointwise_ratio=self.pointwise_ratio, impala_chans=list(self.impala_chans), img_shape=list(self.img_shape)
        )
        net.update(_FIXED)
        if self.mineclip_embed_dim != GOAL_DIM:
            net["mineclip_embed_dim"] = self.mineclip_embed_dim
        return {"model": {"args": {"net": {"args": net}, "pi_head_opts": {"temperature": self.temperature}}}}


def read_model(model: str | os.PathLike[str] | Mapping[str, Any] | PolicyConfig) -> PolicyConfig:
    """Settings from a `.model` pickle (nothing in it is executed), a `.json` file, a nested dict, or settings themselves.

    Raises:
        UserError: the file is missing or hostile, a setting is missing, or it asks for another architecture.
    """
    if isinstance(model, PolicyConfig):
        return model
    net, head, where = model_settings(model, "a policy's")
    if is_inverse_dynamics(net):
        what = "This is an inverse dynamics model (it labels recordings), not a policy."
        raise UserError(what, where=where, todo="name a policy's .model file, such as data/weights/vpt/2x.model")
    given = {name: net[name] for name in _READ if name in net} | {name: head[name] for name in head if name in _READ}
    check_settings(given, (*_SIZES, "impala_chans"), _FIXED, where)
    try:
        sizes = {name: int(given[name]) for name in _SIZES}
        return PolicyConfig(
            **sizes,
            impala_chans=tuple(int(chans) for chans in given["impala_chans"]),
            pointwise_ratio=int(given.get("pointwise_ratio", 4)),
            img_shape=tuple(int(size) for size in given.get("img_shape", (128, 128, 3))),  # type: ignore[arg-type]
            mineclip_embed_dim=int(given.get("mineclip_embed_dim", GOAL_DIM)),
            temperature=float(given.get("temperature", 1.0)),  # published as the string "2.0"
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError("A model setting has the wrong type.", where=where, got=str(error)) from error


def model_settings(
    model: str | os.PathLike[str] | Mapping[str, Any], whose: str
) -> tuple[Mapping[str, Any], Mapping[str, Any], str]:
    """The settings of the network and of its heads in a model file, and the file's name for messages.

    Args:
        whose: model files are expected, for messages ("a policy's").
    """
    where = "the given dict"
    content: Any = model
    if not isinstance(model, Mapping):
        path = Path(model)
        where = str(path)
        if not path.is_file():
            raise UserError("The model file does not exist.", where=where, todo=download_advice(path))
        content = read_json(path) if path.suffix == ".json" else load_inert(path)
    args = _inner(content, where, "model", "args")
    net, head = _inner(args, where, "net", "args"), _inner(args, where, "pi_head_opts") or {}
    if args is None or net is None:
        keys = translated(f" with keys {_shown([*content])}") if isinstance(content, Mapping) else ""
        raise UserError(
            f"This is not {whose} model file.",
            where=where,
            expected='["model"]["args"]["net"]["args"] and ["model"]["args"]["pi_head_opts"]',
            got=type(content).__name__ + keys,
        )
    return net, head, where


def is_inverse_dynamics(net: Mapping[str, Any]) -> bool:
    """Whether these settings are those of an inverse dynamics model."""
    return "conv3d_params" in net


def check_settings(given: Mapping[str, Any], needed: Sequence[str], fixed: Mapping[str, Any], where: str) -> None:
    """Raise UserError where a setting is missing, is a foreign object, or asks for an architecture that is not built here."""
    foreign = [f"{name} = {_shown(value)}" for name, value in given.items() if _holds_record(value)]
    if foreign:
        what = "Objects of foreign classes stand where settings of the model belong; nothing of them was run."
        raise UserError(what, where=where, expected="numbers, texts and lists", got="; ".join(foreign))
    faults = [f"{name} is missing" for name in needed if name not in given]
    faults += [
        f"{name} = {_shown(given[name])} (here always {value!r})"
        for name, value in fixed.items()
        if name in given and given[name] != value
    ]
    if faults:
        raise UserError("These model settings cannot be built.", where=where, got="; ".join(map(translated, faults)))


def _inner(content: Any, where: str, *keys: str) -> Mapping[str, Any] | None:
    """The dict below these keys, None where there is none; UserError where a foreign object stands in its place."""
    value, place = content, "the file"
    for key in ("", *keys):
        if key:
            value, place = value.get(key), f'["{key}"]'
        if isinstance(value, Record):
            what = "An object of a foreign class stands where settings of the model belong; nothing of it was run."
            raise UserError(what, where=f"{where}, {place}", expected="names with values", got=value)
        if not isinstance(value, Mapping):
            return None
    return value


def _holds_record(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_record, [*value, *value.values()]))
    return isinstance(value, Record) or (isinstance(value, (list, tuple, set)) and any(map(_holds_record, value)))


def _shown(value: Any) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # a number of thousands of digits
        return type(value).__name__


def write_model(model: Mapping[str, Any] | PolicyConfig, path: str | os.PathLike[str]) -> None:
    """Write settings (nested dict or PolicyConfig) as a `.model` pickle of plain containers; checked before it is written."""
    nested = model.to_model() if isinstance(model, PolicyConfig) else dict(model)
    read_model(nested)
    write_nested(nested, path)


def write_nested(nested: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write the nested dict of a `.model` file, whole or not at all."""
    buffer = io.BytesIO()
    pickle.dump(dict(nested), buffer, protocol=2)
    load_restricted(buffer.getvalue())
    with atomic_file(path) as file:
        file.write(buffer.getvalue())
