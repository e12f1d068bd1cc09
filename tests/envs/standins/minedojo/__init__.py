"""A stand-in for MineDojo with its public tables and classes, and no Minecraft."""
