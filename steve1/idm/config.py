"""Settings of the inverse dynamics model, read from `.model` files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from steve1.core.errors import UserError
from steve1.policy.config import PolicyConfig, check_settings, is_inverse_dynamics, model_settings, write_nested

REACH = 2
"""Frames on each side that the temporal convolution sees."""
_FIXED: dict[str, Any] = {
    "attention_mask_style": "none",
    "impala_kwargs": {"post_pool_groups": 1},
    "init_norm_kwargs": {"batch_norm": False, "group_norm_groups": 1},
    "only_img_input": True,
    "pointwise_use_activation": False,
    "recurrence_is_residual": True,
    "recurrence_type": "transformer",
    "single_output": True,
    "use_pointwise_layer": True,
}
_MOST_REACH = 15
_SIZES = ("attention_heads", "timesteps", "hidsize", "n_recurrence_layers", "impala_width")


_CONV = {"inchan": 3, "kernel_size": [2 * REACH + 1, 1, 1], "padding": [REACH, 0, 0]}


@dataclasses.dataclass(frozen=True)
class IdmConfig(PolicyConfig):
    """Sizes of the network (published 4x as defaults). Its image stacks take the temporal convolution's output."""

    hidsize: int = 4096
    attention_heads: int = 32
    attention_memory_size: int = 128
    timesteps: int = 128
    """Frames of the windows that it was trained on."""
    n_recurrence_layers: int = 2
    impala_width: int = 16
    img_shape: tuple[int, int, int] = (128, 128, 128)
    """Height, width, and P, the temporal convolution's channels."""
    temperature: float = 4.0
    motion_reach: int = 0
    """Pixels of 64 by which the motion input shifts a frame to compare it with the next; 0: there is none, as in the published model."""

    def __post_init__(self) -> None:
        if (
            self.hidsize % max(1, self.attention_heads)
            or min(*self.img_shape, self.timesteps, self.n_recurrence_layers) < 1
            or not 0 <= self.motion_reach <= _MOST_REACH
        ):
            raise UserError("These model settings contradict one another.", got=str(self))

    @property
    def memory(self) -> int:
        """There is none, and no term by distance: the whole window is seen at once."""
        return 0

    @property
    def norm_first(self) -> bool:
        return True

    def to_model(self) -> dict[str, Any]:
        """The nested dict of a `.model` file."""
        net: dict[str, Any] = {name: getattr(self, name) for name in _SIZES} | _FIXED
        net |= {"pointwise_ratio": self.pointwise_ratio, "impala_chans": list(self.impala_chans)}
        net |= {"img_shape": list(self.img_shape), "attention_memory_size": self.attention_memory_size}
        net["conv3d_params"] = {"outchan": self.img_shape[2], **_CONV}
        if self.motion_reach:
            net["motion_reach"] = self.motion_reach
        return {"model": {"args": {"net": {"args": net}, "pi_head_opts": {"temperature": self.temperature}}}}


def read_idm_model(model: str | os.PathLike[str] | Mapping[str, Any] | IdmConfig) -> IdmConfig:
    """Settings from a `.model` pickle (nothing in it is executed), a `.json` file, a nested dict, or settings themselves.

    Raises:
        UserError: the file is missing or hostile, it is a policy's, a setting is missing, or it asks for another architecture.
    """
    if isinstance(model, IdmConfig):
        return model
    net, head, where = model_settings(model, "an inverse dynamics model's")
    if not is_inverse_dynamics(net):
        what = "This is a policy, not an inverse dynamics model."
        raise UserError(what, where=where, todo="name the inverse dynamics model's .model file, such as 4x_idm.model")
    conv: Mapping[str, Any] = net["conv3d_params"]
    read = (*_SIZES, *_FIXED, "impala_chans", "pointwise_ratio", "img_shape", "conv3d_params", "motion_reach")
    given: dict[str, Any] = {name: net[name] for name in read if name in net} | {
        "temperature": head.get("temperature", 1.0)
    }
    check_settings(given, (*_SIZES, "conv3d_params"), _FIXED, where)
    found = {name: list(value) if isinstance(value, tuple) else value for name, value in dict(conv).items()}
    if any(found.get(name) != value for name, value in _CONV.items()) or not isinstance(found.get("outchan"), int):
        raise UserError(
            "These model settings cannot be built.", where=f"{where}, conv3d_params", expected=_CONV, got=found
        )
    try:
        shape: Sequence[Any] = given.get("img_shape", (128, 128))
        height, width = int(shape[0]), int(shape[1])
        return IdmConfig(
            **{name: int(given[name]) for name in _SIZES},
            attention_memory_size=int(given["timesteps"]),
            impala_chans=tuple(int(chans) for chans in given.get("impala_chans", (16, 32, 32))),
            pointwise_ratio=int(given.get("pointwise_ratio", 4)),
            img_shape=(height, width, int(conv["outchan"])),
            temperature=float(given["temperature"]),
            motion_reach=int(given.get("motion_reach", 0)),
        )
    except (TypeError, ValueError, OverflowError, IndexError) as error:
        raise UserError("A model setting has the wrong type.", where=where, got=str(error)) from error


def write_idm_model(config: IdmConfig, path: str | os.PathLike[str]) -> None:
    """Write settings as a `.model` pickle of plain containers."""
    read_idm_model(config.to_model())
    write_nested(config.to_model(), path)
