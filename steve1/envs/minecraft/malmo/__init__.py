"""What the adapters of the packages that descend from Malmo (MineRL, MineStudio, MineDojo) have in common."""
