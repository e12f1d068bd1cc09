"""Minecraft 1.16.5 through MineRL 1.0, with the pictures and actions that VPT and STEVE-1 were trained on."""
