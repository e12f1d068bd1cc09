"""Luanti behind the environment interface: processes, shared memory, the shim and the mod."""

from steve1.envs.luanti.env import LuantiEnv

__all__ = ["LuantiEnv"]
