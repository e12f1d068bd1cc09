"""A stand-in for MineRL 1.0 with its public classes, its published spaces, and no Minecraft."""
