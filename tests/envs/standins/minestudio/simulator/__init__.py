from .entry import MinecraftSim

__all__ = ["MinecraftSim"]
