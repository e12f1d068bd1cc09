"""Luanti behind the environment interface: processes, shared memory, the shim and the mod."""

from .env import LuantiEnv

__all__ = ["LuantiEnv"]
