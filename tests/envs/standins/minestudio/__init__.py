"""A stand-in for MineStudio's simulator with its public classes, and no Minecraft."""
