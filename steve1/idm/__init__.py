"""The inverse dynamics model: labels videos with the actions that were pressed."""

from steve1.idm.config import IdmConfig, read_idm_model
from steve1.idm.label import Labels, WindowOutput
from steve1.idm.network import InverseDynamicsModel
from steve1.idm.weights import load_idm

__all__ = ["IdmConfig", "InverseDynamicsModel", "Labels", "WindowOutput", "load_idm", "read_idm_model"]
