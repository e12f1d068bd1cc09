"""Actions: MineRL's dictionaries, the policy's joint classes and recorded ticks, converted into one another with numpy alone."""

from steve1.actions.buttons import BUTTONS, ENV_BUTTONS, EnvAction, null_action
from steve1.actions.camera import BIN_DEGREES, N_BINS, to_bins, to_degrees
from steve1.actions.contractor import CAMERA_ROUNDINGS, from_contractor, to_contractor
from steve1.actions.joint import (
    INVENTORY,
    N_BUTTONS,
    N_CAMERA,
    NULL_BUTTONS,
    NULL_CAMERA,
    actions_to_arrays,
    arrays_to_joint,
    env_action,
    is_null,
    joint_to_arrays,
    to_env,
    to_joint,
)

__all__ = [
    "BIN_DEGREES",
    "BUTTONS",
    "CAMERA_ROUNDINGS",
    "ENV_BUTTONS",
    "INVENTORY",
    "NULL_BUTTONS",
    "NULL_CAMERA",
    "N_BINS",
    "N_BUTTONS",
    "N_CAMERA",
    "EnvAction",
    "actions_to_arrays",
    "arrays_to_joint",
    "env_action",
    "from_contractor",
    "is_null",
    "joint_to_arrays",
    "null_action",
    "to_bins",
    "to_contractor",
    "to_degrees",
    "to_env",
    "to_joint",
]
