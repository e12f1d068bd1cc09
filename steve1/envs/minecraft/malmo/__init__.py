"""What the three packages descended from Malmo (MineRL, MineStudio, MineDojo) have in common, on the worker's side."""
