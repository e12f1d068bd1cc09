"""Minecraft 1.16.5 through the simulator of MineStudio, the engine of CraftJarvis."""
